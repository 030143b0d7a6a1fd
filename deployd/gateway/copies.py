"""Copies of the operator's certificates, so that HAProxy opens exactly the files that were proven.

The copies of one moment are a directory that never changes, named by the digest of its content. The config file names that
directory, so a renewed certificate is a new config, and one that HAProxy refuses leaves the former config and its files as they
were.
"""

import asyncio
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from deployd.errors import Unavailable
from deployd.gateway.certificates import Certificate, prove, read

logger = logging.getLogger(__name__)

_READ_EVERY_SECONDS = 10.0


class CertificateCopies:
    """The copies of the certificates in `source` (None: there are none), below `directory`. `digest` names the present ones."""

    def __init__(self, source: Path | None, directory: Path) -> None:
        self._source = source
        self._directory = directory
        self._seen = ""
        self._found: Sequence[Certificate] = ()
        self.digest = ""

    def adopt(self, digest: str) -> None:
        """Go on with the copies that the config file names, if they are still there."""
        self.digest = digest if digest and (self._directory / digest).is_dir() else ""

    def refresh(self) -> None:
        """Copy what the source has now. A certificate that cannot be used keeps its former copy; without one it is left out. When
        none is left, all former copies stay. `digest` is empty when there are none at all: then HTTPS cannot be served."""
        if self._source is None:
            self.digest = ""
            return
        present = read(self._source)
        self._seen, before = _digest_of(present), self._found
        self._found = [prove(certificate) for certificate in present]
        former, files = self._files(), dict[str, bytes]()
        for one in self._found:
            kept = _kept(former, one.name)
            files |= kept if one.fault else one.files
            if one.fault and self._found != before:
                what = "its former copy stays" if kept else "it is left out"
                logger.error("The certificate %s %s; %s (%s)", one.path, one.fault, what, one.hint)
        self._copy(files or former)

    def changed(self) -> bool:
        """Whether the source differs from what `refresh` found."""
        return self._source is not None and _digest_of(read(self._source)) != self._seen

    async def follow(self, notify: Callable[[], None]) -> None:
        """Call `notify` whenever the source has changed, until cancelled."""
        while self._source is not None:
            await asyncio.sleep(_READ_EVERY_SECONDS)
            if await asyncio.to_thread(self.changed):
                notify()

    def trouble(self) -> str:
        """The faults of the certificates in one line; empty when there are none."""
        now = datetime.now(UTC)
        found = [
            f"{one.path} {one.fault or one.warning or 'has expired'}"
            for one in self._found
            if one.fault or one.warning or (one.until is not None and one.until < now)
        ]
        return "; ".join([*([] if self.digest or not found else ["https_port is closed"]), *found])

    def forget_others(self) -> None:
        """Remove all copies but the present ones."""
        for found in self._directory.glob("*") if self._directory.is_dir() else ():
            if found.name != self.digest:
                shutil.rmtree(found, ignore_errors=True)

    def _files(self) -> dict[str, bytes]:
        """The present copies."""
        if not self.digest:
            return {}
        return {path.name: path.read_bytes() for path in sorted((self._directory / self.digest).iterdir())}

    def _copy(self, files: Mapping[str, bytes]) -> None:
        """Write the files, for their owner only, and let `digest` name them. A directory gets its name when it is complete."""
        digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16] if files else ""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)  # the engine would make it, for root
            if not (self._directory / digest).is_dir():
                draft = self._directory / "new"
                shutil.rmtree(draft, ignore_errors=True)
                draft.mkdir(mode=0o700)
                for name, content in files.items():
                    _write(draft / name, content)
                draft.rename(self._directory / digest)
        except OSError as exc:
            hint = "free some space, or let deployd's user write to the directory"
            raise Unavailable(f"{self._directory} cannot be written: {exc.strerror}", hint=hint) from exc
        self.digest = digest


def _digest_of(found: Sequence[Certificate]) -> str:
    return hashlib.sha256(
        repr([(one.path, sorted(one.files.items()), one.fault) for one in found]).encode()
    ).hexdigest()


def _kept(former: Mapping[str, bytes], name: str) -> Mapping[str, bytes]:
    """The former files of one certificate; all of them when `name` is empty."""
    return {key: content for key, content in former.items() if not name or key == name or key.startswith(f"{name}.")}


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
