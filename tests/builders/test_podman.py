import pytest

from deployd.builders.dockerfile import parse
from deployd.builders.podman import check, why_not_cached
from deployd.errors import BuildFailed


@pytest.mark.parametrize("line", ["FROM build", "COPY --chown=1:1 --from=BUILD /a /b"])
def test_podman_needs_the_spelling_of_a_stage(line: str) -> None:
    before = "FROM python AS Build\nRUN true\n"
    with pytest.raises(BuildFailed, match=r"Dockerfile, line 3: (build|BUILD) is not the stage Build") as failed:
        check(parse(f"{before}{line}\n".encode()))
    assert failed.value.hint == "write Build"
    check(parse(f"{before}{line}\n".replace("build", "Build").replace("BUILD", "Build").encode()))
    check(parse(b"FROM python AS Python\nFROM python:3.11\nCOPY --from=0 /a /b\n"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("FROM x\nARG COMMIT\nENV C=$COMMIT\n", 3),
        ('FROM x\nARG COMMIT=\nLABEL a=b c="${COMMIT:-none}"\n', 3),
        ('FROM x\nARG COMMIT=\nLABEL a="${VERSION:-$COMMIT}"\n', 3),
        ("FROM x\nARG COMMIT=\nENV C=${COMMIT:+built}\n", 3),
        ("FROM x\nRUN true\nARG COMMIT\nCOPY --chown=$COMMIT /a /b\n", 4),
        ("FROM x\nARG COMMIT\nRUN true\nFROM y\nARG COMMIT\nWORKDIR /$COMMIT\n", 6),
        ("FROM x\nARG A=1 COMMIT=2\nUSER $COMMIT\n", 3),
    ],
)
def test_the_cache_is_not_used_where_podman_would_not_heed_a_build_arg(text: str, line: int) -> None:
    why = why_not_cached(parse(text.encode()))
    assert why.startswith(f"Podman's cache ignores the build arg COMMIT in line {line}: every step runs again")


@pytest.mark.parametrize(
    "text",
    [
        "ARG COMMIT\nFROM x:$COMMIT\nENV C=$COMMIT\n",
        "FROM x\nARG COMMIT\nRUN echo $COMMIT\n",
        "FROM x\nARG COMMIT\nRUN true\nENV C=$COMMIT\n",
        "FROM x\nARG COMMIT\nENV C=$OTHER\n",
        "FROM x\nARG COMMIT\nFROM y\nENV C=$COMMIT\n",
    ],
)
def test_everywhere_else_it_is_used(text: str) -> None:
    assert why_not_cached(parse(text.encode())) == ""
