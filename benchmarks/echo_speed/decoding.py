"""Tokens a second of greedy decoding with a cache, Echo beside Hugging Face's Whisper, from the same length of audio.

    python -m benchmarks.echo_speed.decoding [--sizes tiny base] [--clips 1 8] [--tokens 64]

Both are driven by one loop, a forward pass a token, from audio features made before the clock starts; what is made
once for a clip (keys and values of the audio, folded weights) is part of the time.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache, StaticCache
from transformers.modeling_outputs import BaseModelOutput

from benchmarks.echo_speed import harness
from benchmarks.echo_speed.contenders import SIZES, echo, hugging_face
from echo_reference.model import Echo
from echo_reference.modules.memo import remembering

POSITIONS = 1500


def make_cache(kind: str, config: Any, tokens: int) -> EncoderDecoderCache:
    """An empty cache."""
    if kind == "dynamic":
        return EncoderDecoderCache(DynamicCache(), DynamicCache())
    own, heard = (StaticCache(config=config, max_cache_len=n) for n in (tokens + 1, POSITIONS))
    return EncoderDecoderCache(own, heard)


def decoder(model: Any, heard: Tensor, tokens: int, kind: str) -> Callable[[], Tensor]:
    """A function that writes `tokens` tokens."""

    @torch.no_grad()
    def write() -> Tensor:
        cache = make_cache(kind, model.config, tokens)
        last = torch.full((len(heard), 1), 50258)
        written = [last]
        with remembering(model) if isinstance(model, Echo) else nullcontext():
            for _ in range(tokens):
                given = {"encoder_outputs": BaseModelOutput(last_hidden_state=heard), "decoder_input_ids": last}
                logits = model(**given, past_key_values=cache, use_cache=True).logits
                last = logits[:, -1:].argmax(-1)
                written.append(last)
        return torch.cat(written, 1)

    return write


def main() -> None:
    """Measure, print a table, write the raw times."""
    parser = harness.parser(__doc__, "decoding", 20)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--clips", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--tokens", type=int, default=64)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results, rows = [], []
    for size in given.sizes:
        torch.manual_seed(0)
        models = {"Whisper": hugging_face(SIZES[size], 2 * POSITIONS).eval(), "Echo": echo(SIZES[size], 3000).eval()}
        for clips in given.clips:
            heard = torch.randn(clips, POSITIONS, SIZES[size].width, generator=torch.Generator().manual_seed(0))
            for kind in ("dynamic", "static"):
                runs = {name: decoder(model, heard, given.tokens, kind) for name, model in models.items()}
                times = harness.interleaved(runs, given.repetitions)
                results.append({"size": size, "clips": clips, "cache": kind, "tokens": given.tokens, "times_s": times})
                speeds = [f"{clips * given.tokens / statistics.median(times[name]):.0f}" for name in models]
                rows.append([size, clips, kind, *speeds, harness.ratio(times["Whisper"], times["Echo"])])
                harness.keep(given.output, results, given.threads)
    print(harness.table(["size", "clips", "cache", "Whisper, tokens/s", "Echo, tokens/s", "Echo over Whisper"], rows))


if __name__ == "__main__":
    main()
