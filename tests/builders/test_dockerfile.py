"""Dockerfiles as people write them, and as those write them who mean harm."""

import pytest

from deployd.builders.dockerfile import bases, check, check_classic, parse, stage
from deployd.config.app import Build
from deployd.errors import BuildFailed

TWO_STAGES = b"""\
# A comment, so what follows is no directive
# syntax=evil/frontend
ARG PYTHON=3.11
FROM --platform=linux/amd64 python:${PYTHON} AS Build
RUN pip install \\
    # the rest is optional

    --no-cache-dir numpy
FROM python:3.11
COPY --from=build --chown=1:1 /app /app
FROM build
HEALTHCHECK --interval=5s --timeout=1s CMD true
"""


def test_the_stage_of_the_app_is_named_as_the_dockerfile_spells_it() -> None:
    dockerfile = parse(b"FROM x AS Base\nFROM y AS serve\n")
    assert [stage(dockerfile, Build(stage=name)) for name in ("base", "BASE", "Serve", None)] == [
        *("Base", "Base", "serve"),
        None,
    ]


def test_stages_and_base_images_are_found() -> None:
    dockerfile = parse(TWO_STAGES)
    assert [(stage.line, stage.name, stage.image) for stage in dockerfile.stages] == [
        (4, "build", "python:${PYTHON}"),
        (9, "1", "python:3.11"),
        (11, "2", "build"),
    ]
    assert bases(dockerfile, {"PYTHON": "3.12"}) == ["python:3.12", "python:3.11"]
    assert dockerfile.syntax is None


@pytest.mark.parametrize(
    ("text", "args", "expected"),
    [
        ("ARG V=3.12\nFROM python:$V\n", {}, ["python:3.12"]),
        ("ARG V=3.12\nFROM python:${V}\n", {"V": "3.13"}, ["python:3.13"]),
        ('ARG BASE="debian:12"\nFROM $BASE\n', {}, ["debian:12"]),
        ("ARG V\nFROM python:${V:-3.11}-slim\n", {}, ["python:3.11-slim"]),
        ("FROM scratch\nARG V=1\nFROM a:$V\n", {}, ["a:"]),
        ("FROM a AS one\nFROM one\nFROM a\n", {}, ["a"]),
    ],
)
def test_args_before_the_first_stage_are_filled_into_base_images(
    text: str, args: dict[str, str], expected: list[str]
) -> None:
    assert bases(parse(text.encode()), args) == expected


def test_continuation_lines_with_comments_are_one_instruction() -> None:
    run = parse(TWO_STAGES).instructions[2]
    assert (run.line, run.name) == (5, "RUN")
    assert run.rest.split() == ["pip", "install", "--no-cache-dir", "numpy"]


def test_a_dockerfile_for_the_classic_builder_passes() -> None:
    check_classic(parse(TWO_STAGES), Build(), {})
    check_classic(
        parse(b'FROM scratch\nRUN echo $((1<<2)) && cat <<<here && echo \'<<EOF\'\nADD ["<<EOF", "/"]\n'), Build(), {}
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a\nRUN --mount=type=cache,target=/x pip install .\n", "line 2: RUN --mount "),
        ("FROM a\n\n# c\nrun \\\n  --network=none true", "line 4: RUN --network "),
        ("FROM a\nRUN <<EOF\necho hi\nEOF\n", "line 2: RUN <<EOF "),
        ("FROM a\nRUN python3 <<-'END' > /x\n\tprint(1)\n\tEND\n", "line 2: RUN <<-END "),
        ('FROM a\nCOPY <<one <<"two" /etc/\n1\none\n2\ntwo\n', "line 2: COPY <<one "),
        ("FROM a\nCOPY --chmod=755 x /x\n", "line 2: COPY --chmod "),
        ("FROM a\nADD --checksum=sha256:0 https://example.com/x /x\n", "line 2: ADD --checksum "),
        ("FROM a\nONBUILD RUN --mount=type=secret,id=x true\n", "line 2: RUN --mount "),
        ("FROM --platform=$BUILDPLATFORM a\n", "line 1: FROM --platform=$BUILDPLATFORM "),
        ("# syntax=docker/dockerfile:1\nFROM a\n", "line 1: # syntax=docker/dockerfile:1 "),
        ("\ufeff# escape=`\n# Syntax = docker/dockerfile:1.7\nFROM a\n", "line 1: # syntax=docker/dockerfile:1.7 "),
        ("# escape=`\nFROM a\nRUN `\n --mount=type=ssh true\n", "line 3: RUN --mount "),
    ],
)  # fmt: skip
def test_an_instruction_that_needs_buildkit_is_named_with_its_line(text: str, expected: str) -> None:
    with pytest.raises(BuildFailed) as failed:
        check_classic(parse(text.encode(), "svc/Dockerfile"), Build(), {})
    assert failed.value.message == f'svc/Dockerfile, {expected}needs builder.kind = "buildkit"'
    assert "[builder]" in failed.value.hint


