from __future__ import annotations

import importlib.util
import math
from itertools import groupby
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from echo_reference.config import EchoConfig
from echo_reference.errors import ConfigError
from echo_reference.longform import Segment, transcribe_long
from echo_reference.longform import transcribe as module
from echo_reference.longform.transcribe import read_timestamps
from echo_reference.model import Echo
from echo_reference.sampling import SAMPLE_RATE
from echo_reference.tokens import CtcSymbols, WhisperTokenizer, WordTokenizer
from echo_reference.training.evaluation import Reader, stack
from tests.echo_reference.runs import PITCHES, tone

WORDS = WordTokenizer(sorted(PITCHES))


class ToneModel(nn.Module):
    """Hears which tone sounds, by its energy alone: a reader that makes no mistakes but at the edges of windows."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.config = EchoConfig.preset("digits", n_mels=20, vocab_size=6, ctc_vocab=4)
        probe = Reader(self, WORDS, CtcSymbols(WORDS))  # type: ignore[arg-type]
        self.bands = [int(probe.features(samples(word, 0.3)).mean(1).argmax()) for word in WORDS.symbols]

    def encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, None]:
        assert lengths.tolist() == [features.shape[2]]
        whole = nn.functional.pad(features, (0, -features.shape[2] % 8))
        return whole.transpose(1, 2).unflatten(1, (-1, 8)).mean(2), None

    def ctc_head(self, audio: Tensor) -> Tensor:
        loud = audio[..., self.bands]
        quiet = torch.full_like(loud[..., :1], 0.6)
        return 50 * torch.cat((quiet, loud), -1)


def samples(word: str, seconds: float) -> Tensor:
    return torch.from_numpy(tone(word, seconds, SAMPLE_RATE)).float()


def best_path(reader: Reader, features: list[Tensor], decoding: str) -> list[str]:
    del decoding
    path = reader.model.ctc_head(reader.model.encode(*stack(features, reader.model.device))[0])[0].argmax(-1).tolist()
    return [reader.symbols.decode(s for s, _ in groupby(path) if s)]


def spoken(total: float, pauses: float = 0.5, seed: int = 0) -> tuple[Tensor, list[Segment]]:
    random = np.random.default_rng(seed)
    audio, said, time = 1e-4 * torch.randn(round(total * SAMPLE_RATE)), [], 0.2
    while time < total - 1:
        word, length = str(random.choice(list(PITCHES))), random.uniform(0.3, 0.6)
        start = round(time * SAMPLE_RATE)
        sound = samples(word, length)
        audio[start : start + len(sound)] += sound
        said.append(Segment(time, time + length, word))
        time += length + pauses + random.uniform(0.1, 0.6)
    return audio, said


@pytest.mark.parametrize(("window", "overlap"), [(30.0, 5.0), (12.0, 3.0), (7.3, 2.1), (9.0, None)])
def test_every_word_of_a_long_recording_is_found_once_and_in_time(
    monkeypatch: pytest.MonkeyPatch, window: float, overlap: float | None
) -> None:
    monkeypatch.setattr("echo_reference.longform.short.transcribe", best_path)
    monkeypatch.setattr("echo_reference.longform.segments._PAUSE", 0.0)
    audio, said = spoken(70.0)
    reader = Reader(ToneModel(), WORDS, CtcSymbols(WORDS))  # type: ignore[arg-type]
    found = transcribe_long(reader, audio, "ctc", window=window, overlap=overlap)
    assert [segment.text for segment in found] == [segment.text for segment in said]
    for a, b in zip(found, said, strict=True):
        assert a.start == pytest.approx(b.start, abs=0.17)
        assert a.end == pytest.approx(b.end, abs=0.17)


def test_what_cannot_be_done_is_said() -> None:
    reader = Reader(ToneModel(), WORDS, CtcSymbols(WORDS))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="below half a window of 10 s; got 5 s"):
        transcribe_long(reader, torch.zeros(SAMPLE_RATE), "ctc", window=10.0, overlap=5.0)
    headless = Echo(EchoConfig.preset("digits", vocab_size=6, ctc_vocab=0))
    with pytest.raises(ConfigError, match="timestamps or a CTC head"):
        transcribe_long(reader._replace(model=headless), torch.zeros(SAMPLE_RATE), "greedy")


needs_whisper = pytest.mark.skipif(
    importlib.util.find_spec("whisper") is None, reason="openai-whisper's files are not installed"
)


def stamp(seconds: float) -> int:
    return 50364 + round(seconds / 0.02)


@needs_whisper
def test_timestamps_enclose_segments() -> None:
    tokenizer = WhisperTokenizer()
    hello, world = tokenizer.encode("hello"), tokenizer.encode("world")
    prompt = [50258, 50259, 50359]
    closed = [*prompt, stamp(0), *hello, stamp(1.5), stamp(1.5), *world, stamp(30.0), 50257]
    assert read_timestamps(closed, tokenizer, 4.0) == ([Segment(0.0, 1.5, "hello"), Segment(1.5, 4.0, "world")], None)
    cut = [*prompt, stamp(0), *hello, stamp(1.5), stamp(2.0), *world, 50257]
    assert read_timestamps(cut, tokenizer, 4.0) == ([Segment(0.0, 1.5, "hello")], Segment(2.0, 4.0, "world"))
    assert read_timestamps([*prompt, 50257], tokenizer, 4.0) == ([], None)
    begun = [*prompt, stamp(0), *hello, stamp(1.5), stamp(2.0), 50257]
    assert read_timestamps(begun, tokenizer, 4.0) == ([Segment(0.0, 1.5, "hello")], Segment(2.0, 4.0, ""))
    assert read_timestamps(begun, tokenizer, 2.0) == ([Segment(0.0, 1.5, "hello")], None)
    # A line of subtitles must not be ended by what is said in it.
    broken = [*prompt, stamp(0), *tokenizer.encode("hello\n\n2\r\n world\u2028again"), stamp(1.5), 50257]
    assert read_timestamps(broken, tokenizer, 4.0) == ([Segment(0.0, 1.5, "hello 2 world again")], None)
    # Nothing is said beyond the end of the recording.
    beyond = [*prompt, stamp(0), *hello, stamp(1.5), stamp(9.0), *world, stamp(12.0), stamp(13.0), *world, 50257]
    assert read_timestamps(beyond, tokenizer, 4.0) == ([Segment(0.0, 1.5, "hello")], None)


@needs_whisper
def test_a_segment_that_a_window_cuts_off_is_read_again_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = WhisperTokenizer()
    hello, world = tokenizer.encode("hello"), tokenizer.encode("world")
    windows, frames = (
        [
            [stamp(0), *hello, stamp(24.0), stamp(26.0), *world, 50257],
            [stamp(2.0), *world, stamp(5.0), stamp(7.0), *hello, stamp(9.0), 50257],
            [stamp(0.5), *world, 50257],
        ],
        [],
    )

    def write(_model: object, _tokenizer: object, features: Tensor, *_: object) -> list[int]:
        frames.append(features.shape[2])
        return windows[len(frames) - 1]

    monkeypatch.setattr(module, "read_window", write)
    reader = Reader(ToneModel(), tokenizer, CtcSymbols(WORDS))  # type: ignore[arg-type]
    reader.model.config = EchoConfig(n_mels=20)
    found = transcribe_long(reader, torch.randn(58 * SAMPLE_RATE), "greedy")
    assert found == [
        Segment(0.0, 24.0, "hello"),
        Segment(26.0, 29.0, "world"),
        Segment(31.0, 33.0, "hello"),
        Segment(54.5, 58.0, "world"),
    ]
    assert frames == [3000, 3000, 400]


def heard(
    monkeypatch: pytest.MonkeyPatch, windows: list[list[float | str]], seconds: float, **options: float
) -> tuple[list[Segment], list[float]]:
    """Segments of a recording, and the seconds of each window, where a Whisper writes the windows in turn."""
    tokenizer = WhisperTokenizer()
    lengths: list[float] = []

    def generate(_self: Echo, feature_lengths: Tensor, **_: Any) -> SimpleNamespace:
        said = windows[len(lengths)]
        lengths.append(int(feature_lengths) / 100)
        tokens = [t for part in said for t in (tokenizer.encode(part) if isinstance(part, str) else [stamp(part)])]
        scores = torch.zeros(len(tokens) + 1, 1, 51865)
        scores[range(len(tokens) + 1), 0, [*tokens, 50257]] = 2 * math.log(51864)
        return SimpleNamespace(sequences=torch.tensor([[50258, 50259, 50359, *tokens, 50257]]), scores=tuple(scores))

    monkeypatch.setattr(Echo, "generate", generate)
    config = EchoConfig(
        n_mels=20, n_audio_ctx=1500, n_audio_state=16, n_audio_head=2, n_audio_layer=1, n_text_ctx=12, n_text_state=16,
        n_text_head=2, n_text_layer=1, givens_rounds=2, vocab_size=51865, ctc_vocab=0, checkpointing=False,
    )  # fmt: skip
    reader = Reader(Echo(config).eval(), tokenizer, CtcSymbols(WORDS))
    return transcribe_long(reader, torch.randn(round(seconds * SAMPLE_RATE)), "greedy", **options), lengths


@needs_whisper
def test_a_segment_begun_by_its_timestamp_alone_is_read_by_the_next_window(monkeypatch: pytest.MonkeyPatch) -> None:
    # The sentence from 26 to 33 s is cut by the first window, the one from 50 to 57 s by the second.
    windows: list[list[float | str]] = [
        [0.0, "one", 10.0, 10.0, "two", 24.0, 26.0],
        [2.0, "three", 9.0, 9.0, "four", 26.0, 26.0],
        [0.0, "five", 7.0, 7.0, "six", 15.0],
    ]
    segments, lengths = heard(monkeypatch, windows, 65.0)
    assert segments == [
        Segment(0.0, 10.0, "one"),
        Segment(10.0, 24.0, "two"),
        Segment(26.0, 33.0, "three"),
        Segment(33.0, 50.0, "four"),
        Segment(50.0, 57.0, "five"),
        Segment(57.0, 65.0, "six"),
    ]
    assert lengths == [30.0, 30.0, 15.0]


@needs_whisper
@pytest.mark.parametrize(
    ("ending", "begins"),
    [
        pytest.param([24.0], 30.0, id="complete"),
        pytest.param([24.0, 24.0], 24.0, id="begun at once"),
        pytest.param([24.0, 26.0], 24.0, id="begun after a pause"),
        pytest.param([24.0, 26.0, "world"], 24.0, id="begun with text"),
        pytest.param([30.0, 30.0], 30.0, id="at the window's end"),
        pytest.param([0.5, 0.5], 0.5, id="begun early"),
        pytest.param([0.5, 0.5, "world"], 30.0, id="begun early, with text"),
        pytest.param([], 30.0, id="none complete"),
    ],
)
def test_where_the_next_window_begins(
    monkeypatch: pytest.MonkeyPatch, ending: list[float | str], begins: float
) -> None:
    segments, lengths = heard(monkeypatch, [[0.0, "hello", *ending], [0.0, "again", 5.0]], begins + 30.0)
    assert lengths == [30.0, 30.0]
    assert segments[-1] == Segment(begins, begins + 5.0, "again")
    spoken_there = [segment.text for segment in segments[:-1]]
    assert spoken_there == (["hello", "world"] if ending[-1:] == ["world"] and begins == 30.0 else ["hello"])


@needs_whisper
def test_a_window_in_which_nobody_speaks_counts_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    segments, lengths = heard(monkeypatch, [[0.0], [0.0, "hello", 3.0, 3.0], [0.0]], 35.0)
    assert segments == [Segment(30.0, 33.0, "hello")]
    assert lengths == [30.0, 5.0, 2.0]


@needs_whisper
@pytest.mark.parametrize("options", [{"window": 8.0}, {"window": 8.0, "overlap": 5.0}])
def test_windows_that_begin_where_segments_end_need_no_overlap(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, float]
) -> None:
    segments, lengths = heard(monkeypatch, [[0.0, "hello", 8.0], [0.0, "world", 4.0]], 12.0, **options)
    assert segments == [Segment(0.0, 8.0, "hello"), Segment(8.0, 12.0, "world")]
    assert lengths == [8.0, 4.0]
