"""A BuildKit elsewhere, whose images go from it straight to the registry: what buildx is asked, and what its answers mean.

Pure. No engine takes part: the digest comes out of the build's own metadata, and an earlier image is asked of the registry.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployd.domain import Image
from deployd.errors import BuildFailed, DeploydError, Unavailable
from deployd.ports import BuildRequest

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REFUSED = re.compile(
    r"denied|unauthorized|forbidden|authoriz|insufficient.scope|immutable|quota|invalid|http response to https",
    re.IGNORECASE,
)


def remote_name(address: str) -> str:
    """What buildx calls the BuildKit at `address`."""
    return f"deployd-{hashlib.sha256(address.encode()).hexdigest()[:12]}"


def attach_command(client: Path, address: str) -> list[str]:
    """Make the BuildKit at `address` known to buildx."""
    return [str(client), "buildx", "create", "--name", remote_name(address), "--driver", "remote", address]


def answers_command(client: Path, address: str) -> list[str]:
    """Ask whether it is there: of a remote one buildx says so only when told to start it."""
    return [str(client), "buildx", "inspect", "--bootstrap", remote_name(address)]


def push_options(directory: Path, *, insecure: bool) -> list[str]:
    """The part of a build's command line that lets the image go to the registry. Its digest is then that of a plain manifest:
    with attestations it would be an index, which not every registry takes."""
    output = ["--output", "type=image,push=true,registry.insecure=true"] if insecure else ["--push"]
    return [*output, "--provenance=false", "--metadata-file", str(directory / "metadata")]


def pushed(request: BuildRequest, metadata: str) -> Image:
    """The image that a build with `push_options` left in the registry."""
    try:
        said = json.loads(metadata)
        digest = said["containerimage.digest"]
        config = said.get("containerimage.config.digest", digest)
    except (ValueError, TypeError, KeyError, AttributeError):
        digest = config = ""
    if not _DIGEST.fullmatch(digest):
        raise Unavailable("BuildKit ended the build without the digest of an image", hint="was it restarted?")
    return Image(request.name, request.commit, str(config), str(digest))


def find_command(client: Path, request: BuildRequest) -> list[str]:
    """Ask the registry for the image of `request`, with its config."""
    name = f"{request.name}:{request.commit}"
    return [str(client), "buildx", "imagetools", "inspect", "--format", "{{json .}}", name]


def found(request: BuildRequest, answer: str) -> Image | None:
    """The image that `find_command` found, if it carries the request's labels; None for whatever is not understood: then it
    is built again, from the cache."""
    try:
        said: Mapping[str, Any] = json.loads(answer[answer.index("{") :])
        digest, image = said["manifest"]["digest"], said["image"]
        labels = image["config"]["Labels"]
        if not _DIGEST.fullmatch(digest) or not request.image_labels.items() <= labels.items():
            return None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return Image(request.name, request.commit, str(digest), str(digest))


def push_failed(failure: DeploydError) -> DeploydError:
    """A build that failed only in its push: the registry is away, unless it says that it will not have the image."""
    if "failed to push" not in failure.message:
        return failure
    if _REFUSED.search(failure.message):
        return BuildFailed(failure.message, hint="see [registry]: may its user push there?")
    return Unavailable(failure.message, hint="BuildKit does not reach the registry")
