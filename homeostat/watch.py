"""Whether anything reads a dial: its reads are counted during the first step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch._dynamo.eval_frame import OptimizedModule

from homeostat.nn import Dial
from homeostat.plant import Plant


def start_watching(plant: Plant, dials: Iterable[Dial]) -> bool:
    """Count the reads of `dials` from now on; False in a compiled model, where counting would recompile it."""
    compiled = any(
        isinstance(module, OptimizedModule) or module._compiled_call_impl is not None
        for module in plant.model.modules()
    )
    if not compiled:
        for dial in dials:
            dial.reads = 0
            dial.watching = True
    return not compiled


def stop_watching(dials: Mapping[str, Dial]) -> tuple[str, ...]:
    """Stop counting and leave no count behind; names the dials that nothing has read."""
    unread = tuple(name for name, dial in dials.items() if dial.reads == 0)
    for dial in dials.values():
        dial.watching, dial.reads = False, 0
    return unread
