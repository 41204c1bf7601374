"""How an Echo writes transcripts through `generate`: prompts, limits, and what its caches need."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, GenerationMixin, WhisperTimeStampLogitsProcessor
from transformers.modeling_outputs import BaseModelOutput

from echo_reference.encoder import AudioEncoder
from echo_reference.errors import ConfigError, DataError
from echo_reference.modules.memo import remembering
from echo_reference.tokens.marks import Task, WhisperMarks, whisper_marks

_OF_AUDIO = ("attention_mask", "feature_lengths", "encoder_outputs")


class EncoderForGeneration(nn.Module):
    """The audio side under the call that `generate` makes."""

    def __init__(self, model: EchoGeneration) -> None:
        super().__init__()
        self.encoder: AudioEncoder = model.encoder
        self._encode = model.encode

    def forward(
        self,
        input_features: Tensor,
        attention_mask: Tensor | None = None,
        feature_lengths: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """Audio features of `input_features` (B, n_mels, T); what else is asked for is not returned."""
        del kwargs
        if feature_lengths is None and attention_mask is not None:
            feature_lengths = attention_mask.sum(-1)
        return BaseModelOutput(last_hidden_state=self._encode(input_features, feature_lengths)[0])


class EchoGeneration(GenerationMixin):  # type: ignore[misc]
    """What `generate` needs beyond a forward pass."""

    def generate(
        self,
        input_features: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        *,
        inputs: Tensor | None = None,
        language: str | Sequence[str] | None = None,
        task: Task | None = None,
        return_timestamps: bool | None = None,
        **options: Any,
    ) -> Any:
        """Write down what is said; returns tokens (B, L), prompt included, or what `options` ask for.

        No transcript is longer than the decoder has positions for, whatever is asked. The projections with rotations
        folded in are made once for the whole call.

        Args:
            input_features: log-mel frames (B, n_mels, T).
            generation_config: as in transformers; may carry `language`, `task` and `return_timestamps` too.
            inputs: another name of `input_features`, as in transformers.
            language: what is spoken, or a list with that of each clip: ISO code, English name or mark ("de", "german",
                "<|de|>"). With Whisper's vocabulary it is detected for each clip where none is named.
            task: "transcribe", which it is where none is named, or "translate" into English.
            return_timestamps: let the transcript begin and end its segments with timestamps.
            options: as in transformers, and what `forward` takes.

        Raises:
            ConfigError: language, task or timestamps are asked of a vocabulary without marks for them, or the prompt
                leaves no room for a transcript.
            DataError: a language is not one of the vocabulary's, or there are not as many as clips.
            ValueError: there are no features, or two.
        """
        settings = copy.deepcopy(self.generation_config if generation_config is None else generation_config)
        options = settings.update(**options)
        wishes = {"language": language, "task": task, "return_timestamps": return_timestamps}
        for name, wish in wishes.items():
            carried = (getattr(config, name, None) for config in (settings, self.generation_config))
            setattr(settings, name, next((value for value in (wish, *carried) if value is not None), None))
        input_features = _one(input_features, inputs, options.get("encoder_outputs"))
        given = options.get("decoder_input_ids")
        if given is None and self._has_prompt(settings):
            given = options["decoder_input_ids"] = self._prompts(input_features, settings, options)
        length = 1 if given is None else given.shape[1]
        if settings.return_timestamps:
            settings.no_timestamps_token_id = self._marks().no_timestamps
            processor = WhisperTimeStampLogitsProcessor(settings, begin_index=length)
            options["logits_processor"] = [*options.get("logits_processor", []), processor]
        settings.max_new_tokens, settings.max_length = self._room(length, settings), None
        with remembering(self):
            return super().generate(input_features, settings, **options)

    def get_encoder(self, modality: str | None = None) -> EncoderForGeneration:
        """The audio side, as `generate` calls it."""
        del modality
        return EncoderForGeneration(self)

    @torch.no_grad()
    def detect_language(self, input_features: Tensor | None = None, **given: Any) -> list[str]:
        """ISO code of the language that each clip is most probably in: of the marks that may follow the start.

        Args:
            input_features: log-mel frames (B, n_mels, T).
            given: what else `forward` takes: `feature_lengths`, `encoder_outputs`, ...

        Raises:
            ConfigError: the vocabulary has no marks of languages.
        """
        marks = self._marks()
        if not marks.multilingual:
            raise ConfigError(
                "A language must be detected by a multilingual model; got an English-only one. Leave it out."
            )
        audio = given["encoder_outputs"][0] if input_features is None else input_features
        start = torch.full((len(audio), 1), marks.start, device=audio.device)
        logits = self(input_features, decoder_input_ids=start, **given).logits[:, 0]
        best = logits[:, marks.start + 1 : marks.translate].argmax(-1)
        return [marks.languages[i] for i in best.tolist()]

    def _has_prompt(self, settings: GenerationConfig) -> bool:
        """Whether there is more to begin with than a start mark: where something is asked, or Whisper's mark starts."""
        if settings.language or settings.task or settings.return_timestamps:
            return True
        marks, start = whisper_marks(self.config.vocab_size), settings.decoder_start_token_id
        if start is None:
            start = self.generation_config.decoder_start_token_id
        return marks is not None and bool(start == marks.start)

    def _prompts(self, input_features: Tensor | None, settings: GenerationConfig, options: dict[str, Any]) -> Tensor:
        """The prompt of each clip, (B, L); its language is detected where none is named."""
        marks = self._marks()
        task: Task = settings.task or "transcribe"
        audio = options["encoder_outputs"][0] if input_features is None else input_features
        languages = _for_each(settings.language or "en", len(audio))
        if not settings.language and marks.multilingual:
            known = {name: options[name] for name in _OF_AUDIO if options.get(name) is not None}
            if "encoder_outputs" not in known:  # heard once, for both
                known["encoder_outputs"] = options["encoder_outputs"] = self.get_encoder()(input_features, **known)
            languages = self.detect_language(**known)
        timestamps = bool(settings.return_timestamps)
        rows = [marks.prompt(language, task, timestamps=timestamps) for language in languages]
        return torch.tensor(rows, device=audio.device)

    def _marks(self) -> WhisperMarks:
        marks = whisper_marks(self.config.vocab_size)
        if marks is None:
            raise ConfigError(
                "Language, task and timestamps must go with a vocabulary of Whisper's; got one of "
                f"{self.config.vocab_size} ids. Leave them out."
            )
        return marks

    def _room(self, prompt: int, settings: GenerationConfig) -> int:
        room: int = self.config.n_text_ctx - prompt
        if room < 1:
            raise ConfigError(
                f"A prompt must be shorter than the decoder's {self.config.n_text_ctx} positions; got {prompt} tokens. "
                "Shorten it."
            )
        count, length = settings.max_new_tokens, settings.max_length
        if count is None:
            count = room if length is None else length - prompt
        return max(1, min(int(count), room))

    def _prepare_attention_mask_for_generation(
        self, inputs_tensor: Tensor, generation_config: object, model_kwargs: dict[str, Any]
    ) -> Tensor:
        # The library's default counts the second dimension, which here holds mel bands and not frames.
        del generation_config, model_kwargs
        return inputs_tensor.new_ones(inputs_tensor.shape[0], inputs_tensor.shape[-1], dtype=torch.long)


def _for_each(language: str | Sequence[str], clips: int) -> list[str]:
    languages = [language] * clips if isinstance(language, str) else list(language)
    if len(languages) != clips:
        raise DataError(
            f"Languages must be as many as clips, {clips}, or one for all; got {len(languages)}. Correct the list."
        )
    return languages


def _one(input_features: Tensor | None, inputs: Tensor | None, encoded: object) -> Tensor | None:
    """The features by whichever name they were given; None where the encoder's outputs take their place."""
    if input_features is not None and inputs is not None:
        raise ValueError("Echo must be given features once; got both inputs and input_features. Leave one out.")
    features = inputs if input_features is None else input_features
    if features is None and encoded is None:
        raise ValueError("Echo must be given input_features or encoder_outputs; got neither. Give one.")
    return features
