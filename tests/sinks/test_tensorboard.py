"""What is written can be read by TensorBoard itself."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from homeostat.errors import HomeostatError, MissingExtraError
from homeostat.sinks import TensorBoard
from homeostat.trace import Event, LoopVitals, Metric, Record, Vitals

pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(scalar.step, round(scalar.value, 5)) for scalar in read(folder).Scalars(tag)]


def test_loops_metrics_and_events_are_found_under_their_names(tmp_path, description, record) -> None:
    sink = TensorBoard(tmp_path)
    sink.open(description)
    for tick in (10, 20):
        sink.write(record(tick))
        sink.write(Metric(tick, "loss", 2.5))
    sink.write(Record(20, "both", (1.0, 2.0), (), (3.0,), (3.0,), (4.0,), (), {}))
    sink.write(Event(20, "alarm: **stuck**"))
    sink.write(Vitals(20, 0.25, {"rate": LoopVitals(30, 0.5, 0.5, 1.0, 0.0, 0.0, 0.0, 0.0)}))
    sink.flush()
    assert points(tmp_path, "rate/reading") == [(10, 0.5), (20, 0.5)]
    assert points(tmp_path, "rate/setpoint") == [(10, 1.0), (20, 1.0)]
    assert points(tmp_path, "rate/delivered") == [(10, 1.0), (20, 2.0)]
    assert points(tmp_path, "metrics/loss") == [(10, 2.5), (20, 2.5)]
    assert points(tmp_path, "both/reading.1") == [(20, 2.0)]
    assert points(tmp_path, "vitals/homeostasis") == [(20, 0.25)]
    assert points(tmp_path, "vitals/rate") == [(20, 0.5)]
    texts = read(tmp_path)
    assert texts.Tensors("events/text_summary")[0].tensor_proto.string_val == [b"alarm: **stuck**"]
    assert json.loads(texts.Tensors("run/text_summary")[0].tensor_proto.string_val[0]) == description
    sink.close()


def test_a_resumed_run_hides_what_it_does_anew(tmp_path, description) -> None:
    for start, value in ((0, 1.0), (2, 5.0)):
        sink = TensorBoard(tmp_path)
        sink.open({**description, "tick": start})
        for tick in range(start, 4):
            sink.write(Metric(tick, "loss", value))
        sink.close()
    assert points(tmp_path, "metrics/loss") == [(0, 1.0), (1, 1.0), (2, 5.0), (3, 5.0)]


def test_writing_before_opening_is_refused(tmp_path) -> None:
    with pytest.raises(HomeostatError, match="must be opened"):
        TensorBoard(tmp_path).write(Metric(0, "loss", 1.0))


def test_a_missing_package_names_its_extra(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"torch-homeostat\[tensorboard\]"):
        TensorBoard(tmp_path)
