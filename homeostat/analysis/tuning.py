"""From a plant's model, or from records of it, to a controller with predicted margins."""

from __future__ import annotations

from typing import NamedTuple

from homeostat.analysis.stability import margins
from homeostat.dynamics.design import Rule, design
from homeostat.dynamics.fit import Fit
from homeostat.dynamics.identification import identify
from homeostat.dynamics.margins import Margins
from homeostat.dynamics.model import Model
from homeostat.dynamics.recording import Recording
from homeostat.errors import AnalysisError
from homeostat.laws import PID

# More than this amplifies disturbances near one frequency by so much that a small change of the plant is too much.
GREATEST_SENSITIVITY = 2.5
# What a `Loop` takes by default.
USUAL_EVERY = 10


class Tuning(NamedTuple):
    """A controller, and what is to be expected of it.

    Attributes:
        law: to be put in a loop that decides every `every` ticks.
        every: for which it was tuned.
        model: on which.
        margins: of the law on the model.
        fit: how sure the model is; None where a model was given.
    """

    law: PID
    every: int
    model: Model
    margins: Margins
    fit: Fit | None


def tune(
    source: Model | Fit | Recording,
    *,
    rule: Rule = "iae",
    every: int | None = None,
    closed_loop_time: float | None = None,
    damping: float = 0.7,
    log_error: bool | None = None,
) -> Tuning:
    """Return a PID for a plant, with its predicted margins.

    The rules: "iae", the least absolute error over a change of setpoint and one of load with Ms at most 1.8, found
    numerically; "simc" and "simc_pid" (Skogestad); "lambda"; "pole_placement". All count the hold between decisions
    as dead time.

    Args:
        source: a model, a fit by `identify`, or a `Recording`, which is identified first.
        rule: one of the above.
        every: ticks between two decisions; by default those of the recording or fit, 10 for a model.
        closed_loop_time: wanted time constant of the closed loop in ticks; not for "iae".
        damping: of the poles that "pole_placement" places.
        log_error: whether the PID compares logarithms, as a model of the reading's logarithm asks; by default as the
            recording or fit says (`log_reading`), False for a model.

    Raises:
        AnalysisError: the recording does not hold a model, the rule cannot serve this plant, or the loop would be
            fragile (Ms above 2.5), or unstable on a plant that the data allow.
    """
    fit = identify(source) if isinstance(source, Recording) else source if isinstance(source, Fit) else None
    model = source if isinstance(source, Model) else fit.model if fit else None
    if model is None:
        msg = f"tune must be given a model, a Fit or a Recording; got {type(source).__name__}. Use Recording.of."
        raise AnalysisError(msg)
    if every is None:
        every = fit.every if fit else USUAL_EVERY
    log_error = _logarithmic(fit, log_error)
    plausible = fit.plausible if fit else ()
    gains = design(
        model, rule=rule, every=every, closed_loop_time=closed_loop_time, damping=damping, plausible=plausible
    )
    law = PID(**gains._asdict(), log_error=log_error)
    expected = margins(law, model, every=every)
    if not expected.stable or expected.sensitivity > GREATEST_SENSITIVITY:
        msg = (
            f"A tuned loop must be stable with Ms at most {GREATEST_SENSITIVITY}; got "
            f"{f'Ms {expected.sensitivity:.2g}' if expected.stable else 'an unstable one'} from the rule {rule!r}. "
            "Choose a longer closed_loop_time, or the rule 'iae'."
        )
        raise AnalysisError(msg)
    if not all(margins(law, other, every=every).stable for other in plausible):
        msg = (
            f"A tuned loop must be stable on every plant that the data allow; got one by {rule!r} that is not. "
            "Record for longer, move the knob further, or choose a longer closed_loop_time."
        )
        raise AnalysisError(msg)
    return Tuning(law, every, model, expected, fit)


def _logarithmic(fit: Fit | None, wanted: bool | None) -> bool:
    """Return whether errors are logarithms.

    Raises:
        AnalysisError: they were wanted otherwise than they were recorded.
    """
    if fit is None or wanted is None:
        return fit.log_reading if fit else bool(wanted)
    if wanted != fit.log_reading:
        msg = (
            f"log_error must be as the readings were recorded, {fit.log_reading}; got {wanted}. "
            f"Leave it out, or take the Recording with log_reading={wanted}."
        )
        raise AnalysisError(msg)
    return wanted
