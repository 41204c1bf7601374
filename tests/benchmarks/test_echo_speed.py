"""The contenders are what they are called, and what is said of times follows from them."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest
import torch

from benchmarks.echo_speed import harness, page, picture
from benchmarks.echo_speed.contenders import Batch, Size, echo, hugging_face, loss_of, openai
from benchmarks.echo_speed.decoding import decoder
from benchmarks.echo_speed.dials import FRACTIONS, MOVES, lipschitz
from benchmarks.echo_speed.length import exponent
from benchmarks.echo_speed.rotation import published
from echo_reference.modules.rotation import compose

SMALL = Size(32, 1, 2)


def test_a_ratio_of_equal_drifts_has_no_spread() -> None:
    drift = [1.0, 2.0, 3.0, 4.0]
    found = harness.ratio([2 * t for t in drift], drift)
    assert found == pytest.approx((2.0, 2.0, 2.0))


def test_contenders_are_run_in_turn_and_warmed_up() -> None:
    order: list[str] = []
    times = harness.interleaved({name: lambda name=name: order.append(name) for name in "ab"}, 3)
    assert order == ["a", "b"] * 4
    assert [len(taken) for taken in times.values()] == [3, 3]


def test_the_exponent_is_the_slope_in_logarithms() -> None:
    assert exponent([1, 2, 4], [3.0, 12.0, 48.0]) == pytest.approx(2.0)


def test_openai_and_hugging_face_are_one_architecture() -> None:
    if importlib.util.find_spec("whisper") is None:
        pytest.skip("openai-whisper is not installed")
    torch.manual_seed(0)
    ours, theirs = hugging_face(SMALL, 40), openai(SMALL, 40)
    # Hugging Face counts the fixed sinusoids of the encoder as a parameter.
    counted = sum(p.numel() for p in ours.parameters()) - 20 * SMALL.width
    assert sum(p.numel() for p in theirs.parameters()) == counted
    batch = Batch.make(1, 40, 3)
    for model in (ours, theirs):
        assert 5 < loss_of(model, batch).item() < math.inf


def test_the_published_rotation_gives_what_echo_gives() -> None:
    torch.manual_seed(0)
    model = echo(Size(32, 1, 2), 40, givens_rounds=14, givens_std=0.5).double()
    attention, rotation = model.encoder.blocks[0].attention, model.encoder.turner.slots[0].rotation
    torch.nn.init.normal_(attention.query_phase.phase)
    torch.nn.init.orthogonal_(rotation.matrix)
    x = torch.randn(2, 5, 32, dtype=torch.float64)
    torch.testing.assert_close(published(attention, rotation, x), attention.project(x, compose([rotation])[0]))


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_the_loop_writes_what_is_likeliest_without_a_cache(kind: str) -> None:
    torch.manual_seed(0)
    model = echo(SMALL, 3000).eval()
    heard = torch.randn(1, 1500, SMALL.width)
    written = decoder(model, heard, 4, kind)()
    given = {"encoder_outputs": (heard,), "use_cache": False}
    for i in range(1, 5):
        logits = model(decoder_input_ids=written[:, :i], **given).logits
        assert logits[0, -1].argmax() == written[0, i]


@pytest.mark.parametrize("name", [name for name in MOVES if name != "dropout, same random numbers"])
def test_the_model_is_continuous_in_a_dial(name: str) -> None:
    bounds = lipschitz(name)
    assert len(bounds) == len(FRACTIONS)
    # A jump would make the bound grow tenfold from each step to the next.
    assert 0 < max(bounds) < 3 * bounds[0]


def test_the_page_shows_what_was_measured_and_whether_it_met_its_goal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "RESULTS", tmp_path)
    step = {
        "size": "tiny",
        "case": "30 s",
        "times_s": {"Whisper, Hugging Face": [1.0] * 3, "Echo": [1.1] * 3, "Echo, time divided by 4": [0.5] * 3},
        "parts": {"Echo": {"attention": 0.25, "rest": 0.75}},
        "share_of_product_speed": {"Echo": 0.5},
    }
    harness.keep(tmp_path / "echo_speed_training_step_tiny.json", [step], 1)
    lengths = [{"length": n, "times_s": {name: [n * 1e-3] for name in picture.COLOURS}} for n in (500, 1000, 2000)]
    harness.keep(tmp_path / "echo_speed_length.json", lengths, 1)
    written = page.page()
    assert "| Echo | 3 | 1100 | 1.10 (1.10 .. 1.10) | 1: missed |" in written
    assert "| 0.50 (0.50 .. 0.50) | 0.7: met |" in written
    assert "| half of them | 500 | 1000 | 2000 | 1.00 |" in written
    assert "## Decoding" not in written
    assert (tmp_path / "echo_speed_length.svg").read_text().count("<polyline") == 3
