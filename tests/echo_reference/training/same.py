"""Whether two runs ended at the same point, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from echo_reference.training import checkpoint
from homeostat.sinks import read_run


def assert_same(a: Any, b: Any, place: str = "") -> None:
    assert type(a) is type(b), place
    if isinstance(a, dict):
        assert a.keys() == b.keys(), place
        for key in a:
            assert_same(a[key], b[key], f"{place}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), place
        for i, (one, other) in enumerate(zip(a, b, strict=True)):
            assert_same(one, other, f"{place}[{i}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), place
    elif isinstance(a, np.ndarray):
        np.testing.assert_array_equal(a, b, err_msg=place)
    else:
        assert a == b, place


def assert_same_end(one: Path, other: Path) -> None:
    """Weights, configuration, optimizer, schedule, controller, random states and trace."""
    ends = [checkpoint.latest(folder) for folder in (one, other)]
    for name in ("model.safetensors", "config.json", "vocabulary.json"):
        assert (ends[0] / name).read_bytes() == (ends[1] / name).read_bytes(), name
    states = [checkpoint.load_training(end) for end in ends]
    for state in states:
        del state["settings"], state["seconds"]
    assert_same(*states)
    runs = [read_run(folder) for folder in (one, other)]
    assert_same(runs[0].loops, runs[1].loops)
    assert_same(runs[0].metrics, runs[1].metrics)
