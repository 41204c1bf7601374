"""What can go wrong around speech data, and what to do about it."""

from __future__ import annotations


class DataError(ValueError):
    """A recording, a transcript or a set of them cannot be used; the message names which and the remedy."""


class SilenceError(DataError):
    """A recording holds nothing but zeros."""


class MissingPackageError(ImportError):
    """An optional package is not installed; the message names the command that installs it."""


class ConfigError(ValueError):
    """A configuration describes no model that can be built; the message names the value and the remedy."""


class CheckpointError(ValueError):
    """A run cannot be continued or read; the message names the folder and the remedy."""


class DivergenceError(RuntimeError):
    """Training has stopped making sense; the message says since when and what is left to continue from."""
