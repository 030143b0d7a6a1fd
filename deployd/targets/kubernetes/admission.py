"""Asks the cluster, before anything is changed, how it would admit a release.

Its policies may refuse it, and a webhook may write another image in its place, as that of a mirror. deployd names an image by its
digest, proves that one, and knows by its name whether somebody else has set another: it does not deploy where it is rewritten.
"""

from deployd.domain import Deploy
from deployd.errors import RolloutFailed
from deployd.targets.kubernetes.answers import Refused
from deployd.targets.kubernetes.client import Json
from deployd.targets.kubernetes.deployment import AppDeployment
from deployd.targets.kubernetes.releases import Release
from deployd.targets.kubernetes.verdict import image_of


async def require_admission(
    deployment: AppDeployment, release: Release, deploy: Deploy, found: Json | None
) -> Json | None:
    """The Deployment as it would be with `release`; None when the API server does not tell. RolloutFailed when a policy refuses
    the release, or its image would be replaced. `found` is the Deployment as it is."""
    try:
        would = await deployment.would_be(release, deploy, found)
    except Refused as refused:
        if refused.denied:
            raise
        return None  # a webhook that does not support dry runs, or a race: the write itself will tell
    image = image_of(would["spec"]["template"], release.container)
    if image != release.image:
        raise RolloutFailed(
            f"the cluster replaces the image {release.image} by {image}",
            hint="exclude this Deployment from that webhook or policy: only the image that deployd proved may run",
        )
    return would
