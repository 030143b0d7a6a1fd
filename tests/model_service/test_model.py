"""Loading: only files that training wrote are loaded, and no code from a file runs."""

import hashlib
import json
import pickle
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_service import train
from model_service.errors import ModelRejected
from model_service.fitting import fit
from model_service.golden import check_golden
from model_service.manifest import Manifest
from model_service.model import load
from model_service.quality import measure


@pytest.fixture
def model_dir(iris_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(iris_dir, tmp_path / "model"))


@pytest.fixture(scope="module")
def skops_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("skops")
    assert train.main(["--out", str(out), "--task", "tests.model_service.tasks"]) == 0
    return out


def change_manifest(directory: Path, **fields: object) -> None:
    manifest = json.loads((directory / "manifest.json").read_text())
    (directory / "manifest.json").write_text(json.dumps(manifest | fields))


def put_hash_in_manifest(directory: Path, file: str) -> None:
    """Makes the manifest accept a changed file, as a forger does who can write both."""
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["files"][file] = hashlib.sha256((directory / file).read_bytes()).hexdigest()
    change_manifest(directory, files=manifest["files"])


def test_a_changed_file_is_refused(model_dir: Path) -> None:
    file = model_dir / "model.json"
    file.write_bytes(file.read_bytes().replace(b"0.8", b"0.9", 1))
    with pytest.raises(ModelRejected, match="SHA-256"):
        load(model_dir)


def test_a_missing_file_or_manifest_is_named(model_dir: Path) -> None:
    (model_dir / "model.json").unlink()
    with pytest.raises(ModelRejected, match=r"model\.json"):
        load(model_dir)
    (model_dir / "manifest.json").unlink()
    with pytest.raises(ModelRejected, match=r"manifest\.json"):
        load(model_dir)


def test_a_manifest_with_fewer_features_than_the_model_is_refused(model_dir: Path) -> None:
    features = json.loads((model_dir / "manifest.json").read_text())["features"]
    change_manifest(model_dir, features=features[:2])
    with pytest.raises(ModelRejected, match="feature"):
        load(model_dir)


def test_a_manifest_with_other_classes_than_the_model_is_refused(model_dir: Path) -> None:
    change_manifest(model_dir, classes=[0, 1], labels=["a", "b"])
    with pytest.raises(ModelRejected, match="outputs"):
        load(model_dir)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=60)
