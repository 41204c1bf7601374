from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from echo_reference.data.augmentation import Augmentation

NOTHING = Augmentation(tempo=(1, 1), warp=(1, 1), level=0, bands=0, spans=0)


def ramp(n_mels: int = 80, frames: int = 100) -> torch.Tensor:
    return torch.linspace(-1, 1, n_mels)[:, None].expand(n_mels, frames).clone()


@given(st.integers(0, 100), st.integers(1, 200), st.sampled_from([1, 5, 80]))
def test_keeps_bands_and_bounds_the_duration(seed: int, frames: int, n_mels: int) -> None:
    features = torch.randn(n_mels, frames, generator=torch.Generator().manual_seed(seed))
    before = features.clone()
    changed = Augmentation()(features, np.random.default_rng(seed))
    assert torch.equal(features, before)
    assert changed.shape[0] == n_mels
    assert 0.9 * frames - 0.5 <= changed.shape[1] <= 1.1 * frames + 0.5
    assert changed.isfinite().all()
    assert torch.equal(changed, Augmentation()(features, np.random.default_rng(seed)))


def test_with_everything_off_it_is_the_identity() -> None:
    assert torch.equal(NOTHING(ramp(), np.random.default_rng(0)), ramp())


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_warp_moves_a_formant_up_the_mel_axis(factor: float) -> None:
    features = torch.zeros(80, 50)
    features[40] = 1.0
    warp = NOTHING.model_copy(update={"warp": (factor, factor)})
    peak = int(warp(features, np.random.default_rng(0)).mean(dim=1).argmax())
    assert peak == pytest.approx(40 * factor, abs=1)


def test_masks_are_bounded() -> None:
    masks = NOTHING.model_copy(update={"bands": 1, "band_width": 12, "spans": 1, "span_share": 0.08})
    features = torch.randn(80, 100, generator=torch.Generator().manual_seed(0))
    for seed in range(50):
        changed = masks(features, np.random.default_rng(seed)) != features
        assert changed.all(dim=1).sum() <= 12
        assert changed.all(dim=0).sum() <= 8


@pytest.mark.parametrize("fields", [{"tempo": (1.1, 0.9)}, {"warp": (0.1, 1.0)}])
def test_refuses_ranges_in_the_wrong_order(fields: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(ValidationError, match=r"within 0.25 to 4; got"):
        Augmentation(**fields)
