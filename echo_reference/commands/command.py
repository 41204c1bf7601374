"""The role of a subcommand: its settings, and how it is carried out."""

from __future__ import annotations

from abc import abstractmethod

from pydantic import BaseModel, ConfigDict
from rich.console import Console


class Command(BaseModel):
    """A subcommand; its fields are its flags."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def check(self) -> None:
        """Nothing more to check once the fields are valid."""

    @abstractmethod
    def carry_out(self, console: Console) -> int:
        """Do the work; returns the exit code."""
