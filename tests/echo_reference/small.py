"""A small Echo with every feature on, and input for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from echo_reference.config import EchoConfig
from echo_reference.model import Echo


def small_config(**changes: object) -> EchoConfig:
    values: dict[str, object] = {
        "n_mels": 8,
        "n_audio_ctx": 256,
        "n_audio_state": 32,
        "n_audio_head": 4,
        "n_audio_layer": 2,
        "vocab_size": 20,
        "n_text_ctx": 24,
        "n_text_state": 32,
        "n_text_head": 4,
        "n_text_layer": 2,
        "max_rel_dist": 3,
        "frequency_scales": (1.0, 0.25),
        "rotation": "exact",
        "givens_rounds": 4,
        "attention_window": 3.5,
        "conv_kernel": 5,
        "ctc_vocab": 7,
        "ctc_shift": 2,
        "init_std": 0.2,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "decoder_start_token_id": 1,
        "checkpointing": False,
    }
    return EchoConfig(**{**values, **changes})


def generic_echo(seed: int = 0, **changes: object) -> Echo:
    """An Echo at a generic point: no parameter is where its gradient or its effect would vanish."""
    torch.manual_seed(seed)
    model = Echo(small_config(**changes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("gate", "position_scale", "angle_scale")):
                parameter.fill_(0.1 if name.endswith("gate") else 1.0)
            elif name.endswith("rotation.matrix"):
                parameter.copy_(nn.init.orthogonal_(torch.empty_like(parameter)))
            elif name.endswith(("offset", "phase", "table", "angles", "skew", "bias", "direction", "gain")):
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def audio(batch: int = 2, frames: int = 40, seed: int = 1) -> Tensor:
    return torch.randn(batch, 8, frames, generator=torch.Generator().manual_seed(seed))
