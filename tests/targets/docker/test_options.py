"""What a container gets of the options in [app.docker], seen from inside of it."""

from pathlib import Path

import pytest

from deployd.bringup.ports import free_port
from deployd.domain import Image
from deployd.errors import ConfigError, RolloutFailed
from deployd.gates.ready import ReadyGate
from deployd.targets.docker.target import DockerTarget
from tests.fake_target import FakeProgress
from tests.targets.docker.test_asking import execute
from tests.targets.docker.world import NAME, a_deploy, an_app

pytestmark = [pytest.mark.engine, pytest.mark.slow]

# Like s6: it ends at once unless it is process 1.
SUPERVISOR = 'test $$ = 1 || exit 100; exec "$@"'


async def test_an_image_whose_supervisor_has_to_be_process_1_runs(target: DockerTarget, web: Image) -> None:
    app = an_app(1, listen=free_port(), entrypoint=["sh", "-c", SUPERVISOR, "s6"], command=["python", "-u", "app.py"])
    await target.roll_out(app, a_deploy(1, web), web, FakeProgress(ReadyGate()))
    assert await target.serving(app) == 1


async def test_the_options_reach_the_container(target: DockerTarget, web: Image, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "there").touch()
    app = an_app(
        1, listen=free_port(), init=True, shm_size="48MiB", user="1234:5678", group_add=["77"], read_only=True,
        tmpfs=["/scratch:size=1m,mode=1777"], ulimits={"nofile": "100:200"}, sysctls={"net.core.somaxconn": "99"},
        extra_hosts=["db:192.0.2.7"], cap_drop=["ALL"], volumes=[f"{tmp_path}/data:/data:ro"], pids_limit=50,
    )  # fmt: skip
    await target.roll_out(app, a_deploy(1, web), web, FakeProgress(ReadyGate()))
    questions = {
        "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2": str(48 * 1024),
        "id -u; id -g; id -G": "1234\n5678\n5678 77",
        "touch /etc/x 2>/dev/null || echo refused": "refused",
        "touch /scratch/x && echo taken": "taken",
        # Of the app itself: a command in a container sometimes has the hard limit as its soft one, by runc on a busy machine.
        "grep 'open files' /proc/1/limits | tr -s ' ' | cut -d' ' -f4,5": "100 200",
        "cat /proc/sys/net/core/somaxconn": "99",
        "grep -c 192.0.2.7 /etc/hosts": "1",
        "grep CapBnd /proc/1/status | cut -f2": "0" * 16,
        "ls /data": "there",
    }
    for question, answer in questions.items():
        assert (await execute(target, question))[1].strip() == answer, question


async def test_a_path_of_the_host_that_goes_after_the_check_is_told_and_not_made(
    target: DockerTarget, web: Image, tmp_path: Path
) -> None:
    app = an_app(1, listen=free_port(), volumes=[f"{tmp_path}/gone:/data"])
    with pytest.raises(ConfigError) as refused:
        await target.roll_out(app, a_deploy(1, web), web, FakeProgress(ReadyGate()))
    assert refused.value.message == f"app.{NAME}.docker.volumes: the host has no {tmp_path}/gone"
    assert not (tmp_path / "gone").exists()


async def test_a_command_that_the_image_does_not_have_is_a_fault_of_the_config(
    target: DockerTarget, web: Image
) -> None:
    app = an_app(1, listen=free_port(), command=["no-such-program"])
    with pytest.raises(ConfigError, match=r"docker\.command: the image cannot run no-such-program"):
        await target.roll_out(app, a_deploy(1, web), web, FakeProgress(ReadyGate()))


async def test_a_candidate_whose_log_cannot_be_read_back_fails_for_its_own_reason(
    target: DockerTarget, web: Image
) -> None:
    app = an_app(1, listen=free_port(), log={"driver": "none"}, command=["sh", "-c", "sleep 1; exit 3"])
    with pytest.raises(RolloutFailed, match=f"{NAME}/1 exited with code 3"):
        await target.roll_out(app, a_deploy(1, web), web, FakeProgress(ReadyGate()))
