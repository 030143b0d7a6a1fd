"""A remote BuildKit that pushes its images to the registry itself: the commands for buildx, and the meaning of its answers.

Pure. No engine is used: the digest is in the build's metadata, and the registry is asked for an image that was built before.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployd.domain import Image
from deployd.errors import BuildFailed, DeploydError, Unavailable
from deployd.ports.builder import BuildRequest

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REFUSED = re.compile(
    r"denied|unauthorized|forbidden|authoriz|insufficient.scope|immutable|quota|invalid|http response to https",
    re.IGNORECASE,
)


def remote_name(address: str) -> str:
    """The name of the BuildKit at `address` in buildx."""
    return f"deployd-{hashlib.sha256(address.encode()).hexdigest()[:12]}"


def attach_command(client: Path, address: str) -> list[str]:
    """The command that registers the BuildKit at `address` with buildx."""
    return [str(client), "buildx", "create", "--name", remote_name(address), "--driver", "remote", address]


def answers_command(client: Path, address: str) -> list[str]:
    """The command that succeeds if it answers. Without --bootstrap, buildx does not connect to a remote one."""
    return [str(client), "buildx", "inspect", "--bootstrap", remote_name(address)]


def push_options(directory: Path, *, insecure: bool) -> list[str]:
    """The options that push the image to the registry, without attestations: with them the digest would be that of an index,
    which not every registry accepts."""
    output = ["--output", "type=image,push=true,registry.insecure=true"] if insecure else ["--push"]
    return [*output, "--provenance=false", "--metadata-file", str(directory / "metadata")]


def pushed(request: BuildRequest, metadata: str) -> Image:
    """The image that a build with `push_options` pushed, from its metadata."""
    try:
        said = json.loads(metadata)
        digest = said["containerimage.digest"]
        config = said.get("containerimage.config.digest", digest)
    except (ValueError, TypeError, KeyError, AttributeError):
        digest = config = ""
    if not _DIGEST.fullmatch(digest):
        raise Unavailable("BuildKit ended the build without the digest of an image", hint="was it restarted?")
    return Image(request.name, request.tag, str(config), str(digest))


def find_command(client: Path, image: Image) -> list[str]:
    """The command that asks the registry for an image, by its name there."""
    return [str(client), "buildx", "imagetools", "inspect", "--format", "{{json .}}", image.full_name]


def has(image: Image, answer: str) -> bool:
    """Whether the answer to `find_command` is that image; not for an unknown answer: then it is built again, from the cache."""
    try:
        said: Mapping[str, Any] = json.loads(answer[answer.index("{") :])
        return bool(said["manifest"]["digest"] == image.digest)
    except (ValueError, TypeError, KeyError):
        return False


def push_failed(failure: DeploydError) -> DeploydError:
    """The error for a build whose push failed: BuildFailed when the registry refused it, else Unavailable."""
    if "failed to push" not in failure.message:
        return failure
    if _REFUSED.search(failure.message):
        return BuildFailed(failure.message, hint="check that the user in [registry] may push there")
    return Unavailable(failure.message, hint="BuildKit cannot reach the registry")
