"""One weight at both ends of a decoder: its gradient is made once, and not once for each end."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echo_reference.modules.memo import Memo
from echo_reference.modules.output import score_tokens


class Ends(NamedTuple):
    """The two ends of a weight (V, d), whose gradients come together before autograd adds them.

    The gradient of the rows that are read touches these rows only, and is added in place to that of the scores: a dense
    gradient of a vocabulary of 51865 is 80 MB at width 384, and a sum of two is 80 MB more.

    Attributes:
        rows: for `read`.
        scores: for `score`.
    """

    rows: Tensor
    scores: Tensor

    @classmethod
    def of(cls, embedding: nn.Module, layer: nn.Module) -> Ends | None:
        """The ends of what `embedding` and `layer` share; None where they share nothing, or more than a product."""
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return None
        plain = type(embedding) is nn.Embedding and type(layer) is nn.Linear and layer.bias is None
        if not plain or layer.weight is not embedding.weight or layer._forward_hooks or layer._forward_pre_hooks:
            return None
        return cls(*_Fork.apply(layer.weight))  # type: ignore[no-untyped-call]

    def read(self, tokens_BT: Tensor) -> Tensor:
        """Rows of the weight, (B, T, d)."""
        rows: Tensor = _Rows.apply(self.rows, tokens_BT)  # type: ignore[no-untyped-call]
        return rows


def score(
    layer: nn.Module,
    ends: Ends | None,
    hidden_BTC: Tensor,
    copy: Memo[Tensor] | None = None,
    first: int | Tensor = 0,
) -> Tensor:
    """Logits (B, T, V) of hidden features (B, T, d); `copy` and `first` as in `score_tokens`."""
    return score_tokens(layer, hidden_BTC, copy, first) if ends is None else F.linear(hidden_BTC, ends.scores)


class _Fork(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        return weight.view_as(weight), weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, rows: Tensor | None, scores: Tensor | None) -> Tensor | None:
        del ctx
        if rows is None or scores is None:
            return scores if rows is None else rows.to_dense()
        # In place, since nobody else has the gradient of a product that only this function gets.
        return scores + rows if torch.is_grad_enabled() else scores.add_(rows)


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = weight.shape
        return weight[rows]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        grad = grad.flatten(0, -2)
        if torch.is_grad_enabled() or grad.device.type != "cpu":  # adding a sparse tensor waits for other devices
            return grad.new_zeros(ctx.shape).index_add(0, rows.flatten(), grad), None
        return torch.sparse_coo_tensor(rows.view(1, -1), grad, ctx.shape, check_invariants=False), None
