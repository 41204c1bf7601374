"""Echo as a Hugging Face speech model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from homeostat.nn import Dial
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, EncoderDecoderCache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, ModelOutput

from echo_reference.config import EchoConfig
from echo_reference.decoder import TextDecoder
from echo_reference.encoder import AudioEncoder
from echo_reference.modules.attention import QueryPhase
from echo_reference.modules.convolution import ConvolutionBranch, valid
from echo_reference.modules.dials import EchoDials
from echo_reference.modules.distance import RelativeBias
from echo_reference.modules.embedding import LearnedSinusoids, TokenEmbedding
from echo_reference.modules.rotary import Rotary
from echo_reference.modules.rotation import Rotation, compose
from echo_reference.modules.stack import RotationSlot

IGNORED = -100
"""A label that counts for nothing."""

_SELF_INITIALISED = (Rotary, Rotation, QueryPhase, RelativeBias, LearnedSinusoids, ConvolutionBranch)


@dataclass
class EchoOutput(ModelOutput):  # type: ignore[misc]
    """What a forward pass gives; the parts of the loss are detached, for watching.

    Attributes:
        loss: ce_loss + ctc_weight * ctc_loss + rotation_penalty * rotation_defect.
        logits: (B, T, vocab_size).
        ctc_logits: (B, S, ctc_vocab).
        ctc_lengths: (B,) valid positions of `ctc_logits`, None where all are.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    ctc_logits: Tensor | None = None
    ctc_lengths: Tensor | None = None
    ce_loss: Tensor | None = None
    ctc_loss: Tensor | None = None
    rotation_defect: Tensor | None = None
    past_key_values: EncoderDecoderCache | None = None
    encoder_last_hidden_state: Tensor | None = None


