from __future__ import annotations

import pytest
import torch
from torch import Tensor

from echo_reference.longform import transcribe_long, transcribe_short
from echo_reference.tokens import CharacterTokenizer, CtcSymbols
from echo_reference.training.evaluation import Reader
from echo_reference.training.settings import Decoding
from tests.echo_reference.test_generation import talkative

LETTERS = CharacterTokenizer("abcdefghij klmnop")
SYMBOLS = CtcSymbols(LETTERS)


def clips() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(samples, generator=generator) for samples in (9000, 2400, 16000, 400, 12345, 30000)]


@pytest.mark.parametrize("mask_audio", [True, False])
@pytest.mark.parametrize("decoding", ["ctc", "greedy", "joint"])
def test_what_is_read_of_a_clip_depends_neither_on_the_others_nor_on_times(
    decoding: Decoding, mask_audio: bool
) -> None:
    model = talkative(ctc_vocab=SYMBOLS.size, ctc_shift=SYMBOLS.shift, mask_audio=mask_audio)
    reader = Reader(model, LETTERS, SYMBOLS)
    together = transcribe_short(reader, clips(), decoding)
    assert together == [transcribe_short(reader, [clip], decoding)[0] for clip in clips()]
    assert together == [transcribe_long(reader, clip, decoding) for clip in clips()]
    texts = [" ".join(segment.text for segment in segments) for segments in together]
    assert texts == [segment.text for (segment,) in transcribe_short(reader, clips(), decoding, timed=False)]
    assert len(set(texts)) > 3
