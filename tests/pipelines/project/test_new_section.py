"""A section more in params.yaml: nothing else in it moves."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import ParamsError
from headrace.pipelines.project.new_section import section_text, with_section
from headrace.pipelines.yaml_dialect import read_yaml

SECTION = {"description": "a: b", "features": {"x": {"type": "number"}, "y": {"classes": ["1", "no"]}}, "none": {}}
WRITTEN = """\
# about it
new:
  description: 'a: b'
  features:
    x: {type: number}
    y: {classes: ['1', 'no']}
  none: {}
"""
# how `pipelines` stands there, and with a name more
LISTS = [
    ("pipelines: [a, b]  # all", "pipelines: [a, b, new]  # all"),
    ("pipelines: []", "pipelines: [new]"),
    ("pipelines:\n  - a  # the first\n  - b", "pipelines:\n  - a  # the first\n  - b\n  - new"),
    ("pipelines:\n- a # one", "pipelines:\n- a # one\n- new"),
    ('pipelines: ["a",\n  b ]', 'pipelines: ["a",\n  b, new ]'),
]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(("before", "after"), LISTS)
def test_a_section_is_added_and_nothing_else_moves(before, after, line_end) -> None:
    text = f"# a comment\n{before}\n\na: {{x: 1}} # kept\n".replace("\n", line_end)
    section = section_text("new", SECTION, comment="about it")
    assert section == WRITTEN
    added = with_section(text, "new", section)
    assert added == f"# a comment\n{after}\n\na: {{x: 1}} # kept\n\n{WRITTEN}".replace("\n", line_end)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pipelines: [new]", "has 'new' already"),
        ("pipelines: []\nnew: {}", "has 'new' already"),
        ("new: 1", "expected `pipelines`, a list"),
        ("pipelines: {}", "expected `pipelines`, a list"),
        ("pipelines: [", "not YAML: "),
        ("names: &all [a]\npipelines: *all\n", "can't be added to"),
    ],
)
def test_a_file_that_can_t_be_added_to_is_refused(text, message) -> None:
    with pytest.raises(ParamsError, match=message):
        with_section(text, "new", section_text("new", SECTION))


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
values = st.recursive(
    texts | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(texts, values, max_size=4))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_what_is_read(section) -> None:
    text = section_text("new", section)
    assert yaml.load(text, Loader=yaml.CSafeLoader) == read_yaml(text, name="new") == {"new": section}
    with_section("pipelines: [a]\n", "new", text)
