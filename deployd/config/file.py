"""From the bytes of config.toml to a Config, or to one error that names the key, what is wrong and what to do."""

import difflib
import os
import tomllib
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from deployd.config.daemon import Config
from deployd.errors import ConfigError


def default_path() -> Path:
    """DEPLOYD_CONFIG, else config.toml in the current directory, else the system's."""
    if given := os.environ.get("DEPLOYD_CONFIG"):
        return Path(given)
    here = Path("config.toml")
    return here if here.is_file() else Path("/etc/deployd/config.toml")


def load(path: Path) -> Config:
    """Read and validate `path`. Relative repositories are taken from the file's own directory."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}", hint="name the file with --config or DEPLOYD_CONFIG") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: not UTF-8 at byte {exc.start}") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path}: not TOML: {exc}") from exc
    for app in data.get("app", []) if isinstance(data.get("app"), list) else []:
        if isinstance(app, dict) and isinstance(app.get("repo"), str) and app["repo"].startswith("."):
            app["repo"] = str((path.parent / app["repo"]).resolve())
    return parse(data, str(path))


def parse(data: dict[str, Any], name: str = "config") -> Config:
    """Validate parsed TOML; the error lists every wrong key with its path."""
    try:
        config = Config.model_validate(data)
    except ValidationError as exc:
        problems = [_problem(error["loc"], error["type"], error["msg"], data) for error in exc.errors()]
        raise ConfigError(
            f"{name}: " + "\n  ".join(problems), hint="config.toml in the repository explains every key"
        ) from exc
    for app in config.app:
        if app.repo.startswith(("/", "file:")) and not config.git.allow_file:
            raise ConfigError(
                f"{name}: app.{app.name}.repo: {app.repo} is on this machine",
                hint="set allow_file = true in [git] if you mean it",
            )
    return config


def _problem(where: tuple[int | str, ...], kind: str, message: str, data: dict[str, Any]) -> str:
    path = _path(where, data)
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(where[-1]), _known(where[:-1]), n=1)
        return f"{path}: unknown key" + (f" (did you mean {near[0]}?)" if near else "")
    return f"{path}: {message.removeprefix('Value error, ')}".removeprefix(": ")


def _path(where: tuple[int | str, ...], data: Any) -> str:
    """`app.iris.build.args`: apps by name where they have one, as people think of them."""
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
    """The names of the keys that the table at `where` may hold."""
    model: Any = Config
    for part in where:
        if isinstance(part, str) and isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[part].annotation if part in model.model_fields else None
        model = _model_in(model)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _model_in(annotation: Any) -> Any:
    """The section inside `Section | None` or `tuple[Section, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in typing.get_args(annotation):
        if (found := _model_in(inner)) is not None:
            return found
    return None
