from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from echo_reference.training.display import Display, Knobs

KNOBS: Knobs = {
    "learning_rate": (1.02345,),
    "update_limit": (0.03,),
    "clip_norm": (12.345,),
    "dropout": (0.0123,),
    "rotary_base": (12345.0,),
    "attention_window": (8.234,),
    "rotation_penalty": (0.00123,),
    "embedding_width": (123.25,),
    "pair": (1.0, 2.0),
}


def show(console: Console) -> str:
    with Display(900, 0, console) as display:
        display.step(120, 1.2345, 0.1534, KNOBS)
        display.evaluation(120, 1.5, 0.123, "ctc", KNOBS)
        display.alarm("step 121: [something] is wrong")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_loss_wer_speed_and_every_knob(width: int) -> None:
    text = show(Console(width=width, force_terminal=True, color_system=None, file=io.StringIO()))
    assert "120/900" in text
    assert "loss 1.234   153 ms/step   WER 12.3 % (ctc)" in text
    for name, place in [("learning_rate", "1.02"), ("rotary_base", "1.23e+04"), ("rotation_penalty", "0.00123")]:
        assert f"{name} {place}" in text
    assert "pair 1, 2" in text
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", text).splitlines()
    assert max(len(line) for line in drawn) <= width


def test_a_file_gets_one_line_an_evaluation() -> None:
    lines = show(Console(width=80, file=io.StringIO())).splitlines()
    assert lines[0].startswith("step 120  validation loss 1.500  WER 12.3 % (ctc)  learning_rate 1.02  update_limit")
    assert lines[1] == "step 121: [something] is wrong"
    assert len(lines) == 2
