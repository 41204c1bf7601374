import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, RMSprop

from homeostat.actuators import LearningRate, UpdateLimit, sizes, update
from homeostat.actuators.sizes import Bounds, Drift
from homeostat.actuators.update import adam_bound
from homeostat.errors import AttachError
from homeostat.norms import each_norm
from homeostat.plant import Plant

RULES = {
    "adam": lambda ps: Adam(ps, 0.3, weight_decay=0.1),
    "adamw": lambda ps: AdamW(ps, 0.3, weight_decay=0.3),
    "sgd": lambda ps: SGD(ps, 30.0),
    "momentum": lambda ps: SGD(ps, 30.0, momentum=0.9, nesterov=True),
    "rmsprop": lambda ps: RMSprop(ps, 0.3),
}


def run_of(make, dtype=torch.float32):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.LayerNorm(32), nn.Tanh(), nn.Linear(32, 3)).to(dtype)
    nn.init.zeros_(model[3].bias)
    return Plant(model, (make(model.parameters()),))


def backward(plant, tick):
    x = torch.randn(16, 6, generator=torch.Generator().manual_seed(tick)).to(plant.parameters()[0].dtype)
    plant.optimizers[0].zero_grad()
    F.mse_loss(plant.model(x), x[:, :3].sin()).backward()


def rms(tensor):
    return tensor.double().square().mean().sqrt().item()


def ratios(plant, before, floor):
    return [rms(p.detach() - b) / max(rms(b), floor) for p, b in zip(plant.parameters(), before, strict=True)]


@pytest.fixture(params=["cpu", "device"])
def where(request, monkeypatch):
    """Decide on the host, as on the CPU, or leave every decision to the device."""
    if request.param == "device":
        monkeypatch.setattr(update, "at_hand", lambda _: None)


@pytest.mark.usefixtures("where")
@pytest.mark.parametrize("make", RULES.values(), ids=RULES)
@pytest.mark.parametrize("limit", [1e-3, 0.05, 2.0])
def test_no_tensor_moves_further_than_the_limit_and_none_is_cut_short(make, limit):
    plant, part = run_of(make), UpdateLimit(start=limit, high=100.0, bound=None)
    memory = part.init(plant)
    cut = 0
    for tick in range(45):
        backward(plant, tick)
        before = [p.detach().clone() for p in plant.parameters()]
        state = [g["lr"] for g in plant.groups]
        part.before_step(plant, memory)
        plant.optimizers[0].step()
        free = [p.detach().clone() for p in plant.parameters()]
        part.after_step(plant, memory)
        wanted = [rms(f - b) / max(rms(b), part.floor) for f, b in zip(free, before, strict=True)]
        for ratio, want in zip(ratios(plant, before, part.floor), wanted, strict=True):
            assert ratio == pytest.approx(min(want, limit), rel=1e-3, abs=1e-7)
        cut += sum(want > limit for want in wanted)
        assert state == [g["lr"] for g in plant.groups]
    assert cut > 0 or limit == 2.0


@pytest.mark.usefixtures("where")
@pytest.mark.parametrize("make", RULES.values(), ids=RULES)
def test_within_the_limit_it_is_bit_identical_to_absent(make):
    free, limited, part = run_of(make), run_of(make), UpdateLimit(start=1e8, high=1e9)
    memory = part.init(limited)
    for plant in (free, limited):
        plant.optimizers[0].param_groups[0]["lr"] = 1e-2
    for tick in range(15):
        for plant in (free, limited):
            backward(plant, tick)
        free.optimizers[0].step()
        part.before_step(limited, memory)
        limited.optimizers[0].step()
        part.after_step(limited, memory)
    assert all(torch.equal(a, b) for a, b in zip(free.parameters(), limited.parameters(), strict=True))


