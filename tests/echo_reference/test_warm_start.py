from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import WhisperConfig, WhisperForConditionalGeneration

from echo_reference.errors import ConfigError
from echo_reference.model import Echo
from echo_reference.modules import block

TOKENS = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12]])


class Size(NamedTuple):
    width: int
    heads: int
    encoder: int
    decoder: int
    mels: int = 80
    vocabulary: int = 300
    positions: int = 40


# Whisper's own widths, heads and bands; two layers, or one where the original has fewer in its decoder. Tiny, base.en
# and turbo have whole vocabularies, one has all 30 s; large-v3 differs from turbo in the number of layers.
SIZES = {
    "tiny": Size(384, 6, 2, 2, vocabulary=51865, positions=300),
    "base.en": Size(512, 8, 2, 2, vocabulary=51864),
    "small": Size(768, 12, 2, 2),
    "medium": Size(1024, 16, 2, 2),
    "large-v2": Size(1280, 20, 2, 2),
    "turbo": Size(1280, 20, 2, 1, mels=128, vocabulary=51866),
    "large-v3": Size(1280, 20, 2, 2, mels=128),
    "30 s": Size(384, 6, 1, 1, positions=1500),
}
SMALL = Size(32, 2, 2, 2, mels=8)


def whisper(size: Size, **changes: Any) -> WhisperForConditionalGeneration:
    """A Whisper none of whose weights, biases and norms is what it starts as."""
    config = WhisperConfig(
        vocab_size=size.vocabulary,
        num_mel_bins=size.mels,
        d_model=size.width,
        encoder_layers=size.encoder,
        decoder_layers=size.decoder,
        encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads,
        encoder_ffn_dim=4 * size.width,
        decoder_ffn_dim=4 * size.width,
        max_source_positions=size.positions,
        max_target_positions=24,
        **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, **changes},
    )
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    model.to_empty(device="cpu")
    model.tie_weights()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            reach = 1.5 / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.3
            parameter.uniform_(-reach, reach, generator=generator)
            if "norm.weight" in name:
                parameter.add_(1.0)
    return model.eval()


def logits(model: nn.Module, size: Size) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(1, size.mels, 2 * size.positions, generator=generator)
    with torch.no_grad():
        scores: Tensor = model(features, decoder_input_ids=TOKENS).logits
    return scores


def difference(one: nn.Module, other: nn.Module, size: Size) -> float:
    """Greatest difference of the logits, relative to their spread."""
    a, b = logits(one, size), logits(other, size)
    return ((a - b).abs().max() / a.std()).item()


@pytest.mark.parametrize("name", SIZES)
def test_every_whisper_becomes_an_echo_with_the_same_logits(name: str) -> None:
    source = whisper(SIZES[name])
    echo = Echo.from_whisper(source)
    assert echo.config.audio().heads == SIZES[name].heads
    assert difference(source, echo, SIZES[name]) < 2e-5


def zero(name: str) -> Callable[[Echo], None]:
    return lambda model: nn.init.zeros_(model.get_parameter(name))


def swap_queries_and_keys(model: Echo) -> None:
    attention = model.encoder.blocks[1].attention
    attention.q_proj.weight, attention.k_proj.weight = attention.k_proj.weight, attention.q_proj.weight


