"""`deployd prune` against a running daemon."""

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from deployd.domain import Image
from deployd.goal import Trigger, Wanted
from tests.cli.conftest import Neighbour
from tests.desk import MAIN, Desk

Command = Callable[..., Result]


def test_a_prune_without_anything_to_remove_says_so(daemon: Neighbour, command: Command) -> None:
    assert command("prune").stdout == "nothing to remove\n"
    assert command("prune", "rose", "--dry-run").stdout == "nothing to remove\n"
    assert json.loads(command("prune", "--json").stdout) == {"dry_run": False, "pruned": []}


@pytest.mark.slow
def test_a_prune_shows_what_would_go_and_what_somebody_uses(daemon: Neighbour, command: Command) -> None:
    daemon.do(_images_of_a_removed_app(daemon.desk))
    result = command("prune", "lily", "--dry-run")
    used, unused = (" ".join(line.split()) for line in result.stdout.splitlines()[1:])
    assert used == "image 0.0 kB stays: the container a uses it deployd/test/lily:b-2"
    assert unused == "image 0.0 kB would go deployd/test/lily:a-1"
    assert "removed" in command("prune").stdout
    assert len(command("prune").stdout.splitlines()) == 2
    assert command("prune", "daisy").exit_code == 1


async def _images_of_a_removed_app(desk: Desk) -> None:
    """Two, of which a container uses the second."""
    for commit in ("a", "b"):
        deploy = await desk.store.queue(Wanted("lily", commit * 40, MAIN, Trigger("manual")))
        await desk.store.withdraw(deploy)
        image = Image("deployd/test/lily", f"{commit}-{deploy.number}", f"sha256:{commit}")
        desk.builder.images[image.full_name] = image
        build = await desk.store.begin_build(deploy, image.full_name, "")
        await desk.store.end_build(deploy, build, image, None)
    desk.builder.used.add("deployd/test/lily:b-2")
