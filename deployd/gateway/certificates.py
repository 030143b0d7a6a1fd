"""The certificates in a directory of the operator: read, and proven with the library that HAProxy uses.

As in HAProxy, each file of the directory is one certificate with its chain and key; files that begin with a dot do not count.
Beyond HAProxy, a directory with `fullchain.pem` and `privkey.pem` is one certificate, as certbot makes it, and links may lead
anywhere.
"""

import os
import re
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

CHAIN, KEY = "fullchain.pem", "privkey.pem"

_LEAF = re.compile(
    rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----.+?-----END (?:X509 |TRUSTED )?CERTIFICATE-----", re.DOTALL
)
_BESIDE = (".ocsp", ".issuer", ".sctl")  # what HAProxy reads beside a certificate
_SOON = timedelta(days=14)
_EXPIRED, _NOT_YET_VALID = 10, 9  # OpenSSL's codes
_READABLE = "let the user of deployd read it"


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate at `path`. `name` is its file name for HAProxy, empty when `path` is the whole directory; `files` is what
    HAProxy reads of it. `fault`: why it cannot be used; `warning`: why clients may refuse it."""

    path: Path
    name: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    until: datetime | None = None
    fault: str = ""
    warning: str = ""
    hint: str = ""

    def covers(self, host: str) -> bool:
        """Whether it names the host; `*.example.com` names one label more."""
        return host in self.hosts or f"*.{host.partition('.')[2]}" in self.hosts


def read(directory: Path) -> list[Certificate]:
    """The certificates in the directory, not yet proven; an unreadable file already has a fault."""
    try:
        if _has(directory):
            return [_pair(directory, directory.resolve().name)]
        entries = [path for path in sorted(directory.iterdir()) if _counts(path)]
    except OSError as exc:
        return [_unreadable(directory, "", exc)]
    found = [certificate for path in entries for certificate in _entry(path)]
    hint = "put a PEM file there: the certificate, its chain and its key"
    return found or [Certificate(directory, fault="holds no certificate", hint=hint)]


def prove(certificate: Certificate) -> Certificate:
    """The certificate with the hosts that it names, or with what is wrong with it."""
    if certificate.fault:
        return certificate
    content = certificate.files[certificate.name]
    fault, hint = _fault(content, certificate.name)
    if fault:
        return replace(certificate, fault=fault, hint=hint)
    try:
        server = _loaded(content)
    except ssl.SSLError as exc:
        return replace(certificate, fault=_words(exc), hint="openssl x509 -noout -text -in FILE shows what is in it")
    return _judged(certificate, server, content)


def _counts(path: Path) -> bool:
    """Whether it may be a certificate: not a key or another file beside one, nor certbot's README."""
    return not path.name.startswith((".", "README")) and path.suffix not in {".key", *_BESIDE}


def _has(directory: Path) -> bool:
    """Whether it is a directory as certbot makes it."""
    return os.path.lexists(directory / CHAIN) and os.path.lexists(directory / KEY)


def _entry(path: Path) -> Sequence[Certificate]:
    try:
        if path.is_dir():
            return [_pair(path, path.name)] if _has(path) else []
        return [_single(path)]
    except OSError as exc:
        return [_unreadable(path, path.name, exc)]


def _pair(directory: Path, name: str) -> Certificate:
    name = f"{name}.pem"
    try:
        content = _joined((directory / CHAIN).read_bytes(), (directory / KEY).read_bytes())
    except OSError as exc:
        return _unreadable(directory / CHAIN, name, exc)
    return Certificate(directory / CHAIN, name, {name: content})


def _single(path: Path) -> Certificate:
    content = path.read_bytes()
    if b"PRIVATE KEY-----" not in content:
        keys = [key for key in (path.with_name(f"{path.name}.key"), path.with_suffix(".key")) if key.exists()]
        content = _joined(content, keys[0].read_bytes()) if keys else content
    beside = {f"{path.name}{suffix}": path.with_name(f"{path.name}{suffix}") for suffix in _BESIDE}
    return Certificate(
        path,
        path.name,
        {path.name: content, **{name: one.read_bytes() for name, one in beside.items() if one.exists()}},
    )


def _joined(chain: bytes, key: bytes) -> bytes:
    return chain.rstrip(b"\n") + b"\n" + key


def _unreadable(path: Path, name: str, exc: OSError) -> Certificate:
    at = Path(exc.filename) if exc.filename else path
    if at.is_symlink() and isinstance(exc, FileNotFoundError):
        return Certificate(
            at, name, fault=f"leads to {at.readlink()}, which does not exist", hint="correct the link, or remove it"
        )
    hint = _READABLE if isinstance(exc, PermissionError) else "gateway.certificates must name a directory"
    return Certificate(at, name, fault=f"cannot be read: {exc.strerror}", hint=hint)


def _fault(content: bytes, name: str) -> tuple[str, str]:
    """The fault of the file, as far as its lines show it, and what to do."""
    if not content.strip():
        return "is empty", "write the certificate, its chain and its key into it"
    if b"-----BEGIN " not in content:
        return "is not PEM", "PEM is text that begins with -----BEGIN CERTIFICATE-----; move other files elsewhere"
    if _LEAF.search(content) is None:
        return "holds no certificate", "write the certificate and its chain in front of the key"
    if b"PRIVATE KEY-----" not in content:
        return "holds no private key", f"append the key, or put it beside it as {name}.key"
    if b"ENCRYPTED" in content:
        return "has a private key with a passphrase", "write the key without it: openssl pkey -in KEY"
    return "", ""


def _loaded(content: bytes) -> ssl.SSLContext:
    """A server with the certificate; SSLError when OpenSSL cannot use it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile(prefix="deployd-") as file:  # only its owner can read it
        file.write(content)
        file.flush()
        context.load_cert_chain(file.name, password="")
    return context


def _words(exc: ssl.SSLError) -> str:
    if exc.reason == "KEY_VALUES_MISMATCH":
        return "has a private key that does not belong to its first certificate"
    return f"cannot be used: {(exc.reason or str(exc)).replace('_', ' ').lower()}"


def _judged(certificate: Certificate, server: ssl.SSLContext, content: bytes) -> Certificate:
    """The certificate with the verdict of a client that trusts only it."""
    leaf = _LEAF.search(content)
    assert leaf is not None  # noqa: S101 - _fault looked for it
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cadata=leaf[0].decode("ascii", "replace"))
    try:
        said = _handshake(server, client)
    except ssl.SSLCertVerificationError as exc:
        words = {_EXPIRED: "has expired", _NOT_YET_VALID: "is not valid yet"}
        warning = words.get(exc.verify_code, f"is refused by clients: {exc.verify_message}")
        return replace(certificate, warning=warning, hint="renew it")
    except ssl.SSLError as exc:
        return replace(certificate, warning=f"is refused by clients: {exc.reason}")
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(said["notAfter"])), UTC)
    named = said.get("subjectAltName", ())
    hosts = tuple(str(value).lower() for kind, value in named if kind in {"DNS", "IP Address"})
    soon = f"expires on {until:%Y-%m-%d}" if until - datetime.now(UTC) < _SOON else ""
    return replace(certificate, hosts=hosts, until=until, warning=soon, hint="renew it" if soon else "")


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> Mapping[str, Any]:
    """Do a TLS handshake in memory; the certificate as the client parsed it."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(down, up)
    answering = server.wrap_bio(up, down, server_side=True)
    for _ in range(4):  # the longest handshake takes three turns
        for side in (asking, answering):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return asking.getpeercert() or {}