class TripTwin:
    """The rule of `trip`, from copies of everything."""

    def __init__(self, part):
        self.part, self.alarm = part, 0

    def after(self, plant, before):
        part, updates = self.part, []
        for p, b in zip(plant.parameters(), before, strict=True):
            updates.append((p, b, rms(p.detach() - b) / max(rms(b), part.floor)))
        tripped = any(p.ndim >= 2 and ratio > part.trip for p, _, ratio in updates)
        beyond = [(p, b, ratio) for p, b, ratio in updates if ratio > part.start]
        self.alarm = part.calm if tripped or (self.alarm and beyond) else max(0, self.alarm - 1)
        with torch.no_grad():
            for p, b, ratio in beyond if self.alarm else []:
                p.copy_(b + (p - b) * (part.start / ratio))
        return bool(beyond), bool(self.alarm)


@pytest.mark.usefixtures("where")
@pytest.mark.parametrize("make", RULES.values(), ids=RULES)
def test_it_waits_to_be_tripped_and_then_acts_until_calm(make):
    part = UpdateLimit(start=0.05, trip=0.5, calm=4, floor=0.02, bound=None)
    limited, slow = run_of(make, torch.float64), run_of(make, torch.float64)
    memory, twin, seen = part.init(limited), TripTwin(part), set()
    usual = limited.optimizers[0].param_groups[0]["lr"] / 100
    for tick in range(60):
        # Far too high for three steps, twice; far too low for a while between.
        rate = usual * (100 if tick in {5, 6, 7, 40, 41} else 0.001 if 15 <= tick < 25 else 1)
        for plant in (limited, slow):
            plant.optimizers[0].param_groups[0]["lr"] = rate
            backward(plant, tick)
        before = [p.detach().clone() for p in slow.parameters()]
        slow.optimizers[0].step()
        seen.add(twin.after(slow, before))
        part.before_step(limited, memory)
        limited.optimizers[0].step()
        part.after_step(limited, memory)
        for p, twin_of_p in zip(limited.parameters(), slow.parameters(), strict=True):
            # Sizes are kept in single precision.
            torch.testing.assert_close(p, twin_of_p, rtol=1e-5, atol=1e-9)
    # Steps beyond the limit that passed, steps that were cut, and steps that needed no cut with and without alarm.
    assert seen >= {(True, True), (False, True), (False, False)}


def test_a_trip_within_the_limit_is_refused():
    with pytest.raises(ValidationError, match=r"trip must be above start; got 0.05 with a limit of 0.1"):
        UpdateLimit(start=0.1, trip=0.05)


@pytest.mark.parametrize("rate", [1e-3, 3e-3])
def test_in_ordinary_training_the_default_bound_is_enough_and_copies_less(rate):
    copied = {}
    for bound in (None, 1.0):
        plant, part = run_of(lambda ps: AdamW(ps, rate)), UpdateLimit(start=0.03, floor=0.03, bound=bound)
        memory, copied[bound] = part.init(plant), 0
        for tick in range(150):
            backward(plant, tick)
            before = [p.detach().clone() for p in plant.parameters()]
            part.before_step(plant, memory)
            copied[bound] += sum(t.numel() for t in memory.tensors)
            plant.optimizers[0].step()
            part.after_step(plant, memory)
            assert max(ratios(plant, before, part.floor)) <= 0.03 * (1 + 1e-4)
    assert copied[1.0] < copied[None] / (1.5 if rate > 1e-3 else 4)


@pytest.fixture(params=[True, False], ids=["at once", "later"])
def at_once(request, monkeypatch) -> bool:
    """Whether sizes are known at once, as on the CPU, or a look later, as on a device."""
    if not request.param:
        monkeypatch.setattr(sizes, "on_host", lambda _: False)
    return request.param


def test_adam_at_a_small_rate_copies_nothing_once_the_sizes_are_known(at_once):
    plant, part = run_of(lambda ps: AdamW(ps, 1e-5)), UpdateLimit(start=0.1, bound=None)
    memory = part.init(plant)
    copied = []
    for tick in range(35):
        backward(plant, tick)
        part.before_step(plant, memory)
        copied.append(len(memory.tensors))
        plant.optimizers[0].step()
        part.after_step(plant, memory)
    assert copied[:10] == [0 if at_once else 6] * 10
    assert copied[10:] == [0] * 25


