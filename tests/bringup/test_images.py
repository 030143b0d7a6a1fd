import io
import tarfile
from pathlib import Path
from time import monotonic

import pytest

from deployd.bringup import images
from deployd.bringup.engine import Engine
from deployd.bringup.ports import free_port
from deployd.bringup.progress import Progress
from deployd.errors import Unavailable
from tests.testbed.registry import Registry


def run(engine: Engine, instance: str, image: str, *command: str, entrypoint: list[str] | None = None) -> str:
    """Run a container of `image`, which must exit with 0; return its output."""
    api = engine.api(timeout=60)
    wanted = {"Image": image, "Cmd": list(command), "Labels": {"io.deployd.instance": instance}, "Tty": True}
    made = api.post("/containers/create", wanted | ({} if entrypoint is None else {"Entrypoint": entrypoint}))
    api.post(f"/containers/{made['Id']}/start")
    code = api.post(f"/containers/{made['Id']}/wait")["StatusCode"]
    printed = api.text(f"/containers/{made['Id']}/logs?stdout=1&stderr=1")
    assert code == 0, printed
    return printed.replace("\r\n", "\n")


def test_a_context_contains_the_files() -> None:
    context = images.context_of({"Dockerfile": b"FROM scratch\n", "host/etc/pip.conf": b"[global]\n"})
    with tarfile.open(fileobj=io.BytesIO(context)) as archive:
        assert archive.getnames() == ["Dockerfile", "host/etc/pip.conf"]
        content = archive.extractfile("host/etc/pip.conf")
        assert content is not None
        assert content.read() == b"[global]\n"


@pytest.mark.engine
def test_without_a_registry_a_pull_fails_within_seconds(docker_engine: Engine) -> None:
    began = monotonic()
    with pytest.raises(Unavailable):
        images.pull(docker_engine.url, f"127.0.0.1:{free_port()}/nothing:here", Progress())
    assert monotonic() - began < 20


@pytest.mark.engine
def test_an_image_is_pulled_from_a_registry(base_images: Engine, registry: Registry, instance: str) -> None:
    api = base_images.api(timeout=60)
    name = f"{registry.address}/{instance}:here"
    images.build(api, name, f"FROM scratch\nCOPY file /\nLABEL io.deployd.instance={instance}\n", {"file": b"content"})
    for _ in api.stream(f"/images/{registry.address}/{instance}/push?tag=here", headers={"X-Registry-Auth": "e30="}):
        pass
    assert api.delete(f"/images/{name}")
    assert not images.present(api, name)
    images.pull(base_images.url, name, Progress())
    assert images.present(api, name)


@pytest.mark.engine
def test_a_failed_build_carries_its_output(base_images: Engine, instance: str) -> None:
    dockerfile = f"FROM {images.PYTHON}\nLABEL io.deployd.instance={instance}\nRUN echo it is broken; exit 3\n"
    with pytest.raises(Unavailable, match="does not build") as refused:
        images.build(base_images.api(timeout=60), f"{instance}:broken", dockerfile, {})
    assert "it is broken" in refused.value.hint


@pytest.mark.engine
def test_a_root_file_system_becomes_an_image(base_images: Engine, instance: str, tmp_path: Path) -> None:
    archive = tmp_path / "root.tar"
    archive.write_bytes(images.context_of({"etc/made-by": b"a test\n"}))
    api = base_images.api(timeout=60)
    images.import_root(api, archive, f"{instance}:root")
    try:
        assert images.present(api, f"{instance}:root")
    finally:
        api.delete(f"/images/{instance}:root")


@pytest.mark.engine
def test_the_python_image_has_python_pip_and_venv(base_images: Engine, instance: str) -> None:
    check = "python --version && pip --version && python -m venv /tmp/v && /tmp/v/bin/python -c 'import ssl, sqlite3'"
    printed = run(base_images, instance, images.PYTHON, "sh", "-c", check)
    assert "Python 3.11." in printed
    assert "python 3.11" in printed


@pytest.mark.engine
def test_the_haproxy_image_runs_haproxy_as_user_99(base_images: Engine, instance: str) -> None:
    assert "HAProxy version" in run(base_images, instance, images.HAPROXY, "-v")
    assert run(base_images, instance, images.HAPROXY, "-u", entrypoint=["id"]).strip() == "99"


@pytest.mark.engine
def test_present_images_are_not_made_again(base_images: Engine) -> None:
    began = monotonic()
    images.ensure(base_images)
    assert monotonic() - began < 5
