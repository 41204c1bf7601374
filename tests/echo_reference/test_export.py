from __future__ import annotations

import torch

from echo_reference.decoding import greedy
from echo_reference.export import DecoderStepForExport, EncoderForExport
from tests.echo_reference.small import audio
from tests.echo_reference.test_generation import talkative


def test_the_exported_programs_write_the_same_transcript() -> None:
    model = talkative(rotation_sharing="conditional", n_audio_layer=1, n_text_layer=1, givens_rounds=1)
    expected = greedy(model, audio(2), max_new_tokens=6)
    encoder, step = EncoderForExport(model), DecoderStepForExport(model)
    encode = torch.export.export(encoder, (audio(2),)).module()
    with torch.no_grad():
        heard, *read = encode(audio(2, seed=1))
    tokens, first = torch.ones(2, 1, dtype=torch.long), torch.tensor(0)
    cache = (step.empty(2, 7), step.empty(2, 7))
    decode = torch.export.export(step, (tokens, first, heard, tuple(read), *cache)).module()
    rows = []
    for i in range(6):
        with torch.no_grad():
            logits, *cache = decode(tokens, torch.tensor(i), heard, tuple(read), *cache)
        tokens = logits[:, -1:].argmax(-1)
        rows.append(tokens)
    assert torch.cat(rows, 1).tolist() == expected
