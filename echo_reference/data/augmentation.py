"""Light augmentation of log-mel features."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn import functional as F


class Augmentation(BaseModel):
    """Show a clip as another speaker at another speed might have said it, with parts masked.

    Features are resampled along time by a factor from `tempo` and along the mel axis by one from `warp` (a
    vocal tract of another length), shifted in level by up to `level` (0.25 is a factor of 10 in energy),
    and random bands and spans are replaced by the clip's mean (SpecAugment, Park et al. 2019).

    Args:
        tempo: lowest and highest factor on the duration.
        warp: lowest and highest factor on the mel axis.
        level: largest shift of the features.
        bands: number of masked bands.
        band_width: mel bins of the widest band.
        spans: number of masked spans.
        span_share: share of the clip of the longest span.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    tempo: tuple[float, float] = (0.9, 1.1)
    warp: tuple[float, float] = (0.92, 1.08)
    level: float = Field(0.1, ge=0.0)
    bands: int = Field(1, ge=0)
    band_width: int = Field(12, ge=1)
    spans: int = Field(1, ge=0)
    span_share: float = Field(0.08, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name, (low, high) in (("tempo", self.tempo), ("warp", self.warp)):
            if not 0.25 <= low <= high <= 4.0:
                raise ValueError(
                    f"The range {name} must be (low, high) within 0.25 to 4; got ({low}, {high}). Swap or narrow it."
                )
        return self

    def __call__(self, features: Tensor, random: np.random.Generator) -> Tensor:
        """A changed copy.

        Args:
            features: (n_mels, frames).
            random: the only source of chance.

        Returns:
            (n_mels, other frames).
        """
        changed = self._resample(features, random.uniform(*self.tempo), random.uniform(*self.warp))
        changed = changed + random.uniform(-self.level, self.level)
        mean = float(changed.mean())
        n_mels, frames = changed.shape
        for _ in range(self.bands):
            start, stop = _piece(n_mels, min(self.band_width, n_mels), random)
            changed[start:stop] = mean
        for _ in range(self.spans):
            start, stop = _piece(frames, int(self.span_share * frames), random)
            changed[:, start:stop] = mean
        return changed

    @staticmethod
    def _resample(features: Tensor, tempo: float, warp: float) -> Tensor:
        """Resample both axes at once; bins that a smaller factor leaves free at the top repeat the last."""
        n_mels, frames = features.shape
        size = (max(1, round(n_mels * warp)), max(1, round(frames * tempo)))
        resized = F.interpolate(features[None, None], size, mode="bilinear", align_corners=False)[0, 0]
        missing = max(0, n_mels - size[0])
        return torch.cat([resized[:n_mels], resized[-1:].expand(missing, -1)])


def _piece(length: int, longest: int, random: np.random.Generator) -> tuple[int, int]:
    width = int(random.integers(0, longest + 1))
    start = int(random.integers(0, length - width + 1))
    return start, start + width
