"""The model that a run goes on from: another run's, or a Whisper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import WhisperForConditionalGeneration

from echo_reference.config import EchoConfig
from echo_reference.data.utterance import Corpus
from echo_reference.errors import CheckpointError, ConfigError
from echo_reference.model import Echo
from echo_reference.tokens import WhisperTokenizer
from echo_reference.training import checkpoint
from echo_reference.training.evaluation import Reader
from echo_reference.training.settings import TrainSettings
from echo_reference.training.vocabulary import choose_symbols


def warm_reader(settings: TrainSettings, corpus: Corpus) -> Reader:
    """Return the model and vocabulary that `settings.start` names.

    A run goes on with its own vocabulary and configuration. A Whisper gives the same logits at first; the CTC head
    that it is given is of the corpus's characters.

    Raises:
        ConfigError: the changes are no names of the configuration, or a run was to be changed.
        CheckpointError: there is no model, or it is damaged.
        DataError: the vocabulary is none of Whisper's.
    """
    check_changes(settings.model)
    path = Path(settings.start)
    if checkpoint.found(path) or (path / checkpoint.STATE).is_file():
        if settings.model:
            raise ConfigError(
                f"A model that is started from a run must stay as it is; got {settings.model}. Leave --model out."
            )
        return checkpoint.load_reader(checkpoint.latest(path), torch.device("cpu"))
    try:
        source = WhisperForConditionalGeneration.from_pretrained(settings.start)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"--start must name a run or a Whisper; got {settings.start} ({reason}). Correct it."
        ) from error
    tokenizer = WhisperTokenizer(vocab_size=source.config.vocab_size)
    symbols = choose_symbols(tokenizer, corpus.train)
    model = Echo.from_whisper(source, **{"ctc_vocab": symbols.size, **settings.model})
    if tokenizer.marks.multilingual:
        model.generation_config.language, model.generation_config.task = tokenizer.language, tokenizer.task
    return Reader(model, tokenizer, symbols)


def check_changes(changes: dict[str, Any]) -> None:
    """Refuse names that `EchoConfig` does not have.

    Raises:
        ConfigError: there is one.
    """
    unknown = sorted(changes.keys() - set(EchoConfig().to_dict()) - set(EchoConfig.attribute_map) - {"d_model"})
    if unknown:
        raise ConfigError(
            f"Changes to the model must be by the names of EchoConfig; got {', '.join(unknown)}. Correct --model."
        )
