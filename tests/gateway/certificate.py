"""Certificates for tests, made by openssl."""

import subprocess
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def made(directory: Path, host: str, days: int = 90, *, usage: str = "serverAuth") -> tuple[bytes, bytes]:
    """A self-signed certificate and its key. With negative `days` it has expired."""
    key, request, certificate = (directory / f"made.{end}" for end in ("key", "csr", "crt"))
    named = ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}", "-addext", f"extendedKeyUsage={usage}"]
    _openssl("req", *_KEY, *named, "-keyout", str(key), "-out", str(request))
    signed = ["-in", str(request), "-signkey", str(key), "-days", str(days), "-copy_extensions", "copy"]
    _openssl("x509", "-req", *signed, "-out", str(certificate))
    found = certificate.read_bytes(), key.read_bytes()
    for path in (key, request, certificate):
        path.unlink()
    return found


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
