"""How far rotations drift from orthogonal in a training run, and how much a model's output moves with each dial.

    python -m benchmarks.echo_speed.dials [--steps 300]

Drift is the Frobenius norm of R^T R - I, the worst of all layers at the worst step, at a learning rate of 1e-3: in
the exact mode, free with the penalty alone, and free with a Newton-Schulz retraction after each step. A dial's
Lipschitz bound is the change of the logits over the step of the dial, at steps from 1e-1 down to 1e-3 of its scale;
for a function that is not continuous it grows tenfold with each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.echo_speed import harness
from echo_reference.config import EchoConfig
from echo_reference.model import Echo
from echo_reference.modules.rotation import Rotation, compose

MODES = {"exact": ("exact", False), "penalty alone": ("free", False), "retracted": ("free", True)}
# Where each dial stands and how far it may be moved.
DIALS = {"attention_window": (20.0, 1.0), "rotary_base": (1e4, 1e3), "embedding_width": (100.0, 1.0)}
FRACTIONS = (1e-1, 1e-2, 1e-3)


def small(rotation: str) -> Echo:
    """A digits model that rotates."""
    torch.manual_seed(0)
    marks = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "decoder_start_token_id": 1}
    return Echo(EchoConfig.preset("digits", rotation=rotation, vocab_size=32, n_audio_ctx=200, **marks))


def drift(model: Echo) -> float:
    """The worst layer's distance from orthogonal."""
    worst = 0.0
    for rotation in (m for m in model.modules() if isinstance(m, Rotation)):
        matrix = compose([rotation])[0].detach().double() if rotation.exact else rotation.matrix.detach().double()
        worst = max(worst, (matrix.mT @ matrix - torch.eye(matrix.shape[-1])).norm().item())
    return worst


@torch.no_grad()
def retract(model: Echo) -> None:
    """One step of Newton and Schulz towards the nearest orthogonal matrix: R (3 I - R^T R) / 2."""
    for rotation in (m for m in model.modules() if isinstance(m, Rotation)):
        matrix = rotation.matrix
        matrix.copy_(1.5 * matrix - 0.5 * matrix @ (matrix.mT @ matrix))


def train(mode: str, steps: int) -> list[float]:
    """Drift after each step."""
    rotation, retracted = MODES[mode]
    model = small(rotation).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(steps):
        features = torch.randn(8, 80, 100, generator=generator)
        labels = torch.randint(3, 32, (8, 4), generator=generator)
        optimizer.zero_grad()
        model(features, labels=labels, ctc_targets=labels).loss.backward()
        optimizer.step()
        if retracted:
            retract(model)
        found.append(drift(model))
    return found


def lipschitz(name: str) -> list[float]:
    """Change of the logits over the change of a dial, at smaller and smaller steps."""
    model = small("free").double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    dial, (value, scale) = getattr(model.dials, name), DIALS[name]
    features = torch.randn(1, 80, 1600, dtype=torch.float64)

    @torch.no_grad()
    def logits(at: float) -> Tensor:
        dial.set(at)
        out: Tensor = model(features, decoder_input_ids=torch.arange(3, 13)[None]).logits
        return out

    before = logits(value)
    return [(logits(value + f * scale) - before).norm().item() / (f * before.norm().item()) for f in FRACTIONS]


def main() -> None:
    """Measure, print two tables, write the figures."""
    parser = harness.parser(__doc__, "dials", 1)
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    drifts = {mode: train(mode, given.steps) for mode in MODES}
    print(harness.table(["rotation", "greatest drift"], [[mode, f"{max(d):.1e}"] for mode, d in drifts.items()]))
    bounds = {name: lipschitz(name) for name in DIALS}
    rows = [[name, *(f"{bound:.2e}" for bound in found)] for name, found in bounds.items()]
    print(harness.table(["dial", *(f"step of {f:g} scales" for f in FRACTIONS)], rows))
    harness.keep(given.output, {"drift": drifts, "lipschitz": bounds, "scales": DIALS}, given.threads)


if __name__ == "__main__":
    main()
