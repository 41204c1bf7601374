"""Transcripts from audio: by the decoder alone, by the CTC head alone, or by both together."""

from __future__ import annotations

from itertools import groupby
from typing import cast

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from echo_reference.ctc_prefix import PrefixScorer, PrefixState
from echo_reference.errors import ConfigError
from echo_reference.model import Echo
from echo_reference.modules.memo import remembering


@torch.no_grad()
def greedy(
    model: Echo,
    input_features: Tensor,
    feature_lengths: Tensor | None = None,
    *,
    prompt: tuple[int, ...] | None = None,
    max_new_tokens: int | None = None,
) -> list[list[int]]:
    """The decoder's most probable token at each step, for a batch; without prompt and end mark.

    Args:
        model: an Echo.
        input_features: log-mel frames (B, n_mels, T).
        feature_lengths: (B,) valid frames.
        prompt: what the decoder is given before the text; the start token by default.
        max_new_tokens: most tokens of a transcript; by default all that the decoder has positions for.
    """
    audio, lengths = model.encode(input_features, feature_lengths)
    tokens, steps = _begin(model, len(audio), prompt, max_new_tokens, audio.device)
    end = _end_token(model)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    done = torch.zeros(len(audio), dtype=torch.bool, device=audio.device)
    chosen: list[Tensor] = []
    with remembering(model):
        for _ in range(steps):
            best = model.decode(tokens, audio, lengths, cache)[:, -1].argmax(-1)
            best = best.masked_fill(done, end)
            chosen.append(best)
            done |= best == end
            if bool(done.all()):
                break
            tokens = best[:, None]
    return [_until(row, end) for row in torch.stack(chosen, 1).tolist()] if chosen else [[] for _ in audio]


@torch.no_grad()
def ctc_greedy(model: Echo, input_features: Tensor, feature_lengths: Tensor | None = None) -> list[list[int]]:
    """The CTC head's best path: symbols with runs merged and blanks left out.

    Raises:
        ConfigError: the model has no CTC head.
    """
    audio, lengths = model.encode(input_features, feature_lengths)
    best = _ctc_logits(model, audio).argmax(-1).tolist()
    sizes = [len(row) for row in best] if lengths is None else lengths.tolist()
    return [[symbol for symbol, _ in groupby(row[:size]) if symbol] for row, size in zip(best, sizes, strict=True)]


@torch.no_grad()
def joint(
    model: Echo,
    input_features: Tensor,
    feature_lengths: Tensor | None = None,
    *,
    ctc_share: float = 0.5,
    beam: int = 4,
    prompt: tuple[int, ...] | None = None,
    max_new_tokens: int | None = None,
) -> list[list[int]]:
    """Beam search by decoder and CTC head together, token by token; without prompt and end mark.

    score = (1 - ctc_share) log p_decoder + ctc_share log p_ctc(transcript begins so). The CTC head keeps the
    decoder from skipping and repeating, the decoder gives the language. As ESPnet's one-pass decoding.

    Args:
        model: an Echo whose configuration says how tokens and symbols correspond (`ctc_shift`).
        input_features: log-mel frames (B, n_mels, T).
        feature_lengths: (B,) valid frames.
        ctc_share: weight of the CTC head, in [0, 1].
        beam: hypotheses kept for each clip; 1 is greedy.
        prompt: as in `greedy`.
        max_new_tokens: as in `greedy`.

    Raises:
        ConfigError: the model has no CTC head, or `ctc_shift` is not known.
    """
    audio, lengths = model.encode(input_features, feature_lengths)
    tokens, steps = _begin(model, len(audio), prompt, max_new_tokens, audio.device)
    search = _JointSearch(model, _ctc_logits(model, audio), lengths, ctc_share, beam)
    audio = audio.repeat_interleave(beam, 0)
    lengths = None if lengths is None else lengths.repeat_interleave(beam, 0)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    tokens = tokens.repeat_interleave(beam, 0)
    with remembering(model):
        for _ in range(steps):
            logits = model.decode(tokens, audio, lengths, cache)[:, -1]
            tokens, parents = search.advance(logits.double().log_softmax(-1))
            if search.settled():
                break
            cache.self_attention_cache.reorder_cache(cast("torch.LongTensor", parents))
    return search.best()


