"""A killed process leaves a trace that can be read, and continued."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import homeostat
from homeostat.sinks import JsonLines, read_run
from homeostat.trace import Metric

# The package's own __init__ imports torch, which takes a child longer than all it does here.
WRITER = f"""
import sys, types
sys.modules["homeostat"] = types.ModuleType("homeostat")
sys.modules["homeostat"].__path__ = {homeostat.__path__!r}
from homeostat.sinks import JsonLines
from homeostat.trace import Metric
sink = JsonLines(sys.argv[1], block=8)
sink.open({{"version": 1, "homeostat": "0", "tick": 0, "loops": []}})
print("started", flush=True)
tick = 0
while True:
    sink.write(Metric(tick, "loss", float(tick)))
    tick += 1
"""


def start(path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_run_is_read_without_gaps_and_continued(tmp_path: Path, seed: int, description) -> None:
    path = tmp_path / "trace.jsonl"
    process = start(path)
    time.sleep(random.Random(seed).uniform(0.005, 0.1))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    ticks = read_run(path).metrics["loss"]["tick"].tolist()
    assert len(ticks) >= 8
    assert ticks == list(range(len(ticks)))

    sink = JsonLines(path)
    sink.open({**description, "tick": 5})
    sink.write(Metric(5, "loss", -1.0))
    sink.close()
    assert read_run(path).metrics["loss"]["value"].tolist() == [0, 1, 2, 3, 4, -1]


def test_a_line_torn_at_any_byte_is_ignored_and_cut_off(tmp_path: Path, description, record) -> None:
    whole = tmp_path / "whole.jsonl"
    sink = JsonLines(whole)
    sink.open(description)
    for tick in range(3):
        sink.write(record(tick))
    sink.close()
    content = whole.read_bytes()
    last = content[:-1].rfind(b"\n") + 1
    for cut in range(last, len(content)):
        torn = tmp_path / "torn.jsonl"
        torn.write_bytes(content[:cut])
        assert read_run(torn).loops["rate"]["tick"].tolist() == [0, 1]
        sink = JsonLines(torn)
        sink.open({**description, "tick": 2})
        sink.write(record(2))
        sink.close()
        assert read_run(torn).loops["rate"]["tick"].tolist() == [0, 1, 2]
        assert torn.read_bytes().count(b"\n") == 5


def test_a_trace_torn_in_its_first_line_begins_anew(tmp_path: Path, description) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_bytes(b'{"run":{"vers')
    sink = JsonLines(path)
    sink.open(description)
    sink.close()
    assert read_run(path).description == description


def test_a_script_that_just_ends_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    ends = WRITER.replace("while True:", "while tick < 21:")
    subprocess.run([sys.executable, "-c", ends, str(path)], check=True, stdout=subprocess.DEVNULL)
    assert read_run(path).metrics["loss"]["tick"].tolist() == list(range(21))
