"""`deployd run`. Uses plain argparse, as this process runs for long and should stay small."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import uvloop

from deployd.config.file import default_path
from deployd.errors import DeploydError
from deployd.exits import expected_in, print_error
from deployd.logs import log
from deployd.main import run

_EXAMPLE = "example: deployd run --config /etc/deployd/config.toml"


def serve(arguments: Sequence[str]) -> int:
    """Run the daemon until it ends. Returns 0 after SIGTERM or SIGINT, 78 for a bad config, 1 when it could not start."""
    parser = argparse.ArgumentParser(
        prog="deployd run", description="Serve until SIGTERM or SIGINT; SIGHUP reloads the config.", epilog=_EXAMPLE
    )
    parser.add_argument("--config", "-c", type=Path, default=default_path(), help="the config file (%(default)s)")
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")
    asked = parser.parse_args(arguments)
    log.configure(asked.log_level.upper(), with_time="JOURNAL_STREAM" not in os.environ)
    try:
        uvloop.run(run(asked.config))
    except DeploydError as exc:
        return print_error(exc)
    except BaseExceptionGroup as group:
        if (expected := expected_in(group)) is None:
            raise
        return print_error(expected)
    return 0
