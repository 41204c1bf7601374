import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from homeostat.nn import AttentionTap, Dial
from homeostat.observers import AttentionReach
from homeostat.plant import Plant


class Taps(nn.Module):
    def __init__(self, count=1):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.taps = nn.ModuleList(AttentionTap() for _ in range(count))
        self.attention_window = Dial(3, integer=True)


def plant_of(count=1):
    model = Taps(count)
    return Plant(model, (torch.optim.SGD(model.parameters(), lr=0.1),))


def batch(seed=0, *, clips=3, heads=2, queries=20, keys=None, width=8):
    g = torch.Generator().manual_seed(seed)
    q = torch.randn(clips, heads, queries, width, generator=g)
    return q, torch.randn(clips, heads, keys or queries, width, generator=g)


def naive(q, k, window, *, scale=1.0, causal=False, key_mask=None):
    """Mean mass beyond the window over all valid queries, in float64, one query at a time."""
    q, k = q.double(), k.double()
    shares = []
    for b in range(q.shape[0]):
        for i in range(q.shape[2]):
            place = i + k.shape[2] - q.shape[2]
            if key_mask is not None and q.shape[2] == k.shape[2] and not key_mask[b, i]:
                continue
            keys = [j for j in range(k.shape[2]) if not (causal and j > place) and (key_mask is None or key_mask[b, j])]
            for h in range(q.shape[1]):
                mass = (k[b, h, keys] @ q[b, h, i] * scale).softmax(0)
                shares.append(sum(m for m, j in zip(mass, keys, strict=True) if abs(j - place) > window))
    return float(sum(shares) / len(shares))


def listen(plant, observer, *calls, **arguments):
    memory = observer.init(plant)
    observer.prepare(plant, memory)
    for tap, (q, k) in zip(plant.model.taps, calls, strict=True):
        tap(q, k, **arguments)
    reading = observer.observe(plant, memory)
    return None if reading is None else reading.item()


every_query = AttentionReach(queries=1000)


@settings(max_examples=30)
@given(st.booleans(), st.booleans(), st.integers(0, 12), st.integers(0, 20))
def test_with_every_query_it_is_the_naive_sum(causal, masked, window, seed):
    plant, (q, k) = plant_of(), batch(seed, queries=9)
    plant.model.attention_window.set(window)
    mask = torch.arange(9) < torch.tensor([[9], [6], [1]]) if masked else None
    arguments = {"scale": 0.7, "causal": causal, "key_mask": mask}
    assert listen(plant, every_query, (q, k), **arguments) == pytest.approx(naive(q, k, window, **arguments), abs=1e-6)


@settings(max_examples=20)
@given(st.booleans(), st.booleans(), st.integers(0, 12), st.integers(0, 20))
def test_the_relative_reach_is_that_over_indifferent_attention(causal, masked, window, seed):
    plant, (q, k) = plant_of(), batch(seed, queries=9)
    plant.model.attention_window.set(window)
    mask = torch.arange(9) < torch.tensor([[9], [6], [1]]) if masked else None
    arguments = {"scale": 0.7, "causal": causal, "key_mask": mask}
    indifferent = naive(torch.zeros_like(q), k, window, **arguments)
    expected = naive(q, k, window, **arguments) / indifferent if indifferent else 1.0
    relative = AttentionReach(queries=1000, relative=True)
    assert listen(plant, relative, (q, k), **arguments) == pytest.approx(expected, abs=1e-5)


def test_indifferent_attention_reads_1_whatever_the_length():
    for length in (12, 40):
        q, k = batch(queries=length)
        assert listen(plant_of(), AttentionReach(relative=True), (q * 0, k), scale=1.0) == pytest.approx(1.0)


def test_queries_fewer_than_keys_are_aligned_at_the_end():
    q, k = batch(queries=4, keys=12)
    arguments = {"scale": 1.0, "causal": True}
    assert listen(plant_of(), every_query, (q, k), **arguments) == pytest.approx(naive(q, k, 3, **arguments), abs=1e-6)


def test_a_fixed_distance_needs_no_dial_and_taps_are_averaged():
    plant, calls = plant_of(2), (batch(1), batch(2))
    observer = AttentionReach(window=None, distance=5, queries=1000)
    expected = sum(naive(q, k, 5) for q, k in calls) / 2
    assert listen(plant, observer, *calls, scale=1.0) == pytest.approx(expected, abs=1e-6)


