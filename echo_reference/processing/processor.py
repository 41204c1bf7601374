"""What turns audio and text into a model's input, and its output into text."""

from __future__ import annotations

from typing import Any, Self

from numpy.typing import ArrayLike
from transformers import BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from echo_reference.config import EchoConfig
from echo_reference.errors import DataError
from echo_reference.loss import IGNORED
from echo_reference.processing.feature_extractor import EchoFeatureExtractor
from echo_reference.processing.hub_tokenizer import hub_tokenizer
from echo_reference.sampling import SAMPLE_RATE
from echo_reference.tokens import Tokenizer


class EchoProcessor(ProcessorMixin):  # type: ignore[misc]
    """A feature extractor and a tokenizer, saved beside the model.

    Args:
        feature_extractor: for audio.
        tokenizer: for text.
    """

    def __init__(self, feature_extractor: EchoFeatureExtractor, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(feature_extractor, tokenizer)

    @classmethod
    def for_model(cls, config: EchoConfig, tokenizer: Tokenizer) -> Self:
        """The processor of a model and the tokenizer that it was made with."""
        seconds = None if config.pad_to is None else config.pad_to / SAMPLE_RATE
        extractor = EchoFeatureExtractor(
            config.n_mels, pad_to=seconds, decades=config.mel_decades, centred=config.mel_centred
        )
        return cls(extractor, hub_tokenizer(tokenizer))

    def __call__(
        self,
        audio: ArrayLike | list[ArrayLike] | None = None,
        text: str | list[str] | None = None,
        sampling_rate: int | None = None,
        **options: Any,
    ) -> BatchFeature:
        """Tensors for `Echo.forward`: `input_features` and `attention_mask` of audio, `labels` of text.

        Labels are the tokens that follow the start mark, up to the end mark; -100 where a text is shorter.

        Args:
            audio: one waveform or several; 16 kHz, mono.
            text: one transcript or several.
            sampling_rate: of the audio.
            options: `return_tensors` of another kind than "pt"; for audio what `EchoFeatureExtractor` takes.

        Raises:
            DataError: neither was given, or as `EchoFeatureExtractor`.
        """
        if audio is None and text is None:
            raise DataError("A processor must be given audio, text or both; got neither. Give one.")
        batch = BatchFeature()
        if audio is not None:
            batch = self.feature_extractor(audio, sampling_rate=sampling_rate, **options)
        if text is not None:
            texts = [text] if isinstance(text, str) else text
            encoded = self.tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
            labels = encoded["input_ids"].masked_fill(encoded["attention_mask"] == 0, IGNORED)[:, 1:]
            batch["labels"] = labels
        return batch.convert_to_tensors(options.get("return_tensors") or "pt")
