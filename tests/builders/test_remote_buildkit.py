"""A remote BuildKit for apps on Kubernetes, through a stand-in for docker with buildx: no engine is asked for anything.

The stand-in knows only the command lines that buildx documents; a real buildx cannot be had everywhere.
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from msgspec import structs

from deployd.builders import remote_buildkit
from deployd.builders.buildkit import BuildkitBuilder
from deployd.config.app import App
from deployd.config.daemon import BuilderSection, Registry
from deployd.domain import Image
from deployd.errors import BuildFailed, DeploydError, Unavailable
from deployd.ports.builder import BuildRequest, Present, Removal
from tests.builders.builds import a_context, a_request
from tests.fakes import FakeLog

ADDRESS = "tcp://buildkitd.example.com:1234"
DIGEST, CONFIG = "sha256:" + "d" * 64, "sha256:" + "c" * 64

STAND_IN = """#!{python}
import json, os, pathlib, sys
home = pathlib.Path({home!r})
said = sys.argv[1:]
home.joinpath("asked").open("a").write(json.dumps([said, os.environ.get("DOCKER_CONFIG", "")]) + "\\n")
def after(option):
    return said[said.index(option) + 1]
match said:
    case ["buildx", "version"] | ["buildx", "create", *_]:
        pass
    case ["buildx", "inspect", *_]:
        sys.exit(0 if home.joinpath("up").exists() else 1)
    case ["buildx", "prune", *_]:
        print("Total: 3MB")
    case ["buildx", "imagetools", "inspect", "--format", "{{{{json .}}}}", name]:
        kept = home / "kept"
        if not kept.exists():
            print(f"ERROR: {{name}}: not found")
            sys.exit(1)
        print(kept.read_text())
    case ["buildx", "build", *_]:
        home.joinpath("context").write_bytes(sys.stdin.buffer.read())
        if home.joinpath("refusal").exists():
            print("#9 [auth] pushing\\n#9 ERROR: " + home.joinpath("refusal").read_text())
            sys.exit(1)
        known = {{}}
        if os.environ.get("DOCKER_CONFIG"):
            known = json.loads(pathlib.Path(os.environ["DOCKER_CONFIG"], "config.json").read_text())
        home.joinpath("auths").write_text(json.dumps(known.get("auths", {{}})))
        pathlib.Path(after("--metadata-file")).write_text(home.joinpath("metadata").read_text())
    case _:
        print("Cannot connect to the Docker daemon")
        sys.exit(1)
"""


@dataclass
class Bench:
    """The stand-in's home, and a builder that uses it."""

    home: Path
    builder: BuildkitBuilder
    request: BuildRequest

    @property
    def asked(self) -> list[list[str]]:
        """The command lines so far."""
        return [json.loads(line)[0] for line in (self.home / "asked").read_text().splitlines()]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("REGISTRY_PASSWORD", "se-cret")
    client = tmp_path / "docker"
    client.write_text(STAND_IN.format(python=sys.executable, home=str(tmp_path)))
    client.chmod(0o755)
    (tmp_path / "metadata").write_text(
        json.dumps({"containerimage.digest": DIGEST, "containerimage.config.digest": CONFIG})
    )
    section = BuilderSection.model_validate({"kind": "buildkit", "address": ADDRESS})
    registry = Registry(url="registry.example.com/team", username="deployd", password="env:REGISTRY_PASSWORD")
    builder = BuildkitBuilder(section, tmp_path / "state", registry, client=client)
    return Bench(tmp_path, builder, on_kubernetes(a_request("test")))


def on_kubernetes(request: BuildRequest) -> BuildRequest:
    settings = request.app.model_dump(exclude={"gateway", "docker"}, exclude_defaults=True, mode="json")
    app = App.model_validate({**settings, "target": "kubernetes", "kubernetes": {"namespace": "ml"}})
    return replace(request, app=app, name="registry.example.com/team/iris")


