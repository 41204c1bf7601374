"""The output layer over a whole vocabulary, in whichever order of factors is quicker."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from echo_reference.modules.memo import Memo

_FEW = range(2, 16)
"""Rows for which MKL takes up to four times as long as for 16; the transposed product does not."""
_WORTH, _WORTH_WIDE = 16, 73
"""Tokens after which a text is likely to go on for as long as a copy of the weight takes to pay, up to width `_NARROW`
and above it."""
_NARROW = 512


def score_tokens(
    layer: nn.Module, hidden_BTC: Tensor, copy: Memo[Tensor] | None = None, first: int | Tensor = 0
) -> Tensor:
    """Logits (B, T, V): `layer` applied to hidden features (B, T, d), equal but for rounding.

    Decoding 8 clips at once is a product of 8 rows and 51865 columns, on a CPU half of a step's time or more; the
    transposed one takes half as long, as it does for the 2 or 3 rows of a narrow beam. One row takes half as long with
    the weight's columns side by side, at width 384 and 512: a copy, as large as the weight, that costs what it saves in
    18 tokens. (At width 1024 a row takes three quarters, and the copy costs what it saves in 73.)

    Args:
        layer: the output layer.
        hidden_BTC: what it is applied to.
        copy: keeps that copy while a text is written; made once the text is as long as the copy takes to pay.
        first: position in the text of the first of the T.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or not _plain(layer, hidden_BTC):
        return cast("Tensor", layer(hidden_BTC))
    weight = cast("Tensor", layer.weight)
    rows = hidden_BTC.flatten(0, 1)
    if len(rows) in _FEW:
        return (weight @ rows.mT).mT.reshape(*hidden_BTC.shape[:2], -1)
    worth = _WORTH if rows.shape[1] <= _NARROW else _WORTH_WIDE
    if len(rows) == 1 and copy is not None and copy.keeps and first >= worth:
        columns: Tensor = copy([weight], weight.mT.contiguous)
        return hidden_BTC @ columns
    return cast("Tensor", layer(hidden_BTC))


def _plain(layer: nn.Module, hidden_BTC: Tensor) -> bool:
    """Whether `layer` is a product of 32-bit numbers on a CPU and nothing else."""
    product = type(layer) is nn.Linear and layer.bias is None and layer.weight.dtype == torch.float32
    watched = layer._forward_hooks or layer._forward_pre_hooks
    return product and not watched and hidden_BTC.dtype == torch.float32 and hidden_BTC.device.type == "cpu"
