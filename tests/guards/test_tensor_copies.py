"""Copies of many tensors lie in few buffers, and are each as a copy by itself would be."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from homeostat.guards import tensor_copies
from homeostat.guards.snapshot_damage import Damage
from homeostat.guards.tensor_copies import Copier, space_for

CPU = torch.device("cpu")
KINDS = (torch.float32, torch.bfloat16, torch.int64, torch.complex64, torch.bool)


@st.composite
def tensors(draw) -> Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    found = (torch.randn(shape) * 9).to(draw(st.sampled_from(KINDS)))
    turned = found.transpose(0, -1) if shape and draw(st.booleans()) else found
    if turned.is_floating_point() and draw(st.booleans()):
        return nn.Parameter(turned)
    return turned.to_sparse() if turned.dtype == torch.float32 and draw(st.booleans()) else turned


@settings(max_examples=40)
@given(live=st.lists(tensors(), max_size=6), unwatched=st.frozensets(st.integers(0, 5)))
def test_copies_are_equal_and_laid_out_alike(live: list[Tensor], unwatched: frozenset[int]) -> None:
    copies = Copier(CPU).copy(live, unwatched)
    for tensor, copy in zip(live, copies.tensors, strict=True):
        assert (copy.shape, copy.dtype, copy.layout) == (tensor.shape, tensor.dtype, tensor.layout)
        assert torch.equal(copy.to_dense(), tensor.to_dense())
        assert not copy.requires_grad
        if copy.layout is torch.strided:
            assert copy.stride() == torch.empty_like(tensor).stride()
    assert copies.room.nbytes <= space_for(live)


def test_a_full_buffer_takes_no_more(monkeypatch) -> None:
    live = [torch.full((64,), float(i)) for i in range(10)]
    assert len(Copier(CPU).copy(live).room.buffers) == 1
    monkeypatch.setattr(tensor_copies, "FULL", 3 * live[0].nbytes)
    copies = Copier(CPU).copy(live)
    assert [len(buffer) // 64 for buffer in copies.room.buffers] == [3, 3, 3, 1]
    assert all(map(torch.equal, copies.tensors, live))


def test_memory_is_used_again_where_it_fits_and_only_there() -> None:
    copier, live = Copier(CPU), [torch.randn(3), torch.tensor(1.0), torch.randn(2, 2).half()]
    first = copier.copy(live)
    kept = [copy.clone() for copy in first.tensors]
    live[0] += 1
    second = copier.copy(live, memory=first.room)
    assert second.room is first.room
    assert torch.equal(second.tensors[0], kept[0] + 1)
    assert copier.copy([torch.randn(4), *live[1:]], memory=first.room).room is not first.room
    # Which buffer a tensor is in depends on whether it must be finite.
    assert copier.copy(live, frozenset({1}), memory=first.room).room is not first.room


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_one_number_of_all_tells_that_they_are_not_finite(bad: float) -> None:
    live = [torch.zeros(5), torch.tensor(3.0), torch.zeros(2, 2, dtype=torch.bfloat16), torch.tensor(7)]
    mask = torch.tensor([0.0, float("-inf")])
    copier = Copier(CPU)

    def damaged() -> bool:
        return Damage(copier.copy([mask, *live], frozenset({0})).watched, CPU, None).found()

    assert not damaged()
    for tensor in live[:3]:
        tensor.view(-1)[-1] = bad
        assert damaged()
        tensor.zero_()
    assert not damaged()


class Quantized(Tensor):
    """A tensor of a kind of its own."""


def test_a_tensor_of_its_own_kind_stays_one() -> None:
    live = [torch.ones(2), torch.ones(3).as_subclass(Quantized)]
    kinds = [type(copy) for copy in Copier(CPU).copy(live).tensors]
    assert kinds == [Tensor, Quantized]
