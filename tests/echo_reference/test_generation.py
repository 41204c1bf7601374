from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import EncoderDecoderCache, GenerationConfig, StaticCache

from echo_reference.decoding import greedy
from echo_reference.errors import ConfigError, DataError
from echo_reference.model import Echo
from echo_reference.modules.memo import Memo, remembering
from echo_reference.tokens.marks import whisper_marks
from tests.echo_reference.small import audio, generic_echo

LENGTHS = torch.tensor([40, 31, 22])
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beam": {"num_beams": 3},
    "sampling": {"do_sample": True},
}


def talkative(seed: int = 1, **changes: object) -> Echo:
    """An Echo whose transcripts vary: its output is not tied to what it has read, and no two positions are alike."""
    model = generic_echo(seed, tie_word_embeddings=False, **changes).eval()
    nn.init.normal_(model.decoder.position.direction)
    return model


def write(model: Echo, clips: slice = slice(0, 3), **options: Any) -> Tensor:
    torch.manual_seed(0)
    options = {"max_new_tokens": 9, **options}
    tokens: Tensor = model.generate(audio(3)[clips], feature_lengths=LENGTHS[clips], **options)
    return tokens


@pytest.mark.parametrize("sharing", ["layer", "conditional"])
@pytest.mark.parametrize("way", WAYS)
def test_no_cache_changes_what_is_written(way: str, sharing: str) -> None:
    model = talkative(rotation_sharing=sharing)
    expected = write(model, use_cache=False, **WAYS[way])
    assert len(expected.unique()) > 4
    assert torch.equal(write(model, **WAYS[way]), expected)
    assert torch.equal(write(model, cache_implementation="static", **WAYS[way]), expected)


@pytest.mark.parametrize("way", ["greedy", "beam"])
def test_a_batch_writes_what_each_clip_does_alone(way: str) -> None:
    model = talkative()
    together = write(model, **WAYS[way])
    for i in range(3):
        alone = write(model, slice(i, i + 1), **WAYS[way])
        assert torch.equal(alone[0], together[i, : alone.shape[1]])
        assert set(together[i, alone.shape[1] :].tolist()) <= {0, 2}


def test_the_wider_beam_finds_the_likelier_transcript() -> None:
    model = talkative(3)

    def likelihood(beams: int) -> Tensor:
        out = write(model, num_beams=beams, num_return_sequences=1, length_penalty=0.0, eos_token_id=19)
        logits = model(audio(3), feature_lengths=LENGTHS, decoder_input_ids=out[:, :-1]).logits
        return logits.log_softmax(-1).gather(-1, out[:, 1:, None]).sum((1, 2))

    assert (likelihood(6) >= likelihood(1) - 1e-5).all()


def test_a_static_cache_written_in_steps_gives_the_uncached_logits() -> None:
    model = talkative()
    tokens = torch.tensor([[1, 5, 6, 7, 8, 9]]).repeat(3, 1)
    whole = model(audio(3), feature_lengths=LENGTHS, decoder_input_ids=tokens).logits
    heard, lengths = model.encode(audio(3), LENGTHS)
    text = StaticCache(config=model.config, max_cache_len=10)
    cache = EncoderDecoderCache(text, StaticCache(config=model.config, max_cache_len=heard.shape[1]))
    parts = [model.decode(part, heard, lengths, cache) for part in tokens.split([3, 2, 1], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-4)


def test_generate_writes_more_than_the_most_probable_first_token() -> None:
    model = talkative()
    rows = write(model, max_new_tokens=12, min_new_tokens=12)
    model.proj_out.weight.data[2] = 0.0  # what is written never was the end mark
    assert rows.shape == (3, 13)
    teacher_forced = model(audio(3), feature_lengths=LENGTHS, decoder_input_ids=rows).logits.argmax(-1)
    assert torch.equal(teacher_forced[:, :-1], rows[:, 1:])


@pytest.mark.parametrize("asked", [{"max_new_tokens": 1000}, {"max_new_tokens": None}, {"max_length": 500}])
def test_no_transcript_outgrows_the_positions(asked: dict[str, Any]) -> None:
    model = talkative()
    tokens = model.generate(audio(1), min_new_tokens=23, **asked)
    assert tokens.shape[1] == model.config.n_text_ctx


def test_a_prompt_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ConfigError, match="shorter than the decoder's 24 positions; got 24"):
        talkative().generate(audio(1), decoder_input_ids=torch.ones(1, 24, dtype=torch.long))


def test_folded_weights_are_made_once_for_a_call_and_then_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    model = talkative()
    attention = model.decoder.blocks[0].attention
    calls = []
    folded = type(attention).folded
    monkeypatch.setattr(type(attention), "folded", lambda self, r: calls.append(self) or folded(self, r))
    for decode in (write, lambda m: greedy(m, audio(3), LENGTHS, max_new_tokens=9)):
        calls.clear()
        first = decode(model)
        assert calls.count(attention) == 1
        with torch.no_grad():
            attention.q_proj.weight.mul_(-1.0)
        assert str(decode(model)) != str(first)
        assert not any(module.active for module in model.modules() if isinstance(module, Memo))


def test_a_dial_that_moves_is_heard_between_tokens() -> None:
    model = talkative(attention_window=3.0)
    model.decoder.blocks[0].attention.bias.table.data.normal_()
    heard, _ = model.encode(audio(1))
    tokens = torch.tensor([[1, 5, 6, 7, 8, 9]])

    def logits() -> Tensor:
        return model.decode(tokens, heard, None)

    with torch.no_grad(), remembering(model):
        before = logits()
        for name, value in {"attention_window": 1.5, "rotary_base": 50.0, "embedding_width": 20.0}.items():
            getattr(model.dials, name).set(value)
            after = logits()
            assert not torch.allclose(after, before), name
            before = after
    torch.testing.assert_close(logits(), before)


