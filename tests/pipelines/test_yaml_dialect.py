"""params.yaml has one dialect: what Headrace reads, DVC reads the same; what readers take differently is refused."""

import json
import re
from datetime import date, datetime

import pytest
from dvc.utils.serialize import parse_yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.components.errors import ParamsError
from headrace.pipelines.yaml_dialect import read_yaml, read_yaml_file

# (text, what it means): as users mean it, and as DVC reads it
MEANINGS = [
    ("[no, yes, on, off, y, N]", ["no", "yes", "on", "off", "y", "N"]),
    ("[true, False, ~, null]", [True, False, None, None]),
    ("- 1:30\n- 190:20:30.15", ["1:30", "190:20:30.15"]),  # not base 60
    ("[1e3, 1E-3, .5, 5., +1, -0]", [1000.0, 0.001, 0.5, 5.0, 1, 0]),
    ("[0o10, 0x1F, 1_000]", [8, 31, 1000]),
    ("- 2026-02-28\n- 2026-02-28T10:00:00Z\n- 2026-2-3", ["2026-02-28", "2026-02-28T10:00:00Z", "2026-2-3"]),
    ("{a: &a {x: 1, y: 2}, b: {<<: *a, y: 3}}", {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}),
    ("\ufeffa: 1", {"a": 1}),
]

# (text, what the message must say)
REFUSED = [
    ("a: 1\nb: 2\na: 3", "params.yaml: line 3: duplicate key 'a', first in line 1; keep one"),
    ("a: {b: 1, b: 1}", "duplicate key 'b'"),
    (
        "a: {url: https://a.org/b}",
        "params.yaml: line 1: 'https://a.org/b' within braces or brackets has a colon; quote",
    ),
    ("a:\n- [1:30]", "params.yaml: line 2: '1:30' within braces or brackets has a colon; quote it"),
    ("a: 010", "params.yaml: line 1: 010 is another number to other readers"),
    ("a: -08", "-08 is another number"),
    ("a: 1__0", "1__0 is another number"),
    ("a: 2026-02-30", "2026-02-30 is no date or time"),
    ("a: 2026-02-28 25:00:00", "is no date or time"),
    ("a: 2026-02-28 10:00:00.1234567", "finer than a microsecond"),
    (f"a: {'9' * 5000}", "a number of 5000 characters"),
    (f"a: 0x{'f' * 5000}", "a number of 5002 characters"),
    ('a: "x\\0y"', "NUL"),
    ('"x\\0y": 1', "NUL"),
    ('a: "\\ud800"', "invalid Unicode"),
    ("1: 2", "a key must be text, found 1; quote it"),
    ("true: 2", "a key must be text"),
    ("[a]: 2", "a key must be text"),
    ("a: &a [*a]", "contains itself"),
    ("a: &a {b: {c: *a}}", "contains itself"),
    ("[" * 200_000, "nested more than 100 deep"),  # the C parser's own recursion would end the process
    ("- " * 200_000, "nested more than 100 deep"),
    ("a: !!python/object/apply:os.system [id]", "!!python/object/apply:os.system is not read here"),
    ("a: !!binary aGk=", "!!binary is not read here"),
    ("a: !", "a tag without a name"),
    ("a: =", "!!value is not read here"),
    ("a: !!int x", "x is another number"),
    ("a: !!bool [x]", "expected a scalar"),
    ("a: 1\n---\nb: 1", "line 2: "),
    ("a: b: c", "line 1: not YAML: mapping values are not allowed"),
    ("a: *b", "undefined alias"),
    ("a: 1\nb: x\u2028y", "line 2: a line end to some readers only ('\\u2028')"),
    ("a: \x07", "not YAML: unacceptable character"),
]


@pytest.mark.parametrize(("text", "meaning"), MEANINGS)
def test_values_are_read_as_users_mean_them(text, meaning):
    assert read_yaml(text, name="params.yaml") == meaning


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[text[:20] for text, _ in REFUSED])
def test_what_is_read_differently_elsewhere_is_refused_in_one_line(text, message):
    with pytest.raises(ParamsError) as raised:
        read_yaml(text, name="params.yaml")
    assert message in str(raised.value)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 250


def test_a_hundred_levels_are_read_and_no_more():
    assert read_yaml("[" * 100 + "]" * 100, name="params.yaml")
    with pytest.raises(ParamsError, match="nested more than 100 deep"):
        read_yaml("[" * 101 + "]" * 101, name="params.yaml")


