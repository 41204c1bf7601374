"""The rotation block: a product of plane rotations and an orthogonal matrix, folded into projections."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echo_reference.modules.precise import Precise


@cache
def givens_schedule(width: int) -> tuple[tuple[int, ...], ...]:
    """Rounds of disjoint planes; entry i of a round is the partner of feature i.

    The width - 1 rounds of a round-robin tournament, relabelled so that one of them is the rotary planes
    (p, p + width / 2), which is left out: a turn in those only adds a phase.
    """
    half = width // 2
    ring = list(range(1, width))
    rounds = []
    for _ in range(width - 1):
        order = [0, *ring]
        rounds.append([(order[i], order[width - 1 - i]) for i in range(half)])
        ring = ring[1:] + ring[:1]
    label = {feature: p + side * half for p, pair in enumerate(rounds[0]) for side, feature in enumerate(pair)}
    schedule = []
    for pairs in rounds[1:]:
        partner = [0] * width
        for a, b in pairs:
            partner[label[a]], partner[label[b]] = label[b], label[a]
        schedule.append(tuple(partner))
    return tuple(schedule)


@cache
def _planes(width: int) -> tuple[tuple[int, ...], ...]:
    rounds = []
    for partner in givens_schedule(width):
        lower = [i for i, j in enumerate(partner) if i < j]
        rounds.append(tuple(lower.index(min(pair)) for pair in enumerate(partner)))
    return tuple(rounds)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _tables(width: int, rounds: int) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """Each feature's partner, and the number of its plane, in each round."""
    return givens_schedule(width)[:rounds], _planes(width)[:rounds]


def givens_matrices(angles: Tensor) -> Tensor:
    """Each round's product of plane rotations as one matrix: (..., rounds, D / 2) to (..., rounds, D, D).

    Angles are in the order of the planes' lower feature. A vector times a round's matrix turns in its planes.
    """
    rounds, width = angles.shape[-2], 2 * angles.shape[-1]
    schedule, planes = _tables(width, rounds)
    partner = torch.tensor(schedule, device=angles.device).view(rounds, width)
    feature = torch.arange(width, device=angles.device)
    plane = torch.tensor(planes, device=angles.device).view(rounds, width)
    index = plane.expand(*angles.shape[:-1], width)
    full = angles.gather(-1, index)[..., None, :]
    sign = torch.where(feature < partner, -1.0, 1.0).to(angles.dtype)[:, None]
    eye = torch.eye(width, device=angles.device, dtype=angles.dtype)
    swap = (partner[:, None] == feature[:, None]).to(angles.dtype) * sign
    return eye * full.cos() + swap * full.sin()


def chain_product(matrices: Tensor) -> Tensor:
    """The product, in order, along the third dimension from the end; halved again and again."""
    while matrices.shape[-3] > 1:
        count = matrices.shape[-3]
        pairs = matrices[..., 0 : count - 1 : 2, :, :] @ matrices[..., 1::2, :, :]
        matrices = torch.cat((pairs, matrices[..., count - 1 :, :, :]), -3) if count % 2 else pairs
    return matrices.squeeze(-3)


class Rotation(Precise):
    """The learned parts of one rotation M = (G_1 ... G_N) R on a head's D features.

    Exact mode: R = (I + S)^-1 (I - S) with S = A - A^T, orthogonal whatever A is. Free mode: R is a matrix
    that starts orthogonal and is kept near by a penalty or a retraction.

    Args:
        head_width: D.
        copies: leading shape of the parameters: () for one rotation, (H,) for one a head.
        rounds: N.
        exact: which mode.
        std: standard deviation of the angles at initialisation.
    """

    def __init__(self, head_width: int, copies: tuple[int, ...], rounds: int, exact: bool, std: float) -> None:
        super().__init__()
        self.exact = exact
        self.std = std
        self.angles = nn.Parameter(torch.empty(*copies, rounds, head_width // 2))
        self.angle_scale = nn.Parameter(torch.empty(copies))
        square = nn.Parameter(torch.empty(*copies, head_width, head_width))
        if exact:
            self.skew = square
        else:
            self.matrix = square
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start at R = I and small random angles."""
        nn.init.normal_(self.angles, std=self.std)
        nn.init.ones_(self.angle_scale)
        if self.exact:
            nn.init.zeros_(self.skew)
        else:
            for matrix in self.matrix.view(-1, *self.matrix.shape[-2:]):
                nn.init.eye_(matrix)

    def learned(self) -> list[Tensor]:
        """Its parameters, without a walk over modules."""
        return [self.angles, self.angle_scale, self.skew if self.exact else self.matrix]

    def defect(self) -> Tensor:
        """Squared Frobenius norm of R^T R - I, summed over copies; 0 in exact mode."""
        if self.exact:
            return self.skew.new_zeros(())
        gram = self.matrix.mT @ self.matrix
        return (gram - torch.eye(gram.shape[-1], device=gram.device, dtype=gram.dtype)).square().sum()


class AngleCondition(Precise):
    """Angles that depend on what is heard: gate * W_2 GELU(W_1 norm(mean)), added to the learned ones.

    The gate starts at 0 and the weights start normally, so at first every clip is rotated alike.

    Args:
        width: features of the mean.
        layers: rotations L that are given angles.
        rounds: rounds N of each.
        planes: planes P of a round.
    """

    hidden = 32

    def __init__(self, width: int, layers: int, rounds: int, planes: int) -> None:
        super().__init__()
        self.shape = (layers, rounds, planes)
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, self.hidden)
        self.fc2 = nn.Linear(self.hidden, layers * rounds * planes)
        self.gate = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Close the gate; the layers have their own initialisation."""
        nn.init.zeros_(self.gate)

    def forward(self, mean_BC: Tensor) -> Tensor:
        """Angles (L, B, N, P) of each clip's mean features."""
        with torch.autocast(mean_BC.device.type, enabled=False):
            mean = mean_BC.to(self.gate.dtype)
            angles: Tensor = self.gate * self.fc2(F.gelu(self.fc1(self.norm(mean))))
            return angles.view(-1, *self.shape).transpose(0, 1)


def compose(rotations: list[Rotation], extra: Tensor | None = None) -> Tensor:
    """The matrices M of several rotations in one batch, shape (len(rotations), *copies, D, D).

    They are made in the parameters' own precision under autocast too: rounded, they would be no rotations.

    Args:
        rotations: of one shape and mode.
        extra: angles (len(rotations), B, N, P) to add, clip by clip; the result is then (len(rotations), B, D, D).
    """
    with torch.autocast(rotations[0].angles.device.type, enabled=False):
        return _compose(rotations, extra)


def _compose(rotations: list[Rotation], extra: Tensor | None) -> Tensor:
    added = extra if extra is not None else [0.0] * len(rotations)
    angles = torch.stack(
        [(r.angles + more) * r.angle_scale[..., None, None] for r, more in zip(rotations, added, strict=True)]
    )
    width = 2 * angles.shape[-1]
    eye = torch.eye(width, device=angles.device, dtype=angles.dtype)
    if rotations[0].exact:
        skew = torch.stack([r.skew for r in rotations])
        skew = skew - skew.mT
        right = torch.linalg.solve(eye + skew, eye - skew)
    else:
        right = torch.stack([r.matrix for r in rotations])
    if extra is not None:
        right = right[:, None]
    composed: Tensor = chain_product(givens_matrices(angles)) @ right if angles.shape[-2] else right
    return composed
