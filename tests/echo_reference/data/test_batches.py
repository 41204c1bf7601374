from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from echo_reference.data.augmentation import Augmentation
from echo_reference.data.batches import BatchOrder, Clip, Room, TrainingBatches, collate, evaluation_batches, make_clips
from echo_reference.data.utterance import Utterance
from echo_reference.errors import DataError
from echo_reference.features import LogMel
from echo_reference.tokens import CharacterTokenizer, CtcSymbols, WordTokenizer

WORDS = WordTokenizer(["one", "two"])


def clip(name: str, frames: int, words: int) -> Clip:
    tokens = WORDS.encode(" ".join(["one"] * words))
    symbols = [token - 2 for token in tokens]
    return Clip(name, "", torch.full((4, frames), 1.0 + frames), tokens, symbols)


CLIPS = [clip(str(i), 3 + i % 5, i % 4) for i in range(23)]


@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 5), st.integers(0, 3))
def test_every_epoch_shows_every_clip_once(total: int, size: int, window: int, seed: int) -> None:
    order = BatchOrder([1 + i % 7 for i in range(total)], size, seed, window)
    # `total` windows are window * size whole epochs.
    seen = Counter(index for step in range(total * window) for index in order(step))
    assert seen == dict.fromkeys(range(total), window * size)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=8))
def test_the_order_is_a_function_of_seed_and_step_alone(steps: list[int]) -> None:
    lengths = [1 + i % 7 for i in range(19)]
    walked = BatchOrder(lengths, 4, seed=5)
    straight = [walked(step) for step in range(61)]
    jumping = BatchOrder(lengths, 4, seed=5)
    assert [jumping(step) for step in steps] == [straight[step] for step in steps]
    assert [BatchOrder(lengths, 4, seed=6)(step) for step in range(61)] != straight


def test_sorting_in_a_window_wastes_less_on_padding() -> None:
    lengths = np.random.default_rng(0).integers(30, 300, 640).tolist()

    def padding(window: int) -> float:
        order = BatchOrder(lengths, 32, seed=0, window=window)
        batches = [[lengths[i] for i in order(step)] for step in range(20)]
        return sum(max(batch) * 32 - sum(batch) for batch in batches) / sum(lengths)

    assert padding(window=10) < 0.3 * padding(window=1)


def test_padding_is_zero_and_labels_end() -> None:
    batch = collate([clip("a", 3, 2), clip("b", 5, 0)], WORDS)
    assert batch.features.shape == (2, 4, 5)
    assert batch.features.is_contiguous()
    assert batch.feature_lengths.tolist() == [3, 5]
    assert (batch.features[0, :, 3:] == 0).all()
    assert (batch.features[0, :, :3] == 4).all()
    one, end = WORDS.encode("one")[0], WORDS.eos_id
    assert batch.labels.tolist() == [[one, one, end], [end, -100, -100]]
    assert batch.ctc_labels.tolist() == [[1, 1], [-100, -100]]
    assert batch.ids == ["a", "b"]


def test_evaluation_keeps_order_and_the_last_small_batch() -> None:
    batches = evaluation_batches(CLIPS, WORDS, 10)
    assert [name for batch in batches for name in batch.ids] == [clip.id for clip in CLIPS]
    assert len(batches[-1].ids) == 3


def test_a_resumed_run_gets_the_same_bits() -> None:
    def batches() -> TrainingBatches:
        return TrainingBatches(CLIPS, WORDS, 4, seed=1, augmentation=Augmentation(band_width=2))

    walked = batches()
    for step in range(12):
        expected = walked(step)
    resumed = batches()(11)
    for ours, theirs in zip(resumed[:4], expected[:4], strict=True):
        assert torch.equal(ours, theirs)
    assert resumed.ids == expected.ids
    assert not torch.equal(resumed.features, TrainingBatches(CLIPS, WORDS, 4, seed=1)(11).features)


def test_where_padding_is_heard_every_clip_stays_as_long() -> None:
    varied = TrainingBatches(CLIPS, WORDS, 4, seed=1, augmentation=Augmentation(tempo=(0.5, 2.0)), frames=6)
    free = TrainingBatches(CLIPS, WORDS, 4, seed=1, augmentation=Augmentation(tempo=(0.5, 2.0)))
    for step in range(6):
        fitted, made = varied(step), free(step)
        assert fitted.feature_lengths.tolist() == [6] * 4
        for clip, other, frames in zip(fitted.features, made.features, made.feature_lengths, strict=True):
            assert torch.equal(clip[:, :frames], other[:, : min(frames, 6)])
            assert (clip[:, frames:] == other[:, frames - 1 : frames]).all()


def test_clips_hold_features_and_both_labels() -> None:
    noise = np.random.default_rng(0).standard_normal(3200).astype(np.float32)
    utterance = Utterance("u", noise, "one two")
    (made,) = make_clips([utterance], LogMel(), WORDS, CtcSymbols(CharacterTokenizer("enotw ")))
    assert torch.equal(made.features, LogMel()(torch.from_numpy(noise)))
    assert (made.tokens, len(made.symbols)) == (WORDS.encode("one two"), 7)
    (shared,) = make_clips([utterance], LogMel(), WORDS)
    assert shared.symbols == [1, 2]
    with pytest.raises(DataError, match="got 'three' in 'three' of clip 'u'"):
        make_clips([utterance._replace(text="three")], LogMel(), WORDS, strict=True)


@pytest.mark.parametrize(("lengths", "size", "window"), [([], 4, 8), ([3], 0, 8), ([3], 4, 0)])
def test_refuses_empty_sets_and_sizes(lengths: list[int], size: int, window: int) -> None:
    with pytest.raises(DataError, match=f"got {len(lengths)} clips, batch size {size}, window {window}"):
        BatchOrder(lengths, size, seed=0, window=window)


def test_a_clip_that_the_model_has_no_room_for_is_left_out() -> None:
    short = Utterance("short", np.ones(1600, np.float32), "one two")
    long, wordy = (
        short._replace(id="long", audio=np.ones(1760, np.float32)),
        short._replace(id="wordy", text="one one two"),
    )
    # Two words and the end mark.
    made = make_clips([long, short, wordy], LogMel(), WORDS, room=Room(frames=10, labels=3))
    assert [clip.id for clip in made] == ["short"]
    assert collate(made, WORDS).labels.shape[1] == 3
    with pytest.raises(DataError, match=r"at most 0.1 s and have at most 3 labels; got 0.11 s and 3 in long"):
        make_clips([long], LogMel(), WORDS, room=Room(frames=10, labels=3), strict=True)