class _JointSearch:
    """The hypotheses of a batch, `beam` for each clip, and their scores."""

    def __init__(self, model: Echo, ctc_logits: Tensor, lengths: Tensor | None, ctc_share: float, beam: int) -> None:
        config = model.config
        if config.ctc_shift is None:
            raise ConfigError(
                "Joint decoding must know how tokens and CTC symbols correspond; got ctc_shift None. "
                "Set ctc_shift to the tokenizer's first text id less 1, or decode greedily."
            )
        self.end, self.beam, self.share = _end_token(model), beam, ctc_share
        self.batch, device = len(ctc_logits), ctc_logits.device
        self.symbols = torch.arange(1, config.ctc_vocab, device=device)
        self.candidates = torch.cat((self.symbols + config.ctc_shift, self.symbols.new_tensor([self.end])))
        repeated = None if lengths is None else lengths.repeat_interleave(beam, 0)
        self.scorer = PrefixScorer(ctc_logits.repeat_interleave(beam, 0), repeated)
        self.state: PrefixState = self.scorer.start()
        # All beams of a clip start equal, so only the first may go on at the first step.
        first = torch.zeros(self.batch, beam, dtype=torch.double, device=device)
        first[:, 1:] = -torch.inf
        self.total = first.flatten()
        self.attention = torch.zeros_like(self.total)
        self.done = torch.zeros(self.batch * beam, dtype=torch.bool, device=device)
        self.history = torch.empty(self.batch * beam, 0, dtype=torch.long, device=device)

    def advance(self, log_probs: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step given the decoder's log-probabilities; returns next tokens (N, 1) and parents (N,)."""
        extended = self.scorer.extend(self.state, self.symbols)
        ctc = torch.cat((extended.score, self.scorer.finish(self.state)[:, None]), 1)
        attention = self.attention[:, None] + log_probs[:, self.candidates]
        total = (1 - self.share) * attention + self.share * ctc
        # A finished hypothesis stays as it is: its end mark costs nothing again.
        total = total.masked_fill((self.done | self.total.isinf())[:, None], -torch.inf)
        total[:, -1] = torch.where(self.done, self.total, total[:, -1])
        count = len(self.candidates)
        self.total, flat = (x.flatten() for x in total.view(self.batch, -1).topk(self.beam))
        offset = torch.arange(self.batch, device=flat.device).repeat_interleave(self.beam) * self.beam
        parents, choice = flat // count + offset, flat % count
        attention[:, -1] = torch.where(self.done, self.attention, attention[:, -1])
        self.attention = attention[parents, choice]
        self.state = self._states(extended, parents, choice)
        tokens = self.candidates[choice]
        self.done = choice == count - 1
        self.history = torch.cat((self.history[parents], tokens[:, None]), 1)
        return tokens[:, None], parents

    def settled(self) -> bool:
        """Whether each clip's best hypothesis has ended: scores only fall, so none can overtake it."""
        return bool(self.done.view(self.batch, -1)[:, 0].all())

    def best(self) -> list[list[int]]:
        """The tokens of each clip's best hypothesis."""
        return [_until(row, self.end) for row in self.history[:: self.beam].tolist()]

    def _states(self, extended: PrefixState, parents: Tensor, choice: Tensor) -> PrefixState:
        ended = choice == len(self.symbols)
        symbol = choice.clamp_max(len(self.symbols) - 1)
        grown = [field[parents, symbol] for field in extended]
        kept = [field[parents] for field in self.state]
        wide = ended[:, None]
        return PrefixState(
            torch.where(wide, kept[0], grown[0]),
            torch.where(wide, kept[1], grown[1]),
            torch.where(ended, kept[2], grown[2]),
            torch.where(ended, kept[3], grown[3]),
        )


def _begin(
    model: Echo, batch: int, prompt: tuple[int, ...] | None, limit: int | None, device: torch.device
) -> tuple[Tensor, int]:
    given = (model.config.decoder_start_token_id,) if prompt is None else prompt
    room = model.config.n_text_ctx - len(given)
    tokens = torch.tensor(given, dtype=torch.long, device=device).repeat(batch, 1)
    return tokens, room if limit is None else min(limit, room)


def _end_token(model: Echo) -> int:
    end = model.config.eos_token_id
    return int(end[0] if isinstance(end, list) else end)


def _ctc_logits(model: Echo, audio: Tensor) -> Tensor:
    if model.ctc_head is None:
        raise ConfigError("CTC decoding must have a CTC head; got ctc_vocab 0. Set ctc_vocab, or decode greedily.")
    logits: Tensor = model.ctc_head(audio)
    return logits


def _until(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end)] if end in tokens else tokens
