from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from echo_reference.model import Echo
from tests.echo_reference.small import audio, generic_echo

LABELS = torch.tensor([[5, 6, 7, 2, -100], [9, 3, 3, 4, 2]])


class Compiler:
    """Counts the graphs it is given, and runs them as they are."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        del inputs
        self.graphs += 1
        return graph.forward


@pytest.fixture
def compiler() -> Iterator[Compiler]:
    torch._dynamo.reset()
    yield Compiler()
    torch._dynamo.reset()


def losses(model: nn.Module) -> Tensor:
    torch.manual_seed(0)
    with torch.no_grad():
        loss: Tensor = model(audio(2, 400), labels=LABELS).loss
    return loss


def test_a_dial_that_moves_compiles_nothing_and_a_new_span_once(compiler: Compiler) -> None:
    model: Echo = generic_echo(
        n_audio_layer=1, n_text_layer=1, rotation="free", attention_window=20.0, givens_rounds=1, ctc_vocab=0
    )
    nn.init.constant_(model.encoder.turner.slots[0].rotation.matrix, 0.3)
    compiled = torch.compile(model, backend=compiler)
    torch.testing.assert_close(losses(compiled), losses(model))
    first = compiler.graphs
    assert first == 1
    moves = {"rotary_base": 500.0, "embedding_width": 30.0, "rotation_penalty": 2.0, "attention_window": 31.0}
    for name, value in moves.items():
        before = losses(model)
        getattr(model.dials, name).set(value)
        after = losses(compiled)
        torch.testing.assert_close(after, losses(model))
        assert (after - before).abs() > 1e-6, name
    model.dials.dropout.rate.set(0.3)
    losses(compiled)
    assert compiler.graphs == first
    model.dials.dropout.rate.set(0.0)
    model.dials.attention_window.set(33.0)
    torch.testing.assert_close(losses(compiled), losses(model))
    assert compiler.graphs <= first + 1
    for window in (40.0, 47.5, 30.0):
        model.dials.attention_window.set(window)
        losses(compiled)
    assert compiler.graphs <= first + 1
