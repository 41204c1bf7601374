"""The project's tokenizers as Hugging Face's."""

from __future__ import annotations

import copy
from functools import singledispatch

from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Engine
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from echo_reference.errors import DataError
from echo_reference.tokens import CharacterTokenizer, Tokenizer, WhisperTokenizer, WordTokenizer

_CLOSED_MARKS = ("<pad>", "<s>", "</s>")


def hub_tokenizer(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """A tokenizer of transformers with the same ids.

    A text becomes prompt, text and end mark, for example `<s> one two </s>`; decoding with `skip_special_tokens=True`
    gives the text back.

    Raises:
        DataError: the tokenizer is of a class that has no counterpart.
    """
    engine, marks = _engine(tokenizer)
    # Whisper's marks follow its text; a closed vocabulary begins with them.
    names = dict(enumerate(marks, 0 if tokenizer.first_text_id else tokenizer.text_size))
    engine.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in marks])
    wanted = [names[i] for i in (*tokenizer.prompt_ids, tokenizer.eos_id)]
    engine.post_processor = processors.TemplateProcessing(
        single=" ".join([*(names[i] for i in tokenizer.prompt_ids), "$A", names[tokenizer.eos_id]]),
        special_tokens=[(name, engine.token_to_id(name)) for name in dict.fromkeys(wanted)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=engine,
        bos_token=names[tokenizer.bos_id],
        eos_token=names[tokenizer.eos_id],
        pad_token=names[tokenizer.pad_id],
        clean_up_tokenization_spaces=False,
    )


@singledispatch
def _engine(tokenizer: Tokenizer) -> tuple[Engine, tuple[str, ...]]:
    """What splits and joins text, and the names of its marks."""
    raise DataError(
        f"A tokenizer must be of words, of characters or Whisper's; got {type(tokenizer).__name__}. Use one of these."
    )


@_engine.register
def _whisper(tokenizer: WhisperTokenizer) -> tuple[Engine, tuple[str, ...]]:
    engine = copy.deepcopy(tokenizer.engine)
    engine.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.Prepend(" ")])
    engine.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    return engine, tuple(tokenizer.marks.names())


@_engine.register
def _words(tokenizer: WordTokenizer) -> tuple[Engine, tuple[str, ...]]:
    engine = Engine(WordLevel(_vocabulary(tokenizer)))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return engine, _CLOSED_MARKS


@_engine.register
def _characters(tokenizer: CharacterTokenizer) -> tuple[Engine, tuple[str, ...]]:
    engine = Engine(WordLevel(_vocabulary(tokenizer)))
    engine.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    engine.decoder = decoders.Fuse()
    return engine, _CLOSED_MARKS


def _vocabulary(tokenizer: WordTokenizer | CharacterTokenizer) -> dict[str, int]:
    return {name: i for i, name in enumerate((*_CLOSED_MARKS, *tokenizer.symbols))}
