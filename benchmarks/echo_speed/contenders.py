"""The models that are compared: Echo, Hugging Face's Whisper and OpenAI's own, of one size, on the same audio."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import WhisperConfig, WhisperForConditionalGeneration

from echo_reference.config import EchoConfig
from echo_reference.model import Echo

VOCABULARY = 51865


class Size(NamedTuple):
    """A Whisper's width, its layers on each side, and its heads."""

    width: int
    layers: int
    heads: int


SIZES = {"tiny": Size(384, 4, 6), "base": Size(512, 6, 8)}


def hugging_face(size: Size, frames: int) -> WhisperForConditionalGeneration:
    """A Whisper with fused attention and as many positions as the audio takes."""
    sides = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in _shape(size).items()}
    config = WhisperConfig(
        d_model=size.width, max_source_positions=frames // 2, attn_implementation="sdpa", dropout=0.0, **sides
    )
    return WhisperForConditionalGeneration(config)


def _shape(size: Size) -> dict[str, int]:
    return {"layers": size.layers, "attention_heads": size.heads, "ffn_dim": 4 * size.width}


def echo(size: Size, frames: int, **changes: Any) -> Echo:
    """An Echo with everything on: rotations, biases, local heads, convolution, CTC."""
    shape = {f"n_{side}_{what}": n for side in ("audio", "text") for what, n in zip(_PARTS, size, strict=True)}
    context = frames // changes.get("subsampling", 2)
    return Echo(EchoConfig(n_audio_ctx=context, **{"checkpointing": False, **shape, **changes}))


_PARTS = ("state", "layer", "head")


def openai(size: Size, frames: int) -> nn.Module:
    """OpenAI's own model, from the file of the installed package that defines it."""
    module = _openai_module()
    sides = (size.width, size.heads, size.layers)
    dimensions = module.ModelDimensions(80, frames // 2, *sides, VOCABULARY, 448, *sides)
    model = module.Whisper(dimensions)
    nn.init.normal_(model.decoder.positional_embedding, std=0.02)  # left as the memory was found
    made: nn.Module = model
    return made


@cache
def _openai_module() -> Any:
    # The package itself imports numba, tiktoken and, on some machines, triton, which no model needs; its model's file
    # imports from the package only the functions that transcribe, for which empty ones stand in.
    found = importlib.util.find_spec("whisper")
    if found is None or found.origin is None:
        sys.exit("OpenAI's model must be installed; got no package whisper. pip install --no-deps openai-whisper.")
    package = "openai_whisper_model_alone"
    for name, functions in (("", ()), (".decoding", ("decode", "detect_language")), (".transcribe", ("transcribe",))):
        stub = sys.modules[package + name] = ModuleType(package + name)
        stub.__path__ = []
        for function in functions:
            setattr(stub, function, None)
    spec = importlib.util.spec_from_file_location(f"{package}.model", Path(found.origin).with_name("model.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Batch(NamedTuple):
    """Noise and arbitrary tokens in the shape of speech."""

    features: Tensor
    labels: Tensor
    symbols: Tensor

    @staticmethod
    def make(clips: int, frames: int, tokens: int) -> Batch:
        """The same for every contender."""
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(clips, 80, frames, generator=generator)
        labels = torch.randint(50257, (clips, tokens), generator=generator)
        return Batch(features, labels, torch.randint(1, 32, (clips, tokens), generator=generator))


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    """What a training step of each minimises; Echo's has the CTC loss and the rotations' penalty in it too."""
    if isinstance(model, Echo):
        loss = model(batch.features, labels=batch.labels, ctc_targets=batch.symbols).loss
    elif isinstance(model, WhisperForConditionalGeneration):
        loss = model(batch.features, labels=batch.labels).loss
    else:
        start = torch.full_like(batch.labels[:, :1], 50258)
        logits = model(batch.features, torch.cat((start, batch.labels[:, :-1]), 1))
        loss = F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten())
    assert isinstance(loss, Tensor)
    return loss


def training_step(model: nn.Module, batch: Batch) -> Callable[[], None]:
    """Forward, backward and the step of fused AdamW, which is the default of Hugging Face's trainer."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        loss_of(model, batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step