@pytest.mark.parametrize("floor", [1e-3, 1e-9], ids=["of any size", "large enough"])
def test_granted_steps_touch_no_tensor_and_go_on_after_a_resume(monkeypatch, at_once, floor):
    looks = []
    monkeypatch.setattr(sizes, "each_norm", lambda tensors: looks.append(tick) or each_norm(tensors))
    plant, part = run_of(lambda ps: AdamW(ps, 5e-6)), UpdateLimit(start=0.1, bound=None, floor=floor)
    with torch.no_grad():
        for parameter in plant.parameters():
            parameter.add_(1.0)
    memory, resumed = part.init(plant), part.init(plant)
    for tick in range(140):
        if tick == 100:
            part.load(plant, resumed, part.save(plant, memory))
            memory = resumed
        before = [p.detach().clone() for p in plant.parameters()]
        backward(plant, tick)
        part.before_step(plant, memory)
        plant.optimizers[0].step()
        part.after_step(plant, memory)
        assert max(ratios(plant, before, part.floor)) <= 0.1
    # Fifty steps are granted at once, or a thousand. Later the first ten are copied, since no size is known yet, and
    # twenty are watched after them.
    again = [51, 102] if at_once else [81, 132]
    assert looks == ([0] if at_once else [0, 10, 20, 30]) + (again if floor < 1e-3 else [])


def test_only_the_tensors_that_might_exceed_are_copied():
    plant, part = run_of(lambda ps: AdamW(ps, 1e-4)), UpdateLimit(start=0.1, bound=None)
    memory = part.init(plant)
    for tick in range(12):
        backward(plant, tick)
        part.before_step(plant, memory)
        copied = {t.data_ptr() for t in memory.tensors}
        plant.optimizers[0].step()
        part.after_step(plant, memory)
    # The gain is 1; the two biases at or near zero count with the floor.
    assert plant.model[1].weight.data_ptr() not in copied
    assert plant.model[3].bias.data_ptr() in copied


def test_it_judges_the_rate_the_step_really_has():
    plant, rate, part = run_of(lambda ps: AdamW(ps, 1e-5)), LearningRate(), UpdateLimit(start=0.1)
    memories = rate.init(plant), part.init(plant)
    for tick in range(30):
        if tick == 25:
            rate.write(plant, memories[0], 1e4)
        backward(plant, tick)
        before = [p.detach().clone() for p in plant.parameters()]
        rate.before_step(plant, memories[0])
        part.before_step(plant, memories[1])
        plant.optimizers[0].step()
        part.after_step(plant, memories[1])
        rate.after_step(plant, memories[0])
        assert max(ratios(plant, before, part.floor)) <= 0.1 * (1 + 1e-4)


def test_a_tensor_at_zero_can_leave_it():
    plant, part = run_of(RULES["sgd"]), UpdateLimit(start=0.1, floor=0.01)
    memory = part.init(plant)
    backward(plant, 0)
    part.before_step(plant, memory)
    plant.optimizers[0].step()
    part.after_step(plant, memory)
    assert rms(plant.model[3].bias) == pytest.approx(0.1 * 0.01, rel=1e-4)


def test_a_non_finite_update_is_left_to_a_guard():
    plant, part = run_of(RULES["sgd"]), UpdateLimit(start=0.1)
    memory = part.init(plant)
    backward(plant, 0)
    plant.model[0].weight.grad[0, 0] = torch.inf
    part.before_step(plant, memory)
    plant.optimizers[0].step()
    part.after_step(plant, memory)
    assert not plant.model[0].weight[0, 0].isfinite()
    assert plant.model[3].weight.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_limited_too(dtype):
    plant, part = run_of(RULES["sgd"], dtype), UpdateLimit(start=0.1)
    memory = part.init(plant)
    backward(plant, 0)
    before = [p.detach().clone() for p in plant.parameters()]
    part.before_step(plant, memory)
    plant.optimizers[0].step()
    part.after_step(plant, memory)
    # Eight bits of mantissa, of a weight ten times the update.
    assert max(ratios(plant, before, part.floor)) <= 0.1 * (1.05 if dtype == torch.bfloat16 else 1 + 1e-6)


