"""The rotated projection beside the published rotation: N = 63 dense products for every token, unfolded.

    python -m benchmarks.echo_speed.rotation [--repetitions 20]

The published way multiplies each token's queries and keys by one D x D matrix after another: here 62 rounds of plane
rotations (which already hold 32 planes each, where a plane at a time would take 32 times as many) and the orthogonal
matrix. Echo multiplies them once, and folds the result into the projection's weights. Outputs are compared.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.echo_speed import harness
from benchmarks.echo_speed.contenders import SIZES, Batch, echo, training_step
from echo_reference.model import Echo
from echo_reference.modules.attention import SelfAttention
from echo_reference.modules.rotation import Rotation, compose, givens_matrices
from echo_reference.modules.turn import interleaved

ROUNDS = 62
CLIPS, POSITIONS = 4, 150


def published(attention: SelfAttention, rotation: Rotation, x_BTC: Tensor) -> Tensor:
    """Queries, keys and values (B, T, 3, H, D), rotated one dense product after another."""
    heads, width = attention.heads, attention.head_width
    matrices = [*givens_matrices(rotation.angles * rotation.angle_scale), rotation.matrix]
    parts = []
    for projection in (attention.q_proj, attention.k_proj):
        x = projection(x_BTC).view(*x_BTC.shape[:2], heads, width)
        for matrix in matrices:
            x = x @ matrix
        parts.append(x)
    queries = attention.query_phase(parts[0].transpose(1, 2)).transpose(1, 2) * width**-0.5
    values = attention.v_proj(x_BTC).view_as(queries)
    return torch.stack((interleaved(queries), interleaved(parts[1]), values), 2)


def unfold(model: Echo) -> Echo:
    """Let every layer of a model rotate in the published way."""
    sides: tuple[Any, ...] = (model.encoder, model.decoder)
    for side in sides:
        for block, slot in zip(side.blocks, side.turner.slots, strict=True):
            attention, rotation = block.attention, slot.rotation
            attention.project = lambda x, _, a=attention, r=rotation: published(a, r, x)
    return model


def rotating(seed: int = 0) -> Echo:
    """A tiny Echo that rotates by all rounds."""
    torch.manual_seed(seed)
    return echo(SIZES["tiny"], 2 * POSITIONS, givens_rounds=ROUNDS, givens_std=0.3)


def projections() -> dict[str, Callable[[], Tensor]]:
    """Forward and backward of one layer's projection, in both ways."""
    model: Any = rotating()
    attention, rotation = model.encoder.blocks[0].attention, model.encoder.turner.slots[0].rotation
    x = torch.randn(CLIPS, POSITIONS, attention.q_proj.in_features, requires_grad=True)

    def run(project: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def both() -> Tensor:
            out = project()
            out.sum().backward()  # type: ignore[no-untyped-call]
            return out.detach()

        return both

    return {
        "published": run(lambda: published(attention, rotation, x)),
        "Echo": run(lambda: attention.project(x, compose([rotation])[0])),
    }


def main() -> None:
    """Measure, print a table, write the raw times."""
    given = harness.parser(__doc__, "rotation", 20).parse_args()
    torch.set_num_threads(given.threads)
    ways = projections()
    naive, folded = (way() for way in ways.values())
    difference = ((naive - folded).norm() / naive.norm()).item()
    batch = Batch.make(CLIPS, 2 * POSITIONS, 16)
    steps = {"published": training_step(unfold(rotating()), batch), "Echo": training_step(rotating(), batch)}
    results, rows = {"relative_difference": difference}, []
    for what, contenders in (("projection, forward and backward", ways), ("whole step", steps)):
        times = harness.interleaved(contenders, given.repetitions)
        results[what] = times
        shown = [f"{1000 * statistics.median(times[name]):.1f}" for name in contenders]
        rows.append([what, *shown, harness.ratio(times["published"], times["Echo"])])
    print(harness.table(["", "published, ms", "Echo, ms", "times as fast"], rows))
    print(f"relative difference of the outputs: {difference:.1e}")
    harness.keep(given.output, results, given.threads)


if __name__ == "__main__":
    main()
