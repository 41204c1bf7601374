"""What a training run is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from echo_reference.errors import CheckpointError
from echo_reference.tokens.marks import iso_code

Decoding = Literal["greedy", "ctc", "joint"]


def _usable(device: str) -> str:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"must be a device that torch can use here ({reason}). Use cpu") from error
    return device


Device = Annotated[str, AfterValidator(_usable)]
"""The name of a torch device that this machine has."""

# What a continued run may do otherwise: everything else has shaped its state or its data.
_MAY_CHANGE = frozenset(
    {
        *("output", "resume", "device", "threads", "tensorboard"),
        *("steps", "minutes", "decoding", "evaluate_every", "checkpoint_every", "keep_checkpoints"),
    }
)


class TrainSettings(BaseModel):
    """Settings of a training run; flags and YAML carry the same names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: str = Field("synthetic", description="corpus: synthetic:digits, a folder or .jsonl manifest, or hub:NAME")
    output: Path = Field(Path("runs/echo"), description="folder of the run")
    preset: str = Field("digits", description="named model size")
    start: str = Field("", description="model to start from: a run, or a Whisper (a folder or a name on the hub)")
    model: dict[str, Any] = Field(default_factory=dict, description="changes to the preset, by EchoConfig's names")
    tokens: Literal["auto", "word", "character", "whisper"] = Field(
        "auto", description="auto: words where few are known, else characters"
    )
    language: Annotated[str, AfterValidator(iso_code)] = Field(
        "en", description="what is spoken, by ISO code or English name, for Whisper's vocabulary"
    )
    recipe: str = Field("echo", description="control system: echo, steady, a recipe file, or none")
    steps: int = Field(900, ge=1, description="optimizer steps")
    minutes: float | None = Field(None, gt=0, description="stop early after this many minutes of training")
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(4e-3, gt=0, description="peak of the schedule")
    final_rate: float = Field(0.05, ge=0, le=1, description="learning rate at the end, relative to the peak")
    warmup: int = Field(50, ge=0, description="steps from 0 to the peak")
    weight_decay: float = Field(0.01, ge=0)
    augment: bool = Field(False, description="vary tempo, pitch and level, mask bands and spans")
    decoding: Decoding = Field(
        "joint", description="how the final transcripts are made; greedy where not given and the model cannot do joint"
    )
    evaluate_every: int = Field(150, ge=1, description="steps between two evaluations on the validation split")
    validation_clips: int = Field(96, ge=1, description="at most this many validation clips")
    checkpoint_every: int = Field(300, ge=1, description="steps between two checkpoints")
    keep_checkpoints: int = Field(2, ge=1)
    seed: int = Field(0, ge=0)
    # The small model takes 150 ms a step with one thread and with two, and two stall where a core is busy.
    threads: int = Field(1, ge=1, description="CPU threads; more pay for models larger than the preset")
    device: Device = Field("cpu", description="torch device")
    tensorboard: bool = Field(False, description="also write the trace for TensorBoard, into the run's folder")
    resume: bool = Field(
        False,
        description="continue the run in `output` from its last checkpoint, with the settings it was started with",
    )

    def continuing(self, saved: Mapping[str, Any]) -> Self:
        """The settings of a run to be continued: the saved ones, and over them what was given here by name.

        Args:
            saved: `model_dump` of the run's settings.

        Raises:
            CheckpointError: a setting was given another value that may not change within a run, or `saved` is of
                another version.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set}
        try:
            before = type(self).model_validate({**saved, "device": self.device})
        except ValidationError as error:
            names = ", ".join(str(problem["loc"][0]) for problem in error.errors())
            raise CheckpointError(
                f"A run must be continued by the version that wrote it; got other settings ({names}). "
                "Install that version, or start anew."
            ) from error
        for name, value in given.items():
            if name not in _MAY_CHANGE and value != getattr(before, name):
                raise CheckpointError(
                    f"A continued run must keep its {name}, {getattr(before, name)!r}; got {value!r}. "
                    "Leave the setting out, or start a new run in another --output."
                )
        return before.model_copy(update=given)
