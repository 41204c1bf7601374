"""Published procedures that clip the gradient's norm by its own history, for comparison with ours."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import fmean, pvariance

import numpy as np
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_, clip_grads_with_norm_, get_total_norm


class AutoClip:
    """Clips the norm to a percentile of all norms so far, this one included.

    Args:
        percentile: p, in %; the authors' choice is 10.

    Source: P. Seetharaman, G. Wichern, B. Pardo and J. Le Roux, AutoClip: Adaptive Gradient Clipping for Source
    Separation Networks, 2020, algorithm 1.
    """

    def __init__(self, percentile: float = 10.0) -> None:
        self._percentile = percentile
        self._norms: list[float] = []

    def __call__(self, parameters: Iterable[Parameter]) -> None:
        """Clip the gradients in place."""
        parameters = list(parameters)
        norm = get_total_norm(p.grad for p in parameters if p.grad is not None)
        self._norms.append(norm.item())
        clip_grads_with_norm_(parameters, float(np.percentile(self._norms, self._percentile)), norm)


class ZClip:
    """Clips a norm that is an outlier against the exponential mean and variance of those before.

    z = (norm - mean) / deviation; where z > threshold the norm becomes mean + threshold^2 / z * deviation, and the
    statistics take in the clipped norm: mean <- a mean + (1 - a) norm, then variance <- a variance + (1 - a) (norm -
    mean)^2.

    Args:
        alpha: a.
        threshold: of z.
        warmup: first norms, which are not clipped and give the first mean and variance.

    Source: A. Kumar, L. Owen, N. R. Chowdhury and F. Gura, ZClip: Adaptive Spike Mitigation for LLM Pre-Training, 2025,
    section 3, with the authors' constants and their default, reciprocal clipping.
    """

    def __init__(self, alpha: float = 0.97, threshold: float = 2.5, warmup: int = 25) -> None:
        self._alpha, self._threshold, self._warmup = alpha, threshold, warmup
        self._first: list[float] = []
        self._mean = self._variance = 0.0

    def __call__(self, parameters: Iterable[Parameter]) -> None:
        """Clip the gradients in place."""
        parameters = list(parameters)
        norm = get_total_norm(p.grad for p in parameters if p.grad is not None)
        admitted = value = norm.item()
        if len(self._first) < self._warmup:
            self._first.append(value)
            self._mean, self._variance = fmean(self._first), pvariance(self._first)
            return
        deviation = math.sqrt(self._variance)
        z = (value - self._mean) / (deviation + 1e-6)
        if z > self._threshold:
            admitted = self._mean + self._threshold**2 / z * deviation
            clip_grads_with_norm_(parameters, admitted, norm)
        self._mean = self._alpha * self._mean + (1 - self._alpha) * admitted
        self._variance = self._alpha * self._variance + (1 - self._alpha) * (admitted - self._mean) ** 2


def clip_to_one(parameters: Iterable[Parameter]) -> None:
    """Clip the norm to 1, as most training scripts do."""
    clip_grad_norm_(parameters, 1.0)
