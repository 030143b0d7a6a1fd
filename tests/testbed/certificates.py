"""The certificates and keys of a test cluster, made by openssl: a CA, the API server's two certificates, the tokens' key.

The keys use elliptic curves, which take only milliseconds to make. They are removed with the cluster.
"""

import subprocess
from pathlib import Path

from deployd.errors import Unavailable

# With its default configuration, openssl would add the extensions of a CA to every certificate.
_CONFIGURATION = "[req]\ndistinguished_name=name\n[name]\n"


def make(directory: Path, addresses: list[str], names: list[str]) -> None:
    """Write into `directory`: `ca`, `apiserver` (for `addresses` and `names`) and `client` (the API server's as a client of the
    kubelet), each as .crt and .key, and `tokens.key`."""
    (directory / "openssl.cnf").write_text(_CONFIGURATION)
    alternatives = ",".join([*(f"IP:{address}" for address in addresses), *(f"DNS:{name}" for name in names)])
    authority = [
        "basicConstraints=critical,CA:TRUE",
        "keyUsage=critical,keyCertSign,cRLSign",
        "subjectKeyIdentifier=hash",
    ]
    leaf = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature", "authorityKeyIdentifier=keyid"]
    signed = ["-CA", str(directory / "ca.crt"), "-CAkey", str(directory / "ca.key")]
    _certificate(directory / "ca", "/CN=deployd-testbed", authority)
    server = [*leaf, "extendedKeyUsage=serverAuth", f"subjectAltName={alternatives}"]
    _certificate(directory / "apiserver", "/CN=kube-apiserver", server, signed)
    _certificate(
        directory / "client", "/O=system:masters/CN=kube-apiserver", [*leaf, "extendedKeyUsage=clientAuth"], signed
    )
    _openssl(
        ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(directory / "tokens.key")]
    )


def _certificate(path: Path, subject: str, extensions: list[str], signed: list[str] | None = None) -> None:
    command = ["req", "-x509", "-config", str(path.parent / "openssl.cnf"), "-days", "3650", "-nodes", "-subj", subject]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", *(signed or [])]
    command += [word for extension in extensions for word in ("-addext", extension)]
    _openssl([*command, "-keyout", f"{path}.key", "-out", f"{path}.crt"])


def _openssl(arguments: list[str]) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"openssl {arguments[0]} failed", hint=done.stderr.strip()[-1000:])
