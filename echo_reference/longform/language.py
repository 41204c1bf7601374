"""In which language a recording is read."""

from __future__ import annotations

import torch
from torch import Tensor

from echo_reference.errors import ConfigError
from echo_reference.features import HOP
from echo_reference.tokens import WhisperTokenizer
from echo_reference.tokens.marks import Task
from echo_reference.training.evaluation import Reader


def tuned(reader: Reader, samples: Tensor, language: str | None = None, task: Task | None = None) -> Reader:
    """The reader, set to the language of a recording and to what shall be written down.

    Without `language` it is the one that the model was trained on; where it was trained on many, as a Whisper is, it is
    detected from as much of the recording as the model hears at once.

    Args:
        reader: the model and its vocabulary.
        samples: (samples,), 16 kHz.
        language: ISO code, English name or mark.
        task: "transcribe", or "translate" into English.

    Raises:
        ConfigError: language or task are asked of a vocabulary without marks for them.
        DataError: the language is not one of the vocabulary's.
    """
    tokenizer, model = reader.tokenizer, reader.model
    if not isinstance(tokenizer, WhisperTokenizer):
        if language or task:
            raise ConfigError(
                f"Language and task must go with a vocabulary of Whisper's; got one of {tokenizer.vocab_size} ids. "
                "Leave them out."
            )
        return reader
    if language is None and tokenizer.marks.multilingual and getattr(model.generation_config, "language", None) is None:
        piece = samples[: model.config.n_audio_ctx * model.config.subsampling * HOP]
        lengths = torch.tensor([len(piece) // HOP], device=model.device)
        (language,) = model.detect_language(reader.features(piece)[None].to(model.device), feature_lengths=lengths)
    chosen = (language or tokenizer.language, task or tokenizer.task)
    return reader._replace(tokenizer=WhisperTokenizer(*chosen, vocab_size=tokenizer.vocab_size))
