"""Subtitles of a recording longer than Whisper's window, by a Whisper that writes what it likes."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from echo_reference.commands import run
from tests.echo_reference.runs import tone
from tests.echo_reference.test_whisper_settings import hub_whisper

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("whisper") is None, reason="openai-whisper's files are not installed"
)
SECONDS = 33.0
CLOCK = {"srt": r"(\d\d):([0-5]\d):([0-5]\d),(\d{3})", "vtt": r"(\d\d):([0-5]\d):([0-5]\d)\.(\d{3})"}


def parse(text: str, form: str) -> list[tuple[float, float, str]]:
    """Cues of a file, by the rules of its format."""
    head, cue = ("", r"(?P<number>\d+)\n") if form == "srt" else ("WEBVTT\n\n", "")
    assert text.startswith(head)
    assert text.endswith("\n")
    cues = []
    for i, block in enumerate(text.removeprefix(head)[:-1].split("\n\n"), 1):
        found = re.fullmatch(rf"{cue}(?P<from>{CLOCK[form]}) --> (?P<to>{CLOCK[form]})\n(?P<said>[^\n\r]+)", block)
        assert found, block
        assert form == "vtt" or int(found["number"]) == i
        assert form == "srt" or not re.search("<|>|&(?!(amp|lt|gt);)", found["said"])
        cues.append((seconds(found["from"]), seconds(found["to"]), found["said"]))
    return cues


def seconds(clock: str) -> float:
    hours, minutes, rest = clock.replace(",", ".").split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(rest)


@pytest.mark.parametrize(
    ("form", "window"),
    [pytest.param("srt", "30", id="srt, its own window"), pytest.param("vtt", "12", id="vtt, shorter windows")],
)
def test_subtitles_are_well_formed_and_within_the_recording(tmp_path: Path, form: str, window: str) -> None:
    # As on the hub: else the library would leave out on loading what it does not know.
    hub_whisper(51865, positions=1500, _from_model_config=False).save_pretrained(tmp_path / "whisper")
    noise = np.random.default_rng(0).normal(0, 0.01, round(SECONDS * 8000))
    soundfile.write(tmp_path / "long.wav", tone("high", SECONDS) + noise, 8000)
    asked = ["--format", form, "--output", str(tmp_path), "--language", "english", "--window", window]
    assert run(["transcribe", str(tmp_path / "whisper"), str(tmp_path / "long.wav"), *asked]) == 0
    cues = parse((tmp_path / f"long.{form}").read_bytes().decode("utf-8"), form)
    times = [time for start, end, _ in cues for time in (start, end)]
    assert len(cues) > 2
    assert times == sorted(times)
    assert 0.0 <= times[0] <= times[-1] <= SECONDS
    assert max(end - start for start, end, _ in cues) <= float(window)
    assert times[-1] > SECONDS - 8  # the last windows are heard too
