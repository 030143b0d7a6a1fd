"""Read config.toml: a Config, or one error that names each wrong key, what is wrong and what to do."""

import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from deployd.config.daemon import Config
from deployd.config.faults import faults
from deployd.errors import ConfigError


def default_path() -> Path:
    """DEPLOYD_CONFIG, else config.toml in the current directory, else /etc/deployd/config.toml."""
    if given := os.environ.get("DEPLOYD_CONFIG"):
        return Path(given)
    here = Path("config.toml")
    return here if here.is_file() else Path("/etc/deployd/config.toml")


def load(path: Path) -> Config:
    """Read and validate `path`. A relative repository is relative to the file's directory."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as exc:
        named = "name the file with --config or DEPLOYD_CONFIG"
        unreadable = f"let the user of deployd read it: chown root:deployd {path}, chmod 0640 {path}"
        hint = unreadable if isinstance(exc, PermissionError) else named
        raise ConfigError(f"{path}: {exc.strerror}", hint=hint) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: not UTF-8 text (byte {exc.start})") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path}: not TOML: {exc}") from exc
    for app in data.get("app", []) if isinstance(data.get("app"), list) else []:
        if isinstance(app, dict) and isinstance(app.get("repo"), str) and app["repo"].startswith("."):
            app["repo"] = str((path.parent / app["repo"]).resolve())
    return parse(data, str(path))


def parse(data: dict[str, Any], name: str = "config") -> Config:
    """Validate parsed TOML. The error lists every wrong key with its path."""
    if (where := _with_nul(data)) is not None:
        raise ConfigError(f"{name}: {where}: must not hold a NUL character")
    try:
        config = Config.model_validate(data)
    except ValidationError as exc:
        raise ConfigError(
            f"{name}: " + "\n  ".join(faults(exc, data)), hint="config.toml in deployd's repository explains every key"
        ) from exc
    for app in config.app:
        if app.repo.startswith(("/", "file:")) and not config.git.allow_file:
            raise ConfigError(
                f"{name}: app.{app.name}.repo: {app.repo} is a path on this machine, which is not allowed",
                hint="set allow_file = true in [git] to allow it",
            )
    return config


def _with_nul(value: Any) -> str | None:
    """The path of the first text with a NUL character, which neither files, environments nor engines take."""
    if isinstance(value, str):
        return "" if "\0" in value else None
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list | tuple):
        inner = enumerate(value)
    for part, one in inner:
        name = one.get("name") if isinstance(part, int) and isinstance(one, dict) else None
        if (below := _with_nul(one)) is not None or "\0" in str(part):
            return f"{name or str(part)!s}{f'.{below}' if below else ''}".replace("\0", "\\0")
    return None
