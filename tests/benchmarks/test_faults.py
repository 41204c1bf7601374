"""The fault suite does what it says: its faults, its cases and its criterion."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.faults.__main__ import load, main, save
from benchmarks.faults.case import COUNT, SEEDS, Case, cases
from benchmarks.faults.fault import FAULTS, KILLED, Injector, applies, flip
from benchmarks.faults.page import page
from benchmarks.faults.run import Result, run
from benchmarks.faults.table import counts, judge
from benchmarks.faults.training import CNN, GPT, Loader

HERE = [fault for fault in FAULTS if fault != KILLED and not FAULTS[fault].needs]
OF_BATCHES = [fault for fault in HERE if FAULTS[fault].moment == "batch"]


def state(training):
    moments = [v for s in training.optimizer.state.values() for v in s.values()]
    gradients = [p.grad for p in training.model.parameters() if p.grad is not None]
    rates = torch.tensor([group["lr"] for group in training.optimizer.param_groups])
    dropout = torch.tensor([m.p for m in training.model.modules() if isinstance(m, torch.nn.Dropout)])
    return [t.clone() for t in [*training.model.state_dict().values(), *moments, *gradients, rates, dropout]]


def same(first, second):
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def struck(make, fault):
    """Take two steps, and meet the fault in the second; returns everything it may have touched, and its loss."""
    training = make(0)
    injector = Injector(fault, 1, 7)
    for batch in training.loader:
        found = injector("batch", training, batch)
        injector("forward", training)
        loss = injector("loss", training, training.loss(found))
        training.optimizer.zero_grad()
        loss.backward()
        injector("backward", training)
        with injector.rates(training):
            if injector.iteration == 1:
                return [*state(training), loss.detach()], training
            training.optimizer.step()
        injector.iteration += 1
    raise AssertionError


@pytest.mark.parametrize(("make", "faults"), [(CNN, HERE), (GPT, OF_BATCHES)])
def test_every_fault_changes_the_run_and_is_the_same_each_time(make, faults):
    whole = struck(make, None)[0]
    for fault in faults:
        first, second = struck(make, fault)[0], struck(make, fault)[0]
        assert same([t.nan_to_num(7.0) for t in first], [t.nan_to_num(7.0) for t in second]), fault
        assert not same(first, whole), fault


@given(st.floats(-1.984375, 1.984375, width=32, allow_subnormal=False).filter(bool))
def test_a_flipped_bit_is_a_factor_of_two_to_the_128_and_comes_off_again(value):
    tensor = torch.tensor([1.0, value])
    flip(tensor, 1)
    assert tensor[1].item() == value * 2.0**128 or not math.isfinite(tensor[1].item())
    assert tensor[0] == 1.0
    flip(tensor, 1)
    assert tensor[1].item() == value


def test_a_fault_of_the_data_is_met_again_and_another_is_not():
    training = CNN(0)
    batches = iter(training.loader)
    for fault, again in (("label noise", True), ("state lost", False)):
        training.loader.position = 5
        batch = next(batches)
        injector = Injector(fault, 5, 0)
        injector.iteration = 5
        training.optimizer.state[torch.zeros(1)] = {}
        first = injector(FAULTS[fault].moment, training, batch)
        assert first is not batch
        assert not again or not torch.equal(first[1], batch[1])
        injector.iteration = 9
        training.optimizer.state[torch.zeros(1)] = {}
        second = injector(FAULTS[fault].moment, training, batch)
        assert again == (second is not batch and torch.equal(second[1], first[1]))
        assert again == (not training.optimizer.state) or fault == "label noise"


def test_the_rate_is_struck_for_the_step_alone():
    training = CNN(0)
    injector = Injector("learning rate x1000", 0, 0)
    before = training.optimizer.param_groups[0]["lr"]
    with injector.rates(training):
        assert training.optimizer.param_groups[0]["lr"] == 1000 * before
    assert training.optimizer.param_groups[0]["lr"] == before
    with injector.rates(training):
        training.optimizer.param_groups[0]["lr"] = 5.0
    assert training.optimizer.param_groups[0]["lr"] == 5.0


def test_a_loader_set_back_gives_the_same_batches_again():
    loader = Loader(lambda generator: torch.rand(2, generator=generator), seed=3, steps=6)
    seen = []
    for batch in loader:
        seen.append(batch)
        if len(seen) == 4:
            loader.load_state_dict({"position": 2})
    assert len(seen) == 8
    assert torch.equal(torch.stack(seen[2:4]), torch.stack(seen[4:6]))


@pytest.mark.parametrize("name", ["CNN", "GPT"])
def test_a_training_gets_twenty_faults_and_each_that_applies_at_least_once(name):
    found = cases(name)
    make = {"CNN": CNN, "GPT": GPT}[name]
    assert found == cases(name)
    assert len(found) == COUNT
    assert {case.fault for case in found} == {fault for fault in FAULTS if applies(fault, make(0))}
    assert all(case.start + 0.5 >= 0.05 * 150 and case.start <= 0.85 * 150 + 0.5 for case in found)


def results(clean, faulty, method="bare loop"):
    twins = [Result(Case("CNN", seed), method, loss, 150, 1.0, []) for seed, loss in zip(SEEDS, clean, strict=True)]
    return [*twins, Result(Case("CNN", 1, "NaN batch", 9, 0), method, faulty, 150, 1.0, [])]


@pytest.mark.parametrize(
    ("clean", "faulty", "survived"),
    [
        ([1.0] * 5, 1.02, True),
        ([1.0] * 5, 1.021, False),
        ([1.0] * 5, 0.5, True),
        ([1.0] * 5, math.nan, False),
        # Standard deviation 0.1.
        ([0.9, 1.0, 1.1, 1.0 - 0.1, 1.1], 1.199, True),
        ([0.9, 1.0, 1.1, 1.0 - 0.1, 1.1], 1.201, False),
    ],
)
def test_survived_is_within_two_percent_or_two_deviations_of_the_twin(clean, faulty, survived):
    assert counts(judge(results(clean, faulty))) == (int(survived), 1)


def test_nothing_is_judged_before_all_twins_are_there():
    assert judge(results([1.0] * 5, 1.0)[1:]) == []


def test_finished_runs_are_read_as_written_and_make_a_page(tmp_path):
    found = results([1.0] * 5, math.nan)
    path = tmp_path / "faults.jsonl"
    save(path, {(result.case, result.method): result for result in found})
    read = list(load(path).values())
    assert {repr(result) for result in read} == {repr(result) for result in found}
    text = page(read, ["bare loop", "ours"], ["CNN"])
    assert "| NaN batch | 0/1 |" in text
    assert "| **all** | 0/1 |" in text


def test_a_run_that_is_finished_is_not_run_again(tmp_path, capsys):
    path = tmp_path / "faults.jsonl"
    arguments = ["--methods", "bare loop", "--trainings", "CNN", "--faults", "state lost", "--raw", str(path)]
    # No run is faster than none: each of these is there already.
    done = [case for case in cases("CNN") if case.fault == "state lost"]
    everything = [Result(case, "bare loop", 1.0, 150, 1.0, []) for case in [*done, *(Case("CNN", s) for s in SEEDS)]]
    save(path, {(result.case, result.method): result for result in everything})
    before = path.read_text()
    main(arguments)
    assert path.read_text() == before
    assert f"| state lost | {len(done)}/{len(done)} |" in capsys.readouterr().out


def test_a_run_is_the_same_each_time_and_stops_where_its_weights_are_no_numbers():
    case = Case("CNN", 0, steps=25)
    assert run(case, "bare loop")._replace(seconds=0) == run(case, "bare loop")._replace(seconds=0)
    lost = run(Case("CNN", 0, "NaN batch", 2, steps=60), "bare loop")
    assert math.isnan(lost.loss)
    assert lost.iterations == 20
