"""What a user can write into params.yaml that is not meant: one line, exit code 2, before any work."""

import os
import subprocess
import sys
from copy import deepcopy
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.components.errors import ParamsError
from headrace.pipelines.params import Pipeline, load_pipeline, validated
from headrace.pipelines.params_errors import explain
from headrace.pipelines.project.edit_params import with_values

SMALL = """\
pipelines: [small]
small:
  description: A small table
  ingest:
    source:
      kind: delimited
      dataset: small
      parts: [{files: [{name: rows.csv, url: rows.csv}]}]
    features: {v: {type: number}}
    label: {type: category, name: y, classes: [a, b]}
  normalize: {transforms: {v: [{kind: standardize}]}}
  split: {test_fraction: 0.2, validation_fraction: 0.2}
  train:
    epochs: 1
    global_batch_size: 8
    model: {layers: []}
    optimizer: {kind: adam, learning_rate: 0.01}
  evaluate: {}
  register: {compare_by: accuracy, thresholds: {}}
"""

# what stands there, what stands there instead, what the line must say
CHANGES = [
    ("test_fraction: 0.2,", "test_fraction: 0.2, test_fraction: 0.5,", "line 12: duplicate key 'test_fraction'"),
    ("  evaluate: {}", "  evaluate: {}\n  train: {}", "line 19: duplicate key 'train', first in line 13"),
    ("pipelines: [small]", "small: {}\npipelines: [small]", "line 3: duplicate key 'small', first in line 1"),
    ("size: 8", "size: 010", "line 15: 010 is another number to other readers"),
    ("size: 8", "size: 1:30", r"global_batch_size: input should be a valid integer, found '1:30'"),
    ("epochs: 1", "epochs: true", "epochs: input should be a valid integer, found True"),
    ("epochs: 1", "epochs: '1'", "epochs: input should be a valid integer, found '1'"),
    ("epochs: 1", "epochs: 1.0", "epochs: input should be a valid integer, found 1.0"),
    ("rate: 0.01", "rate: '0.01'", "learning_rate: .* found '0.01'"),
    ("rate: 0.01", "rate: true", "learning_rate: .* found True"),
    ("epochs: 1", "epochs: 1\n    jit_compile: yes", "jit_compile: input should be a valid boolean, found 'yes'"),
    ("epochs: 1", "epochs: 1\n    jit_compile: 1", "jit_compile: input should be a valid boolean, found 1"),
    ("A small table", "12", "description: input should be a valid string, found 12"),
    ("name: y", "name: 1", r"name: input should be a valid string, found 1"),
    ("url: rows.csv", 'url: "/etc/pass\\0wd"', "line 8: text holds a NUL character"),
    ("  evaluate: {}", "  evaluate: {}\n  schedule: {start_date: 2026-02-30}", "line 19: 2026-02-30 is no date"),
    ("  evaluate: {}", "  evaluate: {}\n  schedule: {start_date: '2026-02-30'}", "start_date: .* found '2026-02-30'"),
    ("  evaluate: {}", "  evaluate: {}\n  schedule: {start_date: 20260101}", "start_date: .* found 20260101"),
    ("  evaluate: {}", '  evaluate: {}\n  schedule: {cron: "0 25 * * *"}', "schedule.cron: .*out of range"),
    ("  evaluate: {}", '  evaluate: {}\n  schedule: {cron: "0 0 31 2 *"}', "schedule.cron: .*no such date"),
    ("  evaluate: {}", '  evaluate: {}\n  schedule: {cron: "* * * * * *"}', "schedule.cron: .*five fields"),
    ("  evaluate: {}", "  evaluate: {}\n  schedule: {timezone: Mars/Olympus}", "schedule.timezone: .*IANA"),
    ("  evaluate: {}", "  evaluate: {}\n  schedule: {timezone: ../../etc/passwd}", "schedule.timezone: .*IANA"),
    ("epochs: 1", f"epochs: {'9' * 5000}", "line 14: a number of 5000 characters"),
]
BYTES = {
    "utf-16": (SMALL.encode("utf-16"), "params.yaml: not UTF-8: byte 0xff at 0; save the file as UTF-8"),
    "latin-1": (SMALL.replace("table", "tablé").encode("latin-1"), "params.yaml: not UTF-8: byte 0xe9"),
    "huge": (SMALL.replace("epochs: 1", f"epochs: {'9' * 5000}").encode(), "line 14: a number of 5000 characters"),
    "cron": (SMALL.encode() + b'  schedule: {cron: "0 25 * * *"}\n', "schedule.cron: "),
    "zero": (SMALL.replace("url: rows.csv", "url: /dev/zero").encode(), "it is a device, expected a file"),
}


