"""One recipe steers every knob of an Echo in one run."""

from __future__ import annotations

import torch

from echo_reference.model import Echo
from homeostat import Homeostat
from tests.echo_reference.small import audio, generic_echo

LABELS = torch.tensor([[5, 6, 7, 2], [9, 3, 3, 2]])
# Which way each goes, given what is wrong with the model and the run below.
UP = {"learning_rate", "clip_norm", "dropout", "rotary_base", "rotation_penalty"}
DOWN = {"attention_window", "embedding_width"}


def troubled() -> Echo:
    """An Echo with a wide window, rotations far from orthogonal, tokens in 3 dimensions, and heads that see near."""
    model = generic_echo(rotation="free", attention_window=40.0, n_audio_layer=1, n_text_layer=1, givens_rounds=1)
    with torch.no_grad():
        model.encoder.turner.slots[0].rotation.matrix.mul_(1.05)
        model.decoder.tokens.embedding.weight.copy_(0.2 * torch.randn(20, 3) @ torch.randn(3, 32))
    return model


def test_the_recipe_moves_all_knobs_at_the_same_time_each_to_its_side() -> None:
    model = troubled()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    homeostat = Homeostat.from_recipe("echo", horizon=60).attach(model, optimizer)
    before = homeostat.knobs
    for _ in range(60):
        loss = model(audio(2, 24), labels=LABELS, ctc_targets=LABELS.clamp(max=6)).loss
        homeostat.observe(loss=loss, validation_loss=loss.detach() + 2.0)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    after = homeostat.knobs
    assert {name for name in before if after[name] > before[name]} == UP
    assert {name for name in before if after[name] < before[name]} == DOWN
    dials = {"rotary_base", "attention_window", "rotation_penalty", "embedding_width"}
    assert {name: (getattr(model.dials, name).value,) for name in dials} == {name: after[name] for name in dials}
    assert (model.dials.dropout.rate.value,) == after["dropout"]
    homeostat.detach()
    assert model.dials.settings()["attention_window"] == 40.0
