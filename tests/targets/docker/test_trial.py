"""What an engine cannot do for an app is told before anything is built, in the words of the config."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from deployd.bringup.engine import Engine
from deployd.config.daemon import GatewaySection
from deployd.domain import part_labels
from deployd.engine.client import EngineClient
from deployd.errors import ConfigError
from deployd.targets.docker.target import DockerTarget
from deployd.targets.docker.trial import Trial
from tests.conftest import Leaks
from tests.fakes import FakeMade
from tests.targets.docker.world import NAME, an_app
from tests.testbed.images import BUSYBOX

pytestmark = pytest.mark.engine


@pytest.fixture
async def target(
    engine: str, instance: str, web: object, section: GatewaySection, tmp_path: Path
) -> AsyncIterator[DockerTarget]:
    """A target that has made nothing, not even its network."""
    async with DockerTarget(instance, section, tmp_path / "gateway", FakeMade(), engine) as made:
        yield made


@pytest.mark.parametrize(
    ("docker", "words"),
    [
        ({"volumes": ["/no/such/directory:/data"]}, "volumes: the host has no /no/such/directory"),
        ({"cpus": 5000}, "cpus: this engine has "),
        ({"gpus": "all"}, "gpus: this engine has no runtime for GPUs"),
        ({"network": "no-such-network"}, "network: this engine has no network no-such-network"),
        ({"devices": ["/dev/no-such-device"]}, "devices: the host has no /dev/no-such-device"),
        ({"runtime": "no-such-runtime"}, "runtime: this engine has no runtime no-such-runtime"),
        ({"cap_add": ["NO_SUCH"]}, "cap_add: there is no capability"),
        ({"sysctls": {"kernel.hostname2": "x"}}, "sysctls: kernel.hostname2 is not a container's own"),
        ({"sysctls": {"net.core.no_such": "1"}}, "sysctls: the host's kernel does not take net.core.no_such"),
        ({"log": {"driver": "no-such-driver"}}, "log.driver: this engine has no log driver no-such-driver"),
        ({"log": {"driver": "json-file", "options": {"size": "1"}}}, "log.options: json-file has no option size"),
        ({"ipc": "container:no-such-container"}, "ipc: no container no-such-container runs"),
        ({"security_opt": ["no-such-option"]}, "security_opt: the engine does not know it"),
        (
            {"env_secrets": {"KEY": "env:NO_SUCH_SECRET"}},
            "env_secrets.KEY: the environment variable NO_SUCH_SECRET is not",
        ),
    ],
)
async def test_an_option_that_the_engine_refuses_is_a_fault_of_the_config(
    target: DockerTarget, leaks: Leaks, docker: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        await target.require(an_app(1, **docker))
    assert f"app.{NAME}.docker.{words}" in refused.value.message
    assert refused.value.hint
    assert leaks.present() == []


async def test_options_that_the_engine_takes_leave_no_container_behind(target: DockerTarget, leaks: Leaks) -> None:
    await target.require(an_app(1))
    await target.require(
        an_app(
            1, volumes=["/tmp:/host:ro", "named:/data"], tmpfs=["/run:size=1m"], shm_size="1MiB", ipc="private", init=True,
            ulimits={"nofile": 64}, sysctls={"net.core.somaxconn": "64"}, cap_drop=["ALL"], security_opt=[], cpus=0.5,
            memory="64MiB", devices=["/dev/null:/dev/x"], read_only=True, dns=["192.0.2.1"], extra_hosts=["a:192.0.2.1"],
            group_add=["5", "only-in-the-image"], log={"driver": "none"},
        )
    )  # fmt: skip
    assert leaks.present() == []


async def test_a_trial_that_was_killed_is_removed_by_the_next(engine: str, instance: str, base_images: Engine) -> None:
    forgotten = {"Image": BUSYBOX, "Labels": part_labels(instance, "trial")}
    async with EngineClient(engine) as client:
        left = await client.containers.create(f"deployd-trial-{instance}-killed", forgotten)
        trial = Trial(client, instance, BUSYBOX, forgotten_s=0)
        assert await trial.of(an_app(1, memory="64MiB"))
        assert await client.containers.inspect(left) is None


async def test_without_an_image_only_the_network_is_asked_for(engine: str, instance: str) -> None:
    async with EngineClient(engine) as client:
        trial = Trial(client, instance, "no-such-image:latest")
        assert not await trial.of(an_app(1, memory="64MiB"))
        with pytest.raises(ConfigError, match="no network nowhere"):
            await trial.of(an_app(1, network="nowhere"))
