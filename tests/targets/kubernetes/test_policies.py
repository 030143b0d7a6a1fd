"""What a real API server says when an admission webhook refuses, warns, or writes another image. It is the test's own."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from deployd.domain import Health
from deployd.errors import RolloutFailed
from tests.targets.kubernetes.apps import a_deploy
from tests.targets.kubernetes.world import RecordedProgress, World
from tests.testbed import certificates

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

WORDS = "every Deployment needs the label team"


class Webhook:
    """Answers for the Deployments of one namespace with what `answer` holds."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] = {}

    async def review(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        answer = {"allowed": True, **self.answer, "uid": asked["request"]["uid"]}
        return web.json_response({"apiVersion": asked["apiVersion"], "kind": asked["kind"], "response": answer})

    def warn(self, text: str) -> None:
        self.answer = {"warnings": [text]}

    def refuse(self, code: int) -> None:
        self.answer = {"allowed": False, "status": {"code": code, "message": WORDS}}

    def replace_image(self, image: str) -> None:
        path = "/spec/template/spec/containers/0/image"
        patch = json.dumps([{"op": "replace", "path": path, "value": image}])
        self.answer = {"patchType": "JSONPatch", "patch": base64.b64encode(patch.encode()).decode()}


@pytest.fixture
async def webhook(world: World, tmp_path: Path) -> AsyncIterator[Webhook]:
    """A webhook that the API server asks about every write of a Deployment in the test's namespace."""
    if not world.cluster.is_here:
        pytest.skip("the API server of the cluster cannot reach this machine")
    directory, address = tmp_path / "webhook", world.cluster.node_address()
    directory.mkdir()
    certificates.make(directory, [address], [])
    trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trust.load_cert_chain(directory / "apiserver.crt", directory / "apiserver.key")
    made = Webhook()
    served = web.Application()
    served.router.add_post("/", made.review)
    runner = web.AppRunner(served)
    await runner.setup()
    await web.TCPSite(runner, address, 0, ssl_context=trust).start()
    authority = base64.b64encode((directory / "ca.crt").read_bytes()).decode()
    url = f"https://{address}:{runner.addresses[0][1]}/"
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": world.namespace},
        "webhooks": [
            {
                "name": "owners.example.com",
                "clientConfig": {"url": url, "caBundle": authority},
                "namespaceSelector": {"matchLabels": {"deployd-test": world.namespace}},
                "rules": [
                    {
                        "apiGroups": ["apps"],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["deployments"],
                    }
                ],
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }
    world.cluster.kubectl("label", "namespace", world.namespace, f"deployd-test={world.namespace}")
    world.cluster.kubectl("create", "--filename=-", given=json.dumps(configuration))
    try:
        yield made
    finally:
        world.cluster.kubectl("delete", "mutatingwebhookconfiguration", world.namespace)
        await runner.cleanup()


async def test_a_warning_of_an_admission_webhook_is_logged_and_its_refusal_changes_nothing(
    world: World, webhook: Webhook
) -> None:
    app = world.app()
    webhook.warn('the field "spec.old" is deprecated')
    first = await world.roll_out(app, 1, world.image("one"))
    assert first.text.count('warning: the field "spec.old" is deprecated\n') == 1
    before = world.deployment()
    for code in (422, 409, 500):
        webhook.refuse(code)
        failed, progress = await world.fails(app, 2, world.image("two"))
        assert failed.message == f'admission webhook "owners.example.com" denied the request: {WORDS}'
        assert "policy" in failed.hint
        assert "cutting over" not in progress.told
    webhook.replace_image("mirror.example.com/iris:two")
    failed, progress = await world.fails(app, 2, world.image("two"))
    assert "by mirror.example.com/iris:two" in failed.message
    assert "cutting over" not in progress.told
    after = world.deployment()
    assert (after["spec"], after["metadata"]["annotations"]) == (before["spec"], before["metadata"]["annotations"])
    live = a_deploy(1, image=first.image)
    with pytest.raises(RolloutFailed, match=r"by mirror\.example\.com/iris:two"):
        await world.target.restore(app, live)
    webhook.answer = {}
    assert await world.target.health(app, live) == Health()
    # The live release has to be written again, and is refused: the caller is told why, at once.
    world.kubectl("delete", "deployment", "iris")
    webhook.refuse(422)
    with pytest.raises(RolloutFailed, match=WORDS):
        await world.target.restore(app, live)
    webhook.answer = {}
    assert await world.target.restore(app, live) is False


async def test_a_deployment_to_adopt_keeps_its_image_when_a_webhook_refuses(world: World, webhook: Webhook) -> None:
    words = ("create", "deployment", "iris", f"--image={world.registry.address}/nothing:here", "--replicas=0")
    await asyncio.to_thread(world.kubectl, *words)  # the webhook is asked, and answers in this loop
    before = world.deployment()
    webhook.refuse(422)
    image = world.image("one")
    deploy, app = a_deploy(1, commit=image.tag), world.app(create=False, container=None)
    progress = RecordedProgress(deploy)
    with pytest.raises(RolloutFailed, match=WORDS):
        await world.target.roll_out(app, deploy, image, progress)
    assert world.deployment()["spec"] == before["spec"]
