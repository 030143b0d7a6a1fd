"""The five Kubernetes programs, built once per machine from Debian's source package, and kept in the cache.

Debian ships the whole vendored source, but only kubectl as a package. Knows how they are built, not how they run.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from deployd.bringup.cache import directory, locked
from deployd.bringup.packages import ensure_packages, mirror
from deployd.bringup.progress import Progress
from deployd.errors import Unavailable
from tests.testbed.programs import unpacked

VERSION = "1.20.2"
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
_IMPORT_PATH = "k8s.io/kubernetes"
# The programs print the first, the API server answers the second.
_VERSION_PLACES = tuple(f"{_IMPORT_PATH}/vendor/k8s.io/{name}/version" for name in ("component-base", "client-go/pkg"))
_REFLECT = "github.com/modern-go/reflect2"
_REFLECT_PACKAGE = "golang-github-modern-go-reflect2-dev"
_MARK = b"+k8s:openapi-gen="
_WITHOUT_MARK = ("code-generator", "sample-apiserver", "testdata")


def built() -> Path | None:
    """The directory of the programs; None when this machine has not built them yet."""
    path = directory() / f"kubernetes-{VERSION}"
    return path if all((path / name).exists() for name in PROGRAMS) else None


def ensure(progress: Progress) -> Path:
    """The directory of the programs, built if necessary (about five minutes on two cores); Unavailable except on Debian."""
    if found := built():
        return found
    with locked("kubernetes-build"):
        return built() or _build(progress)


def _build(progress: Progress) -> Path:
    ensure_packages("golang-go", "dpkg-dev", progress=progress)
    scratch = directory() / "kubernetes-build"
    into = directory() / f"kubernetes-{VERSION}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        made = _compiled(_Tree(scratch), progress)
        shutil.rmtree(into, ignore_errors=True)
        made.replace(into)
    finally:
        shutil.rmtree(scratch)
    return into


def _compiled(tree: "_Tree", progress: Progress) -> Path:
    with progress.step(f"fetching the source of Kubernetes {VERSION} from Debian"):
        tree.fetch()
        tree.mend()
    with progress.step("generating what Debian's source leaves out"):
        tree.generate()
    with progress.step(f"building Kubernetes {VERSION} (once a machine, some minutes)", total=tree.packages()) as step:
        return tree.compile(step.advance)


class _Tree:
    """The source in its own GOPATH, and everything that the build creates."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._source = scratch / "go/src" / _IMPORT_PATH
        self._environment = os.environ | {
            "GOPATH": str(scratch / "go"),
            "GOCACHE": str(scratch / "cache"),
            "GO111MODULE": "off",
            "CGO_ENABLED": "0",
        }

    def fetch(self) -> None:
        """Fetch the source package by apt, with separate package lists, so that the host's apt settings stay unchanged."""
        sources = self._scratch / "sources.list"
        sources.write_text(f"deb-src {mirror()} bookworm main\n")
        lists = self._scratch / "lists"
        (lists / "partial").mkdir(parents=True)
        apt = ["apt-get", "--quiet=2", "-o", f"Dir::Etc::SourceList={sources}", "-o", "Dir::Etc::SourceParts=-"]
        apt += ["-o", f"Dir::State::Lists={lists}", "-o", "APT::Sandbox::User=root"]
        self._run([*apt, "update"], self._scratch)
        self._run([*apt, "source", "--download-only", "kubernetes"], self._scratch)
        self._source.parent.mkdir(parents=True)
        description = next(self._scratch.glob("kubernetes_*.dsc"))
        self._run(["dpkg-source", "--extract", str(description), str(self._source)], self._scratch)

    def mend(self) -> None:
        """Replace the vendored reflect2 1.0.1 by Debian's 1.0.2. Built by Go 1.18 or later, 1.0.1 corrupts memory, and the API
        server crashes with SIGSEGV every few thousand requests."""
        vendored = self._source / "vendor" / _REFLECT
        shutil.rmtree(vendored)
        shutil.copytree(unpacked(_REFLECT_PACKAGE) / "usr/share/gocode/src" / _REFLECT, vendored)

    def generate(self) -> None:
        """Generate the OpenAPI definitions, the one generated file that is missing from the source package."""
        generator = str(self._scratch / "openapi-gen")
        self._run(["go", "build", "-o", generator, "./vendor/k8s.io/kube-openapi/cmd/openapi-gen"])
        header = "vendor/k8s.io/code-generator/hack/boilerplate.go.txt"
        where = ["-p", f"{_IMPORT_PATH}/pkg/generated/openapi", "-O", "zz_generated.openapi"]
        inputs = ["-i", ",".join(sorted(set(self._marked())))]
        self._run([generator, *inputs, *where, "-h", header, "-r", str(self._scratch / "report")])

    def packages(self) -> int:
        """The number of packages to compile: the total of the progress bar."""
        names = '{{if not .Standard}}{{.ImportPath}}{{"\\n"}}{{end}}'
        return len(self._run(["go", "list", "-deps", "-f", names, *self._commands()]).split())

    def compile(self, each_package: Callable[[], None]) -> Path:
        """Build the programs; calls `each_package` for every compiled package."""
        major, minor, _ = VERSION.split(".")
        stamps = {"gitVersion": f"v{VERSION}", "gitMajor": major, "gitMinor": minor}
        stamped = [f"-X {place}.{name}={value}" for place in _VERSION_PLACES for name, value in stamps.items()]
        flags = " ".join(["-s", "-w", *stamped])
        into = self._scratch / "bin"
        into.mkdir()
        command = ["nice", "go", "build", "-v", "-ldflags", flags, "-o", str(into), *self._commands()]
        said: list[str] = []
        with subprocess.Popen(
            command,
            cwd=self._source,
            env=self._environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        ) as process:
            for line in process.stderr or ():
                said.append(line)
                each_package()
        if process.returncode:
            raise Unavailable("Kubernetes does not build", hint="".join(said[-20:]))
        return into

    def _commands(self) -> list[str]:
        return [f"./cmd/{name}" for name in PROGRAMS]

    def _marked(self) -> Iterator[str]:
        for top in ("pkg", "cmd", "staging/src/k8s.io"):
            for path in (self._source / top).rglob("*.go"):
                name = path.relative_to(self._source).parent.as_posix()
                if not any(word in name for word in _WITHOUT_MARK) and _MARK in path.read_bytes():
                    yield f"{_IMPORT_PATH}/{name.replace('staging/src/', 'vendor/')}"

    def _run(self, command: list[str], where: Path | None = None) -> str:
        done = subprocess.run(
            command, cwd=where or self._source, env=self._environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Unavailable(f"{command[0]} {command[1]} failed", hint=(done.stderr or done.stdout).strip()[-2000:])
        return done.stdout
