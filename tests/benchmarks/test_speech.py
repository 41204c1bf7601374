"""The comparison on speech trains what it says, on what it says, for as long as it says."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from fnmatch import fnmatch
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.speech.clock import Average, contend, rate_factor
from benchmarks.speech.contenders import CONTENDERS, VARIANTS
from benchmarks.speech.echo import EchoContender
from benchmarks.speech.picture import draw
from benchmarks.speech.report import ablation, comparison
from benchmarks.speech.tasks import Task, split
from echo_reference.data.batches import TrainingBatches, make_clips
from echo_reference.data.utterance import Corpus, Utterance
from echo_reference.features import LogMel
from echo_reference.tokens import CtcSymbols, WordTokenizer

SPEAKERS = ("ann", "ben", "cid")


def recording(number: int) -> Utterance:
    samples = np.random.default_rng(number).normal(0, 0.1, 8000).astype(np.float32)
    return Utterance(f"clip-{number}", samples, ("one", "two")[number % 2], 0.5, SPEAKERS[number % 3])


@pytest.fixture(scope="module")
def task() -> Task:
    tokenizer = WordTokenizer(["one", "two"])
    clips = make_clips([recording(k) for k in range(4)], LogMel(), tokenizer)
    batches = TrainingBatches(clips, tokenizer, 2, 0)
    return Task(
        "strings", batches, tokenizer, CtcSymbols(tokenizer), [c.features for c in clips], ["one", "two"] * 2, ""
    )


class Busy:
    """Burns processor time, and always reads the same."""

    def __init__(self, text: str) -> None:
        self.average = Average(nn.Linear(1, 1))
        self.text, self.progress = text, []

    def step(self, number: int, progress: float) -> None:
        assert number == len(self.progress)
        self.progress.append(progress)
        torch.randn(200, 200) @ torch.randn(200, 200)

    def read(self) -> dict[str, list[str]]:
        return {"greedy": [self.text] * 4}


def test_the_unseen_speaker_is_in_no_training_clip_and_changes_with_the_seed() -> None:
    clips = [recording(k) for k in range(9)]
    corpus = Corpus("some", clips[:6], [], clips[6:])
    unseen = []
    for seed in range(3):
        train, test, speaker = split(corpus, "speaker", seed)
        assert {u.speaker for u in test} == {speaker}
        assert {u.speaker for u in train} == {*SPEAKERS} - {speaker}
        assert len(train) + len(test) == 9
        unseen.append(speaker)
    assert sorted(unseen) == [*SPEAKERS]


def test_the_rate_warms_up_and_ends_at_a_twentieth() -> None:
    assert rate_factor(0, 50, 0.0) == pytest.approx(1 / 50)
    assert rate_factor(49, 50, 0.0) == 1.0
    assert rate_factor(1000, 50, 1.0) == pytest.approx(0.05)


def test_an_average_stands_in_for_a_while() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = Average(model, keep=0.75)
    nn.init.constant_(model.weight, 4.0)
    average.update()
    with average.in_place():
        assert model.weight.item() == pytest.approx(1.0)
    assert model.weight.item() == 4.0


@pytest.mark.parametrize(("text", "wer"), [("one", 0.5), ("", 1.0)])
def test_a_contender_is_read_at_each_mark_and_trained_to_the_last(task: Task, text: str, wer: float) -> None:
    contender = Busy(text)
    run = contend(contender, task, "busy", [0.0005, 0.001], horizon=0.002)
    assert [point["minutes"] for point in run["curve"]] == [0.0005, 0.001]
    assert [point["wer"] for point in run["curve"]] == [{"greedy": wer}] * 2
    assert 0 < run["curve"][0]["steps"] < run["curve"][1]["steps"] == len(contender.progress)
    assert run["ms_per_step"] * len(contender.progress) == pytest.approx(60, rel=0.5)
    assert contender.progress == sorted(contender.progress)
    assert contender.progress[0] == 0.0
    assert 0.4 < contender.progress[-1] < 0.5


def test_at_a_given_pace_the_steps_are_as_many_whatever_they_take(task: Task) -> None:
    run = contend(Busy("one"), task, "busy", [0.1, 0.2], horizon=0.4, pace=1000.0)
    assert [point["steps"] for point in run["curve"]] == [6, 12]
    assert run["ms_per_step"] < 1000


@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_taken_away_is_gone_and_what_is_added_there(task: Task, name: str) -> None:
    settings: dict[str, Any] = {**VARIANTS[name]}
    contender = CONTENDERS[name](task)
    assert isinstance(contender, EchoContender)
    model = contender.reader.model
    still = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    for pattern in settings.pop("frozen", ()):
        assert any(fnmatch(name, pattern) for name in still)
    for field in ("rate", "warmup"):
        assert getattr(contender, field) == settings.pop(field, getattr(contender, field))
    assert {name: getattr(model.config, name) for name in settings} == settings


def test_frozen_parameters_stay(task: Task) -> None:
    contender = EchoContender(task, frozen=("*.position.gain",))
    model = contender.reader.model
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    contender.step(0, 0.0)
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert "encoder.position.direction" in moved
    assert "encoder.position.gain" not in moved


def run(contender: str, seed: int, joint: float) -> dict[str, Any]:
    curve = [{"minutes": m, "steps": 10, "wer": {"greedy": 2 * joint, "joint": joint / m}} for m in (1.0, 2.0)]
    return {"contender": contender, "seed": seed, "ms_per_step": 100.0, "curve": curve}


def test_tables_give_the_mean_and_the_range_over_seeds() -> None:
    runs = [run("echo", 0, 0.02), run("echo", 1, 0.04), run("echo without CTC loss", 0, 0.5)]
    assert "| echo, joint | 2 | 100 | 3.00 (2.00 to 4.00) | 1.50 (1.00 to 2.00) |" in comparison(runs)
    assert "| without CTC loss | 1 | 10 | 100.00 | - | 50.00 |" in ablation(runs)


def test_the_picture_has_a_point_for_each_reading() -> None:
    runs = [run("echo", 0, 0.02), run("echo", 1, 0.0), run("whisper", 0, 0.9)]
    root = ET.fromstring(draw({"strings": runs}))  # noqa: S314 - our own
    assert len(root.findall("{*}circle")) == 6
