from __future__ import annotations

from pathlib import Path

from echo_reference.data.statistics import statistics
from echo_reference.data.utterance import Corpus, Utterance


def test_counts_by_split() -> None:
    train = [Utterance("a", Path(), "one two", 30.0, "ann"), Utterance("b", Path(), "one", 60.0, "bob")]
    test = [Utterance("c", Path(), "one", 6.0, "bob"), Utterance("d", Path(), "", 0.0, "cid")]
    counted = statistics(Corpus("small", train, [], test))
    assert counted["train"] == (2, 1.5, 2, 0, 3, 2)
    assert counted["validation"] == (0, 0.0, 0, 0, 0, 0)
    assert counted["test"] == (2, 0.1, 2, 1, 1, 1)
