"""The gate that every candidate must pass: it answers, and reports the right commit."""

from deployd.domain import GateResult
from deployd.errors import RolloutFailed
from deployd.ports.gate import Candidate
from deployd.ports.log import Log
from deployd.ports.source import Context
from deployd.probe import until_ready


class ReadyGate:
    """Requests the path in `[app.ready]` until it answers 2xx, then `commit_path` for the commit."""

    name = "ready"

    async def ask(self, candidate: Candidate, context: Context | None, log: Log) -> GateResult:  # noqa: ARG002 - the port's signature
        """Passed with the time that it took; failed with the last answer."""
        ready = candidate.app.ready
        try:
            took = await until_ready(candidate.address, ready, candidate.deploy.commit, candidate.headers)
        except RolloutFailed as exc:
            return GateResult(self.name, "failed", exc.message)
        proven = "" if ready.commit_path is None else f", says commit {candidate.deploy.commit[:12]}"
        return GateResult(self.name, "passed", f"{ready.path} answers after {took:.2f} s{proven}")
