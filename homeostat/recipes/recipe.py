"""A control system as one document, which can be diffed, shared and replayed."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, SerializeAsAny, ValidationError

# Imported so that every part of the library can be found by its kind.
from homeostat import actuators, laws, observers
from homeostat.errors import RecipeError
from homeostat.guards import Guard, Ladder, SnapshotPolicy, detectors
from homeostat.loop import AnyLoop
from homeostat.part import Part
from homeostat.profile import Profile

_ROLES = (actuators, detectors, laws, observers)


class Recipe(BaseModel):
    """The loops and guards of a controller, with a name.

    Attributes:
        version: of this format.
        name: shown in reports.
        loops: carried out in this order.
        guards: what answers faults.
        ladder: how their answers escalate.
        snapshots: what there is to go back to; None for nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    name: str = ""
    loops: tuple[SerializeAsAny[AnyLoop], ...]
    guards: tuple[SerializeAsAny[Guard], ...] = ()
    ladder: SerializeAsAny[Ladder] = Ladder()
    snapshots: SerializeAsAny[SnapshotPolicy] | None = None

    def over(self, horizon: int) -> Self:
        """Return the recipe for a run of `horizon` ticks: every profile with an ending now knows when it comes.

        Profiles are setpoints, and fields of laws (a `Schedule`, also in a `Chain`).
        """
        return self.model_copy(update={"loops": _over(self.loops, horizon)})


def _over(value: Any, horizon: int) -> Any:
    match value:
        case Profile():
            return value.over(horizon)
        case Part():
            fields = {name: _over(field, horizon) for name, field in value}
            changed = {name: field for name, field in fields.items() if field != getattr(value, name)}
            return value.model_copy(update=changed) if changed else value
        case tuple():
            return tuple(_over(item, horizon) for item in value)
    return value


def names() -> list[str]:
    """List the recipes that ship with the library."""
    folder = resources.files("homeostat.recipes")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load(recipe: str | Path) -> Recipe:
    """Read a recipe: a shipped name, or the path of a YAML or JSON file.

    Raises:
        RecipeError: there is no such recipe, or it is not valid; the message says where.
    """
    path = Path(recipe)
    try:
        if path.suffix in {".yaml", ".yml", ".json"}:
            text = path.read_text(encoding="utf-8")
        else:
            text = resources.files("homeostat.recipes").joinpath(f"{recipe}.yaml").read_text(encoding="utf-8")
        document = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        return Recipe.model_validate(document)
    except OSError as error:
        named = path.suffix in {".yaml", ".yml", ".json"}
        # The place of a shipped recipe that does not exist is nobody's business.
        why = f" {error.strerror}: check the path." if named else " Check the spelling."
        msg = f"A recipe must be one of {', '.join(names())} or a .yaml or .json file; got {str(recipe)!r}.{why}"
        raise RecipeError(msg) from (error if named else None)
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        msg = f"Recipe {str(recipe)!r} must be valid YAML or JSON; got: {error}. Mend it there."
        raise RecipeError(msg) from error
    except ValidationError as error:
        places = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'top'}: {e['msg']}" for e in error.errors())
        msg = f"Recipe {str(recipe)!r} must describe valid loops; got {error.error_count()} errors. {places}."
        raise RecipeError(msg) from error
