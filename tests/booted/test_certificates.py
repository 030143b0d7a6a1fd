"""Certificates as certbot keeps them, below a service that is not root."""

import pytest

from tests.booted.host import CONFIG, Host
from tests.typed import under

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("booted")]

NAME = "iris.example.com"
SECURE = CONFIG.replace(
    "[gateway]\n", '[gateway]\nhttps_port = 8443\ncertificates = "/etc/letsencrypt/live"\n'
).replace("listen = 8000", f'listen = 8000\nhosts = ["{NAME}"]')
RENEW = f"""
cd /etc/letsencrypt && mkdir -p archive/{NAME} live/{NAME}
chmod 0700 live archive && chgrp --recursive --reference=live archive
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 90 -subj /CN={NAME} \
  -addext subjectAltName=DNS:{NAME} -keyout archive/{NAME}/privkey$1.pem -out archive/{NAME}/fullchain$1.pem
chmod 0640 archive/{NAME}/privkey$1.pem && chgrp --reference=live archive/{NAME}/*
for part in privkey fullchain; do ln -sfn ../../archive/{NAME}/$part$1.pem live/{NAME}/$part.pem; done
echo keys > live/README
"""
ASK = (
    f"curl -fsS -o /dev/null --cacert /etc/letsencrypt/archive/{NAME}/fullchain$1.pem "
    f"--resolve {NAME}:8443:127.0.0.1 https://{NAME}:8443/"
)
CLIENTS = f"""
rm -f /tmp/stop /tmp/lost /tmp/asked
for url in http://127.0.0.1:8000/ https://{NAME}:8443/; do
  (while ! test -e /tmp/stop; do
     curl -fsSk -o /dev/null --resolve {NAME}:8443:127.0.0.1 $url 2>> /tmp/lost && echo >> /tmp/asked
   done) > /dev/null 2>&1 &
done
"""


def test_a_renewed_certificate_of_certbot_is_served_without_a_lost_request(host: Host) -> None:
    machine = host.machine
    machine.run("bash", "-euc", "mkdir -p /etc/letsencrypt")
    machine.run("bash", "-euc", RENEW, "renew", "1")
    host.configure(SECURE)
    found = machine.try_("deployd", "check")
    assert (found.returncode, "cannot be read: Permission denied" in found.stdout) == (1, True), found.stdout
    assert "let the user of deployd read it" in found.stdout

    machine.shell("\n".join(under("docs/operations.md", "The gateway")))
    found = machine.try_("deployd", "check")
    assert (found.returncode, f"fullchain.pem: {NAME}, until" in found.stdout) == (0, True), found.stdout

    try:
        machine.run("systemctl", "restart", "deployd.service")
        machine.until(["bash", "-c", ASK, "ask", "1"])
        machine.run("bash", "-euc", CLIENTS)
        machine.run("bash", "-euc", RENEW.replace("chmod 0700 live archive && ", ""), "renew", "2")
        machine.until(["bash", "-c", ASK, "ask", "2"])
        machine.shell("sleep 1; touch /tmp/stop; sleep 1")
        assert machine.shell("cat /tmp/lost") == ""
        assert int(machine.shell("wc -l < /tmp/asked")) > 50
    finally:
        host.configure(CONFIG)
        machine.run("systemctl", "restart", "deployd.service")
