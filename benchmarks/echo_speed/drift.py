"""How far Echo's rotations drift from orthogonal while it learns spoken digits.

    python -m benchmarks.echo_speed.drift [--steps 300]

Drift is the Frobenius norm of R^T R - I, the worst of all layers at the worst step: in the exact mode, free with
homeostat's `RotationRetraction`, with the penalty alone, and with neither. The digits are synthesised; optimizer and
schedule are those of `echo-reference train`, with a peak rate of 1e-3 unless a row says otherwise.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from benchmarks.echo_speed import harness
from benchmarks.faults.speech import CPU, material
from echo_reference.config import EchoConfig
from echo_reference.data.batches import collate
from echo_reference.model import Echo
from echo_reference.modules.rotation import Rotation, compose
from echo_reference.training.evaluation import forward
from echo_reference.training.preparation import build_optimizer, build_schedule
from echo_reference.training.settings import TrainSettings
from homeostat import Homeostat, Loop
from homeostat.actuators import RotationRetraction
from homeostat.laws import Hold
from homeostat.observers import Loss


class Mode(NamedTuple):
    """How a rotation is kept orthogonal (its kind, the penalty's weight, the retraction), and the rate."""

    rotation: str
    penalty: float
    strength: float
    rate: float = 1e-3
    warmup: int = 50
    iterations: int = 1


MODES = {
    "exact": Mode("exact", 0.0, 0.0),
    "free, retracted": Mode("free", 1.0, 1.0),
    "free, retracted, no warm-up": Mode("free", 1.0, 1.0, warmup=0),
    "free, retracted, rate 4e-3": Mode("free", 1.0, 1.0, rate=4e-3),
    "free, retracted twice, rate 4e-3": Mode("free", 1.0, 1.0, rate=4e-3, iterations=2),
    "free, penalty alone": Mode("free", 1.0, 0.0),
    "free, nothing": Mode("free", 0.0, 0.0),
}


def build(mode: Mode) -> Echo:
    """A digits model that rotates by eight rounds and a matrix in every layer."""
    _, _, tokenizer, symbols = material()
    torch.manual_seed(0)
    config = EchoConfig.preset(
        "digits", n_mels=40, n_audio_ctx=64, n_text_ctx=8, rotation=mode.rotation, rotation_penalty=mode.penalty,
        vocab_size=tokenizer.vocab_size, bos_token_id=tokenizer.bos_id, eos_token_id=tokenizer.eos_id,
        decoder_start_token_id=tokenizer.bos_id, pad_token_id=tokenizer.pad_id,
        ctc_vocab=symbols.size, ctc_shift=symbols.shift,
    )  # fmt: skip
    model: Echo = Echo(config).train()
    return model


@torch.no_grad()
def drift(model: Echo) -> float:
    """The worst layer's distance from orthogonal."""
    worst = 0.0
    for rotation in (module for module in model.modules() if isinstance(module, Rotation)):
        matrix = (compose([rotation])[0] if rotation.exact else rotation.matrix).double()
        worst = max(worst, (matrix.mT @ matrix - torch.eye(matrix.shape[-1])).norm().item())
    return worst


def train(mode: Mode, steps: int) -> dict[str, list[float]]:
    """Drift and loss of each step."""
    clips, _, tokenizer, _ = material()
    model, generator = build(mode), torch.Generator().manual_seed(0)
    settings = TrainSettings(steps=steps, warmup=mode.warmup, learning_rate=mode.rate)
    optimizer = build_optimizer(settings, model)
    schedule = build_schedule(settings, optimizer)
    kept: dict[str, list[float]] = {"drift": [], "loss": []}
    retraction = RotationRetraction(parameters="*.rotation.matrix", start=mode.strength, iterations=mode.iterations)
    loops = [Loop(Loss(), Hold(), retraction)]
    homeostat = Homeostat(loops if mode.strength else []).attach(model, optimizer)
    for _ in range(steps):
        chosen = torch.randint(len(clips), (16,), generator=generator).tolist()
        output = forward(model, collate([clips[i] for i in chosen], tokenizer), CPU)
        assert output.loss is not None
        assert output.ce_loss is not None
        homeostat.observe(loss=output.loss)
        optimizer.zero_grad()
        output.loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        kept["drift"].append(drift(model))
        kept["loss"].append(output.ce_loss.item())
    homeostat.detach()
    return kept


def table(found: dict[str, Any]) -> str:
    """The worst drift of each mode, and that it learned."""
    rows = []
    for name, kept in found.items():
        first, last = kept["loss"][0], sum(kept["loss"][-20:]) / 20
        rows.append([name, f"{max(kept['drift']):.1e}", f"{first:.2f} to {last:.2f}"])
    return harness.table(["rotation", "greatest drift", "decoder's cross-entropy"], rows)


def main() -> None:
    """Measure, print a table, write the courses."""
    parser = harness.parser(__doc__, "drift", 1)
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found = {name: train(mode, given.steps) for name, mode in MODES.items()}
    print(table(found))
    harness.keep(given.output, found, given.threads)


if __name__ == "__main__":
    main()
