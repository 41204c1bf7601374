"""When each symbol of a known transcript is said, by the CTC head."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from echo_reference.longform.segments import Word
from echo_reference.tokens import CtcSymbols


def time_words(words: Sequence[str], symbols: CtcSymbols, log_probs: Tensor, seconds: float) -> list[Word]:
    """When each word is said: from its first symbol to its last, without the space before it.

    Args:
        words: of the transcript.
        symbols: of the CTC head.
        log_probs: (S, V), blank 0.
        seconds: from one frame to the next.
    """
    ends = [len(symbols.encode(" ".join(words[: i + 1]))) for i in range(len(words))]
    spans = align(log_probs, symbols.encode(" ".join(words)))
    timed = []
    for word, end in zip(words, ends, strict=True):
        own = spans[end - len(symbols.encode(word)) : end]
        timed.append(Word(word, own[0][0] * seconds, own[-1][1] * seconds))
    return timed


def align(log_probs: Tensor, symbols: Sequence[int]) -> list[tuple[int, int]]:
    """First and last frame, exclusive, of each symbol on the most probable path of the transcript.

    Viterbi's algorithm over the 2 N + 1 states blank, s_1, blank, ..., s_N, blank (Graves and others, "Connectionist
    temporal classification", 2006). A transcript with more symbols than there are frames is spread evenly.

    Args:
        log_probs: (S, V), blank 0.
        symbols: (N,), none of them the blank.
    """
    frames, count = len(log_probs), len(symbols)
    repeats = sum(a == b for a, b in pairwise(symbols))
    if count + repeats > frames:
        edges = [frames * i // count for i in range(count + 1)]
        return list(pairwise(edges))
    states = torch.zeros(2 * count + 1, dtype=torch.long)
    states[1::2] = torch.tensor(symbols, dtype=torch.long)
    emitted = log_probs.double().cpu()[:, states]
    # A blank may be left out between two symbols that differ.
    may_skip = torch.zeros(len(states), dtype=torch.bool)
    may_skip[2:] = (states[2:] != 0) & (states[2:] != states[:-2])
    best = torch.full((len(states),), -torch.inf, dtype=torch.double)
    best[:2] = emitted[0, :2]
    steps = torch.zeros(frames, len(states), dtype=torch.long)
    for t in range(1, frames):
        by_one = torch.cat((best.new_full((1,), -torch.inf), best[:-1]))
        by_two = torch.cat((best.new_full((2,), -torch.inf), best[:-2]))[: len(states)]
        ways = torch.stack((best, by_one, by_two.masked_fill(~may_skip, -torch.inf)))
        best, steps[t] = ways.max(0)
        best = best + emitted[t]
    return _spans(steps, best, count)


def _spans(steps: Tensor, best: Tensor, count: int) -> list[tuple[int, int]]:
    state = len(best) - 1
    if count and best[state - 1] > best[state]:
        state -= 1
    spans = [(len(steps), 0)] * count
    for t in range(len(steps) - 1, -1, -1):
        if state % 2:
            first, last = spans[state // 2]
            spans[state // 2] = (min(first, t), max(last, t + 1))
        state -= int(steps[t, state])
    return spans
