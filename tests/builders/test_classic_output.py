"""The classic builder's stream, message by message, as real engines send it."""

from typing import Any

import pytest

from deployd.builders.classic_output import ClassicOutput
from deployd.errors import BuildFailed, DeploydError, Unavailable
from tests.fakes import FakeLog

RUN = [
    {"stream": "Step 2/3 : RUN pip install ."},
    {"stream": "\n"},
    {"stream": " ---> Running in 12359bba04e4\n"},
    {"stream": "Collecting "},
    {"stream": "numpy\n"},
]


def read(*messages: dict[str, Any]) -> tuple[ClassicOutput, FakeLog]:
    log = FakeLog()
    output = ClassicOutput(log)
    for message in messages:
        output.take(message)
    return output, log


def failure(*messages: dict[str, Any]) -> DeploydError:
    with pytest.raises(DeploydError) as failed:
        read(*messages)
    return failed.value


def test_the_container_and_the_layer_of_a_step_are_read() -> None:
    output, log = read(*RUN)
    assert output.container == "12359bba04e4"
    assert log.text == "Step 2/3 : RUN pip install .\n ---> Running in 12359bba04e4\nCollecting numpy\n"
    later, _ = read(*RUN, {"stream": " ---> 9fbec7a897ea\n"}, {"stream": "Step 3/3 : CMD true"})
    assert later.layer == "9fbec7a897ea"
    assert later.container is None


def test_the_image_of_each_stage_is_known() -> None:
    output, _ = read({"aux": {"ID": "sha256:1"}}, {"aux": {"Digest": "sha256:x"}}, {"aux": {"ID": "sha256:2"}})
    assert output.images == ["sha256:1", "sha256:2"]


def test_the_layers_from_the_cache_are_known_but_for_those_that_the_build_made_itself() -> None:
    cached: dict[str, Any] = {"stream": " ---> Using cache\n"}
    base, made, others = ({"stream": f" ---> {digit * 12}\n"} for digit in "012")
    second = [{"stream": "Step 3/4 : FROM y"}, base, {"stream": "Step 4/4 : ENV A=1"}, cached]
    output, _ = read({"stream": "Step 1/4 : FROM x"}, base, *RUN, made, *second, made)
    assert output.cached == []
    output, _ = read(*second, others, {"stream": "Step 5/5 : FROM 0"}, others, *RUN, cached, {"stream": "\n"}, made)
    assert output.cached == ["2" * 12]


def test_a_pull_logs_one_line_for_each_layer() -> None:
    bar = [
        {"status": "Downloading", "id": "a1", "progressDetail": {"current": n, "total": 99}, "progress": "[=>  ]"}
        for n in range(1, 99)
    ]
    _, log = read(
        {"status": "Pulling from library/python", "id": "3.11"},
        {"status": "Pulling fs layer", "progressDetail": {}, "id": "a1"},
        {"status": "Waiting", "progressDetail": {}, "id": "a1"},
        *bar,
        {"status": "Verifying Checksum", "progressDetail": {}, "id": "a1"},
        {"status": "Download complete", "progressDetail": {}, "id": "a1"},
        {"status": "Pull complete", "progressDetail": {}, "id": "a1"},
        {"status": "Status: Downloaded newer image for python:3.11"},
    )
    assert log.text.splitlines() == [
        "3.11: Pulling from library/python",
        "a1: Pulling fs layer",
        "a1: Pull complete",
        "Status: Downloaded newer image for python:3.11",
    ]


def test_a_failed_command_is_reported_with_its_step_code_and_last_lines() -> None:
    text = "The command '/bin/sh -c pip install .' returned a non-zero code: 2"
    failed = failure(*RUN, {"errorDetail": {"code": 2, "message": text}, "error": text})
    assert failed.message == "step 2/3: RUN pip install .: exit code 2"
    assert failed.hint == "Collecting numpy"


def test_a_command_that_was_killed_hints_at_memory() -> None:
    assert "lack of memory" in failure(*RUN, {"errorDetail": {"code": 137, "message": "x"}}).hint


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("pull access denied for x, repository does not exist or may require 'docker login'", BuildFailed),
        ("manifest for python:9 not found: manifest unknown: manifest unknown", BuildFailed),
        ('Get "https://r.example.com/v2/": dial tcp: lookup r.example.com: no such host', Unavailable),
        ("toomanyrequests: You have reached your pull rate limit", Unavailable),
    ],
)
def test_a_missing_base_image_fails_the_build_and_an_unreachable_registry_is_unavailable(
    text: str, kind: type[DeploydError]
) -> None:
    failed = failure({"stream": "Step 1/3 : FROM x"}, {"error": text})
    assert type(failed) is kind
    assert failed.message == f"step 1/3: FROM x: {text}"
    assert "registry" in failed.hint


