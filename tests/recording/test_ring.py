from pathlib import Path

from deployd.recorded import Recorded
from deployd.recording.ring import HOURS, Ring

HOUR = 3600


def add(ring: Ring, hour: float, number: int = 0) -> bool:
    return ring.add(Recorded("/predict", "POST", {"number": number}), hour * HOUR)


def numbers(ring: Ring, count: int = 100) -> list[int]:
    return [request.body["number"] for request in ring.requests(count)]


def size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


def test_recorded_requests_are_read_in_order(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "iris", 24 * 1000)
    assert all(add(ring, 500_000 + number / 4, number) for number in range(8))
    assert numbers(ring) == numbers(Ring(tmp_path / "iris", 24 * 1000)) == list(range(8))


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    add(Ring(tmp_path / "iris", 24 * 1000), 500_000)
    (file,) = (tmp_path / "iris").iterdir()
    assert (file.parent.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)


def test_an_hour_has_its_share_of_the_bytes_also_after_a_restart(tmp_path: Path) -> None:
    ring = Ring(tmp_path, 24 * 200)
    kept = [add(ring, 500_000) for _ in range(5)]
    assert kept == [True, True, False, False, False]
    assert not add(Ring(tmp_path, 24 * 200), 500_000)
    assert add(ring, 500_001)
    assert size(tmp_path) <= 24 * 200


def test_the_oldest_hours_go(tmp_path: Path) -> None:
    ring = Ring(tmp_path, 24 * 1000)
    for hour in range(30):
        add(ring, 500_000 + hour, hour)
    assert len(list(tmp_path.iterdir())) == HOURS
    assert numbers(ring, 1) == [6]
    add(ring, 500_000 + 30 + 24 * 7)
    assert len(list(tmp_path.iterdir())) == 1


def test_few_requests_are_taken_from_all_hours(tmp_path: Path) -> None:
    ring = Ring(tmp_path, 24 * 10_000)
    for number in range(60):
        add(ring, 500_000 + number / 10, number)
    assert numbers(ring, 6) == [0, 10, 20, 30, 40, 50]


def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    ring = Ring(tmp_path, 24 * 1000)
    add(ring, 500_000, 1)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes() + b'{"at": 18000')
    assert numbers(ring) == [1]
