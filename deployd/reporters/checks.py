"""A GitHub check run with the result of a proof, as Markdown within GitHub's limits. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from deployd.domain import Deploy, GateResult
from deployd.logs.log import printable
from deployd.reporters.words import description
from deployd.store.outbox import Check

MOST_BYTES = 65_535  # of a summary and of a text, each
_LONGEST_CELL = 300
_VERDICTS = {"passed": "passed", "warned": "warned", "failed": "**failed**", "not_judged": "not judged"}
_MARKUP = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_{}[]<>#|~@"})


def check_of(deploy: Deploy, conclusion: str, external_id: str, page: str) -> Check:
    """The check of a deploy that only proves its commit; `conclusion` is empty while it is under way."""
    said = description(deploy)
    hint = f"\n\n{plain(deploy.hint)}" if deploy.hint else ""
    return Check(
        commit=deploy.commit,
        name=f"deployd/{deploy.app}",
        external_id=external_id,
        title=said,
        summary=f"{plain(deploy.reason or said)}{hint}",
        text="\n".join(_gates(deploy)),
        conclusion=conclusion,
        url=page,
    )


def run_of(check: Check) -> dict[str, Any]:
    """The body of a request that creates or changes a check run, but for its commit."""
    more = f"\n\n… [the whole report]({check.url})" if check.url else "\n\n…"
    output = {"title": check.title, "summary": within(check.summary or check.title, more)}
    if check.text:
        output["text"] = within(check.text, more)
    run: dict[str, Any] = {"name": check.name, "external_id": check.external_id, "output": output}
    run |= {"status": "completed", "conclusion": check.conclusion} if check.conclusion else {"status": "in_progress"}
    return run | ({"details_url": check.url} if check.url else {})


def within(text: str, more: str, limit: int = MOST_BYTES) -> str:
    """`text` in at most `limit` bytes of UTF-8, cut between characters and ended with `more`."""
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    return encoded[: limit - len(more.encode())].decode(errors="ignore") + more


def plain(text: str) -> str:
    """Text of which no character is markup or calls a person, on one line."""
    return printable(" ".join(text.split()), 2000).translate(_MARKUP)


def _gates(deploy: Deploy) -> Iterator[str]:
    if not deploy.gates:
        return
    yield "| gate | verdict | detail |\n| --- | --- | --- |"
    for gate in deploy.gates:
        yield f"| {plain(gate.name)} | {_VERDICTS[gate.verdict]} | {_cell(gate.detail)} |"
    for gate in deploy.gates:
        yield from _evidence(gate)


def _evidence(gate: GateResult) -> Iterator[str]:
    if gate.figures:
        yield f"\n### Figures of {plain(gate.name)}\n\n| figure | value |\n| --- | --- |"
        yield from (f"| {plain(name)} | {_cell(value)} |" for name, value in gate.figures.items())
    if gate.rows:
        keys = list(dict.fromkeys(key for row in gate.rows for key in row))
        yield f"\n### Rows that {plain(gate.name)} names\n\n| {' | '.join(map(plain, keys))} |\n|{' --- |' * len(keys)}"
        yield from (_row(keys, row) for row in gate.rows)


def _row(keys: list[str], row: Mapping[str, Any]) -> str:
    return f"| {' | '.join(_cell(row.get(key, '')) for key in keys)} |"


def _cell(value: Any) -> str:
    return plain(str(value)[:_LONGEST_CELL])
