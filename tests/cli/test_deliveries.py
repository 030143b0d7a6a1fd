"""`deployd delivery`: what became of a webhook, for a person and for a script; and what `deployd status` says of owed looks."""

import asyncio
import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from deployd.api.answers import OutcomeAnswer
from deployd.cli.deliveries import _result
from deployd.delivery import Delivery, Followed, Push
from deployd.status import Status
from tests.api.pushes import answered, pushed, told, troubled
from tests.cli.conftest import Neighbour
from tests.desk import MAIN, REPO, A, B

Command = Callable[..., Result]


def _rows(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    return [line.split() for line in result.stdout.splitlines()]


@pytest.mark.slow
def test_a_delivery_says_what_it_named_and_what_result_for_each_app(daemon: Neighbour, command: Command) -> None:
    daemon.do(pushed(daemon.desk, A, "g-1", "iris", "rose"))
    daemon.do(answered(daemon.desk, "g-1"))
    first, header, iris, rose = command("delivery", "g-1").stdout.splitlines()
    assert first.startswith(f"push of refs/heads/main at {A[:12]} in example.com/acme/iris, received ")
    assert header.split() == ["APP", "RESULT"]
    assert [iris.split(), rose.split()] == [["iris", "iris/1"], ["rose", "rose/1"]]


@pytest.mark.slow
def test_a_delivery_of_several_refs_names_each(daemon: Neighbour, command: Command) -> None:
    daemon.do(pushed(daemon.desk, A, "g-0", "iris"))
    tag = Followed(Push("example.com/acme/iris", "refs/tags/v1", B), ("rose",))
    main = Followed(Push("example.com/acme/iris", MAIN, A), ("iris",))
    daemon.desk.source.ancestors[A] = {B}
    daemon.do(daemon.desk.scheduler.accept(Delivery("bitbucket", "g", "push"), [tag, main]))
    daemon.do(answered(daemon.desk, "g"))
    first, _, rose, iris = command("delivery", "g").stdout.splitlines()
    assert first.startswith(f"push of refs/tags/v1 at {B[:12]}, refs/heads/main at {A[:12]} in example.com/acme/iris, ")
    assert rose.split(maxsplit=1) == ["rose", f"rose/1, the head was {A[:12]}"]
    assert iris.split() == ["iris", "iris/1"]
    assert f"{B[:12]}, {A[:12]}" in command("delivery").stdout


@pytest.mark.slow
def test_a_delivery_of_a_skipped_head_says_why_there_is_no_deploy(daemon: Neighbour, command: Command) -> None:
    daemon.desk.source.messages[A] = "Docs [skip ci]"
    daemon.do(pushed(daemon.desk, A))
    daemon.do(answered(daemon.desk))
    assert "the commit's message says [skip ci]" in command("delivery", "g").stdout


@pytest.mark.slow
def test_without_a_guid_the_newest_deliveries_are_listed(daemon: Neighbour, command: Command) -> None:
    none = command("delivery")
    assert (none.stdout, none.stderr) == ("", "there are no deliveries\n")
    daemon.do(pushed(daemon.desk, A, "g-1"))
    daemon.do(daemon.desk.becomes("iris", 1, Status.LIVE))
    daemon.desk.source.ancestors[A] = {B}
    daemon.do(told(daemon.desk, B, "g-2"))
    daemon.do(answered(daemon.desk, "g-2"))
    _, newest, oldest = (line.rstrip() for line in command("delivery").stdout.splitlines())
    assert newest.startswith("g-2 ")
    assert newest.endswith(f"iris: iris/1, the head was {A[:12]}")
    assert oldest.startswith("g-1 ")
    assert oldest.endswith("iris: iris/1")
    push = Push("github.com/acme/iris", "refs/heads/dev", A)
    daemon.desk.services.not_kept.ignored(Delivery("github", "g-3", "push"), push, "no app follows it")
    empty, header, ignored = command("delivery").stdout.splitlines()[3:]
    assert (empty, header.split()) == ("", ["NOT", "KEPT", "AGE", "WHAT", "REASON"])
    assert ignored.endswith("push to refs/heads/dev of github.com/acme/iris  no app follows it")
    assert "delivery g-3 was ignored: no app follows it" in command("delivery", "g-3").stderr


@pytest.mark.slow
def test_deliveries_as_json(daemon: Neighbour, command: Command) -> None:
    daemon.do(pushed(daemon.desk, A))
    daemon.do(answered(daemon.desk))
    one = json.loads(command("delivery", "g", "--json").stdout)
    assert (one["guid"], one["apps"][0]["deploy"]) == ("g", 1)
    assert json.loads(command("delivery", "--json").stdout)["deliveries"] == [one]


def test_a_guid_that_is_not_known_ends_with_a_hint(daemon: Neighbour, command: Command) -> None:
    refused = command("delivery", "nope")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: there is no delivery nope\nhint: ")


def test_control_characters_of_a_ref_do_not_reach_the_terminal(daemon: Neighbour, command: Command) -> None:
    daemon.do(pushed(daemon.desk, A))
    daemon.do(_named(daemon, "\x1b[31m"))
    for said in (command("delivery", "g").stdout, command("delivery").stdout):
        assert "\x1b" not in said
        assert "\\u001b[31m" in said


async def _named(daemon: Neighbour, ref: str) -> None:
    query = "UPDATE deliveries SET ref = ?"
    await daemon.desk.store._database.write(lambda connection: connection.execute(query, (ref,)).rowcount)


@pytest.mark.slow
def test_while_the_remote_is_away_the_delivery_and_the_status_say_what_is_owed(
    daemon: Neighbour, command: Command
) -> None:
    daemon.desk.source.away = True
    daemon.do(pushed(daemon.desk, A))
    daemon.do(asyncio.wait_for(troubled(daemon.desk), 20))
    assert f"the remote has still to be asked: {REPO} is away" in command("delivery", "g").stdout
    status = command("status", "iris").stdout
    assert "iris: no look at its remote for " in status
    assert status.rstrip().endswith(f"s: {REPO} is away")


@pytest.mark.parametrize(
    ("deploy", "head", "reason", "words"),
    [
        (7, A, "", "iris/7"),
        (7, B, "", f"iris/7, the head was {B[:12]}"),
        (
            7,
            B,
            "the remote did not show aaaaaaaaaaaa",
            f"iris/7, the head was {B[:12]}: the remote did not show aaaaaaaaaaaa",
        ),
        (None, A, "no file under paths changed (model)", "no file under paths changed (model)"),
        (None, B, "a mark", f"the head was {B[:12]}: a mark"),
        (
            None,
            None,
            "the remote has no refs/heads/main; the live release stays",
            "the remote has no refs/heads/main; the live release stays",
        ),
        (7, None, "", "iris/7"),
        (None, None, "", "nothing"),
    ],
)
def test_the_outcome_of_a_delivery_is_one_line(deploy: int | None, head: str | None, reason: str, words: str) -> None:
    outcome = OutcomeAnswer.model_validate(
        {
            "app": "iris",
            "named": A,
            "looked_at": "2026-01-01T00:00:00Z",
            "commit": head,
            "deploy": deploy,
            "reason": reason,
        }
    )
    assert _result(outcome) == words
