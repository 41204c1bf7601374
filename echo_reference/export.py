"""An Echo as two functions of tensors alone, for `torch.export`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from echo_reference.model import Echo
from echo_reference.modules.attention import Place, Source
from echo_reference.modules.convolution import valid
from echo_reference.modules.stack import Heard


class ExportedCache:
    """Keys and values (L, B, H, T, D) of all layers, written functionally from a position on."""

    def __init__(self, keys: Tensor, values: Tensor, first: Tensor) -> None:
        self.keys, self.values, self.first = list(keys), list(values), first

    def update(self, key: Tensor, value: Tensor, layer: int, /) -> tuple[Tensor, Tensor]:
        """Write (B, H, t, D) into a layer; return all it holds."""
        positions = self.first + torch.arange(key.shape[2], device=key.device)
        self.keys[layer] = self.keys[layer].index_copy(2, positions, key)
        self.values[layer] = self.values[layer].index_copy(2, positions, value)
        return self.keys[layer], self.values[layer]


class EncoderForExport(nn.Module):
    """Audio features, and each decoder layer's keys and values of them.

    Args:
        model: an Echo with cross-attention.
    """

    def __init__(self, model: Echo) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_features: Tensor, feature_lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return audio (B, S, d), keys and values (L, B, H, S, D) of it, and its valid lengths (B,).

        The batch may be exported as dynamic, the number of frames not: pad clips to one length, as Whisper does.

        Args:
            input_features: log-mel frames (B, n_mels, T).
            feature_lengths: valid frames (B,); where absent, or where the model hears padding, all are.
        """
        audio, lengths = self.model.encode(input_features, feature_lengths)
        keys, values = zip(*self.model.decoder.read(audio), strict=True)
        return audio, torch.stack(keys), torch.stack(values), lengths


class DecoderStepForExport(nn.Module):
    """Logits of the next token, and the cache that the next step starts from.

    Args:
        model: an Echo with cross-attention.
    """

    def __init__(self, model: Echo) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        tokens: Tensor,
        first: Tensor,
        heard: tuple[Tensor, Tensor, Tensor, Tensor | None],
        keys: Tensor,
        values: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B, t, vocab_size) and the keys and values with these tokens added.

        Args:
            tokens: (B, t) at positions first, first + 1, ...
            first: 0-d integer.
            heard: what `EncoderForExport` gives.
            keys: (L, B, H, T, D) of earlier positions; what lies beyond them does not matter.
            values: likewise.
        """
        audio, *read, lengths = heard
        cache = ExportedCache(keys, values, first)
        mask = None if lengths is None else valid(lengths, audio.shape[1])
        sources = [Source(k, v, mask) for k, v in zip(*read, strict=True)]
        shared = self.model.shared_rotation()
        hidden = self.model.decoder(tokens, sources, Place(cache, first), shared, Heard(audio, mask))
        logits: Tensor = self.model.proj_out(hidden)
        return logits, torch.stack(cache.keys), torch.stack(cache.values)

    def empty(self, batch: int, length: int) -> Tensor:
        """Keys or values of no position yet, with room for `length`."""
        spec, weight = self.model.config.text(), self.model.proj_out.weight
        return weight.new_zeros(spec.layers, batch, spec.heads, length, spec.head_width)
