"""The tasks on linear plants, whose laws are tuned by rule."""

from __future__ import annotations

import math

from benchmarks.laws.tasks import Task, conditions
from homeostat.dynamics import FirstOrderModel, IntegratorModel, SecondOrderModel
from homeostat.dynamics.rules import gains
from homeostat.laws import (
    CUSUM,
    EMA,
    PID,
    AutoTune,
    Chain,
    DeadBand,
    DualAveraging,
    Kalman,
    Law,
    LinearModel,
    MatrixPI,
    Median,
    RelayTest,
    SelfTuning,
    SignIntegrator,
    SlewLimit,
    SmithPredictor,
    StateFeedback,
    Threshold,
    Ultrastable,
)
from homeostat.simulation import (
    AnyPlant,
    FirstOrder,
    Integrator,
    SecondOrder,
    TwoByTwo,
    UnstableFirstOrder,
)


def first_order() -> Task:
    """A lag of 20 ticks and a dead time of 2, where most laws are at home."""
    pi = PID(**gains(FirstOrderModel(gain=1.0, time_constant=20, dead_time=2), rule="simc")._asdict())
    calm = PID(gain=pi.gain / 2, integral_time=20)
    laws: dict[str, Law] = {
        "PID": pi,
        "PID with derivative": PID(
            **gains(FirstOrderModel(gain=1.0, time_constant=20, dead_time=2), rule="simc_pid")._asdict()
        ),
        "EMA, PID": Chain(laws=(EMA(time_constant=3), calm)),
        "Kalman, PID": Chain(laws=(Kalman(noise=0.1, drift=0.03), calm)),
        "Median, PID": Chain(laws=(Median(window=5), calm)),
        "DeadBand, PID": Chain(laws=(DeadBand(below=0.1, above=0.1, rest=0.03), pi)),
        "CUSUM, PID": Chain(laws=(CUSUM(noise=0.1), PID(gain=1.0, integral_time=20))),
        "PID, SlewLimit": Chain(laws=(pi, SlewLimit(rate=0.2))),
        "SmithPredictor": SmithPredictor(
            law=PID(gain=2 * pi.gain, integral_time=20), gain=1, time_constant=20, dead_time=2
        ),
        "MatrixPI": MatrixPI(gain=((pi.gain,),), integral=((pi.gain / 20,),), tracking_time=20),
        "StateFeedback": StateFeedback(
            model=LinearModel.first_order(((1.0,),), 20.0, (2,)),
            tolerances=(0.1,),
            efforts=(0.5,),
            integral_time=10,
            noise=(0.05,),
            every=1,
        ),
        "SelfTuning": SelfTuning(
            gain=(0.1, 10), time_constant=(5, 100), closed_loop_time=8, noise=0.05, dead_time=2, every=1
        ),
        "AutoTune": AutoTune(test=RelayTest(amplitude=0.5)),
        "SignIntegrator": SignIntegrator(rate=0.02),
        "DualAveraging": DualAveraging(gain=1.0, delay=20, memory=100),
        "Threshold": Threshold(low=0.95, high=1.05, above=0.0, below=2.0),
    }
    how = {"ticks": 1000, "low": -20.0, "high": 20.0}

    def plant(g: float) -> AnyPlant:
        return FirstOrder(gain=g, time_constant=20, dead_time=2)

    return Task("First order", plant, laws, (1.0,), how, conditions(1.0, dead_time=5))


def unknown() -> Task:
    """The same lag for a law that knows nothing, not even the knob's direction, and needs time for its trials."""
    laws: dict[str, Law] = {
        f"Ultrastable, seed {seed}": Ultrastable(low=(0.8,), high=(1.2,), rates=(0.2,), trial=150, decades=2, seed=seed)
        for seed in range(5)
    }
    how = {"ticks": 5000, "low": -12.0, "high": 12.0}
    found = conditions(1.0)
    some = {name: found[name] for name in ("clean", "noise")}

    def plant(g: float) -> AnyPlant:
        return FirstOrder(gain=g, time_constant=20, dead_time=2)

    return Task("First order, direction unknown", plant, laws, (1.0,), how, some)


