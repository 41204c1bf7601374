"""The role of a subcommand: its settings, and how it is carried out."""

from __future__ import annotations

from abc import abstractmethod

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from rich.console import Console


class Command(BaseSettings):
    """A subcommand; its fields are its flags."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
        cli_enforce_required=True,
        cli_exit_on_error=False,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take settings from the command line and the YAML file only: a variable `SEED` is some other program's."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    def check(self) -> None:
        """Nothing more to check once the fields are valid."""

    @abstractmethod
    def carry_out(self, console: Console) -> int:
        """Do the work; returns the exit code."""
