"""Echo, a speech recogniser whose adaptive parts are the canonical client of homeostat.

`from echo_reference import Echo` makes it known to transformers' Auto classes and pipelines, too.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from echo_reference.auto import Echo, EchoConfig, EchoFeatureExtractor, EchoProcessor

__all__ = ["Echo", "EchoConfig", "EchoFeatureExtractor", "EchoProcessor"]


def __getattr__(name: str) -> Any:
    # At first use, since transformers takes seconds to import and not every command needs it.
    if name in __all__:
        return getattr(import_module("echo_reference.auto"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
