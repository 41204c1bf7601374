"""What a Whisper's `generate` goes by, as an Echo's goes by it."""

from __future__ import annotations

from typing import Any

from transformers import WhisperForConditionalGeneration

from echo_reference.tokens.marks import Task, WhisperMarks, iso_code, whisper_marks

_SAME = (
    *("suppress_tokens", "begin_suppress_tokens", "max_initial_timestamp_index", "no_timestamps_token_id"),
    *("is_multilingual", "lang_to_id", "task_to_id"),
)


def whisper_settings(source: WhisperForConditionalGeneration) -> dict[str, Any]:
    """Return values of a generation config by which an Echo begins, and leaves out, what the Whisper does.

    Language and task are those that the source names, or forces as older ones do; without a task it is transcription,
    as for every Whisper of OpenAI's.
    """
    given = source.generation_config
    settings = {name: getattr(given, name) for name in _SAME if getattr(given, name, None) is not None}
    marks = whisper_marks(source.config.vocab_size)
    if marks is None:
        return settings
    if given.max_length is not None:  # Whisper does not count its prompt
        settings["max_length"] = min(given.max_length + len(marks.prompt()), source.config.max_target_positions)
    if marks.multilingual:
        language, task = getattr(given, "language", None), getattr(given, "task", None)
        if language is None and task is None:
            language, task = _forced(source, marks)
        settings |= {"language": language and iso_code(language), "task": task}
    return settings


def _forced(source: WhisperForConditionalGeneration, marks: WhisperMarks) -> tuple[str | None, Task | None]:
    """Language and task of `forced_decoder_ids`, pairs of a position and a token, or None for one that is detected."""
    pairs = getattr(source.generation_config, "forced_decoder_ids", None)
    if pairs is None:
        pairs = getattr(source.config, "forced_decoder_ids", None)
    tokens = {token for _, token in pairs or []}
    languages = (code for i, code in enumerate(marks.languages, marks.start + 1) if i in tokens)
    return next(languages, None), "translate" if marks.translate in tokens else None