def test_a_decoder_that_goes_on_leaves_the_ctc_head_alone() -> None:
    model = talkative()
    heard, symbols = model(audio(2)).encoder_last_hidden_state, torch.tensor([[1, 2], [3, 4]])
    tokens = torch.ones(2, 1, dtype=torch.long)
    assert model(encoder_outputs=(heard,), decoder_input_ids=tokens).ctc_logits is None
    scored = model(encoder_outputs=(heard,), decoder_input_ids=tokens, ctc_targets=symbols)
    torch.testing.assert_close(scored.ctc_loss, model(audio(2), ctc_targets=symbols).ctc_loss)


def speaker(**changes: object) -> Echo:
    return talkative(vocab_size=51865, eos_token_id=50257, pad_token_id=50257, decoder_start_token_id=50258, **changes)


@pytest.mark.parametrize(
    ("asked", "prompt"),
    [
        ({"language": "de"}, [50258, 50261, 50359, 50363]),
        ({"language": "german"}, [50258, 50261, 50359, 50363]),
        ({"language": "<|de|>"}, [50258, 50261, 50359, 50363]),
        ({"generation_config": GenerationConfig(language="Castilian")}, [50258, 50262, 50359, 50363]),
        ({"language": "su", "task": "translate"}, [50258, 50357, 50358, 50363]),
        ({"language": "en", "task": "transcribe", "return_timestamps": True}, [50258, 50259, 50359]),
        ({}, [50258, 50265, 50359, 50363]),
        ({"generation_config": GenerationConfig(do_sample=False)}, [50258, 50265, 50359, 50363]),
        ({"decoder_input_ids": torch.tensor([[50258]] * 2)}, [50258]),
        ({"decoder_start_token_id": 50257}, [50257]),
    ],
)
def test_language_task_and_timestamps_become_the_prompt(
    asked: dict[str, Any], prompt: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Echo, "detect_language", lambda _, **given: ["fr"] * len(given["encoder_outputs"][0]))
    tokens = speaker().generate(audio(2), max_new_tokens=2, **asked)
    assert tokens[:, : len(prompt)].tolist() == [prompt] * 2
    assert tokens.shape[1] == len(prompt) + 2


def test_a_language_that_is_not_named_is_detected_for_each_clip() -> None:
    model, hidden = speaker(), []
    handle = model.proj_out.register_forward_pre_hook(lambda _, given: hidden.append(given[0][:, 0]))
    with torch.no_grad():
        model(audio(3), feature_lengths=LENGTHS, decoder_input_ids=torch.full((3, 1), 50258))
        handle.remove()
        first, second, third = hidden[0]
        model.proj_out.weight[50259:50358] = 0.0
        model.proj_out.weight[50300], model.proj_out.weight[50310] = first - second, second - third
    marks = whisper_marks(51865)
    assert marks is not None
    languages = [
        50259 + marks.languages.index(each) for each in model.detect_language(audio(3), feature_lengths=LENGTHS)
    ]
    assert languages[:2] == [50300, 50310]
    for given in ({"input_features": audio(3)}, {"encoder_outputs": model.get_encoder()(audio(3), None, LENGTHS)}):
        tokens = model.generate(**given, feature_lengths=LENGTHS, task="translate", max_new_tokens=2)
        assert tokens[:, :4].tolist() == [[50258, language, 50358, 50363] for language in languages]
    with pytest.raises(ConfigError, match="must go with a vocabulary of Whisper's"):
        talkative().detect_language(audio(1))
    with pytest.raises(ValueError, match="input_features or encoder_outputs; got neither"):
        model.generate(task="transcribe")


def test_the_generation_config_may_carry_them(tmp_path: Path) -> None:
    model = speaker()
    model.generation_config.language = "de"
    model.save_pretrained(tmp_path)
    model = Echo.from_pretrained(tmp_path).eval()
    assert model.generate(audio(1), max_new_tokens=1)[0, 1] == 50261
    assert model.generate(audio(1), max_new_tokens=1, language="fr")[0, 1] == 50265
    assert model.generate(audio(1), GenerationConfig(max_new_tokens=1))[0, 1] == 50261


def test_features_may_be_named_inputs() -> None:
    model = talkative()
    assert torch.equal(model.generate(inputs=audio(1), max_new_tokens=9), model.generate(audio(1), max_new_tokens=9))
    with pytest.raises(ValueError, match="features once; got both inputs and input_features"):
        model.generate(audio(1), inputs=audio(1))


def test_timestamps_come_in_pairs_and_never_go_back() -> None:
    marks = whisper_marks(51865)
    assert marks is not None
    row = speaker().generate(audio(1), return_timestamps=True, max_new_tokens=20)[0, 3:].tolist()
    times = [seconds for seconds in map(marks.seconds, row) if seconds is not None]
    assert marks.seconds(row[0]) is not None
    assert len(times) > 1
    assert times == sorted(times)


def test_what_the_vocabulary_has_no_marks_for_is_refused() -> None:
    with pytest.raises(ConfigError, match="vocabulary of Whisper's; got one of 20 ids"):
        talkative().generate(audio(1), language="en")
    with pytest.raises(DataError, match="ISO code or its English name; got 'klingon'"):
        speaker().generate(audio(1), language="klingon")
    with pytest.raises(DataError, match="as many as clips, 1, or one for all; got 2"):
        speaker().generate(audio(1), language=["de", "en"])
