"""Entries to write."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from homeostat.trace import Record


@pytest.fixture(scope="session")
def description() -> dict[str, Any]:
    return {"version": 1, "homeostat": "0.1.0", "tick": 0, "name": "test", "loops": []}


@pytest.fixture(scope="session")
def record() -> Callable[..., Record]:
    def make(tick: int, reading: float = 0.5) -> Record:
        return Record(
            tick=tick,
            loop="rate",
            readings=(reading,),
            setpoints=(1.0,),
            commands=(0.1 * tick,),
            admitted=(0.1 * tick,),
            delivered=(0.1 * tick,),
            limits=("slew",),
            terms={"p": 0.25, "i": math.pi},
        )

    return make
