"""From settings to everything a run needs before its first step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from echo_reference.config import EchoConfig
from echo_reference.data.audio import waveform
from echo_reference.data.augmentation import Augmentation
from echo_reference.data.batches import Batch, Room, TrainingBatches, evaluation_batches, make_clips
from echo_reference.data.utterance import Corpus, Utterance
from echo_reference.errors import ConfigError, DataError
from echo_reference.features import FRAMES_PER_SECOND, HOP
from echo_reference.model import Echo
from echo_reference.sampling import SAMPLE_RATE
from echo_reference.training.evaluation import Reader
from echo_reference.training.settings import Decoding, TrainSettings
from echo_reference.training.start import check_changes, name_language, warm_reader
from echo_reference.training.vocabulary import choose_symbols, choose_tokenizer
from homeostat import Homeostat, Sink


class Material(NamedTuple):
    """What a run learns from and is judged by.

    Attributes:
        train: the batch of a step.
        validation: batches for the validation loss.
        heard: validation clips' features, for transcripts.
        said: their texts.
        test: features of clips nothing was learned or chosen from; made before training, so that a bad recording
            cannot end a finished run without a result.
        references: their texts.
    """

    train: TrainingBatches
    validation: list[Batch]
    heard: list[Tensor]
    said: list[str]
    test: list[Tensor]
    references: list[str]


def build_reader(settings: TrainSettings, corpus: Corpus) -> Reader:
    """Return a model for the corpus, untrained or warm-started.

    Raises:
        ConfigError: the settings describe no model.
    """
    if settings.start:
        return warm_reader(settings, corpus)
    tokenizer = choose_tokenizer(settings.tokens, corpus.train, settings.language)
    symbols = choose_symbols(tokenizer, corpus.train)
    check_changes(settings.model)
    fitted = {
        "vocab_size": tokenizer.vocab_size,
        "bos_token_id": tokenizer.bos_id,
        "decoder_start_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
        "ctc_vocab": symbols.size,
        "ctc_shift": symbols.shift if symbols.tokenizer is tokenizer else None,
    }
    config = EchoConfig.preset(settings.preset, **{**fitted, **settings.model})
    try:
        model = Echo(config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"A model must be one that can be built; got {settings.model} ({error}). Correct --model."
        ) from error
    name_language(model, tokenizer)
    return Reader(model, tokenizer, symbols)


def check_decoding(decoding: Decoding, config: EchoConfig) -> None:
    """Refuse, before anything is trained, a decoding that the model cannot do.

    Raises:
        ConfigError: it cannot.
    """
    if decoding != "greedy" and not config.ctc_vocab:
        raise ConfigError(
            f"Decoding {decoding} must have a CTC head; got a model without one. "
            "Use --decoding greedy, or set ctc_vocab."
        )
    if decoding == "joint" and config.ctc_shift is None:
        raise ConfigError(
            "Joint decoding must have a CTC alphabet that corresponds to the tokens; got Whisper's tokens beside "
            "characters. Use --decoding greedy or ctc, or word or character tokens."
        )


def prepare_material(settings: TrainSettings, corpus: Corpus, reader: Reader) -> Material:
    """Make features and labels of a corpus, in memory.

    Raises:
        DataError: train or validation has no usable clip, or a test clip is bad or longer than the model has room for.
    """
    config = reader.model.config
    mel, tokenizer, symbols = config.log_mel(), reader.tokenizer, reader.symbols
    augmentation = Augmentation() if settings.augment else None
    room = Room(config.n_audio_ctx * config.subsampling, config.n_text_ctx)
    # A slower copy of a clip needs room too.
    slowed = room if augmentation is None else room._replace(frames=int(room.frames / augmentation.tempo[1]))
    train = make_clips(corpus.train, mel, tokenizer, symbols, room=slowed)
    validation = make_clips(corpus.validation[: settings.validation_clips], mel, tokenizer, symbols, room=room)
    return Material(
        train=TrainingBatches(
            train,
            tokenizer,
            settings.batch_size,
            settings.seed,
            augmentation=augmentation,
            frames=None if config.pad_to is None else room.frames,
        ),
        validation=evaluation_batches(validation, tokenizer, 2 * settings.batch_size),
        heard=[clip.features for clip in validation],
        said=[clip.text for clip in validation],
        test=hear(corpus.test, config),
        references=[utterance.text for utterance in corpus.test],
    )


def hear(utterances: Iterable[Utterance], config: EchoConfig) -> list[Tensor]:
    """Features of utterances whose text needs no labels.

    Raises:
        DataError: a recording is bad, or longer than the model has room for; the message names it.
    """
    mel, room = config.log_mel(), config.n_audio_ctx * config.subsampling
    features = []
    for utterance in utterances:
        samples = torch.from_numpy(waveform(utterance))
        if len(samples) // HOP > room:
            raise DataError(
                f"A clip must last at most {room / FRAMES_PER_SECOND:g} s; got "
                f"{len(samples) / SAMPLE_RATE:g} s in {utterance.id}. "
                "Leave it out, or give the model more positions (n_audio_ctx)."
            )
        features.append(mel(samples))
    return features


def build_optimizer(settings: TrainSettings, model: nn.Module) -> AdamW:
    """AdamW that decays dense weights only: a decayed rotation would leave the orthogonal group.

    Fused: with Echo's many small parameters the loop that is the default on a CPU takes 8 % of a step, this 2 %.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        dense = parameter.ndim >= 2 and name.endswith("weight")
        (decayed if dense else free).append(parameter)
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)


def build_schedule(settings: TrainSettings, optimizer: Optimizer) -> LambdaLR:
    """Linear warm-up to the peak, then linear decay to `final_rate` of it."""

    def factor(step: int) -> float:
        if step < settings.warmup:
            return (step + 1) / settings.warmup
        progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
        return 1.0 - (1.0 - settings.final_rate) * min(1.0, progress)

    return LambdaLR(optimizer, factor)


def build_controller(settings: TrainSettings, sinks: tuple[Sink, ...]) -> Homeostat | None:
    """Return the controller of the recipe; None for recipe "none"."""
    if settings.recipe == "none":
        return None
    return Homeostat.from_recipe(settings.recipe, horizon=settings.steps, sinks=sinks)
