"""`echo-reference transcribe`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console
from torch import Tensor

from echo_reference.commands.command import Command
from echo_reference.commands.lots import Recording, lots
from echo_reference.data.audio import read_audio
from echo_reference.errors import ConfigError, DataError, SilenceError
from echo_reference.features import HOP
from echo_reference.longform import FORMATS, Format, Segment, render, transcribe_long, transcribe_short, tuned
from echo_reference.sampling import SAMPLE_RATE
from echo_reference.tokens import WhisperTokenizer
from echo_reference.tokens.marks import Task
from echo_reference.training.evaluation import Reader
from echo_reference.training.preparation import check_decoding
from echo_reference.training.settings import Decoding, Device
from echo_reference.training.start import trained_reader


class Transcribe(Command):
    """Write down what is said in audio files (WAV, FLAC, Ogg, MP3) of any length, as text or with times."""

    run: CliPositionalArg[Path] = Field(
        description="folder of a run, one of its checkpoints, a saved Echo or a Whisper"
    )
    files: CliPositionalArg[list[Path]] = Field(description="audio files", min_length=1)
    format: Format = Field("text", description="text, or with times: json, srt (SubRip), vtt (WebVTT)")
    output: Path | None = Field(None, description="folder for one file each; without it they are printed")
    decoding: Decoding | None = Field(None, description="by default the run's own")
    language: str | None = Field(
        None,
        description="what is spoken, by ISO code or English name, for Whisper's vocabulary; by default the run's own, "
        "or detected",
    )
    task: Task | None = Field(None, description="transcribe, or translate into English; by default the run's own")
    window: float = Field(30.0, gt=0, description="seconds of a long recording that are read at once")
    overlap: float | None = Field(
        None,
        ge=0,
        description="seconds that two windows share, without timestamps in the model; by default a sixth, 5 at most",
    )
    device: Device = "cpu"

    def carry_out(self, console: Console) -> int:
        """Print or write the text of each file once its lot is read; what could not be is said at the end."""
        reader, usual = trained_reader(self.run)
        decoding = self.decoding or usual
        reader.model.to(self.device).eval()
        check_decoding(decoding, reader.model.config)
        self._check_names()
        refused: list[str] = []
        for lot in lots(map(_read, self.files), self._room(reader), reader.model.config.pad_to):
            found = iter(self._segments(reader, [each.samples for each in lot if each.samples is not None], decoding))
            for path, samples, reason in lot:
                segments = [] if samples is None else next(found)
                if reason or isinstance(segments, ConfigError):
                    refused.append(reason or f"{path}: {segments}")
                else:
                    self._put_out(path, render(segments, self.format), console)
        for reason in refused:
            print(reason, file=sys.stderr)
        return 2 if refused else 0

    def _put_out(self, path: Path, text: str, console: Console) -> None:
        if self.output is not None:
            target = self.output / f"{path.stem}.{FORMATS[self.format]}"
            try:
                self.output.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            except OSError as error:
                raise DataError(
                    f"A transcript must be writable; got {target} ({error.strerror}). Give --output a folder that is."
                ) from error
            return
        named = f"{path}: " if len(self.files) > 1 and self.format == "text" else ""
        console.print(f"{named}{text}", end="", highlight=False, markup=False, soft_wrap=True)

    def _segments(
        self, reader: Reader, recordings: list[Tensor], decoding: Decoding
    ) -> Sequence[list[Segment] | ConfigError]:
        """What is said in each recording of a lot, or why that cannot be told."""
        if not recordings:
            return []
        reader = tuned(reader, recordings[0], self.language, self.task)  # what it refuses, it refuses of every file
        if len(recordings[0]) <= self._room(reader):
            return transcribe_short(reader, recordings, decoding, timed=self.format != "text")
        try:
            return [transcribe_long(reader, recordings[0], decoding, window=self.window, overlap=self.overlap)]
        except ConfigError as error:
            return [error]

    def _room(self, reader: Reader) -> int:
        """Samples up to which a recording is read whole and beside others; a Whisper doubts each by itself."""
        if isinstance(reader.tokenizer, WhisperTokenizer):
            return 0
        config = reader.model.config
        most: int = config.n_audio_ctx * config.subsampling * HOP
        if reader.model.ctc_head is None:
            return most if self.format == "text" else 0
        return min(most, round(self.window * SAMPLE_RATE))

    def _check_names(self) -> None:
        names = [path.stem for path in self.files]
        twice = sorted({name for name in names if names.count(name) > 1})
        if self.output is not None and twice:
            raise DataError(
                f"Files written to one folder must differ in name; got {', '.join(twice)} twice. Do them apart."
            )


def _read(path: Path) -> Recording:
    try:
        return Recording(path, torch.from_numpy(read_audio(path)))
    except SilenceError:
        return Recording(path)
    except DataError as error:
        return Recording(path, reason=str(error))
