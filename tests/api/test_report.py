"""The report of a deploy: all that is recorded, readable, and nothing in it that its author could use as markup."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from deployd.api.report import report
from deployd.domain import Base, Deploy, GateResult, Image, Step
from deployd.goal import Trigger
from deployd.status import Status

AT = datetime(2026, 11, 26, 20, 0, tzinfo=UTC)
FORMER = Deploy(
    app="iris",
    number=41,
    commit="a" * 40,
    ref="refs/heads/main",
    trigger=Trigger("push", "guid-1"),
    status=Status.RETIRED,
    created_at=AT,
    model={"name": "iris", "version": "1f00", "metrics": {"accuracy": 0.91}},
)
GATES = (
    GateResult("ready", "passed", "/v2/health/ready answers after 0.30 s"),
    GateResult("evaluate", "passed", "accuracy 0.94", {"accuracy": {"value": 0.94, "at_least": 0.9}, "n": 300}),
    GateResult("fairness", "warned", "gap 0.04", rows=({"country": "NL", "got": 0.91}, {"country": "BE", "n": 3})),
    GateResult("watch", "not_judged", "no traffic", moment="after"),
)
LIVE = Deploy(
    app="iris",
    number=42,
    commit="b" * 40,
    ref="refs/heads/main",
    trigger=Trigger("manual", by="ada"),
    status=Status.LIVE,
    created_at=AT,
    subject="Grow a deeper tree",
    author="Ada",
    started_at=AT + timedelta(seconds=1),
    live_at=AT + timedelta(seconds=9),
    image=Image("deployd/iris", "b" * 40, "sha256:2", None, (Base("python:3.12", "sha256:9"),)),
    image_size=291_400_000,
    settings="5d1f0a3b",
    steps=(Step("build", "done", AT + timedelta(seconds=1), AT + timedelta(seconds=5)), Step("ready", "running", AT)),
    gates=GATES,
    accept_changes=True,
    model={"name": "iris", "version": "3f2a", "metrics": {"accuracy": 0.94}, "libraries": {"numpy": "2.1"}},
)


def _page(deploy: Deploy, former: Deploy | None = FORMER) -> str:
    return report(deploy, former, daemon="deployd 0.1 (production)", now=AT + timedelta(hours=1))


def test_the_page_has_every_fact_of_the_record() -> None:
    page = _page(LIVE)
    for line in (
        "# iris/42: live",
        "It is live.",
        f"| Commit | `{'b' * 40}` |",
        "| Subject | Grow a deeper tree |",
        "| Asked by | manual ada |",
        "| Accepts | other predictions than those of the release before |",
        "| Hash of its config | `5d1f0a3b` |",
        "| Live | 2026-11-26 20:00:09 UTC |",
        f"| Served before | iris/41, commit `{'a' * 40}`, model 1f00 |",
        "| Built on | python:3.12, sha256:9 |",
        "| Size | 291.4 MB |",
        "| metrics.accuracy | 0.94 |",
        "| libraries.numpy | 2.1 |",
        "| evaluate | before the switch | passed | accuracy 0.94 |",
        "| watch | after the switch | not judged | no traffic |",
        "### Figures of evaluate, before the switch",
        "| accuracy.at_least | 0.9 |",
        "### Rows that fairness names, before the switch",
        "| country | got | n |",
        "| BE | - | 3 |",
        "## Changes since iris/41",
        "| model metrics.accuracy | 0.91 | 0.94 |",
        "| build | done | 2026-11-26 20:00:01 UTC | 4.00 s |  |",
        "Written 2026-11-26 21:00:00 UTC by deployd 0.1 (production) from its record.",
    ):
        assert line in page.splitlines(), line
    assert "Signature: ____" in page


def test_a_record_of_an_older_deployd_reads_well() -> None:
    old = Deploy("iris", 1, "a" * 40, "refs/heads/main", Trigger("push"), Status.RETIRED, AT)
    page = _page(old, None)
    for line in (
        "It was retired.",
        "| Served before | nothing |",
        "Nothing is recorded about its model.",
        "No gate is recorded.",
        "No step is recorded.",
    ):
        assert line in page.splitlines()
    assert "None" not in page
    assert "| Digest" not in page
    assert "Changes since" not in page


def test_a_failed_deploy_says_why_and_a_proven_one_that_it_never_served() -> None:
    failed = replace(LIVE, status=Status.FAILED, reason="the golden gate refused it: $.a: 2, expected 1", live_at=None)
    assert "It failed: the golden gate refused it: $.a: 2, expected 1." in _page(failed)
    assert "It was only to be proven, never to serve." in _page(replace(failed, prove=True))
    proven = replace(LIVE, status=Status.PROVEN, prove=True)
    assert "It is proven: all gates were asked, and it was never switched to." in _page(proven)


def test_nobody_can_write_markup_into_the_page() -> None:
    forged = "# Signed\n\n| ok | <script>alert(1)</script> [x](http://example.com) `a` **b**"
    gate = GateResult("fairness", "passed", forged, {forged: forged}, ({forged: forged},))
    page = _page(replace(LIVE, subject=forged, author=forged, model={forged: forged}, gates=(gate,)))
    assert "# Signed" not in [line.strip() for line in page.splitlines()]
    escaped = (
        "\\# Signed \\| ok \\| \\<script\\>alert(1)\\</script\\> \\[x\\](http://example.com) \\`a\\` \\*\\*b\\*\\*"
    )
    assert f"| Subject | {escaped} |" in page
    assert page.replace(escaped, "").count("script") == 0
