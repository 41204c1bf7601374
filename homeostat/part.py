"""The frozen base of everything a recipe can name, and how a recipe finds the class."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)


class Part(BaseModel):
    """A piece of a control system that is its own configuration.

    Parts are immutable, refuse unknown or non-finite fields at construction, and round-trip through JSON:
    the serialised form carries `kind`, the class name, and validating it against any base class returns the
    right subclass. A subclass outside this library needs no registration; importing its module is enough, or
    its recipe may say `kind: "package.module:Class"`.

    Raises:
        TypeError: two different classes claim one kind.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    kinds: ClassVar[dict[str, type[Part]]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        known = Part.kinds.get(cls.__name__)
        # A class defined anew in its own module (a notebook cell run twice) replaces the old one.
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            msg = (
                f"A part's class name must be unique; got a second {cls.__name__!r} in {cls.__module__}, "
                f"the first is in {known.__module__}. Rename one of them."
            )
            raise TypeError(msg)
        Part.kinds[cls.__name__] = cls

    @model_serializer(mode="wrap")
    def _serialize_with_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"kind": type(self).__name__, **handler(self)}

    @model_validator(mode="wrap")
    @classmethod
    def _validate_by_kind(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(value, Mapping) and "kind" in value:
            target = find(str(value["kind"]), cls)
            fields = {key: field for key, field in value.items() if key != "kind"}
            # `handler` is the caller's own schema; a subclass brings its own.
            return handler(fields) if target is cls else target.model_validate(fields)
        if isinstance(value, Mapping) and inspect.isabstract(cls):
            msg = f"A {cls.__name__} must name its kind; got fields {sorted(value)}. Add `kind: <class name>`."
            raise ValueError(msg)
        return handler(value)


P = TypeVar("P", bound=Part)


def find(kind: str, base: type[P]) -> type[P]:
    """Return the class that `kind` names, which must derive from `base`.

    Args:
        kind: a class name, or "package.module:Class" for a class whose module may not be imported yet.
        base: the role that is wanted here.

    Raises:
        ValueError: nothing of that name exists, or it plays another role.
    """
    module, _, name = kind.rpartition(":")
    if module:
        importlib.import_module(module)
    found = Part.kinds.get(name)
    if found is None or not issubclass(found, base):
        choices = sorted(k for k, c in Part.kinds.items() if issubclass(c, base) and not inspect.isabstract(c))
        msg = (
            f"kind must name a {base.__name__}; got {kind!r}. Known here: {', '.join(choices)}; "
            "a class of your own is found after its module is imported, or as 'package.module:Class'."
        )
        raise ValueError(msg)
    return found


def snake(kind: str) -> str:
    """Return a class name in the form of a part's name: "LearningRate" gives "learning_rate"."""
    return "".join("_" + c.lower() if c.isupper() and i else c.lower() for i, c in enumerate(kind))
