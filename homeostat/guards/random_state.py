"""The random generators a training run draws from: PyTorch's, on every device, NumPy's and Python's."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Return the states of the global random generators, in types that load safely; no device is waited for."""
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - the state to be saved is the global one
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        # Asking would initialise a device that nobody uses.
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],  # type: ignore[no-untyped-call]
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": [version, torch.from_numpy(np.array(internal, dtype=np.int64)), gauss],
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Continue the global random generators from `random_state`, or from a release that saved Python's as a list."""
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002 - as above
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(map(int, internal)), gauss))
