"""What an Echo's training minimises."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from echo_reference.errors import DataError

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
        labels: (B, N) from 1 to V - 1, -100 where none.

    Raises:
        DataError: a label is another; looked at on a CPU, since other devices would be waited for.
    """
    batch, size, symbols = logits.shape
    if labels.device.type == "cpu" and not torch.compiler.is_compiling():
        _check_symbols(labels, symbols)
    if lengths is None:
        lengths = torch.full((batch,), size, dtype=torch.long, device=logits.device)
    present = labels != IGNORED
    log_probs = _precise(logits).log_softmax(-1).transpose(0, 1)
    return F.ctc_loss(log_probs, labels.clamp_min(0), lengths, present.sum(-1), blank=0, zero_infinity=True)


def _check_symbols(labels: Tensor, symbols: int) -> None:
    # PyTorch reads beyond its table without a word.
    wrong = (labels != IGNORED) & ((labels < 1) | (labels >= symbols))
    if bool(wrong.any()):
        raise DataError(
            f"CTC targets must be from 1 to {symbols - 1}, or {IGNORED} for none; got {int(labels[wrong][0])}. "
            "Encode them with the CTC head's own alphabet."
        )


def _precise(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
