"""A deploy in one line: its state in GitHub's terms, and a description of at most 140 characters. Pure."""

from deployd.domain import Deploy
from deployd.logs.log import printable
from deployd.status import Status

MOST_DESCRIBED = 140

# By what a deploy is: the state of a deployment, and that of a commit's status. An app serves on where a deploy was superseded or
# cancelled, so that is no failure of the deployment; a commit's status knows no such end.
DEPLOYMENT_STATES = {
    Status.QUEUED: "queued",
    Status.BUILDING: "in_progress",
    Status.CHECKING: "in_progress",
    Status.ROLLING_OUT: "in_progress",
    Status.LIVE: "success",
    Status.RETIRED: "inactive",
    Status.REVERTED: "failure",
    Status.FAILED: "failure",
    Status.SUPERSEDED: "inactive",
    Status.CANCELLED: "inactive",
}
COMMIT_STATES = {
    Status.QUEUED: "pending",
    Status.BUILDING: "pending",
    Status.CHECKING: "pending",
    Status.ROLLING_OUT: "pending",
    Status.LIVE: "success",
    Status.RETIRED: "success",
    Status.REVERTED: "failure",
    Status.FAILED: "failure",
    Status.SUPERSEDED: "error",
    Status.CANCELLED: "error",
    Status.PROVEN: "success",
}
CONCLUSIONS = {
    Status.PROVEN: "success",
    Status.FAILED: "failure",
    Status.SUPERSEDED: "cancelled",
    Status.CANCELLED: "cancelled",
}

_UNDER_WAY = {
    Status.QUEUED: "waits",
    Status.BUILDING: "is on its way",
    Status.CHECKING: "is on its way",
    Status.ROLLING_OUT: "is on its way",
}


def description(deploy: Deploy) -> str:
    """The state of a deploy and why: `iris/42 failed: the golden gate refused it: …`."""
    status = deploy.status
    if status is Status.SUPERSEDED and deploy.superseded_by is not None:
        return cut(f"{deploy.name} was superseded by {deploy.app}/{deploy.superseded_by}")
    if status in _UNDER_WAY:
        return cut(f"{deploy.name} {_UNDER_WAY[status]}")  # why it waits changes with each try
    if status is Status.LIVE and deploy.rollback_to is not None:
        return cut(f"{deploy.name} is live: back to {deploy.app}/{deploy.rollback_to}")
    said = f"{deploy.name} {status.predicate}"
    return cut(f"{said}: {deploy.reason}" if deploy.reason else said)


def cut(text: str, limit: int = MOST_DESCRIBED) -> str:
    """`text` on one line of at most so many characters, as GitHub counts them."""
    line = printable(" ".join(text.split()), limit)
    return line if len(line) <= limit else line[: limit - 1] + "…"
