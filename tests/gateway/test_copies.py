"""The copies that HAProxy opens, beside a source that changes."""

from pathlib import Path

import pytest

from deployd.gateway.copies import CertificateCopies
from tests.gateway.certificate import made

_NOT_PEM = "PEM is text that begins with -----BEGIN CERTIFICATE-----; move other files elsewhere"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    return source


@pytest.fixture
def copies(source: Path, tmp_path: Path) -> CertificateCopies:
    return CertificateCopies(source, tmp_path / "copies")


def put(source: Path, name: str) -> bytes:
    """Write a new certificate there."""
    content = b"".join(made(source.parent, f"{name.removesuffix('.pem')}.example.com"))
    (source / name).write_bytes(content)
    return content


def copied(copies: CertificateCopies, tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (tmp_path / "copies" / copies.digest).iterdir()}


def test_only_the_owner_can_read_the_copies(copies: CertificateCopies, source: Path, tmp_path: Path) -> None:
    content = put(source, "a.pem")
    copies.refresh()
    assert copied(copies, tmp_path) == {"a.pem": content}
    directory = tmp_path / "copies" / copies.digest
    assert [path.stat().st_mode & 0o777 for path in (directory, directory / "a.pem")] == [0o700, 0o600]


def test_a_renewed_certificate_has_another_digest_and_the_former_copies_stay_until_they_are_forgotten(
    copies: CertificateCopies, source: Path, tmp_path: Path
) -> None:
    put(source, "a.pem")
    copies.refresh()
    before = copies.digest
    assert not copies.changed()

    content = put(source, "a.pem")
    assert copies.changed()
    copies.refresh()
    assert copies.digest != before
    assert copied(copies, tmp_path) == {"a.pem": content}
    assert (tmp_path / "copies" / before).is_dir()
    copies.forget_others()
    assert [path.name for path in (tmp_path / "copies").iterdir()] == [copies.digest]


def test_a_link_that_leads_elsewhere_now_is_a_change(copies: CertificateCopies, source: Path, tmp_path: Path) -> None:
    put(tmp_path, "one.pem")
    content = put(tmp_path, "two.pem")
    (source / "a.pem").symlink_to(tmp_path / "one.pem")
    copies.refresh()
    (source / "a.pem").unlink()
    (source / "a.pem").symlink_to(tmp_path / "two.pem")
    assert copies.changed()
    copies.refresh()
    assert copied(copies, tmp_path) == {"a.pem": content}


def test_a_broken_certificate_keeps_its_former_copy_and_is_told(
    copies: CertificateCopies, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    former = put(source, "a.pem")
    put(source, "b.pem")
    copies.refresh()
    (source / "a.pem").write_bytes(b"half a fi")
    renewed = put(source, "b.pem")
    copies.refresh()
    copies.refresh()
    assert copied(copies, tmp_path) == {"a.pem": former, "b.pem": renewed}
    assert copies.trouble() == f"{source}/a.pem is not PEM"
    assert [record.getMessage() for record in caplog.records] == [
        f"The certificate {source}/a.pem is not PEM; its former copy stays ({_NOT_PEM})"
    ]


def test_a_source_that_cannot_be_read_any_more_keeps_all_copies(copies: CertificateCopies, source: Path) -> None:
    put(source, "a.pem")
    copies.refresh()
    before = copies.digest
    source.rename(source.with_name("moved"))
    copies.refresh()
    assert copies.digest == before
    assert "cannot be read" in copies.trouble()


def test_a_broken_certificate_without_a_former_copy_is_left_out_and_the_others_are_served(
    copies: CertificateCopies, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = put(source, "a.pem")
    (source / "b.pem").write_bytes(b"notes")
    copies.refresh()
    assert copied(copies, tmp_path) == {"a.pem": content}
    assert copies.trouble() == f"{source}/b.pem is not PEM"
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(f"The certificate {source}/b.pem is not PEM; it is left out (PEM is text")


@pytest.mark.parametrize("broken", [{}, {"b.pem": b"notes"}])
def test_without_any_usable_certificate_https_is_closed_and_that_is_told(
    copies: CertificateCopies, source: Path, tmp_path: Path, broken: dict[str, bytes]
) -> None:
    for name, content in broken.items():
        (source / name).write_bytes(content)
    copies.refresh()
    assert (copies.digest, (tmp_path / "copies").is_dir()) == ("", True)
    assert copies.trouble().startswith(f"https_port is closed; {source}")
    put(source, "b.pem")
    copies.refresh()
    assert (copies.digest == "", copies.trouble()) == (False, "")


def test_when_only_a_broken_certificate_is_left_all_former_copies_stay(
    copies: CertificateCopies, source: Path, tmp_path: Path
) -> None:
    former = put(source, "a.pem")
    copies.refresh()
    (source / "a.pem").unlink()
    (source / "b.pem").write_bytes(b"notes")
    copies.refresh()
    assert copied(copies, tmp_path) == {"a.pem": former}


def test_a_certificate_that_was_removed_has_no_copy(copies: CertificateCopies, source: Path, tmp_path: Path) -> None:
    put(source, "a.pem")
    content = put(source, "b.pem")
    copies.refresh()
    (source / "a.pem").unlink()
    copies.refresh()
    assert copied(copies, tmp_path) == {"b.pem": content}


def test_copies_that_are_gone_are_made_again(copies: CertificateCopies, source: Path, tmp_path: Path) -> None:
    put(source, "a.pem")
    copies.refresh()
    other = CertificateCopies(source, tmp_path / "copies")
    other.adopt(copies.digest)
    assert other.digest == copies.digest
    other.adopt("0123456789abcdef")
    assert other.digest == ""


def test_without_a_source_there_are_no_copies(tmp_path: Path) -> None:
    none = CertificateCopies(None, tmp_path / "copies")
    none.refresh()
    assert (none.digest, none.changed(), none.trouble()) == ("", False, "")
