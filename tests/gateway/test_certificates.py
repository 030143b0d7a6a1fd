"""What is found in a directory of certificates, and what is said of each."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployd.gateway.certificates import Certificate, prove, read
from tests.gateway.certificate import made

HOST = "a.example.com"


def found(directory: Path) -> list[Certificate]:
    return [prove(certificate) for certificate in read(directory)]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "certificates"
    directory.mkdir()
    return directory


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    return made(tmp_path_factory.mktemp("made"), HOST)


def test_a_file_with_certificate_and_key_names_its_hosts_and_its_end(
    directory: Path, pair: tuple[bytes, bytes]
) -> None:
    (directory / "a.pem").write_bytes(pair[0] + pair[1])
    [one] = found(directory)
    assert (one.name, one.hosts, one.fault, one.warning) == ("a.pem", (HOST,), "", "")
    assert one.until is not None
    assert timedelta(days=89) < one.until - datetime.now(UTC) < timedelta(days=91)
    assert one.files == {"a.pem": pair[0] + pair[1]}


def test_the_order_in_the_file_and_a_missing_last_line_end_do_not_matter(
    directory: Path, pair: tuple[bytes, bytes]
) -> None:
    (directory / "a.pem").write_bytes(pair[1] + pair[0].rstrip())
    assert found(directory)[0].fault == ""


@pytest.mark.parametrize("name", ["a.pem.key", "a.key"])
def test_a_key_may_stand_beside_its_certificate(directory: Path, pair: tuple[bytes, bytes], name: str) -> None:
    (directory / "a.pem").write_bytes(pair[0].rstrip())
    (directory / name).write_bytes(pair[1])
    [one] = found(directory)
    assert (one.fault, one.hosts) == ("", (HOST,))


def test_a_file_that_haproxy_reads_with_a_certificate_belongs_to_it(directory: Path, pair: tuple[bytes, bytes]) -> None:
    (directory / "a.pem").write_bytes(pair[0] + pair[1])
    (directory / "a.pem.ocsp").write_bytes(b"staple")
    assert [sorted(one.files) for one in found(directory)] == [["a.pem", "a.pem.ocsp"]]


def _certbot(root: Path, pair: tuple[bytes, bytes]) -> Path:
    """A directory as certbot makes it: links into an archive."""
    archive, live = root / "archive" / HOST, root / "live" / HOST
    archive.mkdir(parents=True)
    live.mkdir(parents=True)
    for name, content in (("cert", pair[0]), ("chain", b""), ("fullchain", pair[0]), ("privkey", pair[1])):
        (archive / f"{name}1.pem").write_bytes(content)
        (live / f"{name}.pem").symlink_to(f"../../archive/{HOST}/{name}1.pem")
    (live / "README").write_text("This directory contains your keys and certificates.")
    (live.parent / "README").write_text("This directory contains your keys and certificates.")
    return live


@pytest.mark.parametrize("parent", [True, False])
def test_certbot_s_directories_are_taken_as_they_are(directory: Path, pair: tuple[bytes, bytes], parent: bool) -> None:
    live = _certbot(directory, pair)
    [one] = found(live.parent if parent else live)
    assert (one.name, one.hosts, one.fault) == (f"{HOST}.pem", (HOST,), "")


def test_hidden_files_and_other_directories_do_not_count(directory: Path, pair: tuple[bytes, bytes]) -> None:
    (directory / "a.pem").write_bytes(pair[0] + pair[1])
    (directory / ".a.pem.swp").write_bytes(b"x")
    (directory / "old").mkdir()
    assert [one.name for one in found(directory)] == ["a.pem"]


def test_each_fault_is_named_with_what_to_do(directory: Path, pair: tuple[bytes, bytes], tmp_path: Path) -> None:
    other = made(tmp_path, "b.example.com")
    for name, content in {
        "empty.pem": b"\n",
        "foreign.txt": b"notes",
        "der.pem": bytes(range(256)),
        "keyless.pem": pair[0],
        "key-only.pem": pair[1],
        "mismatch.pem": pair[0] + other[1],
        "broken.pem": pair[0].replace(b"M", b"!") + pair[1],
        "locked.pem": pair[0] + b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII=\n-----END ENCRYPTED PRIVATE KEY-----\n",
    }.items():
        (directory / name).write_bytes(content)
    (directory / "dangling.pem").symlink_to("../archive/gone.pem")
    faults = {one.path.name: one.fault for one in found(directory)}
    assert faults == {
        "empty.pem": "is empty",
        "foreign.txt": "is not PEM",
        "der.pem": "is not PEM",
        "keyless.pem": "holds no private key",
        "key-only.pem": "holds no certificate",
        "mismatch.pem": "has a private key that does not belong to its first certificate",
        "broken.pem": faults["broken.pem"],
        "locked.pem": "has a private key with a passphrase",
        "dangling.pem": "leads to ../archive/gone.pem, which does not exist",
    }
    assert faults["broken.pem"].startswith("cannot be used: ")
    assert all(one.hint for one in found(directory))


def test_an_empty_and_a_missing_directory_are_faults(directory: Path) -> None:
    assert [one.fault for one in found(directory)] == ["holds no certificate"]
    assert [one.fault for one in found(directory / "none")] == ["cannot be read: No such file or directory"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up its rights")
def test_a_file_of_somebody_else_says_who_must_read_it(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(directory / "a.pem"))

    (directory / "a.pem").write_bytes(b"x")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    [one] = found(directory)
    assert (one.fault, one.hint) == ("cannot be read: Permission denied", "let the user of deployd read it")


@pytest.mark.parametrize(
    ("days", "usage", "warning"),
    [(-1, "serverAuth", "has expired"), (5, "serverAuth", "expires on"), (90, "clientAuth", "is refused by clients:")],
)
def test_a_certificate_that_clients_refuse_gets_a_warning(
    directory: Path, tmp_path: Path, days: int, usage: str, warning: str
) -> None:
    (directory / "a.pem").write_bytes(b"".join(made(tmp_path, HOST, days, usage=usage)))
    [one] = found(directory)
    assert one.fault == ""
    assert one.warning.startswith(warning)


def test_a_wildcard_covers_one_label(directory: Path) -> None:
    one = Certificate(directory, hosts=("*.example.com", "example.com"))
    assert [one.covers(host) for host in ("a.example.com", "example.com", "a.b.example.com", "example.org")] == [
        True,
        True,
        False,
        False,
    ]
