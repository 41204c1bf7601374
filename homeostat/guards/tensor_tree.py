"""Nested data with tensors in it: taken apart into plain data and a flat list of tensors, and put back in place."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from itertools import zip_longest
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from homeostat.norms import is_sharded, local, part_of

_DICTS = (dict, OrderedDict)
_LISTS = (list, tuple)
_PLAIN = (int, float, bool, str, type(None))


class Stored(NamedTuple):
    """Stands for a tensor in a tree: which of the list it is, and where it lived."""

    place: int
    device: str
    sharded: bool


def take_apart(tree: Any, first: int = 0) -> tuple[Any, list[Tensor]]:
    """Return a copy of `tree` with `Stored` for every tensor, and these tensors themselves, each once.

    Dictionaries, lists and tuples are followed; anything else is deep-copied. A `DTensor` is its local shard.

    Args:
        tree: nested data.
        first: the place of the first tensor, where a list of them goes on.
    """
    tensors: list[Tensor] = []
    places: dict[int, Stored] = {}

    def store(tensor: Tensor) -> Stored:
        if id(tensor) not in places:
            places[id(tensor)] = Stored(first + len(tensors), str(tensor.device), is_sharded(tensor))
            tensors.append(tensor)
        return places[id(tensor)]

    return _mapped(tree, Tensor, store), _locals(tensors)


class TakeApart:
    """Does what `take_apart` does, to a tree that is mostly the same ones of tensors each time.

    Of those of a large optimizer the skeleton has thousands of small parts, which take longer to make than the tensors
    take to copy; so it is made anew only where the tree has changed in anything but the tensors' values.
    """

    def __init__(self) -> None:
        self._shape: list[Any] = []
        self._skeleton: Any = None

    def __call__(self, tree: Any) -> tuple[Any, list[Tensor]]:
        """Return the skeleton, the same object as long as it is equal and not to be changed, and the tensors."""
        shape: list[Any] = []
        tensors: dict[int, Tensor] = {}
        _note(tree, shape, tensors)
        if shape != self._shape:
            self._skeleton, _ = take_apart(tree)
            self._shape = shape
        return self._skeleton, _locals(list(tensors.values()))


def rebuilt(skeleton: Any, storage: list[Tensor]) -> Any:
    """Return the tree that `take_apart` took apart, with copies of `storage` on the tensors' own devices."""
    return _mapped(skeleton, Stored, lambda stored: storage[stored.place].to(stored.device, copy=True))


def same(a: Any, b: Any) -> bool | None:
    """Whether two trees hold the same, tensors to the bit; None where nobody can tell.

    That is where they differ only in what does not equal its own copy: an object without `__eq__`, or a NaN.
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and _all(same(a[key], b[key]) for key in a)
    if isinstance(a, _LISTS) and isinstance(b, _LISTS):
        return len(a) == len(b) and _all(map(same, a, b))
    if isinstance(a, (Mapping, *_LISTS)) or isinstance(b, (Mapping, *_LISTS)):
        return False
    try:
        if _equal(a, b):
            return True
        return False if _equal(a, deepcopy(a)) and _equal(b, deepcopy(b)) else None
    # Whoever wrote a user's `__eq__` or `__deepcopy__` may have thought of no other class.
    except Exception:  # noqa: BLE001
        return None


class PutBack:
    """Puts a tree back into live objects: tensors keep their identity, so that views and compiled graphs stay right.

    Args:
        storage: the tensors that `Stored` in the tree stand for.
    """

    def __init__(self, storage: list[Tensor]) -> None:
        self._storage = storage
        self._copies: dict[int, tuple[Tensor, Stored]] = {}

    def merged(self, live: Any, saved: Any, like: Tensor | None = None) -> Any:
        """Return what is to stand where `live` stands: itself where it can be changed in place, else a copy.

        Args:
            live: what is there now; None for nothing.
            saved: the skeleton of what was there.
            like: a tensor that a missing one is laid out like, beside which it lives.
        """
        if isinstance(saved, Stored):
            return self._tensor(live, saved, like)
        if type(saved) in _DICTS:
            live = live if isinstance(live, dict) else type(saved)()
            for key in [key for key in live if key not in saved]:
                del live[key]
            for key, value in saved.items():
                live[key] = self.merged(live.get(key), value, like)
            return live
        if type(saved) in _LISTS:
            found = live[: len(saved)] if type(live) is type(saved) else ()
            return type(saved)(self.merged(now, then, like) for now, then in zip_longest(found, saved))
        return deepcopy(saved)

    def copy(self) -> None:
        """Carry out the copies into live tensors, in one pass."""
        live = [local(tensor.detach()) for tensor, _ in self._copies.values()]
        saved = [self._storage[stored.place] for _, stored in self._copies.values()]
        if live:
            torch._foreach_copy_(live, saved, non_blocking=True)

    def _tensor(self, live: Any, saved: Stored, like: Tensor | None) -> Tensor:
        source = self._storage[saved.place]
        fits = isinstance(live, Tensor) and _fits(live, source, saved)
        # One tensor that stands in two places cannot take two values.
        if fits and self._copies.setdefault(id(live), (live, saved))[1] == saved:
            return cast("Tensor", live)
        # On a resumed run the same kind of device may have another number.
        beside = like is not None and like.device.type == torch.device(saved.device).type
        copy = source.to(like.device if like is not None and beside else saved.device, copy=True)
        return part_of(copy, like) if saved.sharded and like is not None else copy


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a.cpu(), b.cpu())
    if getattr(a, "shape", None) != getattr(b, "shape", None):
        return False
    equal = a == b
    # An array says it of each element.
    return bool(equal.all()) if hasattr(equal, "all") else bool(equal)


def _all(found: Iterable[bool | None]) -> bool | None:
    """Whether all of them are true; None where one more answer is needed to tell."""
    answers = set(found)
    return False if False in answers else None if None in answers else True


def _fits(live: Tensor, source: Tensor, saved: Stored) -> bool:
    shard = local(live.detach())
    return (shard.shape, shard.dtype, is_sharded(live)) == (source.shape, source.dtype, saved.sharded)


def _locals(tensors: list[Tensor]) -> list[Tensor]:
    if any(map(is_sharded, tensors)):
        with torch.no_grad():
            return [local(tensor) for tensor in tensors]
    return tensors


def _note(tree: Any, shape: list[Any], tensors: dict[int, Tensor]) -> None:
    """Add to `shape` all that the skeleton depends on, and to `tensors` each one once, in the order of their places."""
    if type(tree) in _DICTS:
        shape += type(tree), len(tree), *tree
        children = tree.values()
    elif type(tree) in _LISTS:
        shape += type(tree), len(tree)
        children = tree
    else:
        children = (tree,)
    for child in children:
        # Most are tensors.
        if isinstance(child, Tensor):
            number = id(child)
            tensors.setdefault(number, child)
            shape += number, child.device, type(child)
        elif type(child) in _PLAIN:
            shape += type(child), child
        elif child is tree:
            # Anything else may have changed inside.
            shape.append(object())
        else:
            _note(child, shape, tensors)


def _mapped(tree: Any, leaf: type[Any], change: Callable[[Any], Any]) -> Any:
    if isinstance(tree, leaf):
        return change(tree)
    if type(tree) in _DICTS:
        return type(tree)((key, _mapped(value, leaf, change)) for key, value in tree.items())
    if type(tree) in _LISTS:
        return type(tree)(_mapped(value, leaf, change) for value in tree)
    # Most leaves are these.
    return tree if type(tree) in _PLAIN else deepcopy(tree)
