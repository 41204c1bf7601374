from __future__ import annotations

import torch
from torch.export import Dim

from echo_reference.decoding import greedy
from echo_reference.export import DecoderStepForExport, EncoderForExport
from tests.echo_reference.small import audio
from tests.echo_reference.test_generation import talkative


def test_the_exported_programs_write_the_same_transcripts_for_any_batch_of_padded_clips() -> None:
    model = talkative(rotation_sharing="conditional", n_audio_layer=1, n_text_layer=1, givens_rounds=1)
    encoder, step, lengths = EncoderForExport(model), DecoderStepForExport(model), torch.tensor([40, 17, 29])
    batch, layers = {0: Dim.DYNAMIC}, {1: Dim.DYNAMIC}
    encode = torch.export.export(encoder, (audio(2), lengths[:2]), dynamic_shapes=(batch, batch)).module()
    with torch.no_grad():
        heard = encode(audio(2, seed=1), lengths[:2])
    arguments = (torch.ones(2, 1, dtype=torch.long), torch.tensor(0), tuple(heard), step.empty(2, 7), step.empty(2, 7))
    shapes = (batch, None, (batch, layers, layers, batch), layers, layers)
    decode = torch.export.export(step, arguments, dynamic_shapes=shapes).module()

    # Three clips, though two were shown.
    clips = audio(3, seed=2)
    expected = greedy(model, clips, lengths, max_new_tokens=6)
    assert expected != greedy(model, clips, max_new_tokens=6), "padding must matter, or the mask is not tested"
    tokens, caches, rows = torch.ones(3, 1, dtype=torch.long), (step.empty(3, 7), step.empty(3, 7)), []
    with torch.no_grad():
        heard = encode(clips, lengths)
        for i in range(6):
            logits, *caches = decode(tokens, torch.tensor(i), tuple(heard), *caches)
            tokens = logits[:, -1:].argmax(-1)
            rows.append(tokens)
    assert torch.cat(rows, 1).tolist() == expected
