from __future__ import annotations

from itertools import groupby, product

import pytest
import torch

from echo_reference.longform import Word
from echo_reference.longform.alignment import align, time_words
from echo_reference.tokens import CharacterTokenizer, CtcSymbols


@pytest.mark.parametrize("symbols", [[1], [1, 2], [2, 2], [1, 2, 1], []])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_most_probable_of_all_paths(symbols: list[int], seed: int) -> None:
    frames = 6
    log_probs = torch.randn(frames, 3, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
    paths = [path for path in product(range(3), repeat=frames) if [s for s, _ in groupby(path) if s] == symbols]
    best = max(paths, key=lambda path: sum(log_probs[t, s].item() for t, s in enumerate(path)))
    expected, t = [], 0
    for symbol, run in groupby(best):
        size = len(list(run))
        expected += [(t, t + size)] if symbol else []
        t += size
    assert align(log_probs, symbols) == expected


def test_a_word_lasts_from_its_first_symbol_to_its_last() -> None:
    letters = CtcSymbols(CharacterTokenizer(" ab"))
    path = [0, 2, 0, 3, 3, 0, 1, 1, 0, 3, 0]
    log_probs = (10 * torch.nn.functional.one_hot(torch.tensor(path), 4).float()).log_softmax(-1)
    assert time_words(["ab", "b"], letters, log_probs, 0.5) == [Word("ab", 0.5, 2.5), Word("b", 4.5, 5.0)]


def test_too_many_symbols_are_spread_evenly() -> None:
    assert align(torch.zeros(4, 3), [1, 2, 1, 1]) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert align(torch.zeros(2, 3), [1, 2, 1, 2]) == [(0, 0), (0, 1), (1, 1), (1, 2)]
