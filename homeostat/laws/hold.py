"""The law that leaves the knob alone."""

from __future__ import annotations

from homeostat.laws.law import Decision, Input, Law


class Hold(Law):
    """Keeps the knob where it is, so that a loop only watches and records.

    The command is the admitted position, also after something else has moved the knob.
    """

    def init(self) -> tuple[()]:
        """Return the empty state."""
        return ()

    def update(self, state: tuple[()], given: Input) -> Decision:
        """Answer with the admitted position."""
        return Decision(given.admitted, state, {})
