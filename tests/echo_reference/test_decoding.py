from __future__ import annotations

import itertools
import math

import pytest
import torch

from echo_reference.ctc_prefix import PrefixScorer
from echo_reference.decoding import ctc_greedy, greedy, joint
from echo_reference.errors import ConfigError
from echo_reference.model import Echo
from tests.echo_reference.small import audio, generic_echo

LENGTHS = torch.tensor([40, 31, 22])


def uncached_greedy(model: Echo, steps: int) -> list[list[int]]:
    rows = []
    for b in range(3):
        tokens = [1]
        while len(tokens) <= steps and (len(tokens) == 1 or tokens[-1] != 2):
            clip = audio(3)[b : b + 1, :, : LENGTHS[b]]
            tokens.append(int(model(clip, decoder_input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
        rows.append([token for token in tokens[1:] if token != 2])
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_batched_cached_greedy_equals_one_clip_without_a_cache(seed: int) -> None:
    model = generic_echo(seed).eval()
    assert greedy(model, audio(3), LENGTHS, max_new_tokens=8) == uncached_greedy(model, 8)


def test_generate_gives_the_same_tokens() -> None:
    model = generic_echo(1).eval()
    generated = model.generate(audio(3), feature_lengths=LENGTHS, max_new_tokens=8, do_sample=False)
    rows = [[t for t in row[1:] if t not in {0, 2}] for row in generated.tolist()]
    assert rows == [[t for t in row if t] for row in greedy(model, audio(3), LENGTHS, max_new_tokens=8)]


def test_no_transcript_is_longer_than_the_decoder_has_positions_for() -> None:
    model = generic_echo().eval()
    model.proj_out.weight.data[2] = 0.0  # the end mark never wins
    rows = greedy(model, audio(3), LENGTHS)
    assert max(map(len, rows)) <= model.config.n_text_ctx - 1


def transcript_probabilities(probs: torch.Tensor) -> dict[tuple[int, ...], float]:
    frames, symbols = probs.shape
    total: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(symbols), repeat=frames):
        text = tuple(s for s, _ in itertools.groupby(path) if s)
        total[text] = total.get(text, 0.0) + math.prod(probs[t, s].item() for t, s in enumerate(path))
    return total


def test_prefix_scores_equal_the_sum_over_all_paths() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 6, 3, dtype=torch.float64)
    scorer = PrefixScorer(logits, torch.tensor([6, 4]))
    symbols = torch.tensor([1, 2])
    for clip, frames in ((0, 6), (1, 4)):
        exact = transcript_probabilities(logits[clip, :frames].softmax(-1))
        for prefix in itertools.product((1, 2), repeat=3):
            state = scorer.start()
            for symbol in prefix:
                state = type(state)(*(field[:, symbol - 1] for field in scorer.extend(state, symbols)))
            begins = sum(p for text, p in exact.items() if text[:3] == prefix)
            assert state.score[clip].exp().item() == pytest.approx(begins, rel=1e-9, abs=1e-12)
            assert scorer.finish(state)[clip].exp().item() == pytest.approx(exact.get(prefix, 0.0), rel=1e-9, abs=1e-12)


def test_joint_decoding_spans_both_heads() -> None:
    # The wide beam loses nothing here, so the decoder alone is never better than what it finds.
    model = generic_echo(2).eval()
    model.proj_out.weight.data[9:] = 0.0
    alone = joint(model, audio(3), LENGTHS, ctc_share=0.0, beam=1, max_new_tokens=6)
    text = set(range(3, 9)) | {2}
    rows = greedy(model, audio(3), LENGTHS, max_new_tokens=6)
    expected = [list(itertools.takewhile(lambda t: t in text, row)) for row in rows]
    assert [a[: len(e)] for a, e in zip(alone, expected, strict=True)] == expected
    by_ctc = joint(model, audio(3), LENGTHS, ctc_share=1.0, beam=8, max_new_tokens=20)
    audio_features, lengths = model.encode(audio(3), LENGTHS)
    logits = model.ctc_head(audio_features)
    for row, (clip, best) in zip(by_ctc, enumerate(ctc_greedy(model, audio(3), LENGTHS)), strict=True):
        assert transcript_score(logits[clip], lengths[clip], [t - 2 for t in row]) >= transcript_score(
            logits[clip], lengths[clip], best
        )


def transcript_score(logits: torch.Tensor, length: torch.Tensor, symbols: list[int]) -> float:
    scorer = PrefixScorer(logits[None], length[None])
    state = scorer.start()
    for symbol in symbols:
        state = type(state)(*(field[:, 0] for field in scorer.extend(state, torch.tensor([symbol]))))
    return scorer.finish(state).item() + 1e-9


def test_what_is_missing_for_a_way_of_decoding_is_said() -> None:
    with pytest.raises(ConfigError, match="ctc_shift"):
        joint(generic_echo(ctc_shift=None), audio())
    with pytest.raises(ConfigError, match="CTC head"):
        ctc_greedy(generic_echo(ctc_vocab=0), audio())
