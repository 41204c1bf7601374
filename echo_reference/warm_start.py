"""Starts an Echo from a Whisper, so that at first both compute the same."""

from __future__ import annotations

import re
from os import PathLike
from typing import Any, Self

import torch
from torch import Tensor
from transformers import WhisperConfig, WhisperForConditionalGeneration

from echo_reference.config import EchoConfig
from echo_reference.errors import ConfigError
from echo_reference.whisper_settings import whisper_settings

# Whisper's names, and Echo's for the same weights; in this order.
_NAMES = (
    (r"^model\.", ""),
    (r"^encoder\.conv([12])\.", lambda found: f"encoder.stem.convolutions.{int(found[1]) - 1}."),
    (r"\.embed_positions\.weight$", ".position.direction"),
    (r"\.embed_tokens\.", ".tokens.embedding."),
    (r"\.layers\.", ".blocks."),
    (r"\.self_attn_layer_norm\.", ".attention_norm."),
    (r"\.self_attn\.", ".attention."),
    (r"\.encoder_attn_layer_norm\.", ".cross_norm."),
    (r"\.encoder_attn\.", ".cross."),
    (r"\.(final_layer_norm)\.", ".feed.norm."),
    (r"\.(fc[12])\.", r".feed.\1."),
    (r"^(encoder|decoder)\.layer_norm\.", r"\1.norm."),
)
# What Whisper has not: each starts where it changes nothing.
_NEW = re.compile(r"\.(turner|convolution|query_phase|bias|position\.gain)\b|^(shared|ctc_head)\.|\.bias\.table$")


class WhisperStart:
    """The way from a Whisper to an Echo, for the class that is one."""

    @classmethod
    def from_whisper(cls, source: str | PathLike[str] | WhisperForConditionalGeneration, **changes: Any) -> Self:
        """Return an Echo that gives the same logits as a Whisper, and can learn to rotate from there.

        Positions are not yet turned (scale 0), rotations are the identity, convolution gates closed, relative biases
        zero, and windows hold all there is; padding is heard, as Whisper hears it. The CTC head is new. `generate`
        begins with the same prompt, and suppresses the same tokens.

        Args:
            source: a model, a folder or a name on the hub.
            changes: values of `EchoConfig` that shall be others; some of them give other logits.

        Raises:
            ConfigError: the source is no Whisper, or one with a part that Echo has not.
        """
        if not isinstance(source, WhisperForConditionalGeneration):
            source = read_whisper(source)
        model: Any = cls(EchoConfig(**{**_settings(source.config), **changes}))  # type: ignore[call-arg]
        state, own = dict(_renamed(source.state_dict())), model.state_dict()
        unfit = [name for name, tensor in state.items() if name not in own or own[name].shape != tensor.shape]
        unfit += [name for name in own if name not in state and not _NEW.search(name)]
        if unfit:
            raise ConfigError(
                f"A Whisper must have the parts that Echo has; got a difference in {', '.join(unfit)}. "
                "Change the configuration to fit."
            )
        model.load_state_dict(state, strict=False)
        with torch.no_grad():
            for side in (model.encoder, model.decoder):
                side.position.gain.copy_(side.position.direction.norm(dim=-1))
        for name, value in whisper_settings(source).items():
            setattr(model.generation_config, name, value)
        started: Self = model.eval()
        return started


def read_whisper(source: str | PathLike[str]) -> WhisperForConditionalGeneration:
    """Read a Whisper from a folder, or by its name on the hub.

    Raises:
        ConfigError: what is there is no Whisper.
        OSError: nothing is there.
    """
    kind = WhisperConfig.get_config_dict(source)[0].get("model_type")
    # The library would give a Whisper of random weights, with a warning.
    if kind != WhisperConfig.model_type:
        raise ConfigError(
            f"A warm start must be from a Whisper; got a model of type {kind!r} in {source}. "
            "Load an Echo with `Echo.from_pretrained`."
        )
    return WhisperForConditionalGeneration.from_pretrained(source)


def _settings(whisper: WhisperConfig) -> dict[str, Any]:
    if whisper.activation_function != "gelu" or whisper.scale_embedding:
        raise ConfigError(
            "A Whisper must have activation gelu and embeddings that are not scaled; got "
            f"{whisper.activation_function} and scale_embedding {whisper.scale_embedding}. Use one of OpenAI's layouts."
        )
    names = (
        *("d_model", "num_mel_bins", "max_source_positions", "max_target_positions", "vocab_size"),
        *("encoder_layers", "encoder_attention_heads", "encoder_ffn_dim"),
        *("decoder_layers", "decoder_attention_heads", "decoder_ffn_dim"),
        *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "tie_word_embeddings"),
    )
    taken = {name: getattr(whisper, name) for name in names}
    whole = float(max(whisper.max_source_positions, whisper.max_target_positions))
    nothing_yet = {"position_scale": 0.0, "givens_std": 0.0, "conv_gate": 0.0, "attention_window": whole}
    return {**taken, **nothing_yet, "dropout": whisper.dropout, "mask_audio": False}


def _renamed(state: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    renamed = []
    for name, tensor in state.items():
        for pattern, replacement in _NAMES:
            name = re.sub(pattern, replacement, name)  # noqa: PLW2901 - each rule goes on from the last
        renamed.append((name, tensor))
    return renamed
