import shutil
import subprocess
from pathlib import Path

import pytest

from tests.testbed import certificates

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the certificates of a server at 127.0.0.1, which is also called kubernetes."""
    directory = tmp_path_factory.mktemp("pki")
    certificates.make(directory, ["127.0.0.1"], ["kubernetes"])
    return directory


def openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("name", "purpose"), [("apiserver", "sslserver"), ("client", "sslclient")])
def test_each_certificate_is_signed_by_the_ca_and_valid_only_for_its_purpose(
    made: Path, name: str, purpose: str
) -> None:
    strict = ["verify", "-x509_strict", "-CAfile", str(made / "ca.crt"), "-purpose"]
    assert openssl(*strict, purpose, str(made / f"{name}.crt")).endswith("OK\n")
    other = {"sslserver": "sslclient", "sslclient": "sslserver"}[purpose]
    with pytest.raises(subprocess.CalledProcessError):
        openssl(*strict, other, str(made / f"{name}.crt"))


def test_the_certificate_of_the_server_contains_its_addresses_and_names(made: Path) -> None:
    names = openssl("x509", "-in", str(made / "apiserver.crt"), "-noout", "-ext", "subjectAltName")
    assert "IP Address:127.0.0.1, DNS:kubernetes" in names


def test_tokens_are_signed_by_an_rsa_key(made: Path) -> None:
    assert "2048 bit" in openssl("pkey", "-in", str(made / "tokens.key"), "-noout", "-text")
