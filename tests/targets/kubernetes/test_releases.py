import json
from dataclasses import replace
from pathlib import Path

import pytest

from deployd.errors import Unavailable
from deployd.goal import ModelVersion
from deployd.targets.kubernetes.releases import KEPT, Place, Record, Release, Releases

PLACE = Place(None, "kind", "ml", "iris", created=True)


def a_release(number: int | None) -> Release:
    return Release(number, "c0ffee", "iris", f"image:{number}", {"spec": {}})


def test_an_app_that_never_ran_has_no_record(tmp_path: Path) -> None:
    assert Releases(tmp_path / "kubernetes").read("iris") is None


def test_a_written_record_is_read_back(tmp_path: Path) -> None:
    record = Record(PLACE).adding(a_release(1)).adding(a_release(2))
    Releases(tmp_path / "kubernetes").write("iris", record)
    found = Releases(tmp_path / "kubernetes").read("iris")
    assert found == record
    assert found is not None
    assert found.last == a_release(2)
    assert found.find(1) == a_release(1)
    assert found.find(9) is None


def test_a_record_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    place = '{"kubeconfig": null, "context": "kind", "namespace": "ml", "deployment": "iris", "created": true}'
    (tmp_path / "iris.json").write_text(f'{{"place": {place}, "releases": [], "theirs": "somebody paused it"}}')
    record = Releases(tmp_path).read("iris")
    assert record == Record(PLACE, taken_over="somebody paused it")
    Releases(tmp_path).write("iris", record)
    assert '"theirs": "somebody paused it"' in (tmp_path / "iris.json").read_text()


def test_a_release_is_remembered_once_and_old_ones_are_forgotten() -> None:
    record = Record(PLACE)
    for number in [*range(KEPT + 5), 3 + KEPT]:
        record = record.adding(a_release(number))
    numbers = [release.number for release in record.releases]
    assert numbers[:2] == [KEPT + 3, KEPT + 4]
    assert len(set(numbers)) == len(numbers) == KEPT


def test_an_interrupted_write_leaves_the_old_record(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    releases.write("iris", Record(PLACE).adding(a_release(1)))
    (tmp_path / "iris.new").write_text('{"place": {"kubec')
    assert releases.read("iris") == Record(PLACE).adding(a_release(1))


@pytest.mark.parametrize("text", ["", "[]", '{"place": {}}', "\x00"])
def test_a_damaged_record_says_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "iris.json").write_text(text)
    with pytest.raises(Unavailable) as caught:
        Releases(tmp_path).read("iris")
    assert "remove it" in caught.value.hint


def test_deleting_a_record_twice_is_no_error(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    releases.write("iris", Record(PLACE))
    releases.forget("iris")
    releases.forget("iris")
    assert releases.read("iris") is None


def test_the_registered_model_of_a_release_is_kept_and_an_earlier_deployd_recorded_none(tmp_path: Path) -> None:
    registered = ModelVersion("iris", "3", "s3://models", 1)
    with_model = replace(a_release(1), registered=registered)
    releases = Releases(tmp_path)
    releases.write("iris", Record(PLACE).adding(with_model))
    assert releases.read("iris") == Record(PLACE).adding(with_model)
    file = tmp_path / "iris.json"
    said = json.loads(file.read_text())
    del said["releases"][0]["registered"]
    file.write_text(json.dumps(said))
    assert releases.read("iris") == Record(PLACE).adding(a_release(1))
