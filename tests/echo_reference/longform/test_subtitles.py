from __future__ import annotations

import json

from echo_reference.longform import Segment, render

SEGMENTS = [Segment(0.0, 1.2345, "one two"), Segment(3723.9996, 3725.0, "a < b & c")]


def test_text_is_one_line() -> None:
    assert render(SEGMENTS, "text") == "one two a < b & c\n"
    assert render([], "text") == "\n"


def test_json_holds_text_and_times() -> None:
    assert json.loads(render(SEGMENTS, "json")) == {
        "text": "one two a < b & c",
        "segments": [
            {"start": 0.0, "end": 1.234, "text": "one two"},
            {"start": 3724.0, "end": 3725.0, "text": "a < b & c"},
        ],
    }


def test_subrip_numbers_its_cues_and_has_commas() -> None:
    assert render(SEGMENTS, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,234\none two\n\n2\n01:02:04,000 --> 01:02:05,000\na < b & c\n"
    )


def test_webvtt_has_a_header_points_and_no_markup() -> None:
    assert render(SEGMENTS, "vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.234\none two\n\n01:02:04.000 --> 01:02:05.000\na &lt; b &amp; c\n"
    )
    assert render([], "vtt") == "WEBVTT\n"
