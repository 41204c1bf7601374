"""State as plain data: named tuples to lists and back, so that a state survives JSON and `torch.save`."""

from __future__ import annotations

from typing import Any

from homeostat.errors import StateError


def to_data(state: Any) -> Any:
    """Turn nested (named) tuples of numbers, strings, booleans and None into nested lists."""
    if isinstance(state, (tuple, list)):
        return [to_data(item) for item in state]
    return state


def from_data(template: Any, data: Any) -> Any:
    """Rebuild a state from `to_data`'s output, in the shape of `template` (what the part's own `init` returns).

    Tuples of fixed shape are followed element by element; a tuple of varying length (a history) may hold
    numbers only.

    Raises:
        StateError: the data have another shape than this part's state.
    """
    if hasattr(template, "_fields"):
        if not isinstance(data, (list, tuple)) or len(data) != len(template):
            msg = (
                f"Saved state must have the {len(template)} fields of {type(template).__name__}; got {data!r}. "
                "It was written by another version or another part: restore with precedence='recipe'."
            )
            raise StateError(msg)
        return type(template)(*(from_data(t, d) for t, d in zip(template, data, strict=True)))
    if isinstance(data, (list, tuple)):
        nested = isinstance(template, tuple) and len(template) == len(data)
        return tuple(from_data(template[i], d) if nested else d for i, d in enumerate(data))
    return data
