from __future__ import annotations

from pathlib import Path

import pytest

from echo_reference.config import EchoConfig
from echo_reference.errors import ConfigError

MEDIUM = {
    "n_mels": 80,
    "n_audio_ctx": 1500,
    "n_audio_state": 1024,
    "n_audio_head": 16,
    "n_audio_layer": 24,
    "vocab_size": 51865,
    "n_text_ctx": 448,
    "n_text_state": 1024,
    "n_text_head": 16,
    "n_text_layer": 20,
    "max_rel_dist": 15,
    "cross_attention": True,
    "checkpointing": True,
    "base": 10000,
    "bos_token_id": 50257,
    "eos_token_id": 50257,
    "pad_token_id": 50257,
    "decoder_start_token_id": 50258,
    "is_encoder_decoder": True,
    "init_std": 0.02,
}


def test_the_defaults_are_the_medium_reference() -> None:
    config = EchoConfig()
    assert {name: getattr(config, name) for name in MEDIUM} == MEDIUM
    assert not hasattr(config, "sliding_window")


def test_whisper_names_set_what_they_mean() -> None:
    config = EchoConfig(
        d_model=64, encoder_layers=3, decoder_layers=2, encoder_attention_heads=4, num_mel_bins=128, givens_rounds=2
    )
    assert (config.n_audio_state, config.n_text_state, config.d_model) == (64, 64, 64)
    assert (config.n_audio_layer, config.n_text_layer, config.num_hidden_layers) == (3, 2, 2)
    assert (config.n_audio_head, config.n_mels, config.hidden_size) == (4, 128, 64)


def test_a_foreign_dictionary_is_read_by_its_names() -> None:
    whisper = {"model_type": "whisper", "d_model": 384, "encoder_attention_heads": 6, "decoder_attention_heads": 6}
    config = EchoConfig(**whisper)
    assert config.model_type == "echo_reference"
    assert config.audio().width == config.text().width == 384


@pytest.mark.parametrize("order", [1, -1])
def test_a_general_name_gives_way_to_one_that_says_more(order: int) -> None:
    # As the hub has large-v3-turbo: its `num_hidden_layers` are those of the encoder.
    turbo = {"encoder_layers": 32, "decoder_layers": 4, "num_hidden_layers": 32, "hidden_size": 99, "d_model": 1280}
    turbo |= {"encoder_attention_heads": 20, "decoder_attention_heads": 20, "model_type": "whisper"}
    config = EchoConfig.from_dict(dict(list(turbo.items())[::order]))
    assert (config.n_audio_layer, config.n_text_layer) == (32, 4)
    assert (config.n_audio_state, config.n_text_state) == (1280, 1280)


def test_two_values_under_two_names_of_one_field_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"num_hidden_layers and n_text_layer must be equal.*got '4 and 5'"):
        EchoConfig(num_hidden_layers=4, n_text_layer=5)
    with pytest.raises(ConfigError, match=r"d_model and n_audio_state must be equal.*got '64 and 128'"):
        EchoConfig(d_model=64, n_audio_state=128)
    assert EchoConfig(num_hidden_layers=4, n_text_layer=4).n_text_layer == 4


def test_it_survives_a_round_trip(tmp_path: Path) -> None:
    config = EchoConfig.preset("digits", frequency_scales=[1.0, 0.5], vocab_size=13)
    config.save_pretrained(tmp_path)
    again = EchoConfig.from_pretrained(tmp_path)
    assert again.to_dict() == config.to_dict()
    assert again.audio() == config.audio()
    assert again.text() == config.text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config_version": 99}, "config_version must be 1; got 99. .*release"),
        ({"subsampling": 3}, "subsampling must be one of"),
        ({"n_audio_layer": 0}, "n_audio_layer must be a whole number of at least 1; got 0"),
        ({"max_rel_dist": -1}, "max_rel_dist must be a whole number of at least 0; got -1"),
        ({"conv_kernel": -1}, "conv_kernel must be a whole number of at least 0; got -1"),
        ({"ctc_vocab": 1}, "ctc_vocab must count the blank and a symbol"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
        ({"label_smoothing": -0.1}, r"label_smoothing must lie in \[0, 1\)"),
        ({"rotation": "round"}, "rotation must be one of"),
        ({"n_audio_head": 7}, "n_audio_state must be a multiple"),
        ({"frequency_scales": (1.0, 2.0, 3.0)}, "multiple of the number of frequency_scales; got '16 heads for 3'"),
        ({"n_text_local_head": 17}, "n_text_local_head must lie between"),
        ({"givens_rounds": 63}, "givens_rounds must lie between 0 and 62"),
        ({"mel_decades": 0.0}, "mel_decades must be positive; got '?0"),
        ({"conv_kernel": 4}, "conv_kernel must be odd"),
        ({"rotation_sharing": "model", "n_text_head": 8}, "head widths of both sides must be equal"),
        ({"rotation_sharing": "conditional", "givens_rounds": 0}, "Conditional rotations must have plane rotations"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EchoConfig(**changes)


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="digits"):
        EchoConfig.preset("huge")