def test_aliases_of_aliases_are_bounded():
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 12)]
    with pytest.raises(ParamsError, match=r"line 6: with its aliases it holds more than 1,000,000 values"):
        read_yaml("\n".join(lines), name="params.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: café".encode("latin-1"), r"params\.yaml: not UTF-8: byte 0xe9 at 6; save the file as UTF-8"),
        ("a: 1".encode("utf-16"), r"params\.yaml: not UTF-8: byte 0xff at 0"),
        (b"a: \x00", r"params\.yaml: not YAML: unacceptable character"),
    ],
)
def test_a_file_of_other_bytes_is_one_line(tmp_path, content, message):
    file = tmp_path / "params.yaml"
    file.write_bytes(content)
    with pytest.raises(ParamsError, match=message):
        read_yaml_file(file)


def comparable(value):
    """A value without DVC's dates, which Headrace keeps as text, and with NaN equal to itself."""
    if isinstance(value, dict):
        return {key: comparable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [comparable(one) for one in value]
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return value.isoformat()
    return repr(value)


def with_dates(ours, theirs):
    """Our value, with the text of a time as the moment where DVC has one."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return {key: with_dates(one, theirs.get(key)) for key, one in ours.items()}
    if isinstance(theirs, list) and isinstance(ours, list) and len(ours) == len(theirs):
        return [with_dates(one, other) for one, other in zip(ours, theirs, strict=True)]
    if isinstance(theirs, date) and isinstance(ours, str):
        return type(theirs).fromisoformat(ours)
    return ours


plain = st.one_of(
    st.text("0123456789_+-.eExobXOB:", min_size=1, max_size=8),
    st.from_regex(
        r"[0-9]{4}-[01][0-9]-[0-3][0-9]([ Tt][0-2][0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]{1,7})?Z?)?", fullmatch=True
    ),
    st.text("aeflnorstuyTFNYO~=<.", min_size=1, max_size=5),
    st.sampled_from(["true", "off", "NO", "Null", "~", ".inf", "-.INF", ".NaN", "'010'", '"yes"', "!!str 010", "''"]),
    st.text(max_size=8).map(json.dumps),
)
keys = st.one_of(st.sampled_from(["a", "b", "c", "no", "'1'", "<<"]), plain)
flow = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda parts: f"[{', '.join(parts)}]"),
        st.lists(st.tuples(keys, inner), max_size=4).map(
            lambda parts: f"{{{', '.join(f'{key}: {value}' for key, value in parts)}}}"
        ),
    ),
    max_leaves=8,
)
documents = st.lists(st.tuples(keys, flow), min_size=1, max_size=4).map(
    lambda parts: "".join(f"{key}: {value}\n" for key, value in parts)
)


@settings(max_examples=200, deadline=None)
@given(text=documents)
@example(text="a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: [*a, *b], y: 3}\n")
@example(text="a: &a {x: 1}\nb: {<<: &q {<<: *a, x: 2}, x: 3}\nc: *q\n")
@example(text="a: [0:0]\n")
@example(text="a: {url: https://example.org/rows.csv}\n")
@example(text="a: {url: 'https://example.org/rows.csv', b: https\n}\nc: https://example.org\n")
@example(text="a: |\n  010\n  yes\nb: >-\n  x\n  y\n")
def test_what_is_read_means_the_same_to_dvc(text):
    try:
        ours = read_yaml(text, name="params.yaml")
    except ParamsError:
        return
    theirs = parse_yaml(text, "params.yaml")
    assert comparable(with_dates(ours, theirs)) == comparable(theirs)


def test_the_projects_own_file_means_the_same_to_dvc(repository):
    text = (repository / "params.yaml").read_text(encoding="utf-8")
    ours, theirs = read_yaml(text, name="params.yaml"), parse_yaml(text, "params.yaml")
    assert comparable(with_dates(ours, theirs)) == comparable(theirs)


def test_no_other_reader_of_yaml_is_used(repository):
    """yaml.compose finds where a value stands; what it is, `read_yaml` says."""
    others = re.compile(r"yaml\.(load|safe_load|full_load|unsafe_load)|import ruamel|from ruamel|YAML\(")
    files = [
        file for folder in ("components", "pipelines", "dags", "infra") for file in (repository / folder).rglob("*.py")
    ]
    found = [file.name for file in files if others.search(file.read_text(encoding="utf-8"))]
    assert found == ["serving.py"], "which MLflow runs without Headrace, and reads a file of MLflow's"
