"""How much Echo's output moves with each dial: a Lipschitz bound, measured.

    python -m benchmarks.echo_speed.dials

The relative change of what is read (logits, or the loss for its weights) over the step of the dial, at steps from 1e-1
down to 1e-3 of its scale, in float64. For a function that jumps it grows tenfold with each. Dropout is read twice: with
the same features dropped, of which only the scale then follows the rate, and with the same random numbers, of which
more or fewer fall below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from benchmarks.echo_speed import harness
from echo_reference.config import EchoConfig
from echo_reference.model import Echo
from homeostat.nn import dials

FRACTIONS = (1e-1, 1e-2, 1e-3)


class Move(NamedTuple):
    """A knob, where it stands, the scale of its steps, and what is read."""

    knob: str
    value: float
    scale: float
    read: str = "logits"


MOVES = {
    "rotary base": Move("dials.rotary_base", 1e4, 1e3),
    "attention window": Move("dials.attention_window", 20.0, 1.0),
    "attention window, where its blocks grow": Move("dials.attention_window", 32.0, 1.0),
    "embedding width": Move("dials.embedding_width", 100.0, 1.0),
    "position scale": Move("position_scale", 1.0, 0.01),
    "rotation penalty": Move("dials.rotation_penalty", 1.0, 0.1, "loss"),
    "CTC weight": Move("dials.ctc_weight", 1.0, 0.1, "loss"),
    "dropout, same features dropped": Move("dials.dropout.rate", 0.1, 0.1, "same features dropped"),
    "dropout, same random numbers": Move("dials.dropout.rate", 0.1, 0.1, "same random numbers"),
}


class SameDropped(TorchFunctionMode):
    """Drops what a rate of `rate` would, and scales by the rate that is asked for."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Replace dropout alone."""
        given = kwargs or {}
        if func is not F.dropout:
            return func(*args, **given)
        x, rate = args[0], given["p"]  # as torch itself passes it on
        return x * (torch.rand_like(x) >= self.rate) / (1 - rate)


def generic() -> Echo:
    """A digits model whose every weight, gate and bias has been moved, in float64."""
    torch.manual_seed(0)
    marks = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "decoder_start_token_id": 1}
    model: Echo = Echo(EchoConfig.preset("digits", vocab_size=32, n_audio_ctx=200, **marks)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@torch.no_grad()
def turn(model: Echo, knob: str, value: float) -> float:
    """Move a knob; returns where it really stands. The learned position scales are moved together."""
    if knob == "position_scale":
        for stack in (model.encoder, model.decoder):
            stack.turner.rotary.position_scale.fill_(value)
        return value
    return dials(model)[knob].set(value)


@contextmanager
def _same_noise(model: Echo, move: Move) -> Iterator[None]:
    torch.manual_seed(1)
    model.train(move.read.startswith("same"))
    if move.read != "same features dropped":
        yield
        return
    with SameDropped(move.value):
        yield


def lipschitz(name: str) -> list[float]:
    """Relative change of what is read over the change of a dial, at smaller and smaller steps."""
    model, move = generic(), MOVES[name]
    features = torch.randn(1, 80, 1600, dtype=torch.float64)
    labels = torch.arange(3, 13)[None]

    @torch.no_grad()
    def read(value: float) -> tuple[float, Tensor]:
        reached = turn(model, move.knob, value)
        with _same_noise(model, move):
            output = model(features, labels=labels, ctc_targets=labels)
        out: Tensor = output.loss if move.read == "loss" else output.logits
        return reached, out

    start, before = read(move.value)
    found = []
    for fraction in FRACTIONS:
        reached, after = read(move.value + fraction * move.scale)
        found.append(((after - before).norm() / before.norm() * move.scale / (reached - start)).item())
    return found


def main() -> None:
    """Measure, print a table, write the figures."""
    given = harness.parser(__doc__, "dials", 1).parse_args()
    torch.set_num_threads(given.threads)
    bounds = {name: lipschitz(name) for name in MOVES}
    print(table(bounds))
    harness.keep(given.output, {"scales": MOVES, "bounds": bounds}, given.threads)


def table(bounds: dict[str, list[float]]) -> str:
    """A row for each dial."""
    rows = [[name, f"{MOVES[name].scale:g}", *(f"{b:.2e}" for b in found)] for name, found in bounds.items()]
    return harness.table(["dial", "scale", *(f"step of {f:g} scales" for f in FRACTIONS)], rows)


if __name__ == "__main__":
    main()
