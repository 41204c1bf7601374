"""`echo-reference transcribe`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console
from torch import Tensor

from echo_reference.commands.command import Command
from echo_reference.data.audio import read_audio
from echo_reference.errors import ConfigError, DataError, SilenceError
from echo_reference.features import HOP
from echo_reference.longform import FORMATS, Format, Segment, render, transcribe_long, tuned
from echo_reference.sampling import SAMPLE_RATE
from echo_reference.tokens import WhisperTokenizer
from echo_reference.tokens.marks import Task
from echo_reference.training.evaluation import Reader, transcribe
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
        """Print or write the text of each file as soon as it is read; what could not be is said at the end."""
        reader, usual = trained_reader(self.run)
        decoding = self.decoding or usual
        reader.model.to(self.device).eval()
        check_decoding(decoding, reader.model.config)
        self._check_names()
        refused: list[str] = []
        for path in self.files:
            try:
                samples = torch.from_numpy(read_audio(path))
            except SilenceError:
                self._put_out(path, render([], self.format), console)
                continue
            except DataError as error:
                refused.append(str(error))
                continue
            asked = tuned(reader, samples, self.language, self.task)  # what it refuses, it refuses of every file
            try:
                segments = self._segments(asked, samples, decoding)
            except ConfigError as error:
                refused.append(f"{path}: {error}")
                continue
            self._put_out(path, render(segments, self.format), console)
        for reason in refused:
            print(reason, file=sys.stderr)
        return 2 if refused else 0

    def _put_out(self, path: Path, text: str, console: Console) -> None:
        if self.output is not None:
            self.output.mkdir(parents=True, exist_ok=True)
            (self.output / f"{path.stem}.{FORMATS[self.format]}").write_text(text, encoding="utf-8")
            return
        named = f"{path}: " if len(self.files) > 1 and self.format == "text" else ""
        console.print(f"{named}{text}", end="", highlight=False, markup=False, soft_wrap=True)

    def _segments(self, reader: Reader, samples: Tensor, decoding: Decoding) -> list[Segment]:
        if self.format == "text" and len(samples) <= self._room(reader):
            (text,) = transcribe(reader, [reader.features(samples)], decoding)
            return [Segment(0.0, 0.0, " ".join(text.split()))]
        return transcribe_long(reader, samples, decoding, window=self.window, overlap=self.overlap)

    def _room(self, reader: Reader) -> int:
        """Samples up to which the text is the same without times, for which words need not be aligned."""
        if isinstance(reader.tokenizer, WhisperTokenizer):
            return 0
        config = reader.model.config
        most: int = config.n_audio_ctx * config.subsampling * HOP
        return most if reader.model.ctc_head is None else min(most, round(self.window * SAMPLE_RATE))

    def _check_names(self) -> None:
        names = [path.stem for path in self.files]
        twice = sorted({name for name in names if names.count(name) > 1})
        if self.output is not None and twice:
            raise DataError(
                f"Files written to one folder must differ in name; got {', '.join(twice)} twice. Do them apart."
            )
