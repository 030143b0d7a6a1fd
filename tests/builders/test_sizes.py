"""What layers take, with histories as engines answered: 20.10 to 28 with their own store and with containerd's, Podman 5.8."""

from typing import Any

import pytest

from deployd.builders.sizes import layer_sizes

BUILDKIT = [(0, "LABEL a=b"), (20_000_000, "RUN make # buildkit"), (2, "COPY x . # buildkit"), (0, "WORKDIR /app")]
BASE = [
    (0, '/bin/sh -c #(nop)  CMD ["python3"]'),
    (69, "/bin/sh -c ln -s a b"),
    (0, "/bin/sh -c #(nop)  ENV A=1"),
    (145_000_000, ""),
]
CLASSIC = [(0, "/bin/sh -c #(nop)  LABEL a=b"), (7_000, "/bin/sh -c make"), (0, "/bin/sh -c #(nop) WORKDIR /app")]
CONTAINERD = [
    (0, "LABEL a=b"),
    (20_004_864, "RUN make"),
    (12_288, "COPY x ."),
    (8_192, "WORKDIR /app"),
    (164_175_872, ""),
]


def history(*entries: tuple[int, str]) -> list[dict[str, Any]]:
    return [{"Size": size, "CreatedBy": by, "Id": "<missing>"} for size, by in entries]


def image(*layers: str) -> dict[str, Any]:
    return {"Id": "sha256:1", "RootFS": {"Type": "layers", "Layers": list(layers)}}


@pytest.mark.parametrize("own", [BUILDKIT, CLASSIC])
def test_each_layer_has_its_bytes_in_the_engines_own_store(own: list[tuple[int, str]]) -> None:
    entries = [*own, *BASE]
    made = [size for size, by in reversed(entries) if size or "WORKDIR" in by]
    found = layer_sizes(image(*(f"layer {n}" for n in range(len(made)))), history(*entries), sum(made))
    assert list(found.values()) == made


def test_the_packed_copies_of_the_containerd_store_count_for_their_layers() -> None:
    found = layer_sizes(image("base", "workdir", "copy", "run"), history(*CONTAINERD), 355_599_285)
    assert sum(found.values()) == pytest.approx(355_599_285, abs=4)
    assert list(found.values())[3] == pytest.approx(20_004_864 * 355_599_285 / 184_201_216, abs=1)


def test_images_on_the_same_base_have_its_layers_in_common() -> None:
    one = layer_sizes(image("base", "model 1", "code"), history((5, "COPY"), (50, "COPY"), (100, "")), 155)
    other = layer_sizes(image("base", "model 2", "code"), history((5, "COPY"), (50, "COPY"), (100, "")), 155)
    assert len(one.keys() & other.keys()) == 1
    assert sum({**one, **other}.values()) == 210


@pytest.mark.parametrize("entries", [[], [(5, "COPY")], [(5, "COPY"), (0, "RUN true"), (0, "RUN true"), (7, "")]])
def test_an_image_whose_history_does_not_fit_its_layers_is_one_layer(entries: list[tuple[int, str]]) -> None:
    assert layer_sizes(image("a", "b", "c"), history(*entries), 99) == {"sha256:1": 99}
    assert layer_sizes({"Id": "sha256:1", "RootFS": {}}, history(*entries), 99) == {"sha256:1": 99}
