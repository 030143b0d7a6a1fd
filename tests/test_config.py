"""The repository's config.toml: it runs as it stands, and it is the manual of every key."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_origin

import pytest
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from deployd.config.daemon import Config
from deployd.config.file import load
from deployd.config.values import Section

MANUAL = Path(__file__).parents[1] / "config.toml"

# These name what only an operator can know.
NO_DEFAULT = {"server.state_dir"}


def _whole() -> dict[str, Any]:
    """The manual with every commented line uncommented."""
    lines = MANUAL.read_text().splitlines()
    return tomllib.loads("\n".join(re.sub(r"^#(?=\[|\w+ = )", "", line) for line in lines))


def _fields(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, FieldInfo, type[BaseModel] | None]]:
    for name, field in model.model_fields.items():
        inner = _section(field.annotation)
        key = field.alias or name  # `for` cannot be the name of a field
        yield f"{path}{key}", field, inner
        if inner is not None:
            yield from _fields(inner, f"{path}{key}.")


def _section(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    if get_origin(annotation) is dict:  # a table whose keys the user names
        return None
    return next((found for one in getattr(annotation, "__args__", ()) if (found := _section(one))), None)


def _at(data: Any, path: str) -> Any:
    for part in path.split("."):
        data = data[0] if isinstance(data, list) else data
        if part not in data:
            raise KeyError(path)
        data = data[part]
    return data


def test_it_runs_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(MANUAL)
    (app,) = config.app
    assert (app.name, app.repo, app.branch) == ("iris", str(MANUAL.parent), "main")
    assert config.github.secrets == ("env:DEPLOYD_WEBHOOK_SECRET",)


def test_it_names_every_key_and_no_other() -> None:
    whole = _whole()
    known = {path for path, _, _ in _fields(Config)}
    for path in known:
        _at(whole, path)
    assert known == set(_paths(whole, Config))


def _paths(table: Any, model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, value in (table[0] if isinstance(table, list) else table).items():
        yield f"{path}{name}"
        field = model.model_fields.get(name)
        if field is not None and (inner := _section(field.annotation)) is not None:
            yield from _paths(value, inner, f"{path}{name}.")


@pytest.mark.slow
def test_a_commented_key_has_its_default_or_a_valid_example() -> None:
    running = tomllib.loads(MANUAL.read_text())
    for path, field, inner in _fields(Config):
        if inner is not None or path in NO_DEFAULT:
            continue
        annotated: Any = field.rebuild_annotation() if field.metadata else field.annotation
        value = TypeAdapter(annotated).validate_python(_at(_whole(), path))
        try:
            _at(running, path)
        except KeyError:
            if field.is_required() or field.default is None or field.default in ((), {}):
                continue
            assert value == field.default, f"{path} is {field.default!r} by default, not {value!r}"


def test_every_key_is_explained() -> None:
    bare = re.compile(r"^#?(\w+) = (?!.*#)")
    explained_by_name = {"dockerfile", "env", "image_pull_secrets", "namespace", "name", "certificate", "key", "within"}
    explained_by_name |= {"every", "url", "username", "password", "role", "min", "max", "requests", "limits", "port"}
    unexplained = {match[1] for line in MANUAL.read_text().splitlines() if (match := bare.match(line))}
    assert unexplained <= explained_by_name
