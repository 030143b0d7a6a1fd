"""GitHub's own OpenAPI description of its REST API: one npm package, pinned by hash, kept in the cache.

A request is checked against its operation: the path, the parameters of the query, and the body, of which every key must be known.
Answers are the description's own examples.
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import jsonschema_rs

from deployd.bringup.progress import Progress
from tests.testbed.npm import unpacked

PACKAGE = "@octokit/openapi@23.0.2"
SHA512 = "pV8M7L9GY23AybNvTmo2nyjmpmnt6+2sRE/tqr0ZLQcPS4lnw7u5eZGNmwRNkBC3D7gZXbFx5AHzLUVRBXGDhg=="
_EDITION = "generated/api.github.com.json"


def ensure(progress: Progress | None = None) -> Path:
    """The directory of the package, fetched if necessary; of its half a gigabyte only one description is kept."""
    return unpacked(PACKAGE, SHA512, progress, only=[_EDITION, "LICENSE"])


@cache
def _described() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((ensure() / _EDITION).read_bytes())
    return found


@dataclass(frozen=True)
class Operation:
    """One operation of the API."""

    method: str
    template: str

    @cached_property
    def _said(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = _described()["paths"][self.template][self.method.lower()]
        return found

    def faults(self, query: Mapping[str, str], body: Any) -> list[str]:
        """What is wrong with a request."""
        known = {one["name"]: one for one in map(_resolved, self._said.get("parameters", ())) if one["in"] == "query"}
        found = [f"unknown parameter {name}" for name in query if name not in known]
        found += [
            f"missing parameter {name}" for name, one in known.items() if one.get("required") and name not in query
        ]
        for name in query.keys() & known.keys():
            if (allowed := known[name]["schema"].get("enum")) is not None and query[name] not in allowed:
                found.append(f"parameter {name} must be one of {allowed}")
        wanted = self._said.get("requestBody")
        if body is None:
            return [*found, "a body is needed"] if wanted is not None and wanted.get("required") else found
        if wanted is None:
            return [*found, "no body is allowed"]
        return found + [one.message for one in self._validator.iter_errors(body)] + _unknown_keys(self._schema, body)

    @cached_property
    def _schema(self) -> Any:
        return _whole(self._said["requestBody"]["content"]["application/json"]["schema"])

    @cached_property
    def _validator(self) -> jsonschema_rs.Draft4Validator:
        return jsonschema_rs.Draft4Validator(self._schema)

    def example(self, status: int) -> Any:
        """The description's first example of an answer."""
        content = self._said["responses"][str(status)]["content"]["application/json"]
        return deepcopy(_resolved(next(iter(content["examples"].values())))["value"])


def operation(method: str, path: str) -> Operation | None:
    """The operation of a request; None when the API has none."""
    parts = path.split("/")
    for template, its in _described()["paths"].items():
        if method.lower() in its and _matches(template.split("/"), parts):
            return _operation(method, template)
    return None


_operation = cache(Operation)


def _matches(template: list[str], parts: list[str]) -> bool:
    same = (one == other or (one.startswith("{") and other) for one, other in zip(template, parts, strict=False))
    return len(template) == len(parts) and all(same)


def _resolved(found: Any) -> Any:
    if not (isinstance(found, dict) and "$ref" in found):
        return found
    value: Any = _described()
    for part in found["$ref"].removeprefix("#/").split("/"):
        value = value[part]
    return value


def _whole(schema: Any) -> Any:
    """A schema with all that it refers to in its place."""
    schema = _resolved(schema)
    if isinstance(schema, dict):
        return {key: _whole(value) for key, value in schema.items()}
    return [_whole(value) for value in schema] if isinstance(schema, list) else schema


def _unknown_keys(schema: Any, body: Any) -> list[str]:
    """Keys at any depth that the description does not name: GitHub would drop them without a word."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(body, dict) or properties is None:
        return []
    found = [f"unknown key {key}" for key in body if key not in properties]
    return found + [
        fault for key in body.keys() & properties.keys() for fault in _unknown_keys(properties[key], body[key])
    ]
