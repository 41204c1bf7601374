"""Self-attention with rotated, rotary, local and global heads; and cross-attention without any of it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echo_reference.modules.attend import Heads, attend_blocked, attend_global, attend_scored, block_span
from echo_reference.modules.distance import RelativeBias, causal_score, distances, window_score
from echo_reference.modules.memo import Memo
from echo_reference.modules.precise import Precise
from echo_reference.modules.shape import split
from echo_reference.modules.spec import StackSpec
from echo_reference.modules.turn import interleaved, turn
from homeostat.nn import AttentionTap, Dial

_SHORT = 192
"""Up to this length all heads share one product: two calls cost more than the scores they save."""


class KeyValueCache(Protocol):
    """Where a decoder keeps the keys and values of earlier positions."""

    def update(self, key: Tensor, value: Tensor, layer: int, /) -> tuple[Tensor, Tensor]:
        """Append (B, H, T, D) to a layer; return all it holds."""
        ...


class Turning(NamedTuple):
    """What turns a layer's queries and keys.

    Attributes:
        layer: its number in the stack.
        rotation: (D, D); (H, D, D) where each head has one; (B, 1, D, D) where each clip has one.
        angles: of the rotary planes, (sets, T, P).
        factor: the same as complex numbers (T, 1, sets, 1, P), where no gradient is wanted; (1, 3, sets, 1, P) for a
            single position, with those of the values.
    """

    layer: int
    rotation: Tensor | None
    angles: Tensor
    factor: Tensor | None = None


class Source(NamedTuple):
    """Audio as a block reads it: keys and values (B, H, S, D), mask (B, S) True at valid frames."""

    keys: Tensor
    values: Tensor
    mask: Tensor | None


class Place(NamedTuple):
    """Where a call stands in a text that is decoded step by step."""

    cache: KeyValueCache | None = None
    first: int | Tensor = 0


_START = Place()


class QueryPhase(Precise):
    """A learned phase per head and rotary plane, for the query only: on both sides it would cancel."""

    def __init__(self, heads: int, planes: int) -> None:
        super().__init__()
        self.phase = nn.Parameter(torch.empty(heads, planes))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start without a phase."""
        nn.init.zeros_(self.phase)

    def forward(self, matrix: Tensor) -> Tensor:
        """Turn the columns of `matrix` by the phases, as the rotary step would."""
        cos, sin = self.phase.cos()[:, None, :], self.phase.sin()[:, None, :]
        first, second = matrix.chunk(2, -1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


class SelfAttention(nn.Module):
    """Attention whose first heads see a window and whose other heads see everything.

    q = x W_q M Phi / sqrt(D) and k = x W_k M, then each is turned by its rotary angles. M (rotation) and Phi
    (phase) are linear, so they are folded into W_q and W_k: no cost per token. Where M differs from clip to clip,
    or a projection is not a plain linear layer (an adapter, a quantised one), they are applied to its result. The
    window is a dial with a soft edge; the bias is by distance, on the local heads or on all.

    Args:
        spec: the stack's shape.
        window: the dial, in positions, with `QUANTUM` as its quantum.
    """

    def __init__(self, spec: StackSpec, window: Dial) -> None:
        super().__init__()
        self.heads, self.head_width = spec.heads, spec.head_width
        self.local_heads, self.causal, self.context = spec.local_heads, spec.causal, spec.context
        self.window = window
        self.q_proj = nn.Linear(spec.width, spec.width)
        self.k_proj = nn.Linear(spec.width, spec.width, bias=False)
        self.v_proj = nn.Linear(spec.width, spec.width)
        self.out_proj = nn.Linear(spec.width, spec.width)
        self.query_phase = QueryPhase(spec.heads, spec.head_width // 2)
        biased = spec.heads if spec.global_bias else spec.local_heads
        self.bias = RelativeBias(biased, spec.max_rel_dist, spec.causal) if biased else None
        self.memo = Memo[tuple[Tensor, Tensor]]()
        self.scores = Memo[Tensor]()
        self.local_tap = AttentionTap()
        self.global_tap = AttentionTap()

    def forward(
        self,
        x_BTC: Tensor,
        turning: Turning,
        key_mask: Tensor | None = None,
        place: Place = _START,
    ) -> Tensor:
        """Mix positions; `x` (B, T, d), `key_mask` (B, T) True where valid, result (B, T, d)."""
        q, k, v = turn(self.project(x_BTC, turning.rotation), turning.angles, turning.factor)
        if place.cache is not None:
            k, v = place.cache.update(k, v, turning.layer)
        if self.training:
            self._offer(q, k, key_mask)
        mixed = self._attend(Heads(q, k, v), key_mask, place.first)
        out: Tensor = self.out_proj(mixed.flatten(2))
        return out

    def project(self, x_BTC: Tensor, rotation: Tensor | None) -> Tensor:
        """Rotated queries and keys, the features of a rotary plane side by side, and values; (B, T, 3, H, D)."""
        projections = (self.q_proj, self.k_proj, self.v_proj)
        if all(type(p) is nn.Linear for p in projections) and (rotation is None or rotation.ndim < 4):
            (q, k, v), phase = projections, self.query_phase.phase
            sources = [q.weight, q.bias, k.weight, v.weight, v.bias, phase, *(() if rotation is None else (rotation,))]
            joint = F.linear(x_BTC, *self.memo(sources, lambda: self._kept(rotation, len(x_BTC))))
            return joint.view(*joint.shape[:2], 3, self.heads, self.head_width)
        queries, keys, values = (split(p(x_BTC), 2, self.heads) for p in projections)
        for_queries, for_keys = (matrix.to(x_BTC.dtype) for matrix in self._matrices(rotation))
        rotated = [(x.transpose(1, 2) @ m).transpose(1, 2) for x, m in ((queries, for_queries), (keys, for_keys))]
        return torch.stack((*rotated, values), 2)

    def _matrices(self, rotation: Tensor | None) -> tuple[Tensor, Tensor]:
        """What queries and keys are multiplied by from the right, each (H, D, D) or (B, H, D, D)."""
        width, phase = self.head_width, self.query_phase.phase
        if rotation is None:
            rotation = torch.eye(width, device=phase.device, dtype=phase.dtype)
        shape = (*rotation.shape[:-3], self.heads, width, width)
        for_keys = rotation.expand(shape)
        return interleaved(self.query_phase(for_keys)) * width**-0.5, interleaved(for_keys)

    def folded(self, rotation: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weight (3 d, d) and bias (3 d) of the joint projection to rotated queries, rotated keys, and values."""
        width = self.head_width
        weight, bias = self.q_proj.weight, self.q_proj.bias
        with torch.autocast(weight.device.type, enabled=False):
            for_queries, for_keys = (matrix.mT for matrix in self._matrices(rotation))
            dtype = for_queries.dtype
            query_weight = for_queries @ weight.to(dtype).view(self.heads, width, -1)
            query_bias = for_queries @ bias.to(dtype).view(self.heads, width, 1)
            key_weight = for_keys @ self.k_proj.weight.to(dtype).view(self.heads, width, -1)
        kind = weight.dtype
        weights = (query_weight.flatten(0, 1).to(kind), key_weight.flatten(0, 1).to(kind), self.v_proj.weight)
        biases = (query_bias.flatten().to(kind), torch.zeros_like(bias), self.v_proj.bias)
        return torch.cat(weights), torch.cat(biases)

    def _kept(self, rotation: Tensor | None, clips: int) -> tuple[Tensor, Tensor]:
        """The joint projection in the layout that serves best."""
        weight, bias = self.folded(rotation)
        if self.causal and clips == 1 and self.memo.keeps and weight.device.type == "cpu":
            # For a text of one clip, a row at a time: a third quicker with the weight's columns side by side.
            weight = weight.mT.contiguous().mT
        return weight, bias

    def score(self, distance: Tensor, heads: slice) -> Tensor:
        """Scores by distance of some heads, shape (heads, R): window, bias and causality."""
        dtype = self.query_phase.phase.dtype
        count = len(range(*heads.indices(self.heads)))
        local = max(0, min(self.local_heads, heads.stop) - heads.start)
        window = window_score(distance, self.window().to(dtype))
        rows = [window.expand(local, -1), torch.zeros_like(window).expand(count - local, -1)]
        row = torch.cat(rows)
        if self.causal:
            row = row + causal_score(distance, dtype)
        if self.bias is not None and heads.start < self.bias.table.shape[0]:
            bias = self.bias(distance)[heads]
            row = row + F.pad(bias, (0, 0, 0, count - bias.shape[0])).to(dtype)
        return row

    def _attend_newest(self, heads: Heads, first: int | Tensor) -> Tensor:
        """What one query at position `first` reads, with scores from a table that is made once for a text."""
        reach, keys, device = self.context - 1, heads.k.shape[2], heads.q.device
        sources = [self.window.position, *(() if self.bias is None else (self.bias.table,))]
        every = slice(0, self.heads)
        table: Tensor = self.scores(
            sources, lambda: self.score(torch.arange(-reach, 2, device=device), every)[None, :, None]
        )
        if isinstance(first, int) and keys == first + 1:
            row = table.narrow(3, reach - first, keys)
        else:  # room beyond what is written lies ahead, as distance 1 does
            row = table.index_select(3, distances(1, keys, first, device).clamp(max=1) + reach)
        return F.scaled_dot_product_attention(*heads, attn_mask=row, scale=1.0)

    def _attend(self, heads: Heads, key_mask: Tensor | None, first: int | Tensor) -> Tensor:
        """What each position reads, (B, T, H, D)."""
        count, length = self.heads, heads.k.shape[2]
        if self.causal or length <= _SHORT:
            newest = self.causal and key_mask is None and heads.q.shape[2] == 1 and self.scores.keeps
            if newest and heads.q.dtype == self.query_phase.phase.dtype:
                return self._attend_newest(heads, first).transpose(1, 2)
            read = attend_scored(heads, lambda r: self.score(r, slice(0, count)), key_mask, first)
            return read.transpose(1, 2)
        near, far = slice(0, self.local_heads), slice(self.local_heads, count)
        local, rest = heads.cut(self.local_heads)
        parts = []
        if self.local_heads:
            span = block_span(self.window.quanta, length)
            given = (local, lambda r: self.score(r, near), key_mask)
            parts.append(attend_scored(*given) if span is None else attend_blocked(*given, span))
        if self.local_heads < count:
            biased = self.bias is not None and self.bias.table.shape[0] == count
            parts.append(
                attend_scored(rest, lambda r: self.score(r, far), key_mask) if biased else attend_global(rest, key_mask)
            )
        return torch.cat([part.transpose(1, 2) for part in parts], 2)

    def _offer(self, q: Tensor, k: Tensor, key_mask: Tensor | None) -> None:
        split = self.local_heads
        if self.local_tap.listener is not None and split:
            self.local_tap(q[:, :split], k[:, :split], scale=1.0, causal=self.causal, key_mask=key_mask)
        if self.global_tap.listener is not None and split < self.heads:
            self.global_tap(q[:, split:], k[:, split:], scale=1.0, causal=self.causal, key_mask=key_mask)


class CrossAttention(nn.Module):
    """Attention of text on audio: every position sees every valid frame, and order plays no part."""

    def __init__(self, width: int, heads: int, source_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(source_width, width, bias=False)
        self.v_proj = nn.Linear(source_width, width)
        self.out_proj = nn.Linear(width, width)

    def keys_values(self, audio_BSC: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the audio, each (B, H, S, D); made once for a clip."""
        if type(self.k_proj) is not nn.Linear or type(self.v_proj) is not nn.Linear:  # as in self-attention
            keys, values = (split(p(audio_BSC), 2, self.heads).transpose(1, 2) for p in (self.k_proj, self.v_proj))
            return keys, values
        weight = torch.cat((self.k_proj.weight, self.v_proj.weight))
        bias = torch.cat((torch.zeros_like(self.v_proj.bias), self.v_proj.bias))
        keys, values = split(split(F.linear(audio_BSC, weight, bias), 2, 2), 3, self.heads).unbind(2)
        return keys.transpose(1, 2), values.transpose(1, 2)

    def forward(self, x_BTC: Tensor, source: Source) -> Tensor:
        """Read the audio into (B, T, d)."""
        q = split(self.q_proj(x_BTC), 2, self.heads).transpose(1, 2)
        mask = None if source.mask is None else source.mask[:, None, None, :]
        read = F.scaled_dot_product_attention(q, source.keys, source.values, attn_mask=mask)
        out: Tensor = self.out_proj(read.transpose(1, 2).flatten(2))
        return out
