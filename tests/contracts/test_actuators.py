"""What every actuator promises; the list of examples must be complete."""

import inspect
import json
from collections import Counter

import pytest

from homeostat import actuators
from homeostat.actuators import (
    Actuator,
    AttentionWindow,
    ClipNorm,
    Dial,
    Dropout,
    EmbeddingWidth,
    LearningRate,
    LossWeight,
    RotaryBase,
    RotationPenalty,
    RotationRetraction,
    UpdateLimit,
)
from homeostat.errors import AttachError
from homeostat.state import to_data
from tests.contracts.test_observers import HostReads, concrete
from tests.harness import Bench, same

EXAMPLES = {
    "AttentionWindow": AttentionWindow(low=0, high=6, quantum=1),
    "ClipNorm": ClipNorm(),
    "Dial": Dial(dials="loss_weight", low=0.0, high=1.0),
    "Dropout": Dropout(),
    "EmbeddingWidth": EmbeddingWidth(low=2, high=12, quantum=0.25),
    "LearningRate": LearningRate(),
    "LossWeight": LossWeight(dials="loss_weight", low=0.01, high=10),
    "RotaryBase": RotaryBase(low=10, high=1e6),
    "RotationPenalty": RotationPenalty(low=1e-4, high=10),
    "RotationRetraction": RotationRetraction(parameters="rotation"),
    "UpdateLimit": UpdateLimit(start=0.05, trip=0.5),
}
every = pytest.mark.parametrize("actuator", EXAMPLES.values(), ids=EXAMPLES)


def test_every_actuator_has_an_example_and_is_exported():
    names = {c.__name__ for c in concrete(Actuator)}
    assert names == set(EXAMPLES)
    assert names <= set(actuators.__all__)
    assert actuators.__all__ == sorted(actuators.__all__)


def test_no_concrete_actuator_is_subclassed():
    assert not [c for c in concrete(Actuator) for base in c.__mro__[1:] if base in concrete(Actuator)]
    assert inspect.isabstract(Actuator)


@every
def test_json_brings_back_an_equal_part(actuator):
    assert Actuator.model_validate_json(actuator.model_dump_json()) == actuator


@every
def test_it_names_what_it_writes(actuator):
    bench = Bench(actuators=[actuator])
    names = actuator.targets(bench.plant)
    assert names
    assert all(isinstance(name, str) for name in names)


@every
def test_the_value_written_is_the_value_read(actuator):
    bench = Bench(actuators=[actuator])
    memory = bench.memory(actuator)
    for share in (0.2, 0.7):
        position = actuator.coordinate(actuator.low) * (1 - share) + actuator.coordinate(actuator.high) * share
        delivered = actuator.write(bench.plant, memory, actuator.value(position))
        assert actuator.read(bench.plant, memory) == delivered
        assert delivered == pytest.approx(actuator.value(position), rel=1e-6, abs=0.5 if actuator.quantum else 1e-9)
        bench.step()
        assert actuator.read(bench.plant, memory) == delivered


@every
def test_idle_is_bit_identical_to_absent(actuator):
    idle, absent = Bench(actuators=[actuator]).run(4), Bench().run(4)
    assert idle.losses == absent.losses
    assert same(idle.state(), absent.state())


@every
def test_writing_the_first_value_again_gives_the_knob_back(actuator):
    absent = Bench().run(3)
    bench = Bench(actuators=[actuator])
    memory = bench.memory(actuator)
    first = actuator.read(bench.plant, memory)
    actuator.write(bench.plant, memory, (actuator.low + actuator.high) / 2)
    actuator.write(bench.plant, memory, first)
    actuator.release(bench.plant, memory)
    assert same(bench.run(3).state(), absent.state())
    assert not any(dial.watching for dial in bench.plant.modules("*", type(bench.model.loss_weight)).values())


@every
def test_acting_never_waits_for_the_device(actuator, monkeypatch):
    bench = Bench(actuators=[actuator])
    called = Counter()
    for name in ("write", "before_step", "after_step"):
        real = getattr(type(actuator), name)

        def guarded(self, *given, real=real, name=name):
            called[name] += 1
            with HostReads():
                return real(self, *given)

        monkeypatch.setattr(type(actuator), name, guarded)
    actuator.write(bench.plant, bench.memory(actuator), (actuator.low + actuator.high) / 2)
    bench.run(12)
    assert called == {"write": 1, **({"before_step": 12, "after_step": 12} if actuator.transient else {})}


@every
def test_an_exception_inside_the_step_leaves_nothing_behind(actuator):
    bench = Bench(actuators=[actuator]).run(1)
    memory = bench.memory(actuator)
    actuator.write(bench.plant, memory, (actuator.low + actuator.high) / 2)
    groups = [dict(group) for group in bench.optimizer.param_groups]
    actuator.before_step(bench.plant, memory)
    actuator.after_step(bench.plant, memory)
    weights = [p.detach().clone() for p in bench.model.parameters()]
    actuator.after_step(bench.plant, memory)
    assert same(weights, [p.detach() for p in bench.model.parameters()])
    assert all(
        now[key] is before[key]
        for now, before in zip(bench.optimizer.param_groups, groups, strict=True)
        for key in before
        if key != "params"
    )


@every
def test_the_knob_survives_a_reloaded_optimizer(actuator):
    bench = Bench(actuators=[actuator]).run(2)
    memory = bench.memory(actuator)
    delivered = actuator.write(bench.plant, memory, (actuator.low + actuator.high) / 2)
    bench.optimizer.load_state_dict(bench.optimizer.state_dict())
    bench.run(1)
    assert actuator.read(bench.plant, memory) == delivered
    assert bench.optimizer.param_groups[0]["lr"] == 1e-2


@every
def test_what_is_saved_of_its_memory_comes_back(actuator):
    first, second = Bench(actuators=[actuator]), Bench(actuators=[actuator])
    memory = first.memory(actuator)
    actuator.write(first.plant, memory, (actuator.low + actuator.high) / 2)
    first.run(3)
    saved = json.loads(json.dumps(to_data(actuator.save(first.plant, memory))))
    if saved is not None:
        actuator.load(second.plant, second.memory(actuator), saved)
    assert to_data(actuator.save(second.plant, second.memory(actuator))) == saved


WRONG = (
    Dial(dials="nowhere*", low=0, high=1),
    Dial(dials="*", low=0, high=1),
    Dropout(modules="out"),
    Dropout(modules="nowhere"),
    LearningRate(groups=(3,)),
    RotationRetraction(parameters="nowhere"),
    RotationRetraction(parameters="out.bias"),
)


@pytest.mark.parametrize("actuator", WRONG, ids=repr)
def test_nothing_to_move_is_one_clear_sentence(actuator):
    with pytest.raises(AttachError, match=r"must .*; got .*\. "):
        Bench(actuators=[actuator])


@every
def test_limits_in_the_wrong_order_are_refused(actuator):
    fields = actuator.model_dump() | {"low": actuator.high, "high": actuator.low}
    with pytest.raises(ValueError, match="must be"):
        Actuator.model_validate(fields)


@every
def test_memory_is_not_shared_between_two_plants(actuator):
    first, second = Bench(actuators=[actuator]), Bench(actuators=[actuator])
    before = actuator.read(second.plant, second.memory(actuator))
    actuator.write(first.plant, first.memory(actuator), (actuator.low + actuator.high) / 2)
    assert actuator.read(second.plant, second.memory(actuator)) == before
