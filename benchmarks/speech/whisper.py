"""Hugging Face's Whisper as a contender."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache, EncoderDecoderCache, WhisperConfig, WhisperForConditionalGeneration

from benchmarks.speech.clock import Average, rate_factor
from benchmarks.speech.tasks import Task

# Frames of Whisper's window. A digit lasts less than 1 s in all but 20 of 3000 recordings; those are cut, as Whisper
# cuts at 30 s.
_WINDOW = {"digits": 100, "speaker": 100, "strings": 300, "sentences": 612}
_LONGEST = {"digits": 8, "speaker": 8, "strings": 8, "sentences": 120}
_RATE = 1e-3


class WhisperContender:
    """Hugging Face's Whisper with SDPA; AdamW 1e-3, a warm-up of 200 steps."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.frames, self.longest = _WINDOW[task.name], _LONGEST[task.name]
        width = 96 if self.frames == 100 else 128
        tokenizer = task.tokenizer
        config = WhisperConfig(
            vocab_size=tokenizer.vocab_size, num_mel_bins=80, max_source_positions=self.frames // 2,
            max_target_positions=2 * self.longest, d_model=width, encoder_layers=2, decoder_layers=2,
            encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width,
            decoder_start_token_id=tokenizer.bos_id, bos_token_id=tokenizer.bos_id, eos_token_id=tokenizer.eos_id,
            pad_token_id=tokenizer.pad_id, suppress_tokens=None, begin_suppress_tokens=None,
        )  # fmt: skip
        self.model = WhisperForConditionalGeneration(config).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=_RATE)
        self.average = Average(self.model)

    def step(self, number: int, progress: float) -> None:
        """Take one step."""
        self.optimizer.param_groups[0]["lr"] = _RATE * rate_factor(number, 200, progress)
        batch = self.task.batches(number)
        loss = self.model(input_features=self._fit(batch.features), labels=batch.labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    @torch.no_grad()
    def read(self) -> dict[str, list[str]]:
        """Transcribe the test set."""
        self.model.eval()
        texts: list[str] = []
        for start in range(0, len(self.task.test), 100):
            features = torch.stack([self._fit(f) for f in self.task.test[start : start + 100]])
            audio = self.model.get_encoder()(features).last_hidden_state
            texts += [self.task.tokenizer.decode(row) for row in self._greedy(audio)]
        self.model.train()
        return {"greedy": texts}

    def _greedy(self, audio: Tensor) -> list[list[int]]:
        tokenizer = self.task.tokenizer
        tokens = [torch.full((len(audio),), tokenizer.bos_id)]
        done = torch.zeros(len(audio), dtype=torch.bool)
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        while len(tokens) <= self.longest and not done.all():
            given = {"decoder_input_ids": tokens[-1][:, None], "past_key_values": cache, "use_cache": True}
            logits = self.model(encoder_outputs=(audio,), **given).logits[:, -1]
            best = logits.argmax(-1).masked_fill(done, tokenizer.eos_id)
            done |= best == tokenizer.eos_id
            tokens.append(best)
        rows: list[list[int]] = torch.stack(tokens[1:], 1).tolist()
        return rows

    def _fit(self, features: Tensor) -> Tensor:
        return F.pad(features, (0, max(0, self.frames - features.shape[-1])))[..., : self.frames]
