"""Models that MLflow logged: served with its signature's types and scikit-learn's answers; no file is believed to be harmless."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
import skops.io
import yaml
from lightgbm import LGBMClassifier
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBClassifier

from model_service import mlflow
from model_service.manifest import Manifest
from model_service.model import Prediction, load
from model_service.rows import RowReader
from tests.testbed import mlflow_server

pytestmark = pytest.mark.xdist_group("models of MLflow")  # one process imports it

FLOWERS = load_iris()
TENSOR = [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 4]}}]
SCRIPT = Path(__file__).parent / "clients" / "log_models.py"


@pytest.fixture(scope="session")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that a real MLflow has logged, and what scikit-learn predicts."""
    out = tmp_path_factory.mktemp("logged")
    done = subprocess.run([mlflow_server.environment(), SCRIPT, out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return out


def put(out: Path, estimator: Any, inputs: Any = TENSOR, **more: Any) -> Path:
    """A directory as MLflow writes it, by hand."""
    out.mkdir(exist_ok=True)
    skops.io.dump(estimator, out / "model.skops")
    flavor = {"pickled_model": "model.skops", "serialization_format": "skops", "sklearn_version": sklearn.__version__}
    document = {
        "flavors": more.pop("flavors", {"sklearn": flavor | more.pop("flavor", {})}),
        "signature": {"inputs": json.dumps(inputs)} if inputs else None,
        "saved_input_example_info": {"artifact_path": "input_example.json"},
        "utc_time_created": "2026-11-26 14:54:47.5",
        "mlflow_version": "3.17.2",
    }
    if "example" in more:
        (out / "input_example.json").write_text(json.dumps(more.pop("example")))
    (out / "MLmodel").write_text(yaml.safe_dump(document | more))
    return out


def convert(source: Path, out: Path, *arguments: str) -> int:
    return mlflow.main([str(source), "--out", str(out), *arguments])


def refused(source: Path, out: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert convert(source, out, *arguments) == 1
    assert not out.exists()
    return capsys.readouterr().err


def tree() -> Any:
    return DecisionTreeClassifier(max_depth=2, random_state=0).fit(FLOWERS.data, FLOWERS.target)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("columns", "skops"),
        ("bare", "skops"),
        ("forest", "trees"),
        ("categories", "skops"),
        ("cloudpickle", "skops"),
        ("text", "skops"),
    ],
)
def test_a_logged_model_answers_as_it_did_where_it_was_fitted(
    name: str, form: str, logged: Path, tmp_path: Path
) -> None:
    content = next((logged / name).glob("model.*")).read_bytes()
    assert convert(logged / name, tmp_path, "--allow-pickle", hashlib.sha256(content).hexdigest()) == 0
    model, expected = load(tmp_path), json.loads((logged / f"{name}.json").read_text())
    names = [feature.name for feature in model.manifest.features]
    rows = [
        [row[expected["columns"].index(name)] for name in names] if expected["columns"] else row
        for row in expected["rows"]
    ]
    given = RowReader(model.manifest, max_rows=99).read({"instances": rows}, "instances")
    predictions = model.predict(given)
    assert model.manifest.format == form
    assert [answer(model.manifest, one) for one in predictions] == expected["predicted"]
    if "probabilities" in expected:
        assert [list(one.probabilities) for one in predictions] == expected["probabilities"]


def answer(manifest: Manifest, prediction: Prediction) -> Any:
    return manifest.classes[prediction.class_index] if manifest.classes else prediction.value


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_columns_have_the_types_of_the_signature_and_the_categories_of_the_encoder(
    logged: Path, tmp_path: Path
) -> None:
    assert convert(logged / "columns", tmp_path) == 0
    features = {feature.name: feature for feature in Manifest.read(tmp_path).features}
    assert {name: (one.type, one.dtype, one.missing) for name, one in features.items()} == {
        "city": ("category", "str", False),
        "income": ("number", "float64", True),
        "age": ("integer", "int64", False),
        "member": ("boolean", "bool", False),
        "since": ("datetime", "datetime64[us]", False),
    }
    assert (features["city"].categories, features["city"].unknown) == (["Jena", "Kiel", "Ulm"], True)
    assert {feature.minimum for feature in features.values()} == {None}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_pickle_is_refused_unless_its_hash_is_allowed(
    logged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = refused(logged / "cloudpickle", tmp_path / "out", capsys)
    assert "model.pkl is refused: loading a pickle runs code from the file" in words
    assert "--allow-pickle" in words
    assert "its SHA-256 differs" in refused(
        logged / "cloudpickle", tmp_path / "out", capsys, "--allow-pickle", "0" * 64
    )


def test_the_list_of_trusted_types_in_mlmodel_is_not_believed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    types = ["sklearn.metrics._dist_metrics.EuclideanDistance64", "sklearn.neighbors._kd_tree.KDTree"]
    neighbours = KNeighborsClassifier().fit(FLOWERS.data, FLOWERS.target)
    source = put(tmp_path / "knn", neighbours, flavor={"skops_trusted_types": types})
    words = refused(source, tmp_path / "out", capsys)
    assert all(name in words for name in types)
    assert convert(source, tmp_path / "out", "--trust", ",".join(types)) == 0
    assert f"MODEL_TRUST={','.join(types)}" in capsys.readouterr().out


def test_another_version_of_scikit_learn_is_told_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = put(tmp_path / "tree", tree(), flavor={"sklearn_version": "1.2.3"})
    (source / "model.skops").write_bytes(b"damaged")
    words = refused(source, tmp_path / "out", capsys)
    assert "was logged with scikit-learn 1.2.3, but " in words
    assert "scikit-learn==1.2.3" in words


def test_versions_that_decide_nothing_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = put(tmp_path / "tree", tree())
    (source / "requirements.txt").write_text("mlflow==3.17.2\nnumpy==1.0.1  # old\nPandas\n")
    assert convert(source, tmp_path / "out") == 0
    assert "note: the model was logged with numpy 1.0.1, but " in capsys.readouterr().out


def test_a_file_that_is_not_the_one_that_was_fetched_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = put(tmp_path / "tree", tree(), example=[[1, 2, 3, 4]])
    files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in source.iterdir()}
    origin = {"registry": "https://mlflow.example.com", "name": "our iris", "version": "3", "alias": "champion"}
    (source / "deployd-model.json").write_text(json.dumps(origin | {"model_id": None, "files": files}))
    assert convert(source, tmp_path / "out") == 0
    manifest = Manifest.read(tmp_path / "out")
    assert (manifest.name, manifest.trained_at) == ("our-iris", "2026-11-26T14:54:47+00:00")
    shown = manifest.summary()["source"]
    assert {key: shown[key] for key in origin} == origin
    skops.io.dump(tree(), source / "model.skops")  # zip files have times
    assert "model.skops is not the file that was fetched" in refused(source, tmp_path / "other", capsys)


def test_mlmodel_names_no_file_outside_of_its_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = put(tmp_path / "tree", tree(), flavor={"pickled_model": "../secret.skops"})
    (tmp_path / "secret.skops").write_bytes(b"")
    assert "'../secret.skops', which is none of this directory" in refused(source, tmp_path / "out", capsys)


def overwritten(name: str, content: str) -> Callable[[Path], object]:
    """What writes one file of a model's directory anew."""
    return lambda source: (source / name).write_text(content)


def link_to_itself(source: Path) -> None:
    (source / "model.skops").unlink()
    (source / "model.skops").symlink_to("model.skops")


DEEP = "[" * 100_000
FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a tag that calls a function": (
        overwritten("MLmodel", '!!python/object/apply:os.system ["true"]'),
        "MLmodel is not usable",
    ),
    "YAML that is nested too deeply": (overwritten("MLmodel", DEEP), "MLmodel is not usable"),
    "a date that is none": (overwritten("MLmodel", "utc_time_created: 2026-13-45"), "MLmodel is not usable"),
    "a name with a null byte": (
        overwritten("MLmodel", 'flavors: {sklearn: {pickled_model: "model\\0.skops"}}'),
        "is none of this directory",
    ),
    "a link to itself": (link_to_itself, "is none of this directory"),
    "an example that is nested too deeply": (overwritten("input_example.json", DEEP), "the example is not JSON"),
    "an origin without hashes": (overwritten("deployd-model.json", '{"files": null}'), "it has no hashes of files"),
    "a file that was not fetched": (overwritten("deployd-model.json", '{"files": {}}'), "is not the file that was"),
}


