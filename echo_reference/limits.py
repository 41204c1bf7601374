"""What a forward pass cannot be given, said in one sentence instead of an error of some layer."""

from __future__ import annotations

from torch import Tensor

from echo_reference.errors import DataError
from echo_reference.features import FRAMES_PER_SECOND


def check_features(input_features: Tensor, mels: int, most: int) -> None:
    """Refuse what is no batch of log-mel features, or is longer than the encoder has positions for.

    Args:
        input_features: to be (B, mels, T) with 1 <= T <= most.
        mels: bands that the model hears.
        most: frames that it has positions for.

    Raises:
        DataError: it is not so.
    """
    shape = tuple(input_features.shape)
    if len(shape) != 3 or shape[1] != mels or shape[2] < 1:
        raise DataError(
            f"input_features must be (batch, {mels}, frames), log-mel bands in the middle; got {shape}. "
            "Make them with the model's own processor."
        )
    if shape[2] > most:
        raise DataError(
            f"A clip must last at most {most / FRAMES_PER_SECOND:g} s, for which this model has positions; got "
            f"{shape[2] / FRAMES_PER_SECOND:g} s. Cut it, or use a model with a larger n_audio_ctx."
        )


def check_tokens(count: int, first: int | Tensor, most: int) -> None:
    """Refuse a text longer than the decoder has positions for; a position kept in a tensor is taken on trust.

    Args:
        count: tokens given.
        first: position of the first of them.
        most: positions.

    Raises:
        DataError: there are too few.
    """
    # To look at a tensor would make a device wait at every token.
    if isinstance(first, int) and first + count > most:
        raise DataError(
            f"A text must have at most {most} tokens, for which this model has positions; got {first + count}. "
            "Shorten it, or use a model with a larger n_text_ctx."
        )
