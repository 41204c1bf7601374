"""The published clipping procedures against their formulae."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.clipping import AutoClip, ZClip


def clipped(clip, norm):
    parameter = nn.Parameter(torch.zeros(4))
    parameter.grad = torch.full((4,), norm / 2)
    clip([parameter])
    return parameter.grad.norm().item()


def test_autoclip_clips_to_the_percentile_of_all_norms_this_one_included():
    clip, norms = AutoClip(percentile=25), [3.0, 1.0, 2.0, 8.0]
    found = [clipped(clip, norm) for norm in norms]
    expected = [min(norm, np.percentile(norms[: i + 1], 25)) for i, norm in enumerate(norms)]
    assert found == pytest.approx(expected, rel=1e-5)


def test_zclip_leaves_the_first_norms_and_usual_ones_alone():
    clip = ZClip(warmup=4)
    norms = [1.0, 2.0, 1.0, 2.0, 1.9, 0.1]
    assert [clipped(clip, norm) for norm in norms] == pytest.approx(norms)


def test_zclip_clips_the_more_the_farther_a_norm_is_out_and_learns_the_clipped_one():
    clip = ZClip(warmup=4, alpha=0.5)
    for norm in (1.0, 2.0, 1.0, 2.0):
        clipped(clip, norm)
    # Mean 1.5, deviation 0.5: a norm of 11.5 has z = 20.
    assert clipped(clip, 11.5) == pytest.approx(1.5 + 2.5**2 / 20 * 0.5, rel=1e-4)
    mean = 0.5 * 1.5 + 0.5 * 1.65625
    deviation = (0.5 * 0.25 + 0.5 * (1.65625 - mean) ** 2) ** 0.5
    z = (3.0 - mean) / deviation
    assert z > 2.5
    assert clipped(clip, 3.0) == pytest.approx(mean + 2.5**2 / z * deviation, rel=1e-4)
