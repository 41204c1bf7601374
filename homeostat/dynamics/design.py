"""Every tuning rule by its name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from homeostat.dynamics.model import Model
from homeostat.dynamics.optimal import least_error
from homeostat.dynamics.rules import USUAL, Gains, SimpleRule, gains
from homeostat.errors import AnalysisError

Rule = SimpleRule | Literal["iae"]


def design(
    model: Model,
    *,
    rule: Rule = "iae",
    every: int = 1,
    closed_loop_time: float | None = None,
    damping: float = 0.7,
    plausible: Sequence[Model] = (),
) -> Gains:
    """Return the gains by `rule`: "iae" for `least_error`, which minds the `plausible` models, else as `gains` says.

    Raises:
        AnalysisError: the plant does not answer its knob, there is no such rule, or it does not take what it was given.
    """
    _check(rule, closed_loop_time, damping)
    if rule != "iae":
        return gains(model, rule=rule, every=every, closed_loop_time=closed_loop_time, damping=damping)
    if closed_loop_time is not None:
        msg = (
            f"The rule 'iae' must find its closed-loop time itself; got {closed_loop_time:g}. "
            "Leave it out, or choose 'simc'."
        )
        raise AnalysisError(msg)
    return least_error(model, every=every, plausible=plausible)


def _check(rule: str, closed_loop_time: float | None, damping: float) -> None:
    if rule not in (known := ("iae", *USUAL)):
        msg = f"rule must be one of {', '.join(known)}; got {rule!r}. Choose one."
        raise AnalysisError(msg)
    for name, value in (("closed_loop_time", closed_loop_time), ("damping", damping)):
        if value is not None and not 0 < value < math.inf:
            msg = f"{name} must be positive and finite; got {value:g}. Leave it out for the usual one."
            raise AnalysisError(msg)
