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
from echo_reference.tokens import CharacterTokenizer, CtcSymbols, WhisperTokenizer
from echo_reference.training import checkpoint
from echo_reference.training.evaluation import Reader
from echo_reference.training.settings import Decoding, TrainSettings
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
    source = read_whisper(settings.start)
    symbols = choose_symbols(WhisperTokenizer(vocab_size=source.config.vocab_size), corpus.train)
    return whisper_reader(source, symbols, {"ctc_vocab": symbols.size, **settings.model})


def trained_reader(source: Path) -> tuple[Reader, Decoding]:
    """Return the model of a run, of one of its checkpoints or of a Whisper's folder, and how it is best read.

    Raises:
        CheckpointError: there is no model, or it is damaged.
        DataError: a Whisper's vocabulary is none of OpenAI's.
    """
    if (source / "config.json").is_file() and not (source / checkpoint.STATE).is_file():
        # Without a CTC head no alphabet is read.
        nothing = CtcSymbols(CharacterTokenizer(" "))
        return whisper_reader(read_whisper(str(source)), nothing, {"ctc_vocab": 0}), "greedy"
    last = checkpoint.latest(source)
    reader = checkpoint.load_reader(last, torch.device("cpu"))
    return reader, checkpoint.load_training(last)["settings"]["decoding"]


def read_whisper(start: str) -> WhisperForConditionalGeneration:
    """Read a Whisper: a folder, or a name on the hub.

    Raises:
        CheckpointError: there is none.
    """
    try:
        return WhisperForConditionalGeneration.from_pretrained(start)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"A model must be a run or a Whisper; got {start} ({reason}). Correct it.") from error


def whisper_reader(source: WhisperForConditionalGeneration, symbols: CtcSymbols, changes: dict[str, Any]) -> Reader:
    """Return an Echo that gives a Whisper's logits, with `changes` to its configuration, and its vocabulary.

    Raises:
        DataError: the vocabulary is none of Whisper's.
    """
    tokenizer = WhisperTokenizer(vocab_size=source.config.vocab_size)
    model = Echo.from_whisper(source, **changes)
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
