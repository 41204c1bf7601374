"""Who contends, and what is taken from Echo or added to see what it is good for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.speech.clock import Contender
from benchmarks.speech.echo import EchoContender
from benchmarks.speech.tasks import Task
from benchmarks.speech.whisper import WhisperContender

_TURNED = ("*.rotary.*", "*.query_phase.*")
_PLACED = ("*.position.direction", "*.position.gain")

# Everything fixed, less one feature each.
ABLATIONS: dict[str, dict[str, Any]] = {
    "learning of rotary positions": {"frozen": _TURNED},
    "rotary positions": {"frozen": _TURNED, "position_scale": 0.0},
    "rotations": {"rotation": "none"},
    "relative bias": {"frozen": ("*.bias.table",)},
    "local heads": {"n_audio_local_head": 0, "n_text_local_head": 0, "global_bias": True},
    "convolution branch": {"conv_kernel": 0},
    "subsampling by 8 (4)": {"subsampling": 4},
    "subsampling by 8 (2)": {"subsampling": 2},
    "CTC loss": {"ctc_vocab": 0, "ctc_shift": None},
    "learning of position embeddings": {"frozen": _PLACED},
    "position embeddings": {"frozen": _PLACED, "position_gain": 0.0},
    "large learning rate": {"rate": 1e-3, "warmup": 200},
    "learning of the position scale": {"frozen": ("*.position_scale",)},
    "learning of query phases": {"frozen": ("*.query_phase.*",)},
    "penalty on the rotations": {"rotation_penalty": 0.0},
    "masking of padding": {"mask_audio": False},
}

# Features that the preset leaves off, one each.
ADDITIONS: dict[str, dict[str, Any]] = {
    "two sets of rotary frequencies": {"frequency_scales": (1.0, 0.25)},
    "one rotation for the model": {"rotation_sharing": "model"},
    "rotations per head": {"rotation_sharing": "head"},
    "rotations by the clip": {"rotation_sharing": "conditional"},
    "rotations kept exact": {"rotation": "exact"},
    "relative bias on global heads": {"global_bias": True},
    "half of the embedding's width": {"embedding_width": 64},
    "dropout of 0.1": {"dropout": 0.1},
    "label smoothing of 0.1": {"label_smoothing": 0.1},
}

VARIANTS: dict[str, dict[str, Any]] = {
    "echo as it is": {},
    **{f"echo without {feature}": settings for feature, settings in ABLATIONS.items()},
    **{f"echo with {feature}": settings for feature, settings in ADDITIONS.items()},
}

CONTENDERS: dict[str, Callable[[Task], Contender]] = {
    "whisper": WhisperContender,
    "echo": EchoContender,
    "echo+recipe": partial(EchoContender, recipe="echo"),
    **{name: partial(EchoContender, **settings) for name, settings in VARIANTS.items()},
}
COMPARED = ("whisper", "echo", "echo+recipe")
"""The contenders proper; the others explain."""
