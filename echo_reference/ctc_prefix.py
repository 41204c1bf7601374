"""The probability that a CTC head gives to a transcript beginning with given symbols."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_NEVER = -1e5
"""A log-probability no path recovers from; finite, so that differences of sums stay defined."""


class PrefixState(NamedTuple):
    """Log-probabilities of a prefix's paths after each frame, frame 0 being before any; each (N, S + 1).

    Attributes:
        symbol: of paths that end in the prefix's last symbol.
        blank: of paths that end in blank.
        last: (N,) the last symbol, 0 for the empty prefix.
        score: (N,) log-probability that the transcript begins with the prefix.
    """

    symbol: Tensor
    blank: Tensor
    last: Tensor
    score: Tensor


class PrefixScorer:
    """Extends prefixes symbol by symbol (Watanabe and others, "Hybrid CTC/attention architecture", 2017).

    Their recursions over frames are linear in the probabilities, so each is one cumulative sum:
    with X the running sum of log x, r_t = x_t (r_(t-1) + p_(t-1)) gives
    log r_t = X_t + log sum_(s <= t) exp(log p_(s-1) - X_(s-1)). Computed in float64.

    Args:
        logits: (N, S, V), blank 0.
        lengths: (N,) valid frames, None for all.
    """

    def __init__(self, logits: Tensor, lengths: Tensor | None) -> None:
        log_probs = logits.double().log_softmax(-1).clamp_min(_NEVER)
        if lengths is not None:
            beyond = torch.arange(logits.shape[1], device=logits.device) >= lengths[:, None]
            log_probs = log_probs.masked_fill(beyond[..., None], _NEVER)
            log_probs[..., 0] = log_probs[..., 0].masked_fill(beyond, 0.0)
        start = log_probs.new_zeros(len(log_probs), 1, log_probs.shape[2])
        self.running = torch.cat((start, log_probs), 1).cumsum(1)

    def start(self) -> PrefixState:
        """The empty prefix of every clip."""
        blank = self.running[..., 0]
        none = torch.full_like(blank, 2 * _NEVER * blank.shape[1])
        last = torch.zeros(len(blank), dtype=torch.long, device=blank.device)
        return PrefixState(none, blank, last, blank.new_zeros(len(blank)))

    def extend(self, state: PrefixState, symbols: Tensor) -> PrefixState:
        """Append each of `symbols` (C,) to each prefix; fields gain a dimension: (N, C, S + 1) and (N, C)."""
        running = self.running[..., symbols].transpose(1, 2)
        repeated = (state.last[:, None] == symbols)[..., None]
        either = torch.logaddexp(state.symbol, state.blank)[:, None]
        entering = torch.where(repeated, state.blank[:, None], either)
        symbol = _accumulate(entering, running)
        blank = _accumulate(symbol, self.running[:, None, :, 0].expand_as(symbol))
        score = (entering[..., :-1] + running.diff(dim=-1)).logsumexp(-1)
        return PrefixState(symbol, blank, symbols.expand(len(score), -1), score)

    @staticmethod
    def finish(state: PrefixState) -> Tensor:
        """Log-probability (N,) that the transcript is the prefix and no more."""
        return torch.logaddexp(state.symbol[..., -1], state.blank[..., -1])


def _accumulate(entering: Tensor, running: Tensor) -> Tensor:
    sums = torch.logcumsumexp(entering[..., :-1] - running[..., :-1], -1)
    never = torch.full_like(sums[..., :1], 2 * _NEVER * entering.shape[-1])
    return torch.cat((never, running[..., 1:] + sums), -1)
