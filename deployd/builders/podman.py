"""The differences between Podman's builder and a Docker Engine's. Pure."""

import re
from collections.abc import Sequence

from deployd.builders.dockerfile import Dockerfile, Instruction

_VARIABLE = re.compile(r"\$\{?(\w+)")  # also in the default of another one


def check(dockerfile: Dockerfile) -> None:
    """BuildFailed where a reference to a stage differs from its name in case: for Podman, `build` and `Build` are two stages."""
    for instruction in dockerfile.instructions:
        spelled = {each.name: each.spelled for each in dockerfile.stages if each.line < instruction.line}
        for name in _stages_used(instruction):
            if spelled.get(name.lower(), name) != name:
                known = spelled[name.lower()]
                what = f"{name} is not the stage {known} for Podman: upper and lower case differ"
                raise dockerfile.problem(instruction.line, what, f"write {known}")


def why_not_cached(dockerfile: Dockerfile) -> str:
    """Why the layers of an earlier build may be wrong for this one; empty when they are right.

    Podman takes a layer of its cache for any value of a build arg, until a RUN follows the ARG: only that one counts the values.
    """
    args: set[str] = set()
    for instruction in dockerfile.instructions:
        match instruction.name:
            case "FROM" | "RUN":
                args.clear()
            case "ARG":
                args |= {word.partition("=")[0] for word in instruction.rest.split()}
            case _:
                if name := next((name for name in _variables(instruction) if name in args), None):
                    where = f"the build arg {name} in line {instruction.line}"
                    wanted = f"every step runs again, unless a RUN stands between ARG {name} and that line"
                    return f"Podman's cache ignores {where}: {wanted}"
    return ""


def _stages_used(instruction: Instruction) -> Sequence[str]:
    """The stages, or images, that an instruction reads."""
    if instruction.name == "FROM":
        return instruction.rest.split()[:1]
    return [flag.removeprefix("--from=") for flag in instruction.flags if flag.startswith("--from=")]


def _variables(instruction: Instruction) -> Sequence[str]:
    return _VARIABLE.findall(" ".join((*instruction.flags, instruction.rest)))
