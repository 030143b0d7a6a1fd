"""The parts of a Dockerfile that a builder must know before it starts: stages, base images, the frontend, what needs BuildKit.

Pure. Not a validator: the engine reports errors in a Dockerfile, in its own words.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from deployd.config.app import Build
from deployd.errors import BuildFailed

_DIRECTIVE = re.compile(r"\s*(?:#|//)\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(\S.*)")
_JSON_SYNTAX = re.compile(r'\s*\{.*?"syntax"\s*:\s*"([^"]*)"', re.DOTALL)
_INSTRUCTION = re.compile(r"\s*([a-zA-Z]+)(?:\s+(.*))?", re.DOTALL)
_FLAG = re.compile(r"--[a-z]\S*\s*")
_WORD = re.compile(r"""(?:[^\s"']|"(?:\\.|[^"\\])*"|'[^']*')+""")
_HEREDOC = re.compile(r"""\d*<<(-?)(["']?)([^<"']+)\2""")
_OFFICIAL = re.compile(r"(?:(?:docker\.io/)?docker/dockerfile(?:-upstream)?)(?:[:@][\w.:@-]+)?")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::-([^}]*))?\}|(\w+))")
_PLATFORM_ARGUMENT = re.compile(r"\$\{?((?:BUILD|TARGET)(?:PLATFORM|OS|ARCH|VARIANT))\b")

# The flags that the classic builder supports; all others need BuildKit.
_CLASSIC_FLAGS: Mapping[str, frozenset[str]] = {
    "FROM": frozenset({"platform"}),
    "COPY": frozenset({"from", "chown"}),
    "ADD": frozenset({"chown"}),
    "HEALTHCHECK": frozenset({"interval", "timeout", "start-period", "retries"}),
}
_WITH_HEREDOC = frozenset({"RUN", "COPY", "ADD"})
_NEEDS_BUILDKIT = 'needs builder.kind = "buildkit"'
_HINT = 'set kind = "buildkit" in [builder], or remove it'


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, continuation lines joined. `line` counts from 1, `name` is upper case; heredoc bodies are left out."""

    line: int
    name: str
    flags: tuple[str, ...]
    rest: str
    heredocs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """`FROM image AS name`; the name is lower case, or the stage's number as text. `spelled`: as the Dockerfile has it."""

    line: int
    name: str
    image: str
    spelled: str


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A parsed Dockerfile. `syntax` is the image that BuildKit would run to read it, None for the built-in frontend."""

    path: str
    syntax: str | None
    instructions: tuple[Instruction, ...]
    stages: tuple[Stage, ...] = field(default=())

    def problem(self, line: int, text: str, hint: str = "") -> BuildFailed:
        """`Dockerfile, line 3: text`."""
        return BuildFailed(f"{self.path}, line {line}: {text}", hint=hint)


def parse(content: bytes, path: str = "Dockerfile") -> Dockerfile:
    """Parse a Dockerfile. Never fails: an invalid line becomes an instruction that the engine will refuse."""
    text = content.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n")
    directives = _directives(text)
    lines = text.split("\n")
    escape = "`" if directives.get("escape") == "`" else "\\"
    instructions = tuple(_instructions(lines, escape))
    return Dockerfile(path, _syntax(text, directives), instructions, tuple(_stages(instructions)))


def check(dockerfile: Dockerfile, build: Build, args: Mapping[str, str]) -> None:
    """BuildFailed when the Dockerfile lacks the app's stage, or names a frontend other than docker/dockerfile."""
    for frontend in filter(None, (dockerfile.syntax, args.get("BUILDKIT_SYNTAX"))):
        if not _OFFICIAL.fullmatch(frontend):
            raise BuildFailed(
                f"{dockerfile.path}: the frontend {frontend} is not allowed", hint="only docker/dockerfile is"
            )
    names = [stage.name for stage in dockerfile.stages if not stage.name.isdecimal()]
    if build.stage is None or build.stage.lower() in names:
        return
    known = f"its stages are: {', '.join(names)}" if names else "name one: FROM … AS NAME"
    raise BuildFailed(f"{dockerfile.path} has no stage {build.stage}", hint=known)


def stage(dockerfile: Dockerfile, build: Build) -> str | None:
    """The app's stage as the Dockerfile spells it, since Podman tells `Build` from `build`; None for the last one."""
    wanted = build.stage.lower() if build.stage is not None else None
    return next((each.spelled for each in dockerfile.stages if each.name == wanted), None)


def check_classic(dockerfile: Dockerfile, build: Build, args: Mapping[str, str]) -> None:
    """BuildFailed at the first instruction that the engine's classic builder cannot run."""
    if dockerfile.syntax is not None:
        raise dockerfile.problem(1, f"# syntax={dockerfile.syntax} {_NEEDS_BUILDKIT}", _HINT)
    for instruction in dockerfile.instructions:
        if what := _beyond_classic(instruction, args):
            raise dockerfile.problem(instruction.line, f"{what} {_NEEDS_BUILDKIT}", _HINT)
    if build.secrets:
        raise BuildFailed(
            f"app.build.secrets {_NEEDS_BUILDKIT}", hint="a build arg would stay in the image: use BuildKit"
        )


