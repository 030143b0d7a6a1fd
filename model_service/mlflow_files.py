"""The directory of a model as MLflow writes it: MLmodel, the signature, the example, the versions. It loads no model.

`deployd-model.json` is there too if deployd has fetched it from a registry.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from model_service.errors import ModelRejected, in_words

ORIGIN_FILE = "deployd-model.json"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*==\s*([^\s;#]+)")
_FLAVORS = ("sklearn", "xgboost", "lightgbm", "catboost")
_MOST_COLUMNS = 100_000  # as the manifest takes
_TYPES = ("boolean", "integer", "long", "float", "double", "string", "datetime")


@dataclass(frozen=True)
class Column:
    """One column of a signature: MLflow's type, and whether it must have a value. `name` is empty if it has none."""

    name: str
    type: str
    required: bool = True


@dataclass(frozen=True)
class Logged:
    """The content of a logged model's files. `columns` is None without a signature; of a matrix of numbers, they have no
    names."""

    directory: Path
    flavor: str
    file: str
    form: str
    model_class: str
    columns: list[Column] | None
    example_columns: list[str]
    example: list[list[Any]]
    versions: dict[str, str]
    about: dict[str, Any]
    origin: dict[str, Any]

    def content(self) -> bytes:
        """The model's file. Raises ModelRejected if it is not there, or not what was fetched."""
        return _read(self.directory, self.file, self.origin)


def read(directory: Path) -> Logged:
    """The files in a directory. Raises ModelRejected."""
    origin = _origin(directory)
    try:
        document = yaml.safe_load(_read(directory, "MLmodel", origin))
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise ModelRejected(f"MLmodel is not usable: {in_words(exc)}") from exc
    flavors = document.get("flavors") if isinstance(document, dict) else None
    if not isinstance(flavors, dict):
        raise ModelRejected("MLmodel names no flavors", hint="is this the directory of a model that MLflow logged?")
    flavor = next((name for name in _FLAVORS if isinstance(flavors.get(name), dict)), None)
    if flavor is None:
        raise ModelRejected(
            f"the model has the flavors {', '.join(map(str, flavors))}", hint=f"served are {', '.join(_FLAVORS)}"
        )
    given = flavors[flavor]
    file = str(given.get("pickled_model" if flavor == "sklearn" else "data") or given.get("pickled_model") or "")
    columns = _columns(document.get("signature"))
    names, rows = _example(directory, document.get("saved_input_example_info"), origin)
    about = {key: document.get(key) for key in ("model_id", "run_id", "mlflow_version", "utc_time_created")}
    versions = _versions(directory, origin) | _own_version(flavor, given)
    form = _form(flavor, given, file)
    kind = str(given.get("model_class") or given.get("model_type") or "").rpartition(".")[2]
    return Logged(directory, flavor, file, form, kind, columns, names, rows, versions, about, origin)


def _form(flavor: str, given: dict[str, Any], file: str) -> str:
    """skops, pickle, or the name of the package that wrote the file."""
    if file.endswith(".skops") or given.get("serialization_format") == "skops":
        return "skops"
    if flavor == "sklearn" or file.endswith(".pkl"):
        return "pickle"
    return flavor


def _own_version(flavor: str, given: dict[str, Any]) -> dict[str, str]:
    key, name = ("sklearn_version", "scikit-learn") if flavor == "sklearn" else (f"{flavor[:3]}_version", flavor)
    keys = {"lightgbm": "lgb_version", "catboost": "catboost_version"}
    version = given.get(keys.get(flavor, key))
    return {name: str(version)} if version else {}


def _origin(directory: Path) -> dict[str, Any]:
    """The facts that deployd wrote about a fetched model; empty if there are none."""
    file = directory / ORIGIN_FILE
    if not file.exists():
        return {}
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as exc:
        raise ModelRejected(f"{ORIGIN_FILE} is not usable: {exc}") from exc
    if not isinstance(document, dict) or not isinstance(document.get("files"), dict):
        raise ModelRejected(f"{ORIGIN_FILE} is not usable: it has no hashes of files")
    return document


def _read(directory: Path, name: str, origin: dict[str, Any]) -> bytes:
    path = directory / name
    try:
        is_inside = bool(name) and path.resolve().is_relative_to(directory.resolve())
    except (OSError, ValueError, RuntimeError):  # no path at all, or links in a circle
        is_inside = False
    if not is_inside:
        raise ModelRejected(f"MLmodel names the file {name!r}, which is none of this directory")
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise ModelRejected(
            f"cannot read {path}: {exc.strerror}", hint="name the directory that has MLmodel in it"
        ) from exc
    if origin and origin["files"].get(name) != hashlib.sha256(content).hexdigest():
        raise ModelRejected(f"{name} is not the file that was fetched: its SHA-256 differs from {ORIGIN_FILE}")
    return content


def _columns(signature: Any) -> list[Column] | None:
    """The columns of a signature. Raises ModelRejected for inputs that are no table."""
    inputs = signature.get("inputs") if isinstance(signature, dict) else None
    if inputs is None:
        return None
    try:
        specs = json.loads(inputs) if isinstance(inputs, str) else inputs
        if len(specs) == 1 and specs[0]["type"] == "tensor":
            return _tensor(specs[0])
        return [_column(spec) for spec in specs]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as exc:
        raise ModelRejected(f"the signature is not usable: {in_words(exc)}") from exc


def _tensor(spec: dict[str, Any]) -> list[Column]:
    shape, dtype = spec["tensor-spec"]["shape"], spec["tensor-spec"]["dtype"]
    if dtype == "str" and len(shape) == 1:
        return [Column("", "string")]
    if len(shape) != 2 or not 1 <= shape[1] <= _MOST_COLUMNS or not re.match(r"u?int|float|bool", dtype):
        raise ModelRejected(f"the signature's tensor of {dtype} {shape} is no table of numbers")
    return [Column("", "double")] * shape[1]


def _column(spec: dict[str, Any]) -> Column:
    name, kind = str(spec.get("name", "")), spec["type"]
    if kind not in _TYPES:
        raise ModelRejected(
            f"the signature's column {name!r} has the type {kind!r}", hint=f"served are {', '.join(_TYPES)}"
        )
    return Column(name, kind, bool(spec.get("required", True)))


def _example(directory: Path, info: Any, origin: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """The names and rows of the example; empty if there is none, or none that is a table. It may hold NaN, which is no JSON."""
    if not isinstance(info, dict) or not (directory / str(info.get("artifact_path", ""))).is_file():
        return [], []
    try:
        given = json.loads(_read(directory, str(info["artifact_path"]), origin))
    except (ValueError, RecursionError) as exc:
        raise ModelRejected(f"the example is not JSON: {exc}") from exc
    names: list[str] = []
    if isinstance(given, dict):
        columns = given.get("columns")
        names = [str(name) for name in columns] if isinstance(columns, list) else []
        given = given.get("data", given.get("inputs", given.get("instances", [])))
    rows = [row if isinstance(row, list) else [row] for row in given] if isinstance(given, list) else []
    fitting = [row for row in rows if row and (not names or len(row) == len(names))]
    return names, [row for row in fitting if not any(isinstance(value, (list, dict)) for value in row)]


def _versions(directory: Path, origin: dict[str, Any]) -> dict[str, str]:
    """The versions that requirements.txt pins."""
    if not (directory / "requirements.txt").is_file():
        return {}
    lines = _read(directory, "requirements.txt", origin).decode(errors="replace").splitlines()
    found = (_PIN.match(line.strip()) for line in lines)
    return {match[1].lower().replace("_", "-"): match[2] for match in found if match}
