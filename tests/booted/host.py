"""A host with deployd as an administrator has it: installed by the README, a private repository, one app."""

import json
from dataclasses import dataclass
from typing import Any

from tests.testbed.booted import PACKAGES, Booted, base_images, pip_settings
from tests.testbed.images import BUSYBOX
from tests.typed import README, blocks, under

INSTALL, START = under("README.md", "Five minutes to a first deploy")
"""The commands of the README that install and start deployd."""
(_CONFIG,) = (block.strip() for _, language, block in blocks(README) if language == "toml")

_REPOSITORY_OF_DEPLOYD = "/srv/deployd"
CONFIG = f"""\
[gateway]
bind = "127.0.0.1"
{_CONFIG}
[app.docker]
stop_timeout = "1s"
drain = "1s"
""".replace(
    'repo = "https://github.com/acme/iris.git"',
    """\
repo = "git@127.0.0.1:/srv/git/iris.git"
webhook = "github.com/acme/iris"
ssh_key = "credential:deploy_key\"""",
)
"""The config of the README with a repository that is here and private, and with short waits."""

_DOCKERFILE = f"""\
FROM {BUSYBOX}
ARG COMMIT
RUN mkdir -p /www/v2/health && touch /www/v2/health/ready && echo "$COMMIT" | tee /www/version > /www/index.html
CMD ["httpd", "-f", "-p", "5000", "-h", "/www"]
"""

# As in docs/private-repositories.md.
_KEY = "[Service]\nLoadCredential=deploy_key:/etc/deployd/credentials/deploy_key\n"

_REPOSITORY = """
useradd --create-home --shell /usr/bin/git-shell git
ssh-keygen -q -t ed25519 -N '' -f /etc/deployd/credentials/deploy_key
install -d -o git -m 0700 ~git/.ssh
install -o git -m 0600 /etc/deployd/credentials/deploy_key.pub ~git/.ssh/authorized_keys
git init --quiet --bare --initial-branch=main /srv/git/iris.git
git init --quiet --initial-branch=main /root/iris
cd /root/iris
cat > Dockerfile
git config user.name Ada && git config user.email ada@example.com
git add Dockerfile && git commit --quiet -m Serve && git push --quiet /srv/git/iris.git main
chown -R git: /srv/git && git config --global --add safe.directory /srv/git/iris.git
mkdir -p /run/sshd && systemctl start ssh
"""


@dataclass
class Host:
    """The machine, and what a person does on it."""

    machine: Booted
    secret: str = ""
    said: str = ""  # by the installation
    commit = "git add . && git -c user.name=Ada -c user.email=ada@example.com commit --quiet -m Release"

    def install(self) -> None:
        """Install, configure and start as the README says, and wait until the app serves."""
        machine = self.machine
        assert PACKAGES in README.read_text()
        machine.shell(f"DEBIAN_FRONTEND=noninteractive apt-get install -qq -y {PACKAGES} < /dev/null", within=400)
        machine.take_checkout(_REPOSITORY_OF_DEPLOYD)
        machine.shell(f"cd {_REPOSITORY_OF_DEPLOYD} && git init --quiet -b main && {self.commit}")
        self.said = machine.shell(
            f"export {pip_settings()}; {INSTALL.replace('<this repository>', _REPOSITORY_OF_DEPLOYD)}", within=400
        )
        self.secret = machine.run("cat", "/etc/deployd/credentials/webhook_secret").strip()
        machine.run("bash", "-euc", _REPOSITORY, given=_DOCKERFILE)
        machine.write("/etc/systemd/system/deployd.service.d/override.conf", _KEY)
        machine.run("systemctl", "daemon-reload")
        machine.write("/etc/deployd/config.toml", CONFIG)
        machine.until(["docker", "version"])
        machine.take_images(*base_images())
        machine.shell(START)
        machine.until(["curl", "-fsS", "http://127.0.0.1:8000/"])

    def release(self, version: str) -> None:
        """Let the repository of deployd, from which it was installed, have a newer version."""
        place = f"cd {_REPOSITORY_OF_DEPLOYD}"
        self.machine.shell(
            f"{place} && sed -i 's/^version = .*/version = \"{version}\"/' pyproject.toml && {self.commit}"
        )

    def configure(self, text: str, mode: str = "0640") -> None:
        """Write the config, readable for the service."""
        self.machine.write("/etc/deployd/config.toml", text, mode=mode, group="deployd")

    def live_number(self) -> int:
        """The number of the release that serves."""
        (app,) = json.loads(self.machine.run("deployd", "status", "--json"))["apps"]
        return int(app["live"]["number"])

    def mend(self) -> None:
        """Bring everything back as `install` left it."""
        self.configure(CONFIG)
        self.machine.write("/etc/deployd/credentials/webhook_secret", f"{self.secret}\n", mode="0600")
        self.machine.run("systemctl", "reset-failed", "deployd.service", "deployd.socket", check=False)
        self.machine.run("systemctl", "start", "deployd.service")

    def as_user(self, name: str, *command: str) -> tuple[int, str]:
        """Run a command as another account, without any variable of ours; its exit code and what it prints."""
        done = self.machine.try_("runuser", "-u", name, "--", *command)
        return done.returncode, done.stdout

    def journal(self, *options: str) -> list[dict[str, Any]]:
        """Entries of the service's journal."""
        said = self.machine.run(
            "journalctl", "--unit=deployd.service", "--output=json", "--quiet", "--no-pager", *options
        )
        return [json.loads(line) for line in said.splitlines()]

    def since_now(self) -> str:
        """An option for `journal`: only what follows."""
        return "--since=" + self.machine.run("date", "+%Y-%m-%d %H:%M:%S").strip()

    def status(self) -> str:
        """STATUS= of the service, as `systemctl status` shows it."""
        return self.machine.property("deployd.service", "StatusText")
