"""The model that a run goes on from: another run's, or a Whisper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, WhisperForConditionalGeneration

from echo_reference.config import EchoConfig
from echo_reference.data.utterance import Corpus
from echo_reference.errors import CheckpointError, ConfigError
from echo_reference.model import Echo
from echo_reference.tokens import CharacterTokenizer, CtcSymbols, Tokenizer, WhisperTokenizer
from echo_reference.tokens.marks import Task, whisper_marks
from echo_reference.training import checkpoint
from echo_reference.training.evaluation import Reader
from echo_reference.training.settings import Decoding, TrainSettings
from echo_reference.training.vocabulary import choose_symbols
from echo_reference.warm_start import read_whisper


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
    if checkpoint.found(path) or (path / checkpoint.VOCABULARY).is_file():
        if settings.model:
            raise ConfigError(
                f"A model that is started from a run must stay as it is; got {settings.model}. Leave --model out."
            )
        last = path if (path / checkpoint.VOCABULARY).is_file() else checkpoint.latest(path)
        return checkpoint.load_reader(last, torch.device("cpu"))
    source = _whisper(settings.start)
    tokenizer = WhisperTokenizer(settings.language, vocab_size=source.config.vocab_size)
    symbols = choose_symbols(tokenizer, corpus.train)
    model = Echo.from_whisper(source, **{"ctc_vocab": symbols.size, **settings.model})
    name_language(model, tokenizer)
    return Reader(model, tokenizer, symbols)


def trained_reader(source: Path) -> tuple[Reader, Decoding]:
    """Return the model of a run, of one of its checkpoints, a saved Echo or a Whisper, and how it is best read.

    Raises:
        CheckpointError: there is no model, it is damaged, or its vocabulary is not known.
        DataError: a Whisper's vocabulary is none of OpenAI's.
    """
    if not (source / "config.json").is_file() or (source / checkpoint.STATE).is_file():
        last = checkpoint.latest(source)
        reader = checkpoint.load_reader(last, torch.device("cpu"))
        return reader, checkpoint.load_training(last)["settings"]["decoding"]
    if (source / checkpoint.VOCABULARY).is_file():
        reader = checkpoint.load_reader(source, torch.device("cpu"))
        return reader, usual_decoding(reader.model.config)
    is_echo = PreTrainedConfig.get_config_dict(source)[0].get("model_type") == EchoConfig.model_type
    model = _bare_echo(source) if is_echo else Echo.from_whisper(_whisper(str(source)), ctc_vocab=0)
    # Without a CTC head no alphabet is read.
    nothing = CtcSymbols(CharacterTokenizer(" "))
    language = getattr(model.generation_config, "language", None) or "en"
    task: Task = getattr(model.generation_config, "task", None) or "transcribe"
    return Reader(model, WhisperTokenizer(language, task, model.config.vocab_size), nothing), "greedy"


def usual_decoding(config: EchoConfig) -> Decoding:
    """Return the best decoding that a model can do: by decoder and CTC head together where their symbols match."""
    return "joint" if config.ctc_vocab and config.ctc_shift is not None else "greedy"


def name_language(model: Echo, tokenizer: Tokenizer) -> None:
    """Let `generate` begin with the language and task that the model learns, where there are marks for them."""
    if isinstance(tokenizer, WhisperTokenizer) and tokenizer.marks.multilingual:
        model.generation_config.language, model.generation_config.task = tokenizer.language, tokenizer.task


def _whisper(start: str) -> WhisperForConditionalGeneration:
    try:
        return read_whisper(start)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"A model must be a run or a Whisper; got {start} ({reason}). Correct it.") from error


def _bare_echo(folder: Path) -> Echo:
    """An Echo as `save_pretrained` writes it, without what a run keeps beside it."""
    model: Echo = Echo.from_pretrained(folder)
    if whisper_marks(model.config.vocab_size) is None:
        raise CheckpointError(
            "An Echo without the checkpoint of a run must have Whisper's vocabulary; got one of "
            f"{model.config.vocab_size} ids in {folder}. Give the folder of the run."
        )
    model.ctc_head, model.config.ctc_vocab = None, 0  # nobody knows its alphabet
    return model


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
