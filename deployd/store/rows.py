"""Turns database rows into domain values, and back."""

import json
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from deployd.domain import Build, Deploy, GateResult, Image, Step
from deployd.goal import Goal, ModelVersion, Trigger
from deployd.status import Status

_ENCODER = json.JSONEncoder(separators=(",", ":"))
_IMAGES = msgspec.json.Decoder(Image)
_GATES = msgspec.json.Decoder(tuple[GateResult, ...])


def moment(seconds: float | None) -> datetime | None:
    """Seconds since the epoch as an aware datetime in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def deploy_of(row: sqlite3.Row, steps: Iterable[sqlite3.Row] = ()) -> Deploy:
    """The deploy of a row of `deploys`, with the rows of its `steps` if given."""
    return Deploy(
        app=row["app"],
        number=row["number"],
        commit=row["sha"],
        ref=row["ref"],
        trigger=Trigger(row["trigger_kind"], row["trigger_delivery"], row["trigger_by"]),
        status=Status(row["status"]),
        created_at=datetime.fromtimestamp(row["created_at"], UTC),
        subject=row["subject"],
        author=row["author"],
        target=row["target"],
        rollback_to=row["rollback_to"],
        rebuild=bool(row["rebuild"]),
        prove=bool(row["prove"]),
        accept_changes=bool(row["accept_changes"]),
        superseded_by=row["superseded_by"],
        reason=row["reason"],
        hint=row["hint"],
        config_fault=bool(row["config_fault"]),
        config=row["config"],
        settings=row["settings"],
        standby=row["standby"],
        returning=row["return_reason"],
        started_at=moment(row["started_at"]),
        live_at=moment(row["live_at"]),
        finished_at=moment(row["finished_at"]),
        image=image_of(row["image"]) if row["image"] else None,
        image_size=row["image_size"],
        steps=tuple(step_of(step) for step in steps),
        gates=_GATES.decode(row["gates"]),
        model=json.loads(row["model"]),
        registered=registered_of(row["registered"]),
    )


def registered_json(version: ModelVersion | None) -> str:
    """The version of a registered model as text for its column, where equal versions are equal texts; empty for none."""
    if version is None:
        return ""
    return as_json([version.name, version.version, version.source, version.created])


def registered_of(text: str) -> ModelVersion | None:
    """The version of a registered model in a column."""
    return ModelVersion(*json.loads(text)) if text else None


def goal_of(commit: str | None, registered: str) -> Goal | None:
    """The goal in the two columns for commit and model version; None without a commit."""
    return Goal(commit, registered_of(registered)) if commit is not None else None


def step_of(row: sqlite3.Row) -> Step:
    """The step of a row of `steps`."""
    began = datetime.fromtimestamp(row["started_at"], UTC)
    return Step(
        name=row["name"],
        status=row["status"],
        started_at=began,
        finished_at=moment(row["finished_at"]),
        detail=row["detail"],
        log_start=row["log_start"],
        log_end=row["log_end"],
    )


def image_json(image: Image) -> str:
    """An image as JSON for its column."""
    return msgspec.json.encode(image).decode()


def image_of(text: str) -> Image:
    """The image in the JSON of a column."""
    return _IMAGES.decode(text)


def build_of(row: sqlite3.Row) -> Build:
    """The build of a row of `builds`."""
    return Build(
        id=row["id"],
        app=row["app"],
        number=row["number"],
        commit=row["sha"],
        name=row["name"],
        began_at=datetime.fromtimestamp(row["began_at"], UTC),
        pulled_at=moment(row["pulled_at"]),
        image=image_of(row["image"]) if row["image"] else None,
    )


def gates_json(gates: Iterable[GateResult]) -> str:
    """Gate results as JSON for their column."""
    return msgspec.json.encode(list(gates)).decode()


def named_for(app: str, row: sqlite3.Row) -> tuple[str, str]:
    """The ref and the commit that a stored delivery names for one of its apps."""
    others = json.loads(row["others"]) if row["others"] else {}
    ref, commit = others.get(app, (row["ref"], row["sha"]))
    return ref, commit


def as_json(value: Any) -> str:
    """Any JSON value in compact form for a column."""
    return _ENCODER.encode(value)