def bases(dockerfile: Dockerfile, args: Mapping[str, str]) -> Sequence[str]:
    """The base images of the stages, with the args before the first stage filled in; other stages are left out."""
    names = {stage.name for stage in dockerfile.stages}
    known = dict(_args_before_stages(dockerfile, args))
    images = (_VARIABLE.sub(lambda match: _value(match, known), stage.image) for stage in dockerfile.stages)
    return list(dict.fromkeys(image for image in images if image and image.lower() not in names | {"scratch"}))


def _beyond_classic(instruction: Instruction, args: Mapping[str, str]) -> str | None:
    name = instruction.name
    if name == "ONBUILD":
        inner = _instruction(instruction.line, instruction.rest)
        return _beyond_classic(inner, args) if inner else None
    if instruction.heredocs:
        return f"{name} <<{instruction.heredocs[0]}"
    allowed = _CLASSIC_FLAGS.get(name, frozenset())
    for flag in instruction.flags:
        option = flag.removeprefix("--").partition("=")[0]
        if option not in allowed:
            return f"{name} --{option}"
        argument = _PLATFORM_ARGUMENT.search(flag) if name == "FROM" else None
        if argument and argument[1] not in args:
            return f"FROM --platform=${argument[1]}"
    return None


def _args_before_stages(dockerfile: Dockerfile, args: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for instruction in dockerfile.instructions:
        if instruction.name == "FROM":
            return
        if instruction.name == "ARG":
            name, _, default = instruction.rest.partition("=")
            yield name, args.get(name, default.strip("\"'"))


def _value(match: re.Match[str], known: Mapping[str, str]) -> str:
    """The value of `$NAME`, `${NAME}` or `${NAME:-default}`."""
    return known.get(match[1] or match[3], "") or match[2] or ""


def _directives(text: str) -> dict[str, str]:
    """The `# key=value` lines at the top. They end at the first other line, even a comment or a blank line."""
    found: dict[str, str] = {}
    lines = text.split("\n")
    if lines[0].startswith("#!"):
        del lines[0]
    for line in lines:
        match = _DIRECTIVE.fullmatch(line)
        if match is None:
            break
        found.setdefault(match[1].lower(), match[2].rstrip())
    return found


def _syntax(text: str, directives: Mapping[str, str]) -> str | None:
    """The image in the syntax directive. BuildKit also accepts it in a `//` comment or in a JSON object at the top."""
    as_json = _JSON_SYNTAX.match(text)
    return directives.get("syntax") or (as_json[1] if as_json else None)


def _instructions(lines: Sequence[str], escape: str) -> Iterator[Instruction]:
    continues = re.compile(re.escape(escape) + r"[ \t]*\Z")
    at = 0
    while at < len(lines):
        first, joined = at + 1, ""
        while at < len(lines):
            line, at = lines[at], at + 1
            if _comment_or_blank(line):
                if joined:
                    continue
                break
            more = continues.search(line)
            joined += line[: more.start()] if more else line
            if not more:
                break
        instruction = _instruction(first, joined)
        if instruction is not None:
            after = _after_heredocs(lines, at, instruction)
            # Without its end it is none, but for example a shift in the shell's arithmetic: $((1 <<4)).
            at, heredocs = (at, ()) if after is None else (after, instruction.heredocs)
            yield replace(instruction, heredocs=heredocs)


def _comment_or_blank(line: str) -> bool:
    stripped = line.strip()
    return not stripped or stripped.startswith("#")


def _instruction(line: int, text: str) -> Instruction | None:
    match = _INSTRUCTION.fullmatch(text)
    if match is None:
        return None
    name, rest = match[1].upper(), (match[2] or "").strip()
    flags: list[str] = []
    while flag := _FLAG.match(rest):
        flags.append(flag.group().strip())
        rest = rest[flag.end() :]
    heredocs = tuple(_heredocs(rest)) if name in _WITH_HEREDOC and not rest.startswith("[") else ()
    return Instruction(line, name, tuple(flags), rest, heredocs)


def _heredocs(rest: str) -> Iterator[str]:
    """`-EOF` for `<<-EOF`."""
    for word in _WORD.findall(rest):
        if match := _HEREDOC.fullmatch(word):
            yield match[1] + match[3]


def _after_heredocs(lines: Sequence[str], at: int, instruction: Instruction) -> int | None:
    """The line after the instruction's heredocs; None when one of them does not end."""
    for heredoc in instruction.heredocs:
        stripped, end = heredoc.startswith("-"), heredoc.removeprefix("-")
        while at < len(lines) and (lines[at].lstrip("\t") if stripped else lines[at]) != end:
            at += 1
        if at == len(lines):
            return None
        at += 1
    return at


def _stages(instructions: Sequence[Instruction]) -> Iterator[Stage]:
    number = 0
    for instruction in instructions:
        if instruction.name != "FROM":
            continue
        image, *words = instruction.rest.split() or [""]
        spelled = words[1] if len(words) > 1 and words[0].lower() == "as" else str(number)
        yield Stage(instruction.line, spelled.lower(), image, spelled)
        number += 1
