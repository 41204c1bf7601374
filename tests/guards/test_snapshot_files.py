"""Snapshots on disk, and what is left of them after an accident."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from homeostat.errors import AttachError, HomeostatError, HomeostatWarning, StateError
from homeostat.guards.snapshot import SnapshotPolicy, Snapshots
from homeostat.guards.snapshot_files import SnapshotFiles
from homeostat.plant import Plant
from tests.guards.test_snapshot import Training


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def name(tick: int) -> str:
    return f"snapshot-{tick:010d}-0of1.pt"


def training(folder: Path) -> Training:
    return Training(directory=folder, disk_every=4)


def resumed(folder: Path) -> Training:
    other = training(folder)
    torch.manual_seed(99)
    restored = other.snapshots.resume()
    assert restored is not None
    assert restored.extra == {"tick": restored.tick}
    other.plant.tick = restored.tick
    other.schedule.step()
    return other


def test_a_new_process_goes_on_from_the_newest_trusted_snapshot(tmp_path: Path) -> None:
    run = training(tmp_path)
    run.run(13)
    run.snapshots.close()
    assert written(tmp_path) == [name(4), name(8)]
    run.run(20)
    run.snapshots.close()
    other = resumed(tmp_path)
    other.run(20)
    assert list(other.losses) == [17, 18, 19, 20]
    assert other.losses.items() <= run.losses.items()
    for a, b in zip(run.model.state_dict().values(), other.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_file_is_whole_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    run = training(tmp_path)
    run.run(7)
    run.snapshots.close()
    monkeypatch.setattr(torch, "save", full)
    run.run(11)
    with pytest.warns(HomeostatWarning, match=r"Snapshots must be writable; got .*No space left"):
        run.snapshots.close()
    monkeypatch.undo()
    assert written(tmp_path) == [name(4)]
    run.run(15)
    run.snapshots.close()
    assert written(tmp_path) == [name(4), name(12)]


@pytest.mark.parametrize("accident", ["torn", "flipped", "foreign", "empty", "another archive"])
def test_a_damaged_file_is_passed_over(tmp_path: Path, accident: str) -> None:
    run = training(tmp_path)
    run.run(11)
    run.snapshots.close()
    newest = tmp_path / name(8)
    whole = bytearray(newest.read_bytes())
    # Within the weights, where nothing but a checksum can tell.
    place = whole.find(run.snapshots._trusted[-1].copies.tensors[0].numpy().tobytes())
    assert place > 0
    if accident == "another archive":
        torch.save({"format": "mine"}, newest)
    else:
        flipped = bytes(whole[:place]) + bytes([whole[place] ^ 64]) + bytes(whole[place + 1 :])
        content = {"torn": whole[:-100], "flipped": flipped, "foreign": b"#!/bin/sh\n", "empty": b""}[accident]
        newest.write_bytes(content)
    with pytest.warns(HomeostatWarning, match="A snapshot must be whole; got .*00000008"):
        assert resumed(tmp_path).plant.tick == 4


def test_what_another_run_has_left_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / f".{name(3)}.partial").touch()
    (tmp_path / "notes.txt").touch()
    for number in (1, 2):
        for stale in (name(4), name(900)):
            (tmp_path / stale).touch()
        run = training(tmp_path)
        with pytest.warns(
            HomeostatWarning, match=rf"must be of one run; got 2 of an .* now in .*earlier-{number}\. Del"
        ):
            run.run(7)
        run.snapshots.close()
        assert written(tmp_path / f"earlier-{number}") == [name(4), name(900)]
        assert not (tmp_path / f".{name(3)}.partial").exists()
        assert resumed(tmp_path).plant.tick == 4
        (tmp_path / name(4)).unlink()


def test_a_run_that_was_resumed_goes_on_in_its_folder(tmp_path: Path) -> None:
    run = training(tmp_path)
    run.run(11)
    run.snapshots.close()
    other = resumed(tmp_path)
    other.run(15)
    other.snapshots.close()
    assert written(tmp_path) == [name(8), name(12)]


def test_what_is_put_aside_is_of_one_run(tmp_path: Path) -> None:
    for number, left in ((1, (20, 30)), (2, (80, 90))):
        for tick in left:
            (tmp_path / name(tick)).touch()
        with pytest.warns(HomeostatWarning, match=f"earlier-{number}"):
            assert SnapshotFiles(tmp_path, keep=1).claim(int)
        assert written(tmp_path / f"earlier-{number}") == [name(tick) for tick in left]


def claimed(*folders: Path) -> list[bool]:
    """What `claim` returns to ranks that are threads, each in its folder."""
    counts, barrier = [0] * len(folders), threading.Barrier(len(folders), timeout=30)

    def claim(rank: int) -> bool:
        def agreed(count: int) -> int:
            counts[rank] = count
            barrier.wait()
            least = min(counts)
            barrier.wait()
            return least

        return SnapshotFiles(folders[rank], keep=1, rank=rank, ranks=len(folders)).claim(agreed)

    with ThreadPoolExecutor() as ranks:
        return list(ranks.map(claim, range(len(folders))))


def test_ranks_put_the_same_files_aside(tmp_path: Path) -> None:
    old = [f"snapshot-{8:010d}-{rank}of3.pt" for rank in range(3)] + [
        f"snapshot-{9:010d}-{rank}of2.pt" for rank in (0, 1)
    ]
    for stale in old:
        (tmp_path / stale).touch()
    with pytest.warns(HomeostatWarning, match="must be of one run"):
        assert claimed(tmp_path, tmp_path) == [True, True]
    assert written(tmp_path) == ["earlier-1"]
    assert written(tmp_path / "earlier-1") == sorted(old)


def test_ranks_put_aside_under_the_same_number_whatever_each_finds(tmp_path: Path) -> None:
    folders = [tmp_path / "0", tmp_path / "1"]
    for rank, number in ((0, 1), (1, 2)):
        (folders[rank] / f"earlier-{number}").mkdir(parents=True)
        (folders[rank] / f"earlier-{number}" / name(8)).touch()
        (folders[rank] / f"snapshot-{8:010d}-{rank}of2.pt").touch()
    with pytest.warns(HomeostatWarning, match="must be of one run"):
        assert claimed(*folders) == [True, True]
    for rank, folder in enumerate(folders):
        assert written(folder / "earlier-3") == [f"snapshot-{8:010d}-{rank}of2.pt"]


def test_nothing_is_written_over_what_cannot_be_put_aside(tmp_path: Path) -> None:
    (tmp_path / name(900)).touch()
    (tmp_path / "earlier-1").touch()
    run = training(tmp_path)
    with pytest.warns(HomeostatWarning, match="Snapshots must be writable; got .*earlier-1"):
        run.run(7)
    run.snapshots.close()
    assert written(tmp_path) == ["earlier-1", name(900)]


def test_going_back_takes_the_files_after_it_away(tmp_path: Path) -> None:
    run = training(tmp_path)
    run.run(11)
    assert run.back(1) == 4
    assert written(tmp_path) == [name(4)]
    run.run(11)
    run.snapshots.close()
    assert written(tmp_path) == [name(4), name(8)]


def test_nothing_to_resume_from(tmp_path: Path) -> None:
    assert training(tmp_path / "none").snapshots.resume() is None
    with pytest.raises(HomeostatError, match="must write snapshots to resume from one; got no directory"):
        Training().snapshots.resume()


def test_another_number_of_ranks_is_refused(tmp_path: Path) -> None:
    run = training(tmp_path)
    run.run(7)
    run.snapshots.close()
    with pytest.raises(StateError, match=r"as many ranks as its snapshots have; got 2 for \[1\]"):
        SnapshotFiles(tmp_path, keep=1, ranks=2).newest()


def test_another_run_is_refused(tmp_path: Path) -> None:
    run = training(tmp_path)
    run.run(7)
    run.snapshots.close()
    model = nn.Linear(4, 8)
    plant = Plant(model, (torch.optim.SGD(model.parameters()),))
    with pytest.raises(StateError, match=r"same shape and type; got none like 0.weight \(8, 4\) float32"):
        Snapshots(SnapshotPolicy(directory=tmp_path), plant).resume()
    plant = Plant(run.model, (run.optimizer,))
    with pytest.raises(StateError, match="as many restores as the snapshot has; got 0 for 2"):
        Snapshots(SnapshotPolicy(directory=tmp_path), plant).resume()


def test_a_state_that_could_not_be_read_again_is_refused_before_it_is_needed(tmp_path: Path) -> None:
    class Loader:
        def state_dict(self) -> dict[str, object]:
            return {"permutation": np.arange(3)}

        def load_state_dict(self, state: dict[str, object]) -> None: ...

    model = nn.Linear(1, 1)
    with pytest.raises(AttachError, match="must be numbers, strings, lists, dicts and tensors; got that of Loader"):
        Snapshots(SnapshotPolicy(directory=tmp_path), Plant(model, (torch.optim.SGD(model.parameters()),)), [Loader()])


def test_the_step_goes_on_while_a_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, save = threading.Event(), torch.save

    def slow(content: object, path: Path) -> None:
        assert opened.wait(30)
        save(content, path)

    run = training(tmp_path)
    monkeypatch.setattr(torch, "save", slow)
    run.run(7)
    assert written(tmp_path) == []
    assert list(run.losses)[-1] == 7
    opened.set()
    run.snapshots.close()
    assert written(tmp_path) == [name(4)]
