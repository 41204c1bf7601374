"""State as plain data: named tuples to lists and back, so that a state survives JSON and `torch.save`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from homeostat.errors import StateError

VERSION = 4


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


def require(state: Any, keys: Iterable[str], what: str) -> None:
    """Refuse what is no mapping, or lacks one of `keys`; `what` it is, for the message.

    Raises:
        StateError: it is.
    """
    missing = sorted(set(keys) - state.keys()) if isinstance(state, Mapping) else None
    if missing != []:
        got = f"a {type(state).__name__}" if missing is None else f"none with {', '.join(missing)}"
        msg = f"{what} must be a mapping as state_dict() returns it; got {got}. Load the whole of what was saved."
        raise StateError(msg)


def upgraded(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a controller's saved state in the present version; one that has it is returned as it is.

    Raises:
        StateError: it is no state, not a whole one, or nothing leads from its version to this one.
    """
    require(state, (), "A saved state")
    version = state.get("version")
    while version != VERSION:
        if version not in _UPGRADES:
            msg = (
                f"A saved state must have version {VERSION}, or an older one; got {version!r}, written by homeostat "
                f"{state.get('homeostat', 'unknown')}. Resume with the version that wrote it."
            )
            raise StateError(msg)
        try:
            state = _UPGRADES[version](state)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            what = f"{type(error).__name__} {error}"
            msg = f"A saved state must be whole; got one of version {version!r} ({what}). Load the whole of it."
            raise StateError(msg) from error
        version = state["version"]
    return state


def _from_1(state: Mapping[str, Any]) -> dict[str, Any]:
    """Version 1 kept metrics by name, and nothing of the memories of parts: they begin anew.

    A `PID` did not count ticks without a logarithm; the states of some other laws have changed, which those refuse.
    """
    loops = {
        name: {**loop, "memories": [None] * len(loop["actuators"]), "overridden": False, "found": not loop["positions"]}
        for name, loop in state["loops"].items()
    }
    for loop in loops.values():
        if loop["law"] == "PID":
            loop["law_state"] = [*loop["law_state"][:6], 0]
    senses = {
        key: {**state[key], "memories": [None] * len(state[key]["observers"])} for key in ("senses", "monitoring")
    }
    metrics = [[name, m["sums"], m["counts"], m["calls"], m["pending"]] for name, m in state["metrics"].items()]
    return {**state, **senses, "version": 2, "loops": loops, "metrics": metrics}


def _from_2(state: Mapping[str, Any]) -> dict[str, Any]:
    """Version 2 had no guards, no loops at rest or backed off, and other memories of limits: they begin anew."""
    loops = {
        name: {**loop, "memories": [None] * len(loop["actuators"]), "pace": [False, None, 0], "damping": [1.0, []]}
        for name, loop in state["loops"].items()
    }
    metrics = [[*metric, []] for metric in state["metrics"]]
    return {**state, "version": 3, "loops": loops, "metrics": metrics, "guards": None}


def _from_3(state: Mapping[str, Any]) -> dict[str, Any]:
    """Version 3 had other memories of limits: they begin anew."""
    loops = {name: {**loop, "memories": [None] * len(loop["actuators"])} for name, loop in state["loops"].items()}
    return {**state, "version": 4, "loops": loops}


_UPGRADES: dict[Any, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {1: _from_1, 2: _from_2, 3: _from_3}
