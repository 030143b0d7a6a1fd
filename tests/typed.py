"""What the pages tell a reader to type. Tests take commands from here, so that what they run is what a page shows."""

import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "kubernetes/README.md", ROOT / "model_service/README.md"]

_FENCE_OR_HEADING = re.compile(r"^( *)```(\w*)\n(.*?)^\1```|^#+ ([^\n]+)$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """The heading above it, the language and the text of each fenced block, without its indentation."""
    heading = ""
    for _, language, block, head in _FENCE_OR_HEADING.findall(page.read_text()):
        if head:
            heading = head
        else:
            yield heading, language, textwrap.dedent(block)


def lines(page: Path) -> Iterator[tuple[str, str]]:
    """Every line that a reader is told to type, below its heading: without the remark behind it, and as one line where a
    backslash goes on to the next."""
    for heading, language, block in blocks(page):
        if language in {"", "sh"}:
            for line in re.sub(r"\\\n\s*", "", block).splitlines():
                yield heading, re.sub(r"\s{2,}\S.*|#.*", "", line).strip()


def under(page: str, heading: str) -> list[str]:
    """The lines below a heading. tests/test_typed.py looks for the calls of this, to find the lines that nothing runs."""
    found = [line for above, line in lines(ROOT / page) if above == heading and line]
    assert found, f"{page} shows no command under {heading!r}"
    return found


def changed(line: str, changes: Mapping[str, str]) -> str:
    """The line with what a test has in the place of what the page names; all of that must be there."""
    for shown, here in changes.items():
        assert shown in line, f"the page no longer shows {shown!r}"
        line = line.replace(shown, here)
    return line


def parts(line: str) -> list[str]:
    """The commands of a line, one by one."""
    return [part.strip() for part in re.split(r"&&|;| \| ", line.strip("()"))]


def words(command: str) -> list[str]:
    """The words of a command, without the variables that are set for it."""
    found = command.split()
    while found and re.match(r"[A-Z_]+=", found[0]):
        del found[0]
    return found


def arguments(command: str) -> tuple[str, ...]:
    """What follows `deployd` in a command that starts it, by itself or by systemd-run or docker exec; empty in any other."""
    found = words(command)
    places = [at for at, word in enumerate(found) if PurePosixPath(word).name == "deployd"]
    if places and (PurePosixPath(found[0]).name in {"deployd", "systemd-run"} or found[:2] == ["docker", "exec"]):
        return tuple(found[places[-1] + 1 :])
    return ()
