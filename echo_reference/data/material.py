"""What the synthetic speakers say: digit strings, numbers and short commands over a closed vocabulary."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

Material: TypeAlias = Literal["digits", "numbers", "commands", "mixed"]

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = (
    *("ten", "eleven", "twelve", "thirteen", "fourteen"),
    *("fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")

_DEVICES = ("light", "fan", "heater", "radio", "music", "alarm", "camera")
_LEVELS = ("volume", "heat", "brightness")
_ROOMS = ("kitchen", "bedroom", "garage", "office")
_SIMPLE = ("stop", "go back", "yes", "no", "play the next song", "open the door", "close the door")
_MIXTURE: tuple[Material, ...] = ("digits", "numbers", "commands")
_SHARES = (0.5, 0.2, 0.3)


def draw_text(material: Material, longest: int, random: np.random.Generator) -> str:
    """One text in lower case, without punctuation.

    Args:
        material: "digits" are strings of 1 to `longest` single digits, "numbers" one to three numbers from 0 to
            99, "commands" sentences of a small grammar, "mixed" half digits, a fifth numbers, the rest commands.
        longest: most digits in a string.
        random: the source of chance.
    """
    if material == "mixed":
        material = _MIXTURE[int(random.choice(len(_MIXTURE), p=_SHARES))]
    if material == "digits":
        return " ".join(_pick(DIGITS, random) for _ in range(random.integers(1, longest + 1)))
    if material == "numbers":
        return " ".join(_number(int(random.integers(100))) for _ in range(random.integers(1, 4)))
    return _command(random)


def _pick(choices: tuple[str, ...], random: np.random.Generator) -> str:
    return choices[int(random.integers(len(choices)))]


def _number(value: int) -> str:
    if value < 20:
        return (DIGITS + _TEENS)[value]
    tens, unit = _TENS[value // 10 - 2], value % 10
    return f"{tens} {DIGITS[unit]}" if unit else tens


def _command(random: np.random.Generator) -> str:
    form = int(random.integers(6))
    if form == 0:
        return _pick(_SIMPLE, random)
    if form == 1:
        return f"turn {_pick(('on', 'off', 'up', 'down'), random)} the {_pick(_DEVICES + _LEVELS, random)}"
    if form == 2:
        return f"{_pick(('start', 'stop'), random)} the {_pick(_DEVICES, random)}"
    if form == 3:
        return f"set the {_pick(_LEVELS, random)} to {_number(int(random.integers(100)))}"
    if form == 4:
        where = f"in the {_pick(_ROOMS, random)}"
        return f"turn {_pick(('on', 'off'), random)} the {_pick(_DEVICES, random)} {where}"
    return f"call number {' '.join(_pick(DIGITS, random) for _ in range(3))}"
