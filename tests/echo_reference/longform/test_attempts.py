from __future__ import annotations

import copy
import importlib.util
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import WhisperTimeStampLogitsProcessor

from echo_reference.config import EchoConfig
from echo_reference.longform import Doubts, attempts
from echo_reference.longform.attempts import read_window
from echo_reference.model import Echo
from echo_reference.tokens import WhisperTokenizer

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("whisper") is None, reason="openai-whisper's files are not installed"
)
FEATURES, LENGTHS = torch.zeros(1, 20, 100), torch.tensor([100])
PROMPT = [50258, 50259, 50359]


def spoken(text: str) -> list[int]:
    return [50364, *WhisperTokenizer().encode(text), 50464, 50257]


class Scribe:
    """Writes the texts it is given, one an attempt, each token with the same probability; keeps the temperatures."""

    def __init__(self, attempts: list[tuple[str, float]], silence: float = 0.01) -> None:
        self.attempts, self.silence, self.temperatures = attempts, silence, []

    def get_encoder(self) -> Any:
        return lambda features, **_: SimpleNamespace(last_hidden_state=features)

    def __call__(self, decoder_input_ids: Tensor, **_: Any) -> Any:
        assert decoder_input_ids.tolist() == [[50258]]
        logits = torch.zeros(1, 1, 51865)
        logits[0, 0, 50362] = math.log(self.silence / (1 - self.silence) * 51864)
        return SimpleNamespace(logits=logits)

    def generate(self, temperature: float | None, do_sample: bool, **_: Any) -> Any:
        assert do_sample == bool(temperature)
        self.temperatures.append(temperature or 0.0)
        text, probability = self.attempts[len(self.temperatures) - 1]
        tokens = spoken(text)
        scores = []
        for token in tokens:
            score = torch.zeros(1, 51865)
            score[0, token] = math.log(probability / (1 - probability) * 51864) / (temperature or 1.0)
            scores.append(score)
        return SimpleNamespace(sequences=torch.tensor([PROMPT + tokens]), scores=tuple(scores))


def read(scribe: Scribe, **doubts: float) -> str:
    tokens = read_window(scribe, WhisperTokenizer(), FEATURES, LENGTHS, Doubts(**doubts))  # type: ignore[arg-type]
    return WhisperTokenizer().decode(tokens)


def test_a_probable_transcript_is_believed_at_once() -> None:
    scribe = Scribe([("hello world", 0.9)])
    assert read(scribe) == "hello world"
    assert scribe.temperatures == [0.0]


def test_an_improbable_one_is_read_again_warmer_and_the_last_counts() -> None:
    scribe = Scribe([("hello", 0.2), ("yellow", 0.3), ("hello world", 0.6), ("never read", 0.9)])
    assert read(scribe) == "hello world"
    assert scribe.temperatures == [0.0, 0.2, 0.4]
    hopeless = Scribe([("hello", 0.2)] * 5 + [("mellow", 0.2)])
    assert read(hopeless) == "mellow"
    assert hopeless.temperatures == list(Doubts().temperatures)


def test_a_loop_of_words_is_read_again() -> None:
    scribe = Scribe([("again and " * 20, 0.9), ("once", 0.9)])
    assert read(scribe) == "once"
    assert read(Scribe([("again and " * 20, 0.9)]), repetition=1e9).startswith("again and again")


def test_where_nobody_speaks_nothing_is_written() -> None:
    assert read(Scribe([("thank you", 0.2)], silence=0.7)) == ""
    # Sure of its words, a model is believed all the same.
    assert read(Scribe([("thank you", 0.9)], silence=0.7)) == "thank you"
    assert read(Scribe([("thank", 0.2), ("thank you", 0.9)], silence=0.5)) == "thank you"


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_the_probability_is_the_models_own_among_what_the_rules_allow(temperature: float) -> None:
    torch.manual_seed(0)
    tokenizer = WhisperTokenizer()
    config = EchoConfig(
        n_mels=20, n_audio_ctx=50, n_audio_state=16, n_audio_head=2, n_audio_layer=1, n_text_ctx=12, n_text_state=16,
        n_text_head=2, n_text_layer=1, givens_rounds=2, vocab_size=51865, ctc_vocab=0, checkpointing=False,
    )  # fmt: skip
    model = Echo(config).eval()
    with torch.no_grad():
        encoded = model.get_encoder()(torch.randn(1, 20, 100), feature_lengths=LENGTHS)
        tokens, probability = attempts._read(model, tokenizer, encoded, LENGTHS, temperature)
        logits = model(encoder_outputs=encoded, decoder_input_ids=torch.tensor([tokens])).logits[0]
    settings = copy.deepcopy(model.generation_config)
    settings.no_timestamps_token_id = 50363
    rules = WhisperTimeStampLogitsProcessor(settings, begin_index=3)
    assert len(tokens) > len(PROMPT)
    expected = [
        float(rules(torch.tensor([tokens[:place]]), logits[place - 1][None]).log_softmax(-1)[0, tokens[place]])
        for place in range(len(PROMPT), len(tokens))
    ]
    assert probability == pytest.approx(sum(expected) / len(expected), rel=1e-4)