def test_opening_the_limit_gives_the_memory_back():
    plant, part = run_of(RULES["sgd"]), UpdateLimit(start=0.1)
    memory = part.init(plant)
    backward(plant, 0)
    part.before_step(plant, memory)
    part.after_step(plant, memory)
    assert memory.before
    part.write(plant, memory, part.value(part.coordinate(part.high)))
    part.before_step(plant, memory)
    assert not memory.before
    assert not memory.tensors


@pytest.mark.parametrize("make", RULES.values(), ids=RULES)
def test_a_destructive_rate_does_not_destroy(make):
    limited, free = run_of(make), run_of(make)
    part = UpdateLimit(start=0.02)
    memory = part.init(limited)
    for tick in range(60):
        for plant in (limited, free):
            backward(plant, tick)
        free.optimizers[0].step()
        part.before_step(limited, memory)
        limited.optimizers[0].step()
        part.after_step(limited, memory)

    def loss(plant):
        x = torch.randn(256, 6, generator=torch.Generator().manual_seed(1))
        return F.mse_loss(plant.model(x), x[:, :3].sin()).item()

    assert loss(limited) < 1.0
    assert not loss(free) < loss(limited)


@settings(max_examples=50)
@given(st.floats(0.0, 0.95), st.floats(0.9, 0.9999), st.integers(1, 400), st.floats(-8, 8), st.integers(0, 99))
def test_no_gradient_takes_adam_beyond_its_bound(beta1, beta2, steps, spike, seed):
    bound = adam_bound(beta1, beta2)
    # The worst gradients are aligned and grow geometrically; noise and a spike are others.
    generator = torch.Generator().manual_seed(seed)
    worst = torch.exp(torch.arange(steps) * math.log(max(beta2, 1e-3) / max(beta1, 1e-3)))
    noise = torch.randn(steps, generator=generator)
    noise[-1] = 10.0**spike
    for gradients in (worst, noise):
        m = v = 0.0
        for t, g in enumerate(gradients.double().tolist(), 1):
            m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
            if v == 0 or math.isinf(v):
                break
            reach = abs(m / (1 - beta1**t)) / math.sqrt(v / (1 - beta2**t))
            assert reach <= bound * (1 + 1e-6)


def test_the_default_betas_have_the_bound_of_the_docstring():
    assert adam_bound(0.9, 0.999) == pytest.approx(7.27, abs=0.005)
    assert adam_bound(0.95, 0.9) == math.inf


@pytest.mark.parametrize("kind", ["weights in the state", "own rate"])
def test_an_optimizer_that_would_undo_the_cut_is_refused(kind):
    plant = run_of(RULES["sgd"])
    if kind == "own rate":
        plant.optimizers[0].param_groups[0].update(d=1e-6, d0=1e-6)
    else:
        plant.optimizers[0].eval = lambda: None
    with pytest.raises(AttachError, match="must have an optimizer that keeps no weights"):
        UpdateLimit().init(plant)


def test_weight_decay_counts_as_part_of_the_update():
    plant, part = run_of(lambda ps: AdamW(ps, 1e-6, weight_decay=5e5)), UpdateLimit(start=0.1, bound=None)
    memory = part.init(plant)
    for tick in range(15):
        backward(plant, tick)
        before = [p.detach().clone() for p in plant.parameters()]
        part.before_step(plant, memory)
        plant.optimizers[0].step()
        part.after_step(plant, memory)
        assert max(ratios(plant, before, part.floor)) <= 0.1 * (1 + 1e-4)


@given(st.lists(st.tuples(st.floats(0.0, 0.2), st.floats(0.0, 0.1), st.floats(0.0, 1.5)), max_size=20), st.booleans())
def test_the_bounds_on_a_size_hold_for_every_course_of_steps(steps, grows):
    size, drift = 1.0, Drift()
    for rate, decay, limit in steps:
        wanted = size + rate if grows else size * (1 - decay) - rate
        reached = min(max(wanted, size * (1 - limit)), size * (1 + limit))
        drift, size = drift.after(limit, Bounds(rate, decay, 1)), max(reached, 0.0)
        assert drift.least(1.0) <= size + 1e-9
        assert size <= drift.most(1.0) + 1e-9
