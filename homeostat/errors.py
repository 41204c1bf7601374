"""What can go wrong at run time. Nonsense in a part's own fields is a `pydantic.ValidationError` at construction.

HomeostatError
├── AttachError        the controller does not fit this model or optimizer
├── RecipeError        a recipe cannot be read
├── StateError         a saved state does not fit this controller
├── DivergenceError    the ranks of a distributed run do not decide alike
├── GuardAbort         a guard gave the run up
├── TraceError         a trace on disk cannot be read or continued
├── AnalysisError      the data or the model do not support what was asked of them
└── MissingExtraError  an optional package is not installed

HomeostatWarning       an alarm: the run goes on, somebody should look
"""


class HomeostatError(Exception):
    """Base of the errors this library raises while it runs."""


class AttachError(HomeostatError):
    """The controller does not fit the model, the optimizer or what they offer."""


class RecipeError(HomeostatError):
    """A recipe cannot be found, read or validated."""


class StateError(HomeostatError):
    """A saved state does not fit this controller."""


class DivergenceError(HomeostatError):
    """The ranks of a distributed run have set the same knob to different values."""


class GuardAbort(HomeostatError):  # noqa: N818 - the run ended as it was meant to
    """A guard gave the run up: a fault came again whatever was done about it."""


class TraceError(HomeostatError):
    """A trace on disk cannot be read, or a file that is none was to be continued."""


class AnalysisError(HomeostatError):
    """The data or the model do not support what was asked of them."""


class MissingExtraError(HomeostatError, ImportError):
    """An optional dependency is absent.

    Args:
        package: what could not be imported.
        extra: the extra of `torch-homeostat` that installs it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is needed here but not installed. Install it with `pip install 'torch-homeostat[{extra}]'`."
        )


class HomeostatWarning(UserWarning):
    """An alarm of a loop: a limit held it for long, or its readings were not finite."""
