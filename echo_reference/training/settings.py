"""What a training run is asked to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Decoding = Literal["greedy", "ctc", "joint"]


class TrainSettings(BaseModel):
    """Settings of a training run; flags and YAML carry the same names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: str = Field("synthetic", description="corpus: synthetic, a folder or .jsonl manifest, or hub:NAME")
    output: Path = Field(Path("runs/echo"), description="folder of the run")
    preset: str = Field("digits", description="named model size")
    model: dict[str, Any] = Field(default_factory=dict, description="changes to the preset, by EchoConfig's names")
    tokens: Literal["auto", "word", "character", "whisper"] = Field(
        "auto", description="auto: words where few are known, else characters"
    )
    recipe: str = Field("echo", description="control system: echo, steady, a recipe file, or none")
    steps: int = Field(900, ge=1, description="optimizer steps")
    minutes: float | None = Field(None, gt=0, description="stop early after this many minutes of training")
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(2e-3, gt=0, description="peak of the schedule")
    final_rate: float = Field(0.05, ge=0, le=1, description="learning rate at the end, relative to the peak")
    warmup: int = Field(50, ge=0, description="steps from 0 to the peak")
    weight_decay: float = Field(0.01, ge=0)
    augment: bool = Field(False, description="vary tempo, pitch and level, mask bands and spans")
    decoding: Decoding = Field("joint", description="how the final transcripts are made")
    evaluate_every: int = Field(100, ge=1, description="steps between two evaluations on the validation split")
    validation_clips: int = Field(96, ge=1, description="at most this many validation clips")
    checkpoint_every: int = Field(300, ge=1, description="steps between two checkpoints")
    keep_checkpoints: int = Field(2, ge=1)
    seed: int = Field(0, ge=0)
    threads: int | None = Field(None, ge=1, description="CPU threads; default: all cores")
    device: str = Field("cpu", description="torch device")
    resume: bool = Field(False, description="continue the run in `output` from its last checkpoint")
