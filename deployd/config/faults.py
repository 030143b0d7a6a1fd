"""The faults of a config in plain words: one line for each wrong key, which begins with the key's path."""

import difflib
import typing
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from deployd.config.daemon import Config

_Context = Mapping[str, Any]

_TIME = "expected a time with its zone, such as 2026-11-26T19:00:00Z"

# By pydantic's name of the fault; what is not here keeps pydantic's words.
_WORDS: Mapping[str, Callable[[_Context], str]] = {
    "missing": lambda _: "is required",
    "string_type": lambda _: "expected text in quotes",
    "int_type": lambda _: "expected a whole number",
    "int_parsing": lambda _: "expected a whole number",
    "int_from_float": lambda _: "expected a whole number",
    "float_type": lambda _: "expected a number",
    "float_parsing": lambda _: "expected a number",
    "bool_type": lambda _: "expected true or false",
    "bool_parsing": lambda _: "expected true or false",
    "path_type": lambda _: "expected a path in quotes",
    "tuple_type": lambda _: "expected a list in brackets",
    "dict_type": lambda _: "expected a table",
    "model_type": lambda _: "expected a table",
    "greater_than": lambda context: f"must be more than {context['gt']:g}",
    "greater_than_equal": lambda context: f"must be at least {context['ge']:g}",
    "less_than_equal": lambda context: f"must be at most {context['le']:g}",
    "string_too_short": lambda _: "must not be empty",
    "string_too_long": lambda context: f"must have at most {context['max_length']} characters",
    "too_long": lambda context: f"must have at most {context['max_length']} entries",
    "too_short": lambda context: f"must have at least {context['min_length']} entries",
    "extra_forbidden": lambda _: "unknown key",
    "json_invalid": lambda _: "is not JSON",
    "datetime_from_date_parsing": lambda _: _TIME,
    "datetime_parsing": lambda _: _TIME,
    "timezone_aware": lambda _: _TIME,
    "literal_error": lambda context: f"expected {context['expected'].replace(chr(39), chr(34))}",
    "value_error": lambda context: str(context["error"]),
}


def faults(exc: ValidationError, data: Any) -> list[str]:
    """A line for each wrong key of `data`."""
    return [
        _fault(error["loc"], error["type"], error.get("ctx", {}), error["msg"], data)
        for error in exc.errors(include_url=False)
    ]


def words(kind: str, context: _Context, message: str) -> str:
    """The fault of a value in our words, or in pydantic's where we have none."""
    return _WORDS[kind](context) if kind in _WORDS else message


def _fault(where: tuple[int | str, ...], kind: str, context: _Context, message: str, data: Any) -> str:
    path = _path([part for part in where if part != "[key]"], data)
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(where[-1]), _known(where[:-1]), n=1)
        return f"{path}: unknown key" + (f" (did you mean {near[0]}?)" if near else "")
    if kind == "tuple_type" and _known(where):
        return f"{path}: expected [[{path}]], with two brackets"
    said = words(kind, context, message)
    return f"{path}: {said}" if path else said


def _path(where: typing.Iterable[int | str], data: Any) -> str:
    """`app.iris.build.args`: an app is named by its name, where it has one."""
    parts: list[str] = []
    for part in where:
        data = _get(data, part)
        name = data.get("name") if isinstance(part, int) and isinstance(data, dict) else None
        parts.append(name if isinstance(name, str) else str(part))
    return ".".join(parts)


def _get(data: Any, part: int | str) -> Any:
    if isinstance(data, dict):
        return data.get(part)
    return data[part] if isinstance(data, list) and isinstance(part, int) and part < len(data) else None


def _known(where: tuple[int | str, ...]) -> list[str]:
    """The names of the keys that the table at `where` may have."""
    model: Any = Config
    for part in where:
        if typing.get_origin(model) is dict:  # a table whose keys the user names
            model = typing.get_args(model)[1]
        elif isinstance(part, str) and isinstance(model, type) and issubclass(model, BaseModel):
            model = next((field.annotation for key, field in _keys(model).items() if key == part), None)
        model = model if typing.get_origin(model) is dict else _model_in(model)
    return list(_keys(model)) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _keys(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """The fields of a section by their keys: `for` cannot be the name of a field."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_in(annotation: Any) -> Any:
    """The section inside `Section | None` or `tuple[Section, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in typing.get_args(annotation):
        if (found := _model_in(inner)) is not None:
            return found
    return None
