"""The subcommands of `echo-reference`, and how one is chosen."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any, TextIO

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import CliApp, SettingsError
from rich.console import Console
from transformers.utils import logging as transformers_logging

from echo_reference.commands.command import Command
from echo_reference.commands.data import Data
from echo_reference.commands.evaluate import Evaluate
from echo_reference.commands.train import Train
from echo_reference.commands.transcribe import Transcribe
from echo_reference.errors import CheckpointError, ConfigError, DataError, DivergenceError, MissingPackageError
from homeostat import HomeostatError, HomeostatWarning

COMMANDS: dict[str, type[Command]] = {
    "train": Train,
    "evaluate": Evaluate,
    "transcribe": Transcribe,
    "data": Data,
}

_EXPECTED = (DataError, ConfigError, CheckpointError, MissingPackageError, HomeostatError)
_USAGE = "usage: echo-reference {train,evaluate,transcribe,data} [--config FILE.yaml] [options]"


def run(arguments: list[str]) -> int:
    """Carry out one command and return the exit code.

    0, 1 where training diverged, 2 for a request that cannot be met, 130 after Ctrl-C.
    `--config FILE.yaml` gives settings by their names; flags on the command line win over it.
    """
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(_USAGE)
        for name, command in COMMANDS.items():
            print(f"  {name:<11} {(command.__doc__ or '').splitlines()[0]}")
        return 0 if arguments else 2
    chosen = COMMANDS.get(arguments[0])
    if chosen is None:
        print(f"A command must be one of {', '.join(COMMANDS)}; got {arguments[0]!r}.\n{_USAGE}", file=sys.stderr)
        return 2
    # A bar for every checkpoint written would tear the training display.
    transformers_logging.disable_progress_bar()
    try:
        flags, settings = _read_config(arguments[1:])
        request = CliApp.run(chosen, cli_args=flags, cli_cmd_method_name="check", **settings)
        with warnings.catch_warnings():
            warnings.showwarning = _short_warning
            return request.carry_out(Console())
    except KeyboardInterrupt:
        print("Stopped. Checkpoints that were written are whole.", file=sys.stderr)
        return 130
    except (*_EXPECTED, DivergenceError, SettingsError, ValidationError) as error:
        print(_sentence(error, arguments[0]), file=sys.stderr)
        return 1 if isinstance(error, DivergenceError) else 2


def _sentence(error: Exception, command: str) -> str:
    """What is wrong, in one line for each setting that is."""
    if isinstance(error, ValidationError):
        return "\n".join(_setting(problem, command) for problem in error.errors())
    if isinstance(error, SettingsError):
        reason = str(error).removeprefix("error parsing CLI: ")
        return f"Arguments must be those of `echo-reference {command} --help`; got {reason}. Correct them."
    return str(error)


def _setting(problem: ErrorDetails, command: str) -> str:
    flag = "--" + ".".join(str(part) for part in problem["loc"]).replace("_", "-")
    if problem["type"] == "extra_forbidden":
        return f"A setting must be one of `echo-reference {command} --help`; got {flag}. Correct or remove it."
    if problem["type"] == "missing":
        return f"{flag} must be given; got nothing. See `echo-reference {command} --help`."
    return f"{flag} is not valid ({problem['msg']}); got {problem['input']!r}. Correct it."


def _read_config(arguments: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Take `--config FILE` out of the arguments and read it."""
    if "--config" not in arguments:
        return arguments, {}
    at = arguments.index("--config")
    if at + 1 == len(arguments):
        raise ConfigError("--config must be followed by a YAML file; got nothing. Name one.")
    path = Path(arguments[at + 1])
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"--config must be a readable YAML file; got {path} ({reason}). Correct it.") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"--config must hold settings by name; got {type(settings).__name__}. Write `name: value`.")
    return arguments[:at] + arguments[at + 2 :], settings


def _short_warning(  # noqa: PLR0917 - the signature is the warnings module's
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show the library's own alarms as one line; other packages' warnings are not the user's to act on."""
    del filename, lineno, file, line
    if issubclass(category, HomeostatWarning):
        print(f"alarm: {message}", file=sys.stderr)
