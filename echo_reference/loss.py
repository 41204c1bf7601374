"""What an Echo's training minimises."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORED = -100
"""A label that counts for nothing."""


def token_loss(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Mean cross-entropy over the labels (B, L) that are not -100, of `logits` (B, L, V)."""
    return F.cross_entropy(
        _precise(logits.flatten(0, 1)),
        labels.flatten(),
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
    )


def ctc_loss(logits: Tensor, lengths: Tensor | None, labels: Tensor) -> Tensor:
    """Mean over clips of the CTC loss per symbol; a clip too short for its text counts as 0.

    Args:
        logits: (B, S, V), blank 0.
        lengths: (B,) valid positions, None for all.
        labels: (B, N), -100 where none.
    """
    batch, size, _ = logits.shape
    if lengths is None:
        lengths = torch.full((batch,), size, dtype=torch.long, device=logits.device)
    present = labels != IGNORED
    log_probs = _precise(logits).log_softmax(-1).transpose(0, 1)
    return F.ctc_loss(log_probs, labels.clamp_min(0), lengths, present.sum(-1), blank=0, zero_infinity=True)


def _precise(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
