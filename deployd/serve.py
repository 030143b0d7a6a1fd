"""`deployd run`. Uses plain argparse, as this process runs for long and should stay small."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import uvloop

from deployd.config.file import default_path
from deployd.errors import DeploydError
from deployd.exits import FAILED, expected_in, print_error
from deployd.host import systemd
from deployd.logs import output
from deployd.logs.log import printable
from deployd.main import run

_logger = logging.getLogger(__name__)

_EXAMPLE = "example: deployd run --config /etc/deployd/config.toml"


def serve(arguments: Sequence[str]) -> int:
    """Run the daemon until it ends. Returns 0 after SIGTERM or SIGINT, 78 for a bad config, 1 when it could not start."""
    parser = argparse.ArgumentParser(
        prog="deployd run", description="Serve until SIGTERM or SIGINT; SIGHUP reloads the config.", epilog=_EXAMPLE
    )
    parser.add_argument("--config", "-c", type=Path, default=default_path(), help="the config file (%(default)s)")
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")
    asked = parser.parse_args(arguments)
    output.configure(asked.log_level.upper())
    try:
        uvloop.run(run(asked.config))
    except DeploydError as exc:
        return _end(exc)
    except BaseExceptionGroup as group:
        if (expected := expected_in(group)) is not None:
            return _end(expected)
        _logger.critical("deployd ends: this is a bug", exc_info=True)
        return FAILED
    except Exception:
        _logger.critical("deployd ends: this is a bug", exc_info=True)
        return FAILED
    return 0


def _end(exc: DeploydError) -> int:
    """Print why the daemon ends, in the place where a person will look for it."""
    systemd.notify(f"STATUS=not started: {printable(exc.message)}")
    return print_error(exc)
