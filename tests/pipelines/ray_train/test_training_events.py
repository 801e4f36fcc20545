"""Events of a training as lines of JSON."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.pipelines.ray_train.training_events import (
    EpochEvent,
    GroupEvent,
    LostEvent,
    NoteEvent,
    PlacedEvent,
    ProgressEvent,
    RetryEvent,
    parse_event,
)

text = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.one_of(
        st.builds(GroupEvent, num_workers=st.integers(1, 99), threads_per_worker=st.integers(1, 99)),
        st.builds(EpochEvent, epoch=st.integers(1), loss=st.floats(allow_nan=False)),
        st.builds(NoteEvent, note=text),
        st.builds(LostEvent, reason=text),
        st.builds(RetryEvent, reason=text),
        st.just(PlacedEvent()),
        st.just(
            ProgressEvent(
                epoch=1, step=2, steps=3, examples_per_second=4.5, seconds_left_in_epoch=0.0, seconds_left=1e300
            )
        ),
    )
)
def test_what_is_written_is_read_on_one_line(event):
    line = event.model_dump_json().encode()
    assert b"\n" not in line
    assert parse_event(line) == event


def test_a_metric_that_is_no_number_is_kept():
    event = parse_event(EpochEvent(epoch=1, compute_seconds=math.nan).model_dump_json().encode())
    assert isinstance(event, EpochEvent)
    assert math.isnan(event.metrics["compute_seconds"])


@pytest.mark.parametrize("line", [b"", b'{"kind": "epo', b"[]", b'{"kind": "later"}', b'{"kind": "note"}', b"\xff"])
def test_a_line_that_is_cut_short_or_unknown_is_passed_over(line):
    assert parse_event(line) is None


def test_an_event_has_no_other_fields():
    with pytest.raises(ValidationError):
        NoteEvent(note="x", reason="y")
