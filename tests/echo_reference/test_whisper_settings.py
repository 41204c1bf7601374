from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import WhisperForConditionalGeneration

from echo_reference.model import Echo
from echo_reference.tokens.marks import WhisperMarks, whisper_marks
from echo_reference.whisper_settings import whisper_settings
from tests.echo_reference.test_warm_start import Size, whisper

VOCABULARIES = {"english": 51864, "multilingual": 51865, "turbo": 51866}


def marks_of(vocabulary: int) -> WhisperMarks:
    marks = whisper_marks(vocabulary)
    assert marks is not None
    return marks


def hub_whisper(vocabulary: int, *, positions: int = 50, **changes: Any) -> WhisperForConditionalGeneration:
    """A small Whisper with random weights that writes by the rules of those on the hub, and hears 1 s at once."""
    marks = marks_of(vocabulary)
    size = Size(32, 2, 1, 1, mels=16, vocabulary=vocabulary, positions=positions)
    ends = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), marks.end)
    model = whisper(size, **ends, decoder_start_token_id=marks.start)
    rules: dict[str, Any] = {
        "max_length": 448,
        "suppress_tokens": [1, 2, 7, marks.start, *range(marks.translate, marks.no_timestamps)],
        "begin_suppress_tokens": [220, marks.end],
        "no_timestamps_token_id": marks.no_timestamps,
        "is_multilingual": marks.multilingual,
        "max_initial_timestamp_index": 50,
        "forced_decoder_ids": [[1, marks.no_timestamps]],
    }
    if marks.multilingual:
        rules |= {
            "lang_to_id": {f"<|{code}|>": i for i, code in enumerate(marks.languages, marks.start + 1)},
            "task_to_id": {"translate": marks.translate, "transcribe": marks.translate + 1},
            "forced_decoder_ids": [[1, None], [2, marks.translate + 1]],
        }
    for name, value in {**rules, **changes}.items():
        setattr(model.generation_config, name, value)
    return model


def features() -> Tensor:
    return torch.randn(3, 16, 100, generator=torch.Generator().manual_seed(4))


def both(source: WhisperForConditionalGeneration, echo: Echo, **asked: Any) -> tuple[Tensor, Tensor]:
    """What each writes, prompt included."""
    return echo.generate(features(), **asked), source.generate(features(), force_unique_generate_call=True, **asked)


@pytest.mark.parametrize("name", VOCABULARIES)
def test_the_same_is_written_where_nothing_is_asked(name: str, tmp_path: Path) -> None:
    source = hub_whisper(VOCABULARIES[name])
    echo = Echo.from_whisper(source)
    ours, theirs = both(source, echo)
    assert torch.equal(ours, theirs)
    assert len(ours[:, 4:].unique()) > 3
    echo.save_pretrained(tmp_path)
    assert torch.equal(Echo.from_pretrained(tmp_path).eval().generate(inputs=features()), theirs)


def test_the_same_is_written_where_something_is_asked() -> None:
    source = hub_whisper(51865)
    echo = Echo.from_whisper(source)
    wishes: list[dict[str, Any]] = [
        *({"language": name} for name in ("de", "german", "German", "<|de|>", ["german", "fr", "<|yo|>"])),
        *({"task": "translate"}, {"return_timestamps": True}, {"max_new_tokens": 5}),
    ]
    for asked in wishes:
        ours, theirs = both(source, echo, **asked)
        assert torch.equal(ours, theirs), asked


@pytest.mark.parametrize(
    ("named", "prompt"),
    [
        ({"language": "german", "task": "translate"}, [50261, 50358, 50363]),
        ({"language": "<|de|>"}, [50261, 50359, 50363]),
        ({"forced_decoder_ids": [[1, 50261], [2, 50358], [3, 50363]]}, [50261, 50358, 50363]),
        ({"max_length": 6}, None),
    ],
)
def test_what_a_source_was_tuned_to_is_kept(named: dict[str, Any], prompt: list[int] | None) -> None:
    source = hub_whisper(51865, **named)
    ours, theirs = both(source, Echo.from_whisper(source))
    assert torch.equal(ours, theirs)
    assert prompt is None or ours[:, 1:4].tolist() == [prompt] * 3


def test_another_vocabulary_has_no_prompt() -> None:
    settings = whisper_settings(whisper(Size(32, 2, 1, 1, mels=8)))
    assert not settings.keys() & {"language", "task", "max_length"}
