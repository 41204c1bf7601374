import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from homeostat.norms import at_hand, each_norm, gradient_norm
from homeostat.plant import Plant


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.sampled_from([torch.float32, torch.float64]))
def test_each_norm_is_that_of_float64(sizes, dtype):
    tensors = [torch.randn(n, generator=torch.Generator().manual_seed(n)).to(dtype) for n in sizes]
    expected = torch.stack([t.double().norm() for t in tensors])
    torch.testing.assert_close(each_norm(tensors).double(), expected, rtol=1e-6, atol=0)


def test_half_precision_does_not_overflow():
    norm = each_norm([torch.full((4,), 6e4, dtype=torch.float16), torch.ones(3, dtype=torch.bfloat16)])
    torch.testing.assert_close(norm, torch.tensor([1.2e5, 3**0.5]), rtol=1e-3, atol=0)


def test_complex_and_sparse_tensors_have_the_norm_of_their_dense_values():
    sparse = torch.sparse_coo_tensor([[0, 0, 2]], [3.0, 1.0, 3.0], (4,), check_invariants=True)
    norm = each_norm([torch.tensor([3 + 4j]), sparse])
    torch.testing.assert_close(norm, torch.tensor([5.0, sparse.to_dense().norm()]))


def test_the_gradient_norm_is_computed_once_a_tick_and_unscaled():
    model = nn.Linear(3, 2)
    plant = Plant(model, (torch.optim.SGD(model.parameters(), lr=0.1),))
    assert gradient_norm(plant) is None
    plant.forget()
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    total = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    plant.scales = [torch.tensor(8.0)]
    first = gradient_norm(plant)
    torch.testing.assert_close(first, total / 8)
    assert gradient_norm(plant) is first
    plant.forget()
    assert gradient_norm(plant) is not first


def test_values_are_at_hand_on_the_cpu_and_no_other_device_is_asked():
    assert at_hand(torch.tensor([True, False])) == [True, False]
    assert at_hand(torch.tensor([True, False], device="meta")) is None