async def test_buildkit_pushes_the_image_and_the_build_returns_its_digest(bench: Bench) -> None:
    async with a_context("RUN true") as context:
        image = await bench.builder.build(bench.request, context, FakeLog())
    assert image.reference == f"registry.example.com/team/iris@{DIGEST}"
    assert image.id == CONFIG
    (build,) = [command for command in bench.asked if command[:2] == ["buildx", "build"]]
    assert "--push" in build
    assert "--load" not in build
    assert build[build.index("--builder") + 1] == remote_buildkit.remote_name(ADDRESS)
    assert build[build.index("--tag") + 1] == bench.request.full_name
    assert list(json.loads((bench.home / "auths").read_text())) == ["registry.example.com"]
    assert (bench.home / "context").stat().st_size > 0
    assert not (bench.home / "state" / "builds").exists()


async def test_no_engine_is_asked(bench: Bench) -> None:
    (bench.home / "up").touch()
    await bench.builder.ping()
    assert await bench.builder.find(an_image(bench)) is None
    assert {command[0] for command in bench.asked} == {"buildx"}


@pytest.mark.parametrize(("set_to", "freed"), [({}, 0), ({"cache_limit": "20GiB"}, 3_000_000)])
async def test_a_cache_that_others_may_have_filled_is_trimmed_only_to_a_limit_that_was_set(
    bench: Bench, set_to: dict[str, str], freed: int
) -> None:
    section = BuilderSection.model_validate({"kind": "buildkit", "address": ADDRESS, **set_to})
    builder = BuildkitBuilder(section, bench.home / "state", client=bench.home / "docker")
    (bench.home / "up").touch()
    await builder.ping()
    assert await builder.trim(section.cache_bytes) == freed
    assert any("prune" in command for command in bench.asked) == bool(set_to)


async def test_a_buildkit_that_does_not_answer_is_unavailable(bench: Bench) -> None:
    with pytest.raises(Unavailable):
        await bench.builder.ping()


async def test_an_image_that_was_built_before_is_found_in_the_registry(bench: Bench) -> None:
    (bench.home / "kept").write_text(json.dumps({"manifest": {"digest": DIGEST}}))
    assert await bench.builder.find(an_image(bench)) == Present(0)
    assert await bench.builder.find(structs.replace(an_image(bench), digest=CONFIG)) is None
    (bench.home / "kept").write_text('{"manifest": []}')
    assert await bench.builder.find(an_image(bench)) is None


async def test_an_image_in_the_registry_is_left_to_the_registry(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "nonsense")
    assert await bench.builder.remove(an_image(bench)) == Removal(done=True)


def an_image(bench: Bench) -> Image:
    """What the registry has of the request."""
    return Image(bench.request.name, bench.request.tag, CONFIG, DIGEST)


@pytest.mark.parametrize("metadata", ["", "{}", "[]", '{"containerimage.digest": "latest"}'])
async def test_a_build_without_a_digest_is_unavailable(bench: Bench, metadata: str) -> None:
    (bench.home / "metadata").write_text(metadata)
    async with a_context("RUN true") as context:
        with pytest.raises(Unavailable, match="without the digest"):
            await bench.builder.build(bench.request, context, FakeLog())


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("failed to push registry.example.com/team/iris: push access denied", BuildFailed),
        ("failed to push registry.example.com/team/iris: dial tcp: i/o timeout", Unavailable),
        ("failed to push registry.example.com/team/iris: unexpected status: 503 Service Unavailable", Unavailable),
    ],
)
async def test_a_refused_push_fails_the_build_and_any_other_is_unavailable(
    bench: Bench, words: str, kind: type[DeploydError]
) -> None:
    (bench.home / "refusal").write_text(words)
    async with a_context("RUN true") as context:
        with pytest.raises(kind, match="failed to push"):
            await bench.builder.build(bench.request, context, FakeLog())


def test_plain_http_is_used_only_for_an_insecure_registry(tmp_path: Path) -> None:
    assert "registry.insecure=true" not in " ".join(remote_buildkit.push_options(tmp_path, insecure=False))
    assert "registry.insecure=true" in " ".join(remote_buildkit.push_options(tmp_path, insecure=True))
