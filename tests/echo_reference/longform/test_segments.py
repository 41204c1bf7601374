from __future__ import annotations

import math
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from echo_reference.longform import Segment, Word, group
from echo_reference.longform.segments import join


def test_segments_end_at_pauses_and_before_they_grow_long() -> None:
    words = [Word("a", 0.0, 0.5), Word("b", 0.9, 1.2), Word("c", 2.3, 2.5), Word("d", 3.0, 9.4)]
    assert group(words) == [Segment(0.0, 1.2, "a b"), Segment(2.3, 2.5, "c"), Segment(3.0, 9.4, "d")]
    assert group([]) == []


@given(
    starts=st.lists(st.floats(0.05, 0.6), min_size=1, max_size=40),
    cut=st.floats(0.0, 20.0),
    jitter=st.floats(-0.02, 0.02),
)
def test_two_windows_that_hear_the_same_words_say_each_once(starts: list[float], cut: float, jitter: float) -> None:
    words, time = [], 0.0
    for i, pause in enumerate(starts):
        words.append(Word(f"w{i}", time + pause, time + pause + 0.3))
        time += pause + 0.3
    # The left window loses what its end cuts, the right one what its beginning cuts.
    left = [word for word in words if word.end <= cut + 3]
    right = [Word(w.text, w.start + jitter, w.end + jitter) for w in words if w.start >= cut]
    joined = join(left, right, (cut, cut + 3))
    assert [word.text for word in joined] == [word.text for word in words]


def test_at_its_own_edge_neither_window_is_believed() -> None:
    left = [Word("one", 1.0, 1.5), Word("tw", 9.5, 10.0)]
    right = [Word("ne", 8.0, 8.1), Word("two", 9.4, 10.2)]
    assert [word.text for word in join(left, right, (8.0, 10.0))] == ["one", "two"]


@given(st.lists(st.floats(0.01, 20), min_size=2, max_size=8), st.floats(0.01, 14))
def test_words_stretched_over_silence_do_not_reach_into_the_other_window(steps, overlap):
    edges = [min(edge, 30.0) for edge in accumulate(steps)]
    left = [Word("a", start, end) for start, end in zip(edges[::2], edges[1::2], strict=False) if start < end]
    cut = 30 - overlap
    right = [Word("b", cut + word.start, cut + word.end) for word in left]
    joined = join(left, right, (cut, 30.0))
    before = [word.end for word in joined if word.text == "a"]
    after = [word.start for word in joined if word.text == "b"]
    assert max(before, default=0.0) <= min(after, default=math.inf)
    assert all(word.start < word.end for word in joined)