def second_order() -> Task:
    """Inertia with little damping."""
    model = SecondOrderModel(gain=1.0, time_constant=10, damping=0.5, dead_time=2)
    laws: dict[str, Law] = {
        "PID": PID(**gains(model, rule="simc")._asdict()),
        "PID with derivative": PID(**gains(model, rule="simc_pid")._asdict()),
        "AutoTune": AutoTune(test=RelayTest(amplitude=0.5)),
        "SignIntegrator": SignIntegrator(rate=0.005),
    }
    how = {"ticks": 1000, "low": -20.0, "high": 20.0}

    def plant(g: float) -> AnyPlant:
        return SecondOrder(gain=g, time_constant=10, damping=0.5, dead_time=2)

    return Task("Second order, damping 0.5", plant, laws, (1.0,), how, conditions(1.0, dead_time=5))


def integrator() -> Task:
    """A reading that never returns by itself."""
    found = gains(IntegratorModel(slope=0.1, dead_time=2), rule="simc")
    laws: dict[str, Law] = {
        "PID": PID(**found._asdict()),
        "PID without integral": PID(gain=found.gain),
        "MatrixPI": MatrixPI(
            gain=((found.gain,),), integral=((found.gain / found.integral_time,),), tracking_time=found.integral_time
        ),
    }
    how = {"ticks": 1000, "low": -20.0, "high": 20.0}

    def plant(g: float) -> AnyPlant:
        return Integrator(gain=0.1 * g, dead_time=2)

    return Task("Integrator", plant, laws, (1.0,), how, conditions(1.0, dead_time=5))


def unstable() -> Task:
    """A plant that runs away unless it is held; with a tenth of the gain no law tuned for the whole can."""
    model = LinearModel(
        state_matrix=((math.exp(1 / 20),),), input_matrix=((math.expm1(1 / 20),),), output_matrix=((1.0,),)
    )
    laws: dict[str, Law] = {
        "PID": PID(gain=4.0, integral_time=40),
        "StateFeedback": StateFeedback(
            model=model, tolerances=(0.1,), efforts=(0.5,), integral_time=20, noise=(0.05,), every=1
        ),
    }
    how = {"ticks": 500, "low": -20.0, "high": 20.0}

    def plant(g: float) -> AnyPlant:
        return UnstableFirstOrder(gain=g, time_constant=20, dead_time=1)

    return Task("Unstable first order", plant, laws, (1.0,), how, conditions(1.0, dead_time=2))


def two_by_two() -> Task:
    """Two readings of two knobs that each move both."""
    laws: dict[str, Law] = {
        "MatrixPI, each by its own": MatrixPI(gain=((4, 0), (0, 4)), integral=((0.2, 0), (0, 0.2)), tracking_time=20),
        "MatrixPI, decoupled": MatrixPI(
            gain=((5.33, -2.67), (-2.67, 5.33)), integral=((0.267, -0.133), (-0.133, 0.267)), tracking_time=20
        ),
        "StateFeedback": StateFeedback(
            model=LinearModel.first_order(((1.0, 0.5), (0.5, 1.0)), 20.0, (2, 2)),
            tolerances=(0.1, 0.1),
            efforts=(0.5, 0.5),
            integral_time=10,
            noise=(0.05, 0.05),
            every=1,
        ),
        "SignIntegrator": SignIntegrator(rate=0.02, size=2),
        "Ultrastable": Ultrastable(low=(0.9, 0.4), high=(1.1, 0.6), rates=(0.2, 0.2), trial=200, decades=2),
    }
    how = {"ticks": 1000, "low": -20.0, "high": 20.0}

    def plant(g: float) -> AnyPlant:
        return TwoByTwo(gains=(g, g), time_constants=((20.0, 20.0), (20.0, 20.0)), dead_times=(2, 2))

    return Task("Two by two", plant, laws, (1.0, 0.5), how, conditions(1.0, dead_time=5))