def loaded(folder: Path, text: str):
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    return load_pipeline(folder / "params.yaml", "small")


@pytest.mark.parametrize(("here", "instead", "message"), CHANGES, ids=[f"{one[1][-40:]}" for one in CHANGES])
def test_it_is_refused_in_one_line(tmp_path, here, instead, message):
    assert here in SMALL
    assert loaded(tmp_path, SMALL).train.epochs == 1
    with pytest.raises(ParamsError, match=message) as raised:
        loaded(tmp_path, SMALL.replace(here, instead, 1))
    assert str(raised.value).isprintable()
    assert str(raised.value).startswith("params.yaml: ")
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("kind", BYTES)
def test_the_command_line_ends_with_2_and_one_line(tmp_path, repository, kind):
    content, message = BYTES[kind]
    (tmp_path / "params.yaml").write_bytes(content)
    ended = subprocess.run(
        [sys.executable, "-m", "headrace", "ingest", "small"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended.stderr
    assert ended.stderr.startswith("error: ")
    assert message in ended.stderr


def test_what_users_mean_is_read_so(tmp_path):
    text = (
        SMALL.replace("[a, b]", "[no, yes]").replace("rate: 0.01", "rate: 1e-2").replace("epochs: 1", "epochs: 1_000")
    )
    schedule = "  schedule: {cron: '0 4 * * mon', timezone: Europe/Berlin, start_date: 2026-03-29, deadline_hours: 3}\n"
    pipeline = loaded(tmp_path, text + schedule)
    assert pipeline.ingest.label.classes == ("no", "yes")
    assert (pipeline.train.optimizer.learning_rate, pipeline.train.epochs) == (0.01, 1000)
    assert pipeline.schedule.start_date == date(2026, 3, 29)
    assert pipeline.schedule.start == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert pipeline.schedule.deadline_hours == 3.0


def test_what_airflow_and_a_search_give_is_as_strict(tmp_path):
    pipeline = loaded(tmp_path, SMALL)
    assert with_values(pipeline, {"train.optimizer.learning_rate": 1}).train.optimizer.learning_rate == 1
    for value in (True, "3", 3.5):
        with pytest.raises(ParamsError, match="epochs: input should be a valid integer"):
            with_values(pipeline, {"train.epochs": value})


def test_text_that_another_yaml_would_take_for_a_number_is_written_in_quotes(tmp_path):
    from headrace.pipelines.project.edit_params import edited

    for value in ("010", "1e3", "yes", "2026-01-01", "1:30", "null", "0o7"):
        text = edited(SMALL, "small", {"description": value})
        assert loaded(tmp_path, text).description == value
        assert yaml.load(text, Loader=yaml.CSafeLoader)["small"]["description"] == value


SECTION = yaml.safe_load(SMALL)["small"]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


@settings(max_examples=150, deadline=None)
@given(path=st.sampled_from([path for path in places(SECTION) if path]), value=anything, key=st.text(max_size=5))
def test_whatever_stands_anywhere_is_valid_or_named_in_lines(path, value, key):
    section = deepcopy(SECTION)
    node = section
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    if isinstance(node, dict):
        node[key] = value
    try:
        validated(Pipeline, {"name": "small", **section})
    except ValidationError as error:
        lines = explain(Path("params.yaml"), "small", error, model=Pipeline)
        assert lines
        assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("names", ["3", "[1]", "[small, small]", "{small: 1}", "small", "null"])
@pytest.mark.parametrize("key", ["pipelines", "classifiers"])
def test_lists_of_names_are_lists_of_names(tmp_path, key, names):
    text = (
        SMALL.replace("pipelines: [small]", f"pipelines: {names}")
        if key == "pipelines"
        else f"classifiers: {names}\n{SMALL}"
    )
    with pytest.raises(ParamsError, match=f"expected `{key}`, a list of names"):
        loaded(tmp_path, text)
