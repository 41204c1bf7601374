"""What every observer promises; the list of examples must be complete."""

import inspect
import json
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from homeostat import observers
from homeostat.errors import AttachError
from homeostat.observers import (
    AttentionReach,
    DeadUnits,
    EffectiveRank,
    GeneralizationGap,
    GradientNorm,
    Loss,
    LossPeak,
    LossTrend,
    Observer,
    OrthogonalityDrift,
    ParameterNorm,
    ProposedUpdateRatio,
    RunningVariance,
    UpdateRatio,
)
from homeostat.state import from_data, to_data
from tests.harness import Bench, same

EXAMPLES = {
    "AttentionReach": AttentionReach(queries=8),
    "DeadUnits": DeadUnits(),
    "EffectiveRank": EffectiveRank(parameters="embedding.weight", width="embedding_width", rows=16),
    "GeneralizationGap": GeneralizationGap(relative=True),
    "GradientNorm": GradientNorm(log=True),
    "Loss": Loss(smoothing=5.0),
    "LossPeak": LossPeak(),
    "LossTrend": LossTrend(window=3),
    "OrthogonalityDrift": OrthogonalityDrift(parameters="rotation"),
    "ParameterNorm": ParameterNorm(),
    "ProposedUpdateRatio": ProposedUpdateRatio(),
    "RunningVariance": RunningVariance(),
    "UpdateRatio": UpdateRatio(statistic="mean", vectors=True),
}
every = pytest.mark.parametrize("observer", EXAMPLES.values(), ids=EXAMPLES)


def concrete(role):
    found = {c for sub in role.__subclasses__() for c in (sub, *concrete(sub))}
    return {c for c in found if c.__module__.startswith("homeostat.") and not inspect.isabstract(c)}


def test_every_observer_has_an_example_and_is_exported():
    names = {c.__name__ for c in concrete(Observer)}
    assert names == set(EXAMPLES)
    assert names <= set(observers.__all__)
    assert observers.__all__ == sorted(observers.__all__)


@every
def test_json_brings_back_an_equal_part(observer):
    assert Observer.model_validate_json(observer.model_dump_json()) == observer


@every
def test_measuring_changes_nothing(observer):
    watched, alone = Bench([observer]).run(4), Bench().run(4)
    assert watched.losses == alone.losses
    assert same(watched.state(), alone.state())


@every
def test_reads_one_finite_number_on_the_device(observer):
    bench = Bench([observer]).run(4)
    history = observer.start()
    for reading in (r for (r,) in bench.readings):
        assert reading is not None
        if isinstance(reading, torch.Tensor):
            assert reading.shape == ()
            assert not reading.requires_grad
        value, history = observer.interpret(float(reading), history)
    assert value is not None
    assert math.isfinite(value)


@every
def test_history_survives_saving(observer):
    history = observer.start()
    for value in (3.0, 2.5, 2.0, 1.8):
        _, history = observer.interpret(value, history)
    restored = from_data(observer.start(), to_data(history))
    assert observer.interpret(1.0, restored) == observer.interpret(1.0, history)


@every
def test_what_is_saved_of_its_memory_comes_back(observer):
    first, second = Bench([observer]).run(3), Bench([observer])
    saved = json.loads(json.dumps(to_data(observer.save(first.memory(observer)))))
    if saved is not None:
        observer.load(second.plant, second.memory(observer), saved)
    assert to_data(observer.save(second.memory(observer))) == saved


@every
def test_a_non_finite_number_is_passed_on_and_not_remembered(observer):
    history = observer.start()
    for value in (3.0, 2.5, 2.0, 1.8):
        _, history = observer.interpret(value, history)
    for bad in (math.nan, math.inf):
        reading, after = observer.interpret(bad, history)
        assert not math.isfinite(reading)
        assert after == history


class HostReads(TorchDispatchMode):
    """Refuses whatever makes the host wait for a device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        del types
        name = func.name()
        assert name not in {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero"}, name
        return func(*args, **(kwargs or {}))


@every
def test_measuring_never_waits_for_the_device(observer, monkeypatch):
    bench = Bench([observer])
    real = type(observer).observe

    def guarded(self, plant, memory):
        with HostReads():
            return real(self, plant, memory)

    monkeypatch.setattr(type(observer), "observe", guarded)
    bench.run(3)
    with pytest.raises(AssertionError), HostReads():
        torch.ones(()).item()


@every
def test_detaching_leaves_no_listener(observer):
    bench = Bench([observer]).run(2)
    for handle in bench.handles:
        handle.remove()
    assert bench.model.tap.listener is None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in bench.model.modules())


WRONG = (
    AttentionReach(taps="nowhere"),
    AttentionReach(window="nowhere"),
    DeadUnits(modules="out"),
    EffectiveRank(parameters="nowhere"),
    EffectiveRank(parameters="out.bias"),
    EffectiveRank(parameters="out.weight", width="*"),
    GradientNorm(group=7),
    OrthogonalityDrift(parameters="nowhere"),
    OrthogonalityDrift(parameters="out.bias"),
)


@pytest.mark.parametrize("observer", WRONG, ids=repr)
def test_nothing_to_measure_is_one_clear_sentence(observer):
    with pytest.raises(AttachError, match=r"must .*; got .*\. "):
        Bench([observer])
