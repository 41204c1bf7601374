from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from tests.echo_reference.small import audio, generic_echo


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


def test_a_dial_that_moves_compiles_nothing_and_a_new_span_once(compiler: Compiler) -> None:
    model = generic_echo(n_audio_layer=1, rotation="free", attention_window=20.0, givens_rounds=1)
    compiled = torch.compile(model.encoder, backend=compiler)
    features = audio(2, 400)

    def compare() -> Tensor:
        with torch.no_grad():
            out, _ = compiled(features, None)
            torch.testing.assert_close(out, model.encoder(features, None)[0])
        return out

    before = compare()
    assert compiler.graphs == 1
    for name, value in {"rotary_base": 500.0, "attention_window": 31.0}.items():
        getattr(model.dials, name).set(value)
        after = compare()
        assert (after - before).abs().max() > 1e-6, name
        before = after
    model.dials.dropout.rate.set(0.3)
    with torch.no_grad():
        assert (compiled(features, None)[0] - before).abs().max() > 1e-3
    assert compiler.graphs == 1
    model.dials.dropout.rate.set(0.0)
    for window in (33.0, 40.0, 47.5, 30.0):
        model.dials.attention_window.set(window)
        compare()
    assert compiler.graphs == 2


def test_the_embedding_width_moves_in_compiled_code(compiler: Compiler) -> None:
    model = generic_echo(n_audio_layer=1, n_text_layer=1)
    compiled = torch.compile(model.decoder.tokens, backend=compiler)
    tokens = torch.tensor([[1, 5, 6]])
    results = []
    for width in (32.0, 30.0, 17.5):
        model.dials.embedding_width.set(width)
        results.append(compiled(tokens))
        torch.testing.assert_close(results[-1], model.decoder.tokens(tokens))
    assert not torch.equal(results[0], results[1])
    assert compiler.graphs == 1


def test_a_forward_pass_is_one_graph(compiler: Compiler) -> None:
    model = generic_echo(n_audio_layer=1, n_text_layer=1, givens_rounds=1).eval()
    compiled = torch.compile(model, backend=compiler, fullgraph=True)
    tokens = torch.tensor([[1, 5, 6]] * 2)
    with torch.no_grad():
        logits = compiled(audio(), decoder_input_ids=tokens).logits
        torch.testing.assert_close(logits, model(audio(), decoder_input_ids=tokens).logits)
    assert compiler.graphs == 1


def test_a_dial_that_moves_recompiles_no_training_step(compiler: Compiler) -> None:
    del compiler  # Forgets what was compiled before, and after.
    torch.manual_seed(0)
    model = generic_echo(n_audio_layer=1, n_text_layer=1, givens_rounds=1, attention_window=20.0).train()
    compiled = torch.compile(model, backend="aot_eager")
    batch = {"input_features": audio(2, 400), "labels": torch.tensor([[5, 6, 7]] * 2)}

    def gradients(step: torch.nn.Module) -> Tensor:
        model.zero_grad()
        step(**batch).loss.backward()
        # What the loss does not reach has a gradient of zero in compiled code, and none otherwise.
        return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in model.parameters()])

    before = gradients(compiled)
    for name, value in {"attention_window": 31.0, "rotary_base": 500.0, "embedding_width": 17.5}.items():
        getattr(model.dials, name).set(value)
        with torch.compiler.set_stance("fail_on_recompile"):
            after = gradients(compiled)
        torch.testing.assert_close(after, gradients(model))
        assert (after - before).abs().max() > 1e-6, name
        before = after