@pytest.mark.parametrize(("change", "words"), FOREIGN.values(), ids=FOREIGN.keys())
def test_files_that_mlflow_does_not_write_are_refused_in_one_line(
    change: Callable[[Path], object], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = put(tmp_path / "tree", tree())
    change(source)
    assert words in refused(source, tmp_path / "out", capsys)


@pytest.mark.parametrize(
    "example",
    [{"columns": None, "data": [[1, 2]]}, {"columns": list("abcd"), "data": [[1, 2]]}, [[1, 2]], {"columns": 5}],
    ids=json.dumps,
)
def test_an_example_that_is_no_table_of_the_columns_is_left_out(
    example: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [{"type": "double", "name": name} for name in "abcd"]
    assert convert(put(tmp_path / "tree", tree(), inputs, example=example), tmp_path / "out") == 0
    assert "the golden rows are made up" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answers", "words"),
    [(np.zeros(150), "knows only one class"), (FLOWERS.target.astype("S1"), "the class b'0' is neither text")],
    ids=["one class", "classes that are bytes"],
)
def test_classes_that_cannot_be_served_are_refused(
    answers: Any, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = put(tmp_path / "tree", DecisionTreeClassifier(max_depth=2).fit(FLOWERS.data, answers))
    assert words in refused(source, tmp_path / "out", capsys)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([{"type": "array", "items": {"type": "double"}, "name": "a"}], "column 'a' has the type 'array'"),
        ([{"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, 9, 9]}}], "is no table of numbers"),
        ([{"type": "double", "name": "a"}], "1 columns, but the estimator was fitted with 4"),
        ([{"type": "string", "name": name} for name in "abcd"], "the columns a, b, c, d are no numbers"),
        ("{", "the signature is not usable"),
        ([{"type": "tensor", "tensor-spec": {"dtype": "int8", "shape": [-1, 10**12]}}], "is no table of numbers"),
        ([{"type": "double", "name": "a"}] * 4, "4 features have the name 'a'"),
        ([{"type": "double", "name": name} for name in ("a" * 201, "b", "c", "d")], "needs a name of 1 to 200"),
    ],
)
def test_a_signature_that_cannot_be_served_is_refused_with_its_column(
    inputs: Any, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(put(tmp_path / "tree", tree(), inputs), tmp_path / "out", capsys)


def test_columns_stand_in_the_order_of_the_estimator_and_missing_numbers_of_the_example_are_read(
    tmp_path: Path,
) -> None:
    rows = pd.DataFrame(FLOWERS.data[:, :2], columns=["b", "a"])
    inputs = [{"type": "double", "name": name, "required": False} for name in ("a", "b", "unused")]
    example = {"columns": ["unused", "a", "b"], "data": [[0, float("nan"), 5.1], [0, 3.5, 4.9]]}
    estimator = DecisionTreeRegressor(max_depth=3, random_state=0).fit(rows, FLOWERS.target)
    assert convert(put(tmp_path / "tree", estimator, inputs, example=example), tmp_path / "out") == 0
    golden = json.loads((tmp_path / "out" / "golden.json").read_text())
    assert [case["request"]["instances"] for case in golden["cases"]][:2] == [[[5.1, None]], [[4.9, 3.5]]]
    assert [feature.name for feature in Manifest.read(tmp_path / "out").features] == ["b", "a"]


def test_columns_that_the_signature_lacks_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = pd.DataFrame(FLOWERS.data[:, :2], columns=["a", "b"])
    source = put(tmp_path / "tree", LinearRegression().fit(rows, FLOWERS.target), [{"type": "double", "name": "a"}])
    assert "fitted with the columns 'b', which the signature lacks" in refused(source, tmp_path / "out", capsys)


@pytest.mark.slow
def test_without_signature_and_example_the_estimator_says_what_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pd.DataFrame({"city": np.resize(["Ulm", "Kiel"], 150), "width": FLOWERS.data[:, 0]})
    first = ColumnTransformer([("city", OneHotEncoder(), ["city"])], remainder="passthrough")
    estimator = make_pipeline(first, LogisticRegression(max_iter=500)).fit(rows, FLOWERS.target)
    assert convert(put(tmp_path / "model", estimator, None), tmp_path / "out") == 0
    assert "note: the model has no example" in capsys.readouterr().out
    city, width = Manifest.read(tmp_path / "out").features
    assert (city.type, city.categories, city.unknown, city.missing) == ("category", ["Kiel", "Ulm"], False, False)
    assert (width.type, width.missing) == ("number", False)


def test_an_estimator_of_xgboost_is_served_from_its_own_file(tmp_path: Path) -> None:
    estimator = XGBClassifier(n_estimators=3).fit(FLOWERS.data, FLOWERS.target)
    flavors = {"xgboost": {"data": "model.ubj", "model_class": "xgboost.sklearn.XGBClassifier"}}
    source = put(tmp_path / "model", tree(), flavors=flavors, example=FLOWERS.data[:2].tolist())
    estimator.save_model(source / "model.ubj")
    assert convert(source, tmp_path / "out") == 0
    model = load(tmp_path / "out")
    assert model.manifest.format == "xgboost"
    given = [one.probabilities for one in model.predict(FLOWERS.data.tolist())]
    assert np.array_equal(given, estimator.predict_proba(FLOWERS.data))


def test_an_estimator_of_lightgbm_needs_trust_once_and_then_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """MLflow writes it by skops, as types of the package; served is the package's own file."""
    rows = pd.DataFrame(FLOWERS.data, columns=list("abcd"))
    estimator = LGBMClassifier(n_estimators=3, verbose=-1).fit(rows, FLOWERS.target_names[FLOWERS.target])
    inputs = [{"type": "double", "name": name} for name in "dcba"]
    source = put(tmp_path / "model", estimator, inputs)
    words = refused(source, tmp_path / "out", capsys)
    types = words.partition("not trusted: ")[2].partition("\n")[0].replace(", ", ",")
    assert convert(source, tmp_path / "out", "--trust", types) == 0
    model = load(tmp_path / "out")
    assert ([feature.name for feature in model.manifest.features], model.manifest.format) == (list("abcd"), "lightgbm")
    given = [one.probabilities for one in model.predict(FLOWERS.data.tolist())]
    assert np.array_equal(given, estimator.predict_proba(rows))
