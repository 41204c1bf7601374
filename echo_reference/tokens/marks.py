"""Where Whisper's vocabularies have their marks: start, languages, tasks, timestamps."""

from __future__ import annotations

from functools import cache
from typing import Literal, NamedTuple

from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

from echo_reference.errors import DataError

Task = Literal["transcribe", "translate"]

TIME_STEP = 0.02
"""Seconds from one timestamp mark to the next."""
_TIMESTAMPS = 1501
# ISO codes in the order of their ids. Whisper large-v3 and turbo know one more, Cantonese.
_LANGUAGES = """
    en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi
    fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la
    mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy
    ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be
    tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl
    mg as tt haw ln ha ba jw su yue
""".split()  # noqa: SIM905 - a list of 100 quoted strings would fill a screen


class WhisperMarks(NamedTuple):
    """Ids of the marks, which follow the text in one fixed order.

    Attributes:
        end: end of text, the first id after the text's.
        languages: ISO codes of those with a mark.
        multilingual: False where language and task are always English and transcription.
    """

    end: int
    languages: tuple[str, ...]
    multilingual: bool = True

    @property
    def start(self) -> int:
        """Start of a transcript."""
        return self.end + 1

    @property
    def translate(self) -> int:
        """The task of translation into English; transcription is the next id."""
        return self.start + 1 + len(self.languages)

    @property
    def no_speech(self) -> int:
        """Says that nobody speaks."""
        return self.translate + 4

    @property
    def no_timestamps(self) -> int:
        """Says that no timestamps shall be written; the timestamps follow it."""
        return self.translate + 5

    @property
    def size(self) -> int:
        """All ids."""
        return self.no_timestamps + 1 + _TIMESTAMPS

    def seconds(self, token: int) -> float | None:
        """The time a timestamp mark stands for, None for another token."""
        step = token - self.no_timestamps - 1
        return step * TIME_STEP if 0 <= step < _TIMESTAMPS else None

    def prompt(self, language: str = "en", task: Task = "transcribe", *, timestamps: bool = False) -> tuple[int, ...]:
        """What a decoder is given before the text.

        Args:
            language: ISO code, or as `iso_code` takes it.
            task: write down what is said, or translate it into English.
            timestamps: leave room for timestamps.

        Raises:
            DataError: this vocabulary has no mark for the language or the task.
        """
        code = iso_code(language)
        if not self.multilingual:
            if (code, task) != ("en", "transcribe"):
                raise DataError(
                    f"An English-only vocabulary must transcribe English; got {task} and {language!r}. "
                    "Use a multilingual model."
                )
            asked: tuple[int, ...] = ()
        elif code not in self.languages:
            raise DataError(
                f"A language must be one of Whisper's, by its ISO code or its English name; got {language!r}. "
                "Use for example 'en'."
            )
        elif task not in {"transcribe", "translate"}:
            raise DataError(f"A task must be transcribe or translate; got {task!r}. Use one of these.")
        else:
            asked = (self.start + 1 + self.languages.index(code), self.translate + (task == "transcribe"))
        return (self.start, *asked) if timestamps else (self.start, *asked, self.no_timestamps)

    def names(self) -> list[str]:
        """Every mark as it is written, in the order of the ids from `end` on."""
        tasks = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
        times = [f"{TIME_STEP * step:.2f}" for step in range(_TIMESTAMPS)]
        return [f"<|{name}|>" for name in ("endoftext", "startoftranscript", *self.languages, *tasks, *times)]


def iso_code(language: str) -> str:
    """The code of a language that may be given as `German`, `de` or `<|de|>`; what is no language stays."""
    bare = language.lower().strip("<|>")
    return str(TO_LANGUAGE_CODE.get(bare, bare))


@cache
def whisper_marks(vocab_size: int) -> WhisperMarks | None:
    """The marks of a vocabulary of Whisper's, told by its size; None where it is no Whisper's."""
    layouts = (
        WhisperMarks(50256, tuple(_LANGUAGES[:99]), multilingual=False),
        WhisperMarks(50257, tuple(_LANGUAGES[:99])),
        WhisperMarks(50257, tuple(_LANGUAGES)),
    )
    return next((marks for marks in layouts if marks.size == vocab_size), None)