def test_the_error_of_64_queries_is_what_the_docstring_says():
    plant, (q, k) = plant_of(), batch(clips=32, heads=4, queries=200, width=16)
    observer = AttentionReach(window=None, distance=16, queries=64)
    places = torch.arange(200)
    beyond = (places - places[:, None]).abs() > 16
    exact = ((q @ k.mT * 0.25).softmax(-1) * beyond).sum(-1).mean()
    readings = []
    for tick in range(40):
        plant.tick = tick
        readings.append(listen(plant, observer, (q, k), scale=0.25))
    errors = torch.tensor(readings) - exact
    assert errors.square().mean().sqrt() < 0.02
    assert len(set(readings)) == 40


def test_a_resumed_run_draws_the_same_sample():
    q, k = batch(queries=50)
    observer = AttentionReach(queries=5)
    assert listen(plant_of(), observer, (q, k), scale=1.0) == listen(plant_of(), observer, (q, k), scale=1.0)


def test_only_the_first_call_of_a_training_step_counts():
    plant, observer = plant_of(), every_query
    (q, k), (other, _) = batch(), batch(5)
    memory = observer.init(plant)
    observer.prepare(plant, memory)
    tap = plant.model.taps[0]
    tap.eval()
    tap(other, other, scale=1.0)
    tap.train()
    tap(q, k, scale=1.0)
    tap(other, other, scale=1.0)
    assert observer.observe(plant, memory).item() == pytest.approx(naive(q, k, 3), abs=1e-6)
    assert tap.listener is None
    assert observer.observe(plant, memory) is None


def test_no_call_is_no_reading():
    plant = plant_of()
    memory = every_query.init(plant)
    every_query.prepare(plant, memory)
    assert every_query.observe(plant, memory) is None


def test_two_observers_listen_to_one_tap():
    plant, (q, k) = plant_of(), batch()
    near, far = (AttentionReach(window=None, distance=d, queries=1000) for d in (2, 8))
    memories = [(o, o.init(plant)) for o in (near, far)]
    for _ in range(2):
        for observer, memory in memories:
            observer.prepare(plant, memory)
        plant.model.taps[0](q, k, scale=1.0)
        readings = [observer.observe(plant, memory).item() for observer, memory in memories]
        assert readings == pytest.approx([naive(q, k, 2), naive(q, k, 8)], abs=1e-6)


@pytest.mark.parametrize("first_off", [0, 1, 2])
def test_however_observers_come_and_go_a_tap_is_left_as_it_was(first_off):
    plant, (q, k) = plant_of(), batch()
    tap, heard = plant.model.taps[0], []
    tap.listener = heard.append
    observers = [AttentionReach(window=None, distance=d, queries=1000) for d in (2, 4, 8)]
    memories = [(o, o.init(plant)) for o in observers]
    # Armed twice, as when a controller attaches and then loads a state.
    for observer, memory in memories + memories:
        observer.prepare(plant, memory)
    tap(q, k, scale=1.0)
    assert len(heard) == 1
    for observer, memory in memories[first_off:] + memories[:first_off]:
        assert observer.observe(plant, memory).item() == pytest.approx(naive(q, k, observer.distance), abs=1e-6)
    tap(q, k, scale=1.0)
    assert len(heard) == 2
    assert tap.listener == heard.append


def test_a_copy_of_the_model_listens_to_nothing():
    plant = plant_of()
    every_query.prepare(plant, every_query.init(plant))
    plant.model.attention_window.watching = True
    twin = copy.deepcopy(plant.model)
    assert twin.taps[0].listener is None
    assert not twin.attention_window.watching
    assert plant.model.taps[0].listener is not None


def test_reading_the_window_is_not_counted_as_the_model_reading_it():
    plant, (q, k) = plant_of(), batch()
    plant.model.attention_window.watching = True
    listen(plant, every_query, (q, k), scale=1.0)
    assert plant.model.attention_window.reads == 0


@pytest.mark.parametrize("fields", [{"distance": 3.0}, {"window": None}])
def test_the_window_is_either_a_dial_or_a_number(fields):
    with pytest.raises(ValueError, match="must have either window or distance"):
        AttentionReach(**fields)
