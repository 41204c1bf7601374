"""Echo as a Hugging Face speech model."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.generic import ModelOutput

from echo_reference.config import EchoConfig
from echo_reference.decoder import TextDecoder
from echo_reference.encoder import AudioEncoder
from echo_reference.generation import EchoGeneration
from echo_reference.limits import check_features, check_tokens
from echo_reference.loss import IGNORED, ctc_loss, token_loss
from echo_reference.modules.attention import Place, QueryPhase, Source
from echo_reference.modules.convolution import ConvolutionBranch, valid
from echo_reference.modules.dials import EchoDials
from echo_reference.modules.distance import RelativeBias
from echo_reference.modules.embedding import LearnedSinusoids, TokenEmbedding
from echo_reference.modules.memo import Memo
from echo_reference.modules.rotary import Rotary
from echo_reference.modules.rotation import AngleCondition, Rotation, compose
from echo_reference.modules.stack import Heard, RotationSlot
from echo_reference.modules.tied import Ends, score
from echo_reference.own_memory import own_memory
from echo_reference.warm_start import WhisperStart
from homeostat.nn import Dial

_SELF_INITIALISED = (
    Rotary,
    Rotation,
    AngleCondition,
    QueryPhase,
    RelativeBias,
    LearnedSinusoids,
    ConvolutionBranch,
)


@dataclass
class EchoOutput(ModelOutput):  # type: ignore[misc]
    """What a forward pass gives; the parts of the loss are detached, for watching.

    Attributes:
        loss: ce_loss + ctc_weight * ctc_loss + rotation_penalty * rotation_defect.
        logits: (B, T, vocab_size).
        ctc_logits: (B, S, ctc_vocab); None where audio features were given and no symbols to score.
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


