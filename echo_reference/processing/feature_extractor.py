"""From waveforms to a batch of log-mel features."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from transformers import BatchFeature, SequenceFeatureExtractor

from echo_reference.errors import DataError
from echo_reference.features import DECADES, HOP, LogMel
from echo_reference.sampling import SAMPLE_RATE


class EchoFeatureExtractor(SequenceFeatureExtractor):  # type: ignore[misc]
    """Makes `input_features` (B, n_mels, T) and `attention_mask` (B, T) of one or several clips.

    Features are made clip by clip, before padding, so that they do not depend on the batch. Whisper instead pads
    every clip to 30 s first and hears the padding; models that came from it do the same.

    Args:
        feature_size: n_mels.
        sampling_rate: the one rate that is heard, 16 kHz.
        padding_value: of the features beyond a clip.
        pad_to: seconds to which waveforms are padded before anything is made of them; None pads features.
        decades, centred: as of `LogMel`.
        options: as in transformers.
    """

    model_input_names = ["input_features", "attention_mask"]  # noqa: RUF012 - the base class's convention

    def __init__(
        self,
        feature_size: int = 80,
        sampling_rate: int = SAMPLE_RATE,
        padding_value: float = 0.0,
        pad_to: float | None = None,
        *,
        decades: float = DECADES,
        centred: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(feature_size, sampling_rate, padding_value, **options)
        self.pad_to, self.decades, self.centred = pad_to, decades, centred

    def __call__(
        self,
        audio: ArrayLike | list[ArrayLike],
        sampling_rate: int | None = None,
        *,
        return_tensors: str | None = None,
        padding: bool | str = True,
        return_attention_mask: bool | None = None,
        **options: Any,
    ) -> BatchFeature:
        """Features and mask of one waveform (samples,) or several.

        Args:
            audio: mono, full scale 1.
            sampling_rate: of the audio, in Hz, to be sure that it is the right one.
            return_tensors: of another kind than "pt", as in transformers.
            padding: False or "do_not_pad" refuses features of several lengths; all else pads them to the longest.
            return_attention_mask: False leaves the mask out.
            options: what transformers' extractors take besides; they change nothing.

        Raises:
            DataError: another sampling rate; several lengths that shall not be padded; or a clip that is no mono
                waveform of 25 ms or more, is not of full scale 1, has NaN samples, or is longer than what it would be
                padded to.
        """
        del options
        if sampling_rate not in {None, self.sampling_rate}:
            raise DataError(
                f"Audio must be sampled at {self.sampling_rate} Hz; got {sampling_rate} Hz. Resample it first."
            )
        several = isinstance(audio, list) and len(audio) > 0 and np.ndim(audio[0]) > 0
        clips: list[Any] = audio if isinstance(audio, list) and several else [audio]
        features = [self._features(clip) for clip in clips]
        lengths = [count for _, count in features]
        frames = {clip.shape[1] for clip, _ in features}
        longest = max(frames)
        if len(frames) > 1 and padding in {False, "do_not_pad"}:
            raise DataError(
                f"Clips of several lengths must be padded to make one tensor; got padding={padding!r}. Leave it out."
            )
        padded = [
            torch.nn.functional.pad(clip, (0, longest - clip.shape[1]), value=self.padding_value)
            for clip, _ in features
        ]
        data = {"input_features": torch.stack(padded)}
        if return_attention_mask is not False:
            data["attention_mask"] = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
        return BatchFeature(data).convert_to_tensors(return_tensors or "pt")

    def _features(self, clip: ArrayLike) -> tuple[Tensor, int]:
        given = np.asarray(clip)
        if given.dtype.kind != "f" and given.size:
            raise DataError(
                f"Audio must be of floating point numbers, full scale 1; got {given.dtype}. "
                "Read it so, or divide it by its full scale (32768 for int16)."
            )
        waveform = torch.as_tensor(given.astype(np.float32))
        if not waveform.isfinite().all():
            raise DataError("Samples must be finite; got NaN or infinity. Restore the recording from its source.")
        pad_to = None if self.pad_to is None else round(self.pad_to * self.sampling_rate)
        if pad_to is not None and len(waveform) > pad_to:
            raise DataError(
                f"A clip must last at most {self.pad_to:g} s; got {len(waveform) / self.sampling_rate:g} s. Read it "
                "with `echo-reference transcribe`, cut it, or give a pipeline chunk_length_s with stride_length_s=0."
            )
        features = LogMel(self.feature_size, pad_to, decades=self.decades, centred=self.centred)(waveform)
        return features, min(len(waveform) // HOP, features.shape[1])
