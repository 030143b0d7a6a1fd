"""One roll-out in a process of its own, for the tests that kill it: `python -m tests.targets.kubernetes.roller FILE`.

FILE holds the daemon's config, the app, the deploy's number and the image, as JSON. Prints what the roll-out logs, at once.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from deployd.config.app import App
from deployd.config.daemon import Config
from deployd.domain import Image
from deployd.ports.log import Log
from deployd.targets.kubernetes.target import KubernetesTarget
from tests.fakes import FakeLog
from tests.targets.kubernetes.apps import a_deploy
from tests.targets.kubernetes.world import RecordedProgress


class PrintedLog(FakeLog):
    def write(self, text: str) -> None:
        super().write(text)
        print(text, end="", flush=True)


async def main(said: dict[str, Any]) -> None:
    config, app, image = Config.model_validate(said["config"]), App.model_validate(said["app"]), Image(**said["image"])
    deploy = a_deploy(said["number"], commit=image.tag)
    progress = RecordedProgress(deploy)
    log: Log = PrintedLog()
    progress.log = log
    async with KubernetesTarget(config, Path(said["state"])) as target:
        await target.roll_out(app, deploy, image, progress)


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