def test_a_damaged_model_file_is_refused_even_if_its_hash_is_in_the_manifest(
    tmp_path_factory: pytest.TempPathFactory, iris_dir: Path, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("damaged")
    shutil.copytree(iris_dir, directory, dirs_exist_ok=True)
    content = bytearray((directory / "model.json").read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[position:]
    else:
        content[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    (directory / "model.json").write_bytes(content)
    put_hash_in_manifest(directory, "model.json")
    try:
        model = load(directory)
    except ModelRejected:
        return
    assert len(model.predict([[5.0, 3.0, 1.0, 0.1]])) == 1


def test_golden_cases_with_other_predictions_are_refused(iris_dir: Path) -> None:
    model = load(iris_dir)
    golden = (iris_dir / "golden.json").read_bytes()
    assert check_golden(model, golden) > 10
    for wrong in (golden.replace(b'"setosa": 1.0', b'"setosa": 0.9'), b"{}", b"[", b'{"cases": 1}', golden[:-40]):
        with pytest.raises(ModelRejected):
            check_golden(model, wrong)


@pytest.mark.slow
def test_a_model_of_another_library_version_is_refused_with_a_hint(skops_dir: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(skops_dir, tmp_path / "model"))
    change_manifest(directory, libraries=Manifest.read(directory).libraries | {"scikit-learn": "1.3.0"})
    with pytest.raises(ModelRejected, match=r"trained with scikit-learn 1\.3\.0") as refused:
        load(directory)
    assert "train again" in refused.value.hint


@pytest.mark.parametrize("kept", [0, 10, 500, 0.5, 0.99])
def test_a_truncated_skops_file_is_refused(skops_dir: Path, tmp_path: Path, kept: float) -> None:
    directory = Path(shutil.copytree(skops_dir, tmp_path / "model"))
    content = (directory / "model.skops").read_bytes()
    (directory / "model.skops").write_bytes(content[: int(kept if kept >= 1 else kept * len(content))])
    put_hash_in_manifest(directory, "model.skops")
    with pytest.raises(ModelRejected, match=r"model\.skops"):
        load(directory)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=60)
def test_a_skops_file_with_a_damaged_part_is_refused_even_if_its_checksums_are_right(
    tmp_path_factory: pytest.TempPathFactory, skops_dir: Path, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("damaged")
    shutil.copytree(skops_dir, directory, dirs_exist_ok=True)
    with zipfile.ZipFile(skops_dir / "model.skops") as archive:
        parts = {name: bytearray(archive.read(name)) for name in sorted(archive.namelist())}
    part = parts[data.draw(st.sampled_from(sorted(parts)))]
    for _ in range(data.draw(st.integers(1, 3))):
        part[data.draw(st.integers(0, len(part) - 1))] ^= data.draw(st.integers(1, 255))
    with zipfile.ZipFile(directory / "model.skops", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    put_hash_in_manifest(directory, "model.skops")
    try:
        model = load(directory)
        check_golden(model, (directory / "golden.json").read_bytes())
    except ModelRejected:
        return
    assert len(model.predict([[5.0, 3.0, 1.0, 0.1]])) == 1


def test_a_model_whose_libraries_are_not_installed_is_refused_with_a_hint(
    skops_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_service.estimators", None)
    with pytest.raises(ModelRejected, match="not installed here") as refused:
        load(skops_dir)
    assert "training.lock" in refused.value.hint


@pytest.mark.slow
def test_types_that_are_not_trusted_are_named_and_can_be_trusted_by_name(tmp_path: Path) -> None:
    from tests.model_service.tasks import untrusted  # noqa: PLC0415  # the other tests do not need it

    fitted = fit(untrusted(0), seed=0)
    train.write(fitted, tmp_path, form="auto", metrics=measure(fitted))
    with pytest.raises(ModelRejected, match="KDTree") as refused:
        load(tmp_path)
    assert "MODEL_TRUST" in refused.value.hint
    name = "sklearn.neighbors._kd_tree.KDTree,sklearn.metrics._dist_metrics.EuclideanDistance64"
    assert len(load(tmp_path, trusted=name.split(",")).predict([[5.0, 3.0, 1.0, 0.1]])) == 1


class Malicious:
    """Raises an exception if it is loaded from a pickle."""

    def __reduce__(self) -> tuple[type[RuntimeError], tuple[str]]:
        return RuntimeError, ("code from the file ran",)


def test_a_pickle_is_refused_unless_its_hash_is_allowed(tmp_path: Path) -> None:
    assert train.main(["--out", str(tmp_path), "--format", "pickle"]) == 0
    allowed = hashlib.sha256((tmp_path / "model.pkl").read_bytes()).hexdigest()
    with pytest.raises(ModelRejected, match="runs code"):
        load(tmp_path)
    with pytest.raises(ModelRejected, match="not the file that was allowed"):
        load(tmp_path, pickle_sha256="0" * 64)
    assert load(tmp_path, pickle_sha256=allowed).predict([[5.8, 4.0, 1.2, 0.2]])[0].class_index == 0
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Malicious()))
    put_hash_in_manifest(tmp_path, "model.pkl")
    with pytest.raises(ModelRejected, match="not the file that was allowed"):
        load(tmp_path, pickle_sha256=allowed)
    (tmp_path / "model.pkl").write_bytes(b"not a pickle")
    put_hash_in_manifest(tmp_path, "model.pkl")
    with pytest.raises(ModelRejected, match=r"model\.pkl cannot be read"):
        load(tmp_path, pickle_sha256=hashlib.sha256(b"not a pickle").hexdigest())
