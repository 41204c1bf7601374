from __future__ import annotations

from pathlib import Path

import pytest

from echo_reference.model import Echo
from echo_reference.modules.attend import QUANTUM, block_span
from homeostat.nn import Dial
from tests.echo_reference.small import generic_echo


def span(dial: Dial) -> int | None:
    return block_span(dial.quanta, 1000)


def test_the_span_follows_the_window_however_it_got_there(tmp_path: Path) -> None:
    model = generic_echo(attention_window=20.0)
    window = model.dials.attention_window
    assert span(window) == 32
    window.set(33.0)
    assert span(window) == 48
    model.save_pretrained(tmp_path)
    assert span(Echo.from_pretrained(tmp_path).dials.attention_window) == 48
    window.reset()
    assert span(window) == 32


@pytest.mark.parametrize("value", [0.0, 0.5, 15.9, 16.0, 16.1, 160.0])
def test_a_block_and_its_neighbours_hold_the_whole_window(value: float) -> None:
    dial = Dial(value, quantum=QUANTUM)
    found = span(dial)
    assert found is not None
    assert value <= found < value + 2 * QUANTUM
