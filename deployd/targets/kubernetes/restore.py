"""Write a good release into its Deployment again, and wait until it serves."""

import asyncio
import logging
from datetime import UTC, datetime

from deployd.domain import Deploy
from deployd.errors import RolloutFailed
from deployd.goal import Trigger
from deployd.ports.log import Log
from deployd.status import Status
from deployd.targets.kubernetes.admission import require_admission
from deployd.targets.kubernetes.deployment import AppDeployment
from deployd.targets.kubernetes.follow import following
from deployd.targets.kubernetes.others import asks_for
from deployd.targets.kubernetes.releases import Record, Release, Releases
from deployd.targets.kubernetes.rollout import aim_at
from deployd.targets.kubernetes.verdict import stale_deadline

logger = logging.getLogger(__name__)

_RESTORED_WITHIN_S = 60.0


async def restore(deployment: AppDeployment, releases: Releases, deploy: Deploy) -> bool:
    """Let `deploy` serve again; whether its release had to be made anew. RolloutFailed when somebody else has changed the
    Deployment."""
    found = await deployment.cluster.find(deployment.path)
    record = await asyncio.to_thread(releases.read, deploy.app) or Record(deployment.place)
    known = release = record.find(deploy.number)
    if release is None:
        if deploy.image is None or deploy.image.digest is None:
            raise RolloutFailed(f"{deploy.name} has no image to restore", hint="deploy its commit again")
        if deployment.settings.patch is not None:
            raise RolloutFailed(f"the patch of {deploy.name} is only in its commit", hint="deploy its commit again")
        release = await deployment.new_release(deploy, deploy.image, found)
        await deployment.write_secret()
    if record.taken_over:
        await deployment.let_go()
    else:
        await require_admission(deployment, release, deploy, found)
    applied = None if record.taken_over else await deployment.reapply(release, deploy)
    if applied is None:
        what = record.taken_over or f"somebody else changed the image of {deploy.app}"
        raise RolloutFailed(what, hint="deploy again to replace their change")
    await deployment.complete(found, release)
    aim = aim_at(release, applied, stale_deadline(applied), 15.0)

    async def tell(text: str) -> None:
        logger.info("%s: %s", deploy.app, text)

    async with following(deployment.cluster, deployment.app, applied) as follower:
        await follower.complete(aim, _RESTORED_WITHIN_S, tell)
    if record.last != release:
        await asyncio.to_thread(releases.write, deploy.app, record.adding(release))
    return known is None


async def restore_former(deployment: AppDeployment, before: Release, log: Log) -> None:
    """Write the release from before deployd took over again, if the Deployment asks for one of ours."""
    app = deployment.app
    found = await deployment.cluster.find(deployment.path)
    if found is not None and not asks_for(found, before):
        nobody = Trigger("rollback")
        deploy = Deploy(app.name, 0, before.commit, app.ref, nobody, Status.ROLLING_OUT, datetime.now(UTC))
        if await deployment.reapply(before, deploy) is not None:
            log.write(f"back to what ran before deployd: {before.image}\n")
