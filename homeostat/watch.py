"""Whether anything reads a dial: its reads are counted during the first step."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

from torch import nn

from homeostat.nn import Dial
from homeostat.plant import Plant


def start_watching(plant: Plant, dials: Iterable[Dial]) -> bool:
    """Count the reads of `dials` from now on; False in a compiled model, where counting would recompile it."""
    compiled = any(map(is_compiled, plant.model.modules()))
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


def is_compiled(module: nn.Module) -> bool:
    """Whether a module itself was compiled: a hook placed on it now is never called."""
    if module._compiled_call_impl is not None:
        return True
    # The compiler takes seconds to import; where nobody has, nothing is compiled.
    compiler = sys.modules.get("torch._dynamo.eval_frame")
    return compiler is not None and isinstance(module, compiler.OptimizedModule)