@pytest.mark.parametrize(
    "text",
    [
        f'unable to find image "sha256:{"0a" * 32}"',
        f"No such image: sha256:{'0a' * 32}",
        "unknown parent image ID sha256:0a0a",
    ],
)
def test_a_layer_that_somebody_removed_during_the_build_is_no_fault_of_the_commit(text: str) -> None:
    failed = failure({"stream": "Step 2/5 : COPY app.py /app.py"}, {"errorDetail": {"message": text}, "error": text})
    assert type(failed) is Unavailable
    assert failed.message == f"step 2/5: COPY app.py /app.py: {text}"


def test_a_network_error_in_a_step_is_not_retried() -> None:
    failed = failure(*RUN, {"errorDetail": {"code": 1, "message": "dial tcp: no such host"}})
    assert type(failed) is BuildFailed


@pytest.mark.parametrize("text", [f"unknown parent image ID sha256:{'a' * 64}", f"No such image: sha256:{'a' * 64}"])
def test_a_layer_that_somebody_removed_meanwhile_does_not_fail_the_commit(text: str) -> None:
    failed = failure(*RUN, {"error": text})
    assert type(failed) is Unavailable
    assert failed.hint == "somebody removed a layer of the build cache; it is built again"


PODMAN = (
    {"stream": "STEP 1/3: FROM deployd-testbed/busybox\n"},
    {"stream": "STEP 2/3: COPY x /\n"},
    {"stream": "--> Using cache f9c2e6d9f8371902e78c4eca32f6de0ae91f7c698eda9fb9146182cb262d68a2\n"},
    {"stream": "--> f9c2e6d9f837\n"},
    {"stream": "[2/2] STEP 3/3: RUN echo last words; exit 3\n"},
    {"stream": "last words\n"},
)


def test_podmans_words_are_read_too() -> None:
    text = 'building at STEP "RUN echo last words; exit 3": while running runtime: exit status 3\n'
    failed = failure(*PODMAN, {"errorDetail": {"message": text}, "error": text})
    assert failed.message == "step 3/3: RUN echo last words; exit 3: exit code 3"
    assert failed.hint == "last words"
    output = ClassicOutput(FakeLog())
    for message in PODMAN:
        output.take(message)
    assert (output.podman, output.layer, output.failed) == (True, "f9c2e6d9f837", False)
    assert output.cached == ["f9c2e6d9f837"]


def test_the_last_layer_of_each_stage_of_podman_is_known() -> None:
    last, result = "0" * 12, f"sha256:{'1' * 64}"
    output, _ = read(*PODMAN[:4], {"stream": "[2/2] STEP 1/1: FROM scratch\n"}, {"stream": f"--> {last}\n"})
    assert output.told == ["f9c2e6d9f837", last]
    output.take({"aux": {"ID": result}})
    assert output.told == [result, "f9c2e6d9f837", last]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (
            (
                "creating build container: unable to copy from source docker://nosuch/base:1: initializing source "
                "docker://nosuch/base:1: reading manifest 1 in docker.io/nosuch/base: requested access to the resource is denied"
            ),
            BuildFailed,
        ),
        (
            (
                "creating build container: unable to copy from source docker://localhost:9/nosuch:1: initializing source "
                'docker://localhost:9/nosuch:1: pinging container registry localhost:9: Get "https://localhost:9/v2/": dial tcp '
                "[::1]:9: connect: connection refused"
            ),
            Unavailable,
        ),
    ],
)
def test_a_base_image_that_podman_cannot_get_is_told_as_one(text: str, kind: type[DeploydError]) -> None:
    failed = failure({"stream": "STEP 1/2: FROM nosuch/base:1\n"}, {"errorDetail": {"message": f"{text}\n"}})
    assert type(failed) is kind
    assert failed.message == f"step 1/2: FROM nosuch/base:1: {text}"
    assert "registry" in failed.hint


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            'building at STEP "FRM ": Build error: Unknown instruction: "FRM" &imagebuilder.Step{Env:[]string{"PATH=/bin"}}\n',
            "unknown instruction: FRM",
        ),
        (
            'building at STEP "COPY \\"no where\\" /": copier: stat: "/no where": no such file or directory\n',
            'copier: stat: "/no where": no such file or directory',
        ),
    ],
)
def test_an_error_in_a_dockerfile_is_told_without_podmans_repetitions(text: str, told: str) -> None:
    failed = failure({"stream": "STEP 2/2: FRM x\n"}, {"errorDetail": {"message": text}, "error": text})
    assert failed.message == f"step 2/2: FRM x: {told}"


def test_an_error_without_a_message_has_a_reason() -> None:
    assert failure({"errorDetail": None}).message == "the engine gives no reason"


def test_messages_of_an_unknown_kind_are_ignored() -> None:
    _, log = read({}, {"aux": "x"}, {"stream": 7}, {"status": None}, {"moby.buildkit.trace": "x"})
    assert log.text == ""
