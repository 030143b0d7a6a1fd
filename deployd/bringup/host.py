"""This host's settings that a build needs: the certificates that TLS trusts, and pip's package index.

A host behind an intercepting proxy cannot build without them. They go into the images that are made here, and not into the
repository.
"""

import ast
import configparser
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_LOCAL_AUTHORITIES = Path("/usr/local/share/ca-certificates")
_PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries")


def settings() -> dict[str, bytes]:
    """This host's certificates and pip settings as files for an image: absolute path -> content."""
    files = {str(path): path.read_bytes() for path in sorted(_LOCAL_AUTHORITIES.glob("*.crt"))}
    if bundle := _bundle():
        files[BUNDLE] = bundle.read_bytes()
    files["/etc/pip.conf"] = pip_conf(_pip_config()).encode()
    return files


def pip_conf(config: str) -> str:
    """The pip.conf for an image, from the output of `pip config list`; without settings that name files of this host."""
    found: dict[str, str] = {}
    for key, value in _entries(config):
        if key in _PIP_SETTINGS and (kept := " ".join(word for word in value.split() if "file:" not in word)):
            found[key] = kept
    parser = configparser.RawConfigParser()
    parser["global"] = found | {"disable-pip-version-check": "1"}
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def _entries(config: str) -> Iterator[tuple[str, str]]:
    """The settings, those with the highest priority last: pip lists the environment first, and it overrides the rest."""
    for line in reversed(config.splitlines()):
        name, equals, value = line.partition("=")
        if equals:
            yield name.rpartition(".")[2], str(ast.literal_eval(value))


def _pip_config() -> str:
    command = [sys.executable, "-m", "pip", "config", "list"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _bundle() -> Path | None:
    named = (os.environ.get(name, "") for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"))
    return next((Path(name) for name in (*named, BUNDLE) if name and Path(name).is_file()), None)
