"""Every optimizer of torch, and wrappers that users bring, under one controller."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from prodigyopt import Prodigy
from schedulefree import AdamWScheduleFree, ScheduleFreeWrapper, SGDScheduleFree
from torch import distributed as dist
from torch import nn, optim

from homeostat import Homeostat, Loop
from homeostat.actuators import ClipNorm, LearningRate, UpdateLimit
from homeostat.errors import AttachError
from homeostat.guards import Guard, SnapshotPolicy
from homeostat.guards.detectors import NonFinite
from homeostat.laws import Hold
from homeostat.observers import GradientNorm, Loss, ProposedUpdateRatio

FACTOR = 0.5
ADAPTIVE = ("Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "ASGD")
FUSED = ("SGD", "Adagrad", "Adam", "AdamW")
CASES: dict[str, tuple[Any, float, dict[str, Any]]] = {
    "SGD": (optim.SGD, 0.1, {"momentum": 0.9, "weight_decay": 0.1}),
    "Adafactor": (optim.Adafactor, 0.1, {}),
    "LBFGS": (optim.LBFGS, 0.1, {"max_iter": 3}),
    "Muon": (optim.Muon, 0.1, {}),
    "SparseAdam": (optim.SparseAdam, 0.1, {}),
    **{name: (getattr(optim, name), 0.1, {}) for name in ADAPTIVE},
    **{f"{name}, foreach": (getattr(optim, name), 0.1, {"foreach": True}) for name in ("SGD", "Adafactor", *ADAPTIVE)},
    **{f"{name}, fused": (getattr(optim, name), 0.1, {"fused": True}) for name in FUSED},
    **{
        f"{name}, tensor rate": (getattr(optim, name), torch.tensor(0.1), {"fused": True}) for name in ("Adam", "AdamW")
    },
    "Schedule-Free AdamW": (AdamWScheduleFree, 0.1, {"weight_decay": 0.1}),
    "Schedule-Free SGD": (SGDScheduleFree, 0.1, {}),
}
CAPTURABLE = ("Adadelta", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "ASGD")

# Everything is measured, nothing is moved.
WATCHED = [
    Loop(Loss(), Hold(), LearningRate(), every=1),
    Loop(GradientNorm(), Hold(), ClipNorm(), every=2),
]


def test_the_list_has_every_optimizer_of_torch():
    known = {name for name in optim.__all__ if isinstance(getattr(optim, name, None), type)} - {"Optimizer"}
    assert known <= {name.split(",")[0] for name in CASES}


def train(
    kind: Any,
    rate: Any,
    options: dict[str, Any],
    loops: list[Loop] | None,
    *,
    factor: float | None = None,
    device: str = "cpu",
) -> tuple[list[torch.Tensor], Homeostat | None, Any]:
    """Six steps on a problem that suits the optimizer; returns the weights."""
    torch.manual_seed(0)
    sparse = kind is optim.SparseAdam
    model: nn.Module = nn.Sequential(nn.Embedding(9, 4, sparse=sparse), nn.Flatten(), nn.Linear(8, 3, bias=False))
    model.to(device)
    steered = model[0] if sparse else model  # type: ignore[index]
    optimizer = kind(steered.parameters(), lr=rate, **options)
    if hasattr(optimizer, "train"):
        optimizer.train()
    homeostat = None if loops is None else Homeostat(loops).attach(model, optimizer)
    if homeostat is not None and factor is not None:
        homeostat.override("learning_rate", factor)
    tokens = torch.arange(12, device=device).reshape(6, 2) % 9

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (model(tokens) - 1).square().mean()
        if homeostat is not None:
            homeostat.observe(loss=loss)
        loss.backward()
        return loss

    for _ in range(6):
        if kind is optim.LBFGS:
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
    return [p.detach().clone() for p in model.parameters()], homeostat, optimizer


def halved(kind: Any, rate: Any, options: dict[str, Any], device: str = "cpu") -> None:
    """A factor of one half is the same to the last bit as half the rate, and the user sees the own rate only."""
    loops = [Loop(Loss(), Hold(), LearningRate(low=0.1, high=1.0), every=1)]
    expected, _, _ = train(kind, rate * FACTOR, options, None, device=device)
    weights, homeostat, optimizer = train(kind, rate, options, loops, factor=FACTOR, device=device)
    assert homeostat is not None
    assert homeostat.tick == 6
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.1)
    for mine, other in zip(weights, expected, strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("name", CASES)
def test_half_the_factor_is_half_the_rate_to_the_last_bit(name):
    halved(*CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_what_is_only_measured_is_bit_identical(name):
    kind, rate, options = CASES[name]
    loops = WATCHED
    alone, _, _ = train(kind, rate, options, None)
    watched, homeostat, _ = train(kind, rate, options, loops)
    assert homeostat is not None
    assert homeostat.tick == 6
    assert len(homeostat.trace.loop("learning_rate")["reading.0"]) == 6
    for mine, other in zip(watched, alone, strict=True):
        assert torch.equal(mine, other)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="capturable optimizers need an accelerator")
@pytest.mark.parametrize("name", CAPTURABLE)
def test_a_capturable_optimizer_is_steered_alike(name):
    halved(getattr(optim, name), 0.1, {"capturable": True}, "cuda")


def test_prodigy_is_watched_and_its_rate_left_alone():
    parameters = nn.Linear(3, 2)
    with pytest.raises(AttachError, match="must not scale an optimizer that estimates its own rate"):
        Homeostat([Loop(Loss(), Hold(), LearningRate())]).attach(parameters, Prodigy(parameters.parameters()))
    weights = [train(Prodigy, 1.0, {}, loops)[0] for loops in (None, [Loop(Loss(), Hold(), ClipNorm(), every=1)])]
    for alone, watched in zip(*weights, strict=True):
        assert torch.equal(alone, watched)


@pytest.mark.parametrize("kind", [AdamWScheduleFree, Prodigy])
def test_a_cut_that_an_optimizer_would_undo_is_refused(kind):
    model = nn.Linear(3, 2)
    optimizer = kind(model.parameters(), lr=1.0)
    with pytest.raises(AttachError, match="must have an optimizer that keeps no weights in its state"):
        Homeostat([Loop(ProposedUpdateRatio(), Hold(), UpdateLimit())]).attach(model, optimizer)


def test_a_wrapper_without_hooks_is_refused_and_says_what_to_pass():
    model = nn.Linear(3, 2)
    wrapper = ScheduleFreeWrapper(optim.SGD(model.parameters(), lr=0.1), momentum=0.9)
    with pytest.raises(AttachError, match="Pass the optimizer that a wrapper holds"):
        Homeostat([Loop(Loss(), Hold(), LearningRate())]).attach(model, wrapper)


@pytest.fixture
def alone():
    """A process group of one process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("alone")
@pytest.mark.filterwarnings("ignore::homeostat.HomeostatWarning")
def test_an_optimizer_that_hides_its_state_is_refused_where_the_state_must_go_back():
    with warnings.catch_warnings():
        # Torch's own, while it is imported.
        warnings.simplefilter("ignore", DeprecationWarning)
        from torch.distributed.optim import ZeroRedundancyOptimizer
    model = nn.Linear(4, 2)
    optimizer = ZeroRedundancyOptimizer(model.parameters(), optim.AdamW, lr=0.1)
    guards = [Guard(Loss(), NonFinite(), "reset")]
    for options in ({"snapshots": SnapshotPolicy()}, {"guards": guards}):
        with pytest.raises(AttachError, match=r"got a ZeroRedundancyOptimizer, .* snapshots=None"):
            Homeostat(WATCHED, **options).attach(model, optimizer)
    homeostat = Homeostat.from_recipe("steady", snapshots=None).attach(model, optimizer)
    homeostat.override("learning_rate", FACTOR)
    for _ in range(3):
        loss = model(torch.ones(3, 4)).square().mean()
        homeostat.observe(loss=loss)
        loss.backward()
        optimizer.step()
    assert homeostat.tick == 3