@pytest.mark.parametrize("shift", ["$((1 <<4))", "$(( 1 << 4 ))", "$((1 <<n))", '"$((1 <<4))"', "'<<EOF'", "a <<<b"])
def test_a_shift_in_the_shell_s_arithmetic_is_no_heredoc(shift: str) -> None:
    dockerfile = parse(f"FROM a AS one\nRUN echo {shift}\nFROM b AS two\nRUN true\n".encode())
    check_classic(dockerfile, Build(), {})
    assert [stage.name for stage in dockerfile.stages] == ["one", "two"]


def test_a_platform_given_as_build_arg_is_accepted() -> None:
    check_classic(parse(b"FROM --platform=$BUILDPLATFORM a\n"), Build(), {"BUILDPLATFORM": "linux/amd64"})


def test_build_secrets_need_buildkit() -> None:
    with pytest.raises(BuildFailed, match=r"secrets needs builder\.kind"):
        check_classic(parse(b"FROM a\n"), Build(secrets={"npm": "env:NPM"}), {})


def test_a_heredoc_neither_hides_nor_adds_a_stage() -> None:
    dockerfile = parse(b"FROM a AS one\nRUN <<EOF\nFROM evil AS two\nEOF\nFROM b AS three\n")
    assert [stage.name for stage in dockerfile.stages] == ["one", "three"]


@pytest.mark.parametrize("stage", ["build", "BUILD"])
def test_a_stage_is_known_by_its_name(stage: str) -> None:
    check(parse(TWO_STAGES), Build(stage=stage), {})


@pytest.mark.parametrize("stage", ["test", "build2"])
def test_a_missing_stage_is_an_error_that_lists_the_stages(stage: str) -> None:
    with pytest.raises(BuildFailed, match=f"has no stage {stage}") as failed:
        check(parse(TWO_STAGES), Build(stage=stage), {})
    assert failed.value.hint == "its stages are: build"


@pytest.mark.parametrize(
    "frontend",
    ["docker/dockerfile", "docker/dockerfile:1.7-labs", "docker.io/docker/dockerfile:1", "docker/dockerfile-upstream:master",
     "docker/dockerfile:1@sha256:ac85f380a63b13dfcefa89046420e1781752bab202122f8f50032edf31be0021"],
)  # fmt: skip
def test_the_official_frontend_may_read_the_dockerfile(frontend: str) -> None:
    check(parse(f"# syntax={frontend}\nFROM a\n".encode()), Build(), {"BUILDKIT_SYNTAX": frontend})


@pytest.mark.parametrize(
    "text",
    [
        "# syntax=evil.example.com/frontend\nFROM a\n",
        "#syntax =docker/dockerfilex:1\nFROM a\n",
        "# escape=\\\n#  SYNTAX=evil.example.com/docker/dockerfile:1\nFROM a\n",
        "#!/usr/bin/env x\n# syntax=evil/frontend\nFROM a\n",
        "// syntax=evil/frontend\nanything\n",
        '{"a": 1,\n "syntax": "evil/frontend"}',
        "\ufeff# syntax=evil/frontend",
        "# syntax=docker/dockerfile:1 evil/frontend\n",
    ],
)
def test_no_other_frontend_may_read_the_dockerfile(text: str) -> None:
    with pytest.raises(BuildFailed, match="is not allowed"):
        check(parse(text.encode()), Build(), {})


def test_a_build_arg_cannot_select_another_frontend() -> None:
    with pytest.raises(BuildFailed, match="evil/frontend is not allowed"):
        check(parse(b"FROM a\n"), Build(), {"BUILDKIT_SYNTAX": "evil/frontend"})


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"FROM", b"RUN <<EOF", b"\\\n\\\n", b"ONBUILD", b"# syntax="]
)
def test_invalid_text_is_parsed_without_an_error(content: bytes) -> None:
    check_classic(parse(content), Build(), {}) if b"<<" not in content else parse(content)
