"""The configuration of Echo, under its own names and under Whisper's."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from transformers import PreTrainedConfig

from echo_reference.errors import ConfigError
from echo_reference.features import DECADES, HOP, LogMel
from echo_reference.modules.spec import StackSpec

VERSION = 1

PRESETS: dict[str, dict[str, Any]] = {
    "medium": {},
    "tiny": {
        "n_audio_state": 384,
        "n_audio_head": 6,
        "n_audio_layer": 4,
        "n_text_state": 384,
        "n_text_head": 6,
        "n_text_layer": 4,
        "checkpointing": False,
    },
    "digits": {
        "n_audio_ctx": 400,
        "n_audio_state": 128,
        "n_audio_head": 4,
        "n_audio_layer": 3,
        "n_text_ctx": 64,
        "n_text_state": 128,
        "n_text_head": 4,
        "n_text_layer": 1,
        "subsampling": 8,
        "attention_window": 8.0,
        "conv_gate": 1.0,
        "position_gain": 1.0,
        "ctc_weight": 1.0,
        "init_std": 0.06,
        "checkpointing": False,
    },
}
"""Named sizes; each gives what differs from the defaults. "tiny" is Whisper's; "digits" learns spoken digits in
two minutes of one core. There the convolution's gate starts open, since nothing is inherited that it could
disturb, and time is divided by 8: a digit still spans several positions, alignment has half as many to find,
and a step costs two thirds."""


class EchoConfig(PreTrainedConfig):  # type: ignore[misc]
    """Shape and features of an Echo; the defaults are the "medium" reference size.

    Whisper's names are accepted: `d_model` sets both sides' width, `encoder_layers` and its like set theirs;
    `hidden_size` and `num_hidden_layers` mean the text side, and give way to a name that says more.

    Attributes:
        mel_decades, mel_centred: features with a higher floor, and each band less its mean, as `LogMel` makes them;
            both help to read voices and microphones that were not trained on.
        n_audio_local_head: how many heads see only the window; None is half of them. Likewise for text.
        max_rel_dist: largest distance with a learned relative bias.
        global_bias: give the global heads a relative bias too; it costs fused attention.
        subsampling: frames per encoder position: 2, 4 or 8.
        base: initial rotary base.
        frequency_scales: one factor on the rotary frequencies per group of heads.
        position_scale: initial factor on positions in rotary angles; 0 starts without rotary positions.
        position_gain: initial norm of a position embedding's row; None is the sinusoid's own.
        rotation: "free" (kept orthogonal by a penalty, which a controller may steer), "exact" (orthogonal by
            parametrisation) or "none".
        rotation_sharing: one rotation for the "model", per "layer" or per "head"; or "conditional", per layer with
            plane rotations that also depend on the clip, through the mean of what the encoder gives.
        givens_rounds: rounds of plane rotations before the orthogonal matrix.
        attention_window: initial window of the local heads, in positions of either side.
        conv_kernel: taps of the encoder's convolution branch, 0 for none; conv_gate: its initial gate.
        ctc_vocab: symbols of the CTC head with the blank, which is 0; 0 for no head.
        ctc_weight, rotation_penalty: initial weights in the loss.
        embedding_width: initial active dimensions of the token embedding; None is all.
        ctc_shift: token - ctc_shift is the CTC symbol of a text token, where the two vocabularies correspond.
        mask_audio: keep padding out, so that a clip's loss does not depend on its batch; False is Whisper.
        config_version: raised when old configurations need translation.

    Raises:
        ConfigError: a value that no model can be built from, two values under two names of one field, or a version
            this code does not know.
    """

    model_type: ClassVar[str] = "echo_reference"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "n_text_state",
        "num_hidden_layers": "n_text_layer",
        "num_attention_heads": "n_text_head",
        "num_mel_bins": "n_mels",
        "max_source_positions": "n_audio_ctx",
        "max_target_positions": "n_text_ctx",
        "encoder_layers": "n_audio_layer",
        "decoder_layers": "n_text_layer",
        "encoder_attention_heads": "n_audio_head",
        "decoder_attention_heads": "n_text_head",
        "encoder_ffn_dim": "n_audio_mlp",
        "decoder_ffn_dim": "n_text_mlp",
    }

    config_version: int = VERSION
    n_mels: int = 80
    mel_decades: float = DECADES
    mel_centred: bool = False
    n_audio_ctx: int = 1500
    n_audio_state: int = 1024
    n_audio_head: int = 16
    n_audio_layer: int = 24
    n_audio_mlp: int | None = None
    n_audio_local_head: int | None = None
    vocab_size: int = 51865
    n_text_ctx: int = 448
    n_text_state: int = 1024
    n_text_head: int = 16
    n_text_layer: int = 20
    n_text_mlp: int | None = None
    n_text_local_head: int | None = None
    max_rel_dist: int = 15
    global_bias: bool = False
    cross_attention: bool = True
    checkpointing: bool = True
    subsampling: int = 2
    base: float = 10000.0
    frequency_scales: tuple[float, ...] | list[float] = (1.0,)
    position_scale: float = 1.0
    position_gain: float | None = None
    rotation: str = "free"
    rotation_sharing: str = "layer"
    givens_rounds: int = 8
    givens_std: float = 0.02
    attention_window: float = 64.0
    conv_kernel: int = 15
    conv_gate: float = 0.0
    ctc_vocab: int = 32
    ctc_weight: float = 0.3
    ctc_shift: int | None = None
    rotation_penalty: float = 1.0
    dropout: float | int = 0.0
    embedding_width: float | int | None = None
    label_smoothing: float = 0.0
    mask_audio: bool = True
    init_std: float = 0.02
    use_cache: bool = True
    tie_word_embeddings: bool = True
    is_encoder_decoder: bool = True
    bos_token_id: int | None = 50257
    eos_token_id: int | list[int] | None = 50257
    pad_token_id: int | None = 50257
    decoder_start_token_id: int | None = 50258

    def __post_init__(self, **kwargs: Any) -> None:
        kwargs.pop("model_type", None)  # a foreign dictionary's own
        # A Whisper's configuration may hold both, and by the general name mean its encoder.
        for general, particular in _SAYS_MORE.items():
            if particular in kwargs:
                kwargs.pop(general, None)
        self._check_names(kwargs)
        super().__post_init__(**kwargs)
        self.frequency_scales = tuple(float(scale) for scale in self.frequency_scales)
        self._check()

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Self:
        """A named size with changes: "medium", "digits" or "tiny"."""
        if name not in PRESETS:
            raise ConfigError(
                f"A preset must be one of {sorted(PRESETS)}; got {name!r}. Use one of these, or give every value."
            )
        return cls(**{**PRESETS[name], **changes})

    @property
    def d_model(self) -> int:
        """Whisper's name for the width; reads the text side and sets both."""
        return self.n_text_state

    @d_model.setter
    def d_model(self, width: int) -> None:
        self.n_text_state = self.n_audio_state = width

    @property
    def pad_to(self) -> int | None:
        """Samples to which a clip is padded before it is heard; None where padding is kept out."""
        return None if self.mask_audio else self.n_audio_ctx * self.subsampling * HOP

    def log_mel(self) -> LogMel:
        """What makes the model's features."""
        return LogMel(self.n_mels, self.pad_to, decades=self.mel_decades, centred=self.mel_centred)

    def audio(self) -> StackSpec:
        """The encoder's stack."""
        return self._stack("audio", causal=False)

    def text(self) -> StackSpec:
        """The decoder's stack."""
        return self._stack("text", causal=True)

    def _stack(self, side: str, *, causal: bool) -> StackSpec:
        width, heads = getattr(self, f"n_{side}_state"), getattr(self, f"n_{side}_head")
        local = getattr(self, f"n_{side}_local_head")
        return StackSpec(
            width=width,
            heads=heads,
            layers=getattr(self, f"n_{side}_layer"),
            mlp_width=getattr(self, f"n_{side}_mlp") or 4 * width,
            context=getattr(self, f"n_{side}_ctx"),
            causal=causal,
            local_heads=heads // 2 if local is None else local,
            max_rel_dist=self.max_rel_dist,
            global_bias=self.global_bias,
            frequency_scales=tuple(self.frequency_scales),
            rotation=self.rotation,
            rotation_sharing=self.rotation_sharing,
            givens_rounds=self.givens_rounds,
            givens_std=self.givens_std,
            position_scale=self.position_scale,
            position_gain=self.position_gain,
            conv_kernel=0 if causal else self.conv_kernel,
            gate=self.conv_gate,
            checkpointing=self.checkpointing,
        )

    def _check_names(self, given: dict[str, Any]) -> None:
        own = {**self.attribute_map, "d_model": "n_text_state"}
        for name in given.keys() & own.keys():
            for field in ("n_audio_state", "n_text_state") if name == "d_model" else (own[name],):
                value = getattr(self, field)
                self._require(
                    value in {getattr(type(self), field), given[name]},
                    f"{name} and {field} must be equal, being two names of one value",
                    f"{given[name]} and {value}",
                    "Give one of them",
                )

    def _check(self) -> None:
        self._require(
            self.config_version == VERSION,
            f"config_version must be {VERSION}",
            self.config_version,
            "Load it with the release that wrote it, or install a newer release",
        )
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            self._require(value in allowed, f"{name} must be one of {allowed}", value, "Choose one of these")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            whole = isinstance(value, int) or (value is None and name.endswith("mlp"))
            self._require(
                whole and (value is None or value >= least),
                f"{name} must be a whole number of at least {least}",
                value,
                "Correct it",
            )
        self._require(self.mel_decades > 0, "mel_decades must be positive", self.mel_decades, "Use 8, or 4")
        self._require(
            self.ctc_vocab != 1, "ctc_vocab must count the blank and a symbol, or be 0 for no head", 1, "Raise it"
        )
        for name in ("dropout", "label_smoothing"):
            value = getattr(self, name)
            self._require(0 <= value < 1, f"{name} must lie in [0, 1)", value, "Lower it")
        self._require(
            self.conv_kernel == 0 or self.conv_kernel % 2 == 1,
            "conv_kernel must be odd, or 0 for no convolution",
            self.conv_kernel,
            "Add one",
        )
        for side in ("audio", "text"):
            self._check_side(side)
        widths = {self.n_audio_state // self.n_audio_head, self.n_text_state // self.n_text_head}
        self._require(
            self.rotation_sharing != "model" or len(widths) == 1,
            "With one rotation for the model, the head widths of both sides must be equal",
            sorted(widths),
            "Share per layer, or choose equal widths",
        )
        self._require(
            self.rotation_sharing != "conditional"
            or (self.rotation != "none" and self.givens_rounds > 0 and self.cross_attention),
            "Conditional rotations must have plane rotations and a decoder that hears the audio",
            f"rotation {self.rotation!r}, givens_rounds {self.givens_rounds}, cross_attention {self.cross_attention}",
            "Turn these on, or share per layer",
        )

    def _check_side(self, side: str) -> None:
        width, heads = getattr(self, f"n_{side}_state"), getattr(self, f"n_{side}_head")
        self._require(
            heads > 0 and width % (2 * heads) == 0,
            f"n_{side}_state must be a multiple of twice n_{side}_head, since rotary planes are pairs",
            f"{width} for {heads} heads",
            "Change either",
        )
        groups = len(self.frequency_scales)
        self._require(
            groups > 0 and heads % groups == 0,
            f"n_{side}_head must be a multiple of the number of frequency_scales",
            f"{heads} heads for {groups}",
            "Give as many scales as there are equal groups of heads",
        )
        local = getattr(self, f"n_{side}_local_head")
        self._require(
            local is None or 0 <= local <= heads,
            f"n_{side}_local_head must lie between 0 and n_{side}_head",
            local,
            "Use None for half of the heads",
        )
        most = width // heads - 2
        self._require(
            0 <= self.givens_rounds <= most,
            f"givens_rounds must lie between 0 and {most}, the head width less 2",
            self.givens_rounds,
            "Use fewer rounds",
        )

    @staticmethod
    def _require(holds: bool, rule: str, value: object, remedy: str) -> None:
        if not holds:
            raise ConfigError(f"{rule}; got {value!r}. {remedy}.")


_SAYS_MORE = {
    "hidden_size": "d_model",
    "num_hidden_layers": "decoder_layers",
    "num_attention_heads": "decoder_attention_heads",
}
_LEAST = {
    **dict.fromkeys(("n_mels", "vocab_size", "n_audio_ctx", "n_text_ctx", "n_audio_layer", "n_text_layer"), 1),
    **dict.fromkeys(("n_audio_mlp", "n_text_mlp"), 1),
    **dict.fromkeys(("max_rel_dist", "conv_kernel", "ctc_vocab"), 0),
}
_CHOICES: dict[str, tuple[Any, ...]] = {
    "subsampling": (2, 4, 8),
    "rotation": ("exact", "free", "none"),
    "rotation_sharing": ("model", "layer", "head", "conditional"),
}