class Echo(WhisperStart, EchoGeneration, PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """A speech recogniser with rotary, rotated and adaptive positions.

    Args:
        config: its shape and features.
    """

    config_class = EchoConfig
    base_model_prefix = "model"
    main_input_name = "input_features"
    supports_gradient_checkpointing = True
    # The trainer would take `**_` for a promise to divide the loss by the items of all micro-batches.
    accepts_loss_kwargs = False
    _supports_sdpa = True
    _tied_weights_keys = {  # noqa: RUF012 - the base class declares an instance variable
        "proj_out.weight": "decoder.tokens.embedding.weight"
    }
    _keep_in_fp32_modules_strict = [  # noqa: RUF012 - as above
        "rotary",
        "rotation",
        "condition",
        "query_phase",
    ]

    def __init__(self, config: EchoConfig) -> None:
        super().__init__(config)
        audio, text = config.audio(), config.text()
        self.dials = EchoDials(
            rotary_base=config.base,
            attention_window=config.attention_window,
            rotation_penalty=config.rotation_penalty,
            embedding_width=text.width if config.embedding_width is None else config.embedding_width,
            width=text.width,
            ctc_weight=config.ctc_weight,
            dropout=config.dropout,
        )
        self.encoder = AudioEncoder(audio, config.n_mels, config.subsampling, self.dials)
        tokens = TokenEmbedding(config.vocab_size, text.width, self.dials.embedding_width)
        self.decoder = TextDecoder(text, tokens, audio.width if config.cross_attention else None, self.dials)
        one = config.rotation != "none" and config.rotation_sharing == "model"
        self.shared = RotationSlot(audio) if one else None
        self.proj_out = nn.Linear(text.width, config.vocab_size, bias=False)
        self.columns = Memo[Tensor]()
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

    @classmethod
    def from_pretrained(cls, *source: Any, **options: Any) -> Any:
        """Read a saved model, as in transformers; it computes to the last bit what it did before it was saved."""
        read = super().from_pretrained(*source, **options)
        own_memory(read[0] if isinstance(read, tuple) else read)
        return read

    def save_pretrained(self, save_directory: str | PathLike[str], **options: Any) -> None:
        """Write weights and configuration; loaded again, every dial starts where it stands now.

        The dials are no part of the weights, so the configuration takes their values, in this model's `config` too.

        Args:
            save_directory: where to write.
            options: as in transformers.
        """
        for name, value in self.dials.settings().items():
            setattr(self.config, name, value)
        # Else language and task, which the library does not know, would be left out on loading.
        self.generation_config._from_model_config = False
        super().save_pretrained(save_directory, **options)

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

    def encode(self, input_features: Tensor, feature_lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Audio features (B, S, d) and their valid lengths (B,), None where all count.

        Args:
            input_features: log-mel frames (B, n_mels, T).
            feature_lengths: valid frames of each clip; ignored where the configuration lets padding count.

        Raises:
            DataError: these are no such features, or a clip is longer than the encoder has positions for.
        """
        check_features(input_features, self.config.n_mels, self.config.n_audio_ctx * self.config.subsampling)
        lengths = feature_lengths if self.config.mask_audio else None
        audio, mask = self.encoder(input_features, lengths, self.shared_rotation())
        return audio, None if mask is None else mask.sum(-1)

    def forward(
        self,
        input_features: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        *,
        encoder_outputs: BaseModelOutput | tuple[Tensor, ...] | None = None,
        past_key_values: EncoderDecoderCache | None = None,
        labels: Tensor | None = None,
        ctc_targets: Tensor | None = None,
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
            ctc_targets: (B, N) symbols of the CTC head, -100 where none. (Not labels: transformers' trainer evaluates
                only where it is given everything of that name.)
            feature_lengths: (B,) valid frames of each clip.
            use_cache: return `past_key_values`; one is made where absent.
        """
        if feature_lengths is None and attention_mask is not None:
            feature_lengths = attention_mask.sum(-1)
        audio, lengths = self._hear(input_features, encoder_outputs, feature_lengths)
        if decoder_input_ids is None and labels is not None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        if use_cache and past_key_values is None:
            past_key_values = EncoderDecoderCache(DynamicCache(), DynamicCache())
        logits = None
        if decoder_input_ids is not None:
            logits = self.decode(decoder_input_ids, audio, lengths, past_key_values)
        # A decoder that goes on with audio heard before would pay for it at every token.
        wanted = encoder_outputs is None or ctc_targets is not None
        ctc_logits = self.ctc_head(audio) if self.ctc_head is not None and wanted else None
        output = EchoOutput(
            logits=logits,
            ctc_logits=ctc_logits,
            ctc_lengths=lengths,
            past_key_values=past_key_values,
            encoder_last_hidden_state=audio,
        )
        self._add_loss(output, labels, ctc_targets)
        return output

    def _hear(
        self,
        input_features: Tensor | None,
        encoder_outputs: BaseModelOutput | tuple[Tensor, ...] | None,
        feature_lengths: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        if encoder_outputs is not None:
            return cast("Tensor", encoder_outputs[0]), self._audio_lengths(feature_lengths)
        if input_features is None:
            raise ValueError("Echo must be given input_features or encoder_outputs; got neither. Give one.")
        return self.encode(input_features, feature_lengths)

    def decode(
        self, tokens: Tensor, audio: Tensor, lengths: Tensor | None, cache: EncoderDecoderCache | None = None
    ) -> Tensor:
        """Logits (B, L, vocab_size) of the tokens that follow `tokens` (B, L), given what the cache holds.

        Raises:
            DataError: the text is longer than the decoder has positions for.
        """
        own, first = (None, 0) if cache is None else (cache.self_attention_cache, cache.get_seq_length())
        check_tokens(tokens.shape[1], first, self.config.n_text_ctx)
        if isinstance(first, Tensor):  # a static cache's own counter, which moves on as the layers write
            first = first.clone()
        mask = None if lengths is None else valid(lengths, audio.shape[1])
        sources = [Source(*read, mask) for read in self._read(audio, cache)]
        ends = Ends.of(self.decoder.tokens.embedding, self.proj_out)
        place, heard = Place(own, first), Heard(audio, mask)
        hidden = self.decoder(tokens, sources, place, self.shared_rotation(), heard, ends=ends)
        return score(self.proj_out, ends, hidden, self.columns, first)

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """The labels one position later, with the start token in front and padding where there is none."""
        start = labels.new_full((labels.shape[0], 1), self.config.decoder_start_token_id)
        shifted = torch.cat((start, labels[:, :-1]), 1)
        return shifted.masked_fill(shifted == IGNORED, self.config.pad_token_id)

    def rotation_defect(self) -> Tensor:
        """Sum over all rotations of the squared norm of R^T R - I."""
        defects = [module.defect() for module in self.modules() if isinstance(module, Rotation)]
        return torch.stack(defects).sum() if defects else torch.zeros((), device=self.device)

    def shared_rotation(self) -> Tensor | None:
        """The model's one rotation, where it has one."""
        return None if self.shared is None else compose([self.shared.rotation])[0]

    def _read(self, audio: Tensor, cache: EncoderDecoderCache | None) -> list[tuple[Tensor, Tensor]]:
        if cache is None:
            return self.decoder.read(audio)
        crossed = cache.cross_attention_cache
        if not cache.is_updated.get(0, False):
            for layer, (keys, values) in enumerate(self.decoder.read(audio)):
                crossed.update(keys, values, layer)
                cache.is_updated[layer] = True
        return [(cast("Any", layer).keys, cast("Any", layer).values) for layer in crossed.layers]

    def _audio_lengths(self, feature_lengths: Tensor | None) -> Tensor | None:
        if feature_lengths is None or not self.config.mask_audio:
            return None
        factor = self.config.subsampling
        return torch.div(feature_lengths + factor - 1, factor, rounding_mode="floor")

    def _add_loss(self, output: EchoOutput, labels: Tensor | None, ctc_targets: Tensor | None) -> None:
        parts = []
        if labels is not None and output.logits is not None:
            ce = token_loss(output.logits, labels, self.config.label_smoothing)
            output.ce_loss = ce.detach()
            parts.append(ce)
        if ctc_targets is not None and output.ctc_logits is not None:
            ctc = ctc_loss(output.ctc_logits, output.ctc_lengths, ctc_targets)
            output.ctc_loss = ctc.detach()
            parts.append(self.dials.ctc_weight() * ctc)
        if parts and self.config.rotation == "free":
            defect = self.rotation_defect()
            output.rotation_defect = defect.detach()
            parts.append(self.dials.rotation_penalty() * defect)
        if parts:
            output.loss = torch.stack(parts).sum()
