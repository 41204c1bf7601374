"""The knobs of an Echo, in one place."""

from __future__ import annotations

from torch import nn

from echo_reference.modules.attend import QUANTUM
from homeostat.nn import Dial, Dropout


class EchoDials(nn.Module):
    """What adapts while an Echo trains. Every dial is shared by all layers.

    Calling it lists the dials by the names under which the model has them, each with what it is.

    Args:
        rotary_base: initial base of the rotary angles.
        attention_window: initial window of the local heads, in positions.
        rotation_penalty: initial weight of the orthogonality penalty (free rotations only).
        embedding_width: initial active dimensions of the token embedding.
        width: all of its dimensions.
        ctc_weight: initial weight of the CTC loss.
        dropout: initial dropout rate.
    """

    def __init__(
        self,
        *,
        rotary_base: float,
        attention_window: float,
        rotation_penalty: float,
        embedding_width: float,
        width: int,
        ctc_weight: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.rotary_base = Dial(rotary_base, low=1.0)
        self.attention_window = Dial(attention_window, low=0.0, quantum=QUANTUM)
        self.rotation_penalty = Dial(rotation_penalty)
        self.embedding_width = Dial(embedding_width, low=1.0, high=width)
        self.ctc_weight = Dial(ctc_weight)
        self.dropout = Dropout(dropout)

    def settings(self) -> dict[str, float]:
        """Where the dials stand, by the names under which `EchoConfig` starts them."""
        return {
            "base": self.rotary_base.peek(),
            "attention_window": self.attention_window.peek(),
            "rotation_penalty": self.rotation_penalty.peek(),
            "embedding_width": self.embedding_width.peek(),
            "ctc_weight": self.ctc_weight.peek(),
            "dropout": self.dropout.rate.peek(),
        }

    def forward(self) -> dict[str, str]:
        """Names of the dials as the model has them, with what each is."""
        return {
            "dials.rotary_base": "base of the rotary angles; a larger one turns more slowly with distance",
            "dials.attention_window": "distance that local heads see, in positions, with a soft edge",
            "dials.rotation_penalty": "weight in the loss of the rotations' distance from orthogonality",
            "dials.embedding_width": "active dimensions of the token embedding, input and output",
            "dials.ctc_weight": "weight in the loss of the CTC head",
            "dials.dropout.rate": "share of features dropped in training",
        }
