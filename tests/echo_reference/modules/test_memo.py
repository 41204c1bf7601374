from __future__ import annotations

import copy

import pytest
import torch

from echo_reference.modules.memo import Memo, remembering


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        return self.calls


def test_a_result_is_kept_until_a_source_changes_or_the_block_ends() -> None:
    memo, made, source = Memo[int](), Counter(), torch.zeros(2)
    with torch.no_grad(), remembering(memo):
        assert [memo([source], made), memo([source], made)] == [1, 1]
        source.add_(1)
        assert memo([source], made) == 2
        assert memo([torch.ones(2)], made) == 3
        assert memo([source, source], made) == 4
        assert memo([source, source], made) == 4
        copied = copy.deepcopy(memo)
        assert copied([source, source], made) == 5
    assert memo([source, source], made) == 6


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_tensors_made_without_versions_count_as_themselves(mode: type[torch.no_grad]) -> None:
    memo, made = Memo[int](), Counter()
    with mode(), remembering(memo):
        source = torch.zeros(1) * 2
        assert [memo([source], made), memo([source], made), memo([source + 1], made)] == [1, 1, 2]


def test_nothing_is_kept_where_gradients_are_wanted() -> None:
    memo, made = Memo[int](), Counter()
    with remembering(memo):
        assert [memo([], made), memo([], made)] == [1, 2]


def test_an_error_inside_forgets_too() -> None:
    memo, made = Memo[int](), Counter()

    def fail() -> None:
        with torch.no_grad(), remembering(memo):
            memo([], made)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not memo.active