MUTANTS: dict[str, Callable[[Echo], object]] = {
    "query bias": zero("encoder.blocks.0.attention.q_proj.bias"),
    "value bias": zero("decoder.blocks.1.attention.v_proj.bias"),
    "cross bias": zero("decoder.blocks.0.cross.q_proj.bias"),
    "stem bias": zero("encoder.stem.convolutions.1.bias"),
    "encoder norm": lambda model: nn.init.ones_(model.encoder.norm.weight),
    "feed norm": lambda model: nn.init.zeros_(model.decoder.blocks[0].feed.norm.bias),
    "cross norm": lambda model: nn.init.ones_(model.decoder.blocks[1].cross_norm.weight),
    "queries and keys": swap_queries_and_keys,
    "window": lambda model: model.dials.attention_window.set(6.0),
    "width": lambda model: model.dials.embedding_width.set(30.0),
    "turn": lambda model: nn.init.constant_(model.encoder.turner.rotary.position_scale, 0.1),
    "phase": lambda model: nn.init.constant_(model.decoder.blocks[0].attention.query_phase.phase, 0.1),
    "convolution": lambda model: nn.init.constant_(model.encoder.blocks[0].convolution.gate, 0.1),
    "gain": lambda model: nn.init.ones_(model.encoder.position.gain),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_comparison_sees_every_mistake(mutant: str) -> None:
    source = whisper(SMALL)
    echo = Echo.from_whisper(source)
    assert difference(source, echo, SMALL) < 2e-5
    with torch.no_grad():
        MUTANTS[mutant](echo)
    assert difference(source, echo, SMALL) > 2e-4


def test_the_comparison_sees_another_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    source = whisper(SMALL)
    echo = Echo.from_whisper(source)
    gelu = F.gelu
    monkeypatch.setattr(block.F, "gelu", lambda x: gelu(x, approximate="tanh"))
    assert difference(source, echo, SMALL) > 2e-5


def test_from_there_it_learns_to_turn() -> None:
    echo = Echo.from_whisper(whisper(SMALL)).train()
    optimizer = torch.optim.SGD(echo.parameters(), lr=0.05)
    features = torch.randn(2, 8, 80, generator=torch.Generator().manual_seed(2))
    losses = []
    for _ in range(8):
        loss = echo(features, labels=TOKENS.repeat(2, 1)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    moved = dict(echo.named_parameters())
    for name in ("encoder.turner.rotary.position_scale", "encoder.blocks.0.convolution.gate"):
        assert moved[name].abs().min() > 1e-6, name
    assert moved["decoder.blocks.0.attention.bias.table"].abs().max() > 1e-6
    # Once positions turn, so do the rotations.
    assert moved["encoder.turner.slots.0.rotation.angles"].abs().max() > 1e-7


def test_a_saved_whisper_is_read_with_its_marks_and_changes(tmp_path: Path) -> None:
    source = whisper(SMALL)
    source.generation_config.suppress_tokens = [7, 8]
    source.save_pretrained(tmp_path)
    echo = Echo.from_whisper(tmp_path, rotation_sharing="conditional", ctc_vocab=0)
    assert difference(source, echo, SMALL) < 2e-5
    assert echo.ctc_head is None
    assert echo.generation_config.suppress_tokens == [7, 8]
    assert (echo.config.decoder_start_token_id, echo.config.eos_token_id, echo.config.mask_audio) == (1, 2, False)
    echo.save_pretrained(tmp_path / "echo")
    assert difference(echo, Echo.from_pretrained(tmp_path / "echo").eval(), SMALL) == 0.0


def test_greedy_transcripts_are_the_same() -> None:
    source = whisper(SMALL)
    features = torch.randn(2, 8, 80, generator=torch.Generator().manual_seed(3))
    tokens = torch.ones(2, 1, dtype=torch.long)
    for _ in range(10):
        with torch.no_grad():
            best = source(features, decoder_input_ids=tokens).logits[:, -1].argmax(-1)
        tokens = torch.cat((tokens, best[:, None]), 1)
    echo = Echo.from_whisper(source)
    assert torch.equal(echo.generate(features, max_new_tokens=10, min_new_tokens=10), tokens)


def test_a_whisper_with_other_parts_is_refused() -> None:
    with pytest.raises(ConfigError, match="activation gelu"):
        Echo.from_whisper(whisper(SMALL, activation_function="relu"))
    with pytest.raises(ConfigError, match=r"parts that Echo has; got a difference in encoder\.stem"):
        Echo.from_whisper(whisper(SMALL), subsampling=4)
