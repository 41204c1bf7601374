"""Padded batches, in an order that depends on nothing but the seed and the step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from echo_reference.data.audio import keep_usable, waveform
from echo_reference.data.augmentation import Augmentation
from echo_reference.data.utterance import Utterance
from echo_reference.errors import DataError
from echo_reference.features import FRAMES_PER_SECOND, HOP, LogMel
from echo_reference.tokens import CtcSymbols, Tokenizer

IGNORED = -100


class Clip(NamedTuple):
    """An utterance ready for the model: features (n_mels, frames), token ids and CTC symbols of its text."""

    id: str
    text: str
    features: Tensor
    tokens: list[int]
    symbols: list[int]


class Room(NamedTuple):
    """What a model has positions for: feature frames of a clip, labels of its text."""

    frames: int
    labels: int


class Batch(NamedTuple):
    """Clips padded to the longest.

    Attributes:
        features: (B, n_mels, T), zero beyond each clip's length.
        feature_lengths: (B,) frames.
        labels: (B, L): the prompt without its first id, the text, the end mark; then -100.
        ctc_labels: (B, S): symbols, all above 0; then -100.
        ids: the utterances' names.
    """

    features: Tensor
    feature_lengths: Tensor
    labels: Tensor
    ctc_labels: Tensor
    ids: list[str]


def make_clip(
    utterance: Utterance, mel: LogMel, tokenizer: Tokenizer, symbols: CtcSymbols, room: Room | None = None
) -> Clip:
    """Features and labels of one utterance; raises `DataError` naming it when either cannot be made or has no room."""
    tokens = tokenizer.encode(utterance.text, clip=utterance.id)
    characters = symbols.encode(utterance.text, clip=utterance.id)
    samples = torch.from_numpy(waveform(utterance))
    needed = Room(len(samples) // HOP, len(_labels(tokens, tokenizer)))
    if room is not None and (needed.frames > room.frames or needed.labels > room.labels):
        raise DataError(
            f"A clip must last at most {room.frames / FRAMES_PER_SECOND:g} s and have at most {room.labels} labels; "
            f"got {needed.frames / FRAMES_PER_SECOND:g} s and {needed.labels} in {utterance.id}. "
            "Leave it out, or give the model more positions (n_audio_ctx, n_text_ctx)."
        )
    return Clip(utterance.id, utterance.text, mel(samples), tokens, characters)


def make_clips(
    utterances: Sequence[Utterance],
    mel: LogMel,
    tokenizer: Tokenizer,
    symbols: CtcSymbols | None = None,
    *,
    room: Room | None = None,
    strict: bool = False,
) -> list[Clip]:
    """Features and labels of all usable utterances, held in memory; see `keep_usable` for bad ones.

    Args:
        utterances: what to prepare.
        mel: the features.
        tokenizer: of the decoder.
        symbols: of the CTC head; made from the tokenizer if left out.
        room: of the model; a clip beyond it counts as bad.
        strict: raise at the first bad utterance, as evaluation should.
    """
    symbols = symbols or CtcSymbols(tokenizer)
    prepare = partial(make_clip, mel=mel, tokenizer=tokenizer, symbols=symbols, room=room)
    return keep_usable(utterances, prepare, strict=strict)


def collate(clips: Sequence[Clip], tokenizer: Tokenizer) -> Batch:
    """Pad clips to one batch; see `Batch` for the shapes."""
    frames = [clip.features.T for clip in clips]
    labels = [torch.tensor(_labels(clip.tokens, tokenizer)) for clip in clips]
    symbols = [torch.tensor(clip.symbols, dtype=torch.long) for clip in clips]
    return Batch(
        features=pad_sequence(frames, batch_first=True).transpose(1, 2).contiguous(),
        feature_lengths=torch.tensor([len(frame) for frame in frames]),
        labels=pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        ctc_labels=pad_sequence(symbols, batch_first=True, padding_value=IGNORED),
        ids=[clip.id for clip in clips],
    )


def _labels(tokens: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    return [*tokenizer.prompt_ids[1:], *tokens, tokenizer.eos_id]


class BatchOrder:
    """Which clips form the batch of a step, as a pure function of (seed, step).

    The stream of clips is one random permutation of the set after another, so every epoch shows each clip once
    and no clip is dropped where the batch size does not divide the set. `window` consecutive batches of the
    stream are sorted by length among themselves to waste less on padding, and then dealt in random order.

    Args:
        lengths: frames of each clip.
        batch_size: clips in a batch.
        seed: of the order.
        window: batches sorted together; 1 sorts none.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, window: int = 8) -> None:
        if not lengths or batch_size < 1 or window < 1:
            raise DataError(
                "Batches must have at least one clip, a batch size and a window of at least 1; got "
                f"{len(lengths)} clips, batch size {batch_size}, window {window}. Correct the configuration."
            )
        self._lengths = np.asarray(lengths)
        self._batch_size, self._window, self._seed = batch_size, window, seed
        self._cached: tuple[int, list[list[int]]] = (-1, [])

    def __call__(self, step: int) -> list[int]:
        """Indices of the clips of a step."""
        number, place = divmod(step, self._window)
        if self._cached[0] != number:
            self._cached = (number, self._deal(number))
        return self._cached[1][place]

    def _deal(self, number: int) -> list[list[int]]:
        count, total = self._window * self._batch_size, len(self._lengths)
        first = number * count
        epochs = range(first // total, (first + count - 1) // total + 1)
        stream = np.concatenate([self._permutation(epoch) for epoch in epochs])
        start = first - epochs[0] * total
        chosen = stream[start : start + count]
        if self._window > 1:
            chosen = chosen[np.argsort(self._lengths[chosen], kind="stable")]
        batches = chosen.reshape(self._window, self._batch_size)
        dealt = batches[np.random.default_rng([self._seed, 1, number]).permutation(self._window)]
        return [[int(index) for index in batch] for batch in dealt]

    def _permutation(self, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.random.default_rng([self._seed, 0, epoch]).permutation(len(self._lengths))


class TrainingBatches:
    """The batch of each training step, bit for bit the same however the run got to that step.

    Args:
        clips: the training set.
        tokenizer: of the decoder.
        batch_size: clips in a batch.
        seed: of order and augmentation.
        augmentation: applied to the features; none if left out.
        window: see `BatchOrder`.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        tokenizer: Tokenizer,
        batch_size: int,
        seed: int,
        *,
        augmentation: Augmentation | None = None,
        frames: int | None = None,
        window: int = 8,
    ) -> None:
        self.clips, self.tokenizer, self.augmentation, self.seed = clips, tokenizer, augmentation, seed
        self.frames = frames
        self.order = BatchOrder([clip.features.shape[1] for clip in clips], batch_size, seed, window)

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        clips = [self.clips[index] for index in self.order(step)]
        if self.augmentation is not None:
            random = np.random.default_rng([self.seed, 2, step])
            clips = [clip._replace(features=self._fit(self.augmentation(clip.features, random))) for clip in clips]
        return collate(clips, self.tokenizer)

    def _fit(self, features: Tensor) -> Tensor:
        if self.frames is None:
            return features
        missing = max(0, self.frames - features.shape[1])
        return torch.cat((features[:, : self.frames], features[:, -1:].expand(-1, missing)), 1)


def evaluation_batches(clips: Sequence[Clip], tokenizer: Tokenizer, batch_size: int) -> list[Batch]:
    """Every clip once, in the given order, the last batch possibly smaller."""
    starts = range(0, len(clips), batch_size)
    return [collate(clips[start : start + batch_size], tokenizer) for start in starts]