class Echo(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """A speech recogniser with rotary, rotated and adaptive positions.

    Args:
        config: its shape and features.
    """

    config_class = EchoConfig
    base_model_prefix = "model"
    main_input_name = "input_features"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _tied_weights_keys: ClassVar[dict[str, str]] = {"proj_out.weight": "decoder.tokens.embedding.weight"}
    _keep_in_fp32_modules_strict: ClassVar[list[str]] = ["rotary", "rotation", "query_phase"]

    def __init__(self, config: EchoConfig) -> None:
        super().__init__(config)
        audio, text = config.audio(), config.text()
        self.dials = EchoDials(
            rotary_base=config.base,
            attention_window=config.attention_window,
            rotation_penalty=config.rotation_penalty,
            embedding_width=text.width,
            ctc_weight=config.ctc_weight,
            dropout=config.dropout,
        )
        knobs = (self.dials.rotary_base, self.dials.attention_window, self.dials.dropout)
        self.encoder = AudioEncoder(audio, config.n_mels, config.subsampling, *knobs)
        tokens = TokenEmbedding(config.vocab_size, text.width, self.dials.embedding_width)
        self.decoder = TextDecoder(text, tokens, audio.width if config.cross_attention else None, *knobs)
        one = config.rotation != "none" and config.rotation_sharing == "model"
        self.shared = RotationSlot(audio) if one else None
        self.proj_out = nn.Linear(text.width, config.vocab_size, bias=False)
        self.ctc_head = nn.Linear(audio.width, config.ctc_vocab) if config.ctc_vocab else None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, Dial):
            module.reset()
        elif isinstance(module, _SELF_INITIALISED):
            module.reset_parameters()
        else:
            super()._init_weights(module)

    def apply_initialization(self) -> None:
        """Start anew: draw every weight again and return every dial to its initial value."""
        self.apply(self._init_weights)

    def get_encoder(self, modality: str | None = None) -> AudioEncoder:
        """The audio side."""
        del modality
        return self.encoder

    def get_input_embeddings(self) -> nn.Embedding:
        """The embedding of tokens."""
        return self.decoder.tokens.embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the embedding of tokens."""
        self.decoder.tokens.embedding = value

    def get_output_embeddings(self) -> nn.Linear:
        """The output layer, tied to the embedding of tokens."""
        return self.proj_out

    def set_output_embeddings(self, value: nn.Linear) -> None:
        """Replace the output layer."""
        self.proj_out = value

    def encode(
        self, input_features: Tensor, feature_lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Audio features (B, S, d) and their valid lengths (B,), None where all count.

        Args:
            input_features: log-mel frames (B, n_mels, T).
            feature_lengths: valid frames of each clip; ignored where the configuration lets padding count.
        """
        lengths = feature_lengths if self.config.mask_audio else None
        audio, mask = self.encoder(input_features, lengths, self._shared_rotation())
        return audio, None if mask is None else mask.sum(-1)

    def forward(
        self,
        input_features: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple[Tensor, ...] | None = None,
        past_key_values: EncoderDecoderCache | None = None,
        labels: Tensor | None = None,
        ctc_labels: Tensor | None = None,
        feature_lengths: Tensor | None = None,
        use_cache: bool | None = None,
        **_: Any,
    ) -> EchoOutput:
        """Score tokens given audio, and the loss where labels are given.

        Args:
            input_features: log-mel frames (B, n_mels, T).
            attention_mask: (B, T), 1 at valid frames; `feature_lengths` (B,) says the same.
            decoder_input_ids: (B, L); made from `labels` where absent.
            encoder_outputs: the audio features, where they were made before.
            past_key_values: keys and values of earlier positions.
            labels: (B, L) next tokens, -100 where none.
            ctc_labels: (B, N) symbols of the CTC head, -100 where none.
            feature_lengths: (B,) valid frames of each clip.
            use_cache: return `past_key_values`; one is made where absent.
        """
        if feature_lengths is None and attention_mask is not None:
            feature_lengths = attention_mask.sum(-1)
        if encoder_outputs is None:
            audio, lengths = self.encode(input_features, feature_lengths)
        else:
            audio, lengths = encoder_outputs[0], self._audio_lengths(feature_lengths)
        if decoder_input_ids is None and labels is not None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        if use_cache and past_key_values is None:
            past_key_values = EncoderDecoderCache(DynamicCache(), DynamicCache())
        logits = None
        if decoder_input_ids is not None:
            logits = self.decode(decoder_input_ids, audio, lengths, past_key_values)
        ctc_logits = None if self.ctc_head is None else self.ctc_head(audio)
        output = EchoOutput(
            logits=logits,
            ctc_logits=ctc_logits,
            ctc_lengths=lengths,
            past_key_values=past_key_values,
            encoder_last_hidden_state=audio,
        )
        self._add_loss(output, labels, ctc_labels)
        return output

    def decode(
        self, tokens: Tensor, audio: Tensor, lengths: Tensor | None, cache: EncoderDecoderCache | None = None
    ) -> Tensor:
        """Logits (B, L, vocab_size) of the tokens that follow `tokens` (B, L), given what the cache holds."""
        first = 0 if cache is None else cache.get_seq_length()
        sources = self._sources(audio, cache)
        mask = None if lengths is None else valid(lengths, audio.shape[1])
        own = None if cache is None else cache.self_attention_cache
        hidden = self.decoder(tokens, sources, mask, own, first, self._shared_rotation())
        return self.proj_out(hidden)

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """The labels one position later, with the start token in front and padding where there is none."""
        start = labels.new_full((labels.shape[0], 1), self.config.decoder_start_token_id)
        shifted = torch.cat((start, labels[:, :-1]), 1)
        return shifted.masked_fill(shifted == IGNORED, self.config.pad_token_id)

    def rotation_defect(self) -> Tensor:
        """Sum over all rotations of the squared norm of R^T R - I."""
        defects = [module.defect() for module in self.modules() if isinstance(module, Rotation)]
        return torch.stack(defects).sum() if defects else torch.zeros((), device=self.device)

    def _shared_rotation(self) -> Tensor | None:
        return None if self.shared is None else compose([self.shared.rotation])[0]

    def _sources(self, audio: Tensor, cache: EncoderDecoderCache | None) -> list[tuple[Tensor, Tensor]]:
        if cache is None:
            return self.decoder.read(audio)
        crossed = cache.cross_attention_cache
        if crossed.get_seq_length() == 0:
            for layer, (keys, values) in enumerate(self.decoder.read(audio)):
                crossed.update(keys, values, layer)
                cache.is_updated[layer] = True
        return [(layer.keys, layer.values) for layer in crossed.layers]

    def _audio_lengths(self, feature_lengths: Tensor | None) -> Tensor | None:
        if feature_lengths is None or not self.config.mask_audio:
            return None
        factor = self.config.subsampling
        return torch.div(feature_lengths + factor - 1, factor, rounding_mode="floor")

    def _add_loss(self, output: EchoOutput, labels: Tensor | None, ctc_labels: Tensor | None) -> None:
        parts = []
        if labels is not None:
            ce = F.cross_entropy(
                output.logits.flatten(0, 1).float(),
                labels.flatten(),
                ignore_index=IGNORED,
                label_smoothing=self.config.label_smoothing,
            )
            output.ce_loss = ce.detach()
            parts.append(ce)
        if ctc_labels is not None and output.ctc_logits is not None:
            ctc = ctc_loss(output.ctc_logits, output.ctc_lengths, ctc_labels)
            output.ctc_loss = ctc.detach()
            parts.append(self.dials.ctc_weight() * ctc)
        if parts and self.config.rotation == "free":
            defect = self.rotation_defect()
            output.rotation_defect = defect.detach()
            parts.append(self.dials.rotation_penalty() * defect)
        if parts:
            output.loss = torch.stack(parts).sum()


def ctc_loss(logits: Tensor, lengths: Tensor | None, labels: Tensor) -> Tensor:
    """Mean over clips of the CTC loss per symbol; a clip too short for its text counts as 0.

    Args:
        logits: (B, S, V), blank 0.
        lengths: (B,) valid positions, None for all.
        labels: (B, N), -100 where none.
    """
    batch, size, _ = logits.shape
    if lengths is None:
        lengths = torch.full((batch,), size, dtype=torch.long, device=logits.device)
    present = labels != IGNORED
    log_probs = logits.float().log_softmax(-1).transpose(0, 1)
    return F.ctc_loss(log_probs, labels.clamp_min(0), lengths, present.sum(-1), blank=0, zero_infinity=True)
