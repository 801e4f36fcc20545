"""params.yaml with other values: nothing else in it moves."""

import shutil
import subprocess

import pytest
import yaml

from headrace.components.errors import ParamsError
from headrace.pipelines.project.edit_params import difference, edited, write
from headrace.pipelines.yaml_dialect import read_text

TEXT = """\
# all of it
one: # a section
  train:
    model: {layers: [{kind: dense, units: 16}, {kind: flatten}]}  # small
    optimizer: {kind: "adam", learning_rate: 1e-3} # Kingma and Ba
    empty:
    none: {}

    # how long
    epochs: 12   # at most
  split:
    parts:
      - name: a
        fraction: .5
other: {train: {epochs: 12}}
"""


def changed_lines(before: str, after: str) -> list[str]:
    return [line for line in difference(before, after, name="f").splitlines()[2:] if line[0] in "+-"]


# place, value, the lines that change
CHANGES = [
    ("train.epochs", 5, ["-    epochs: 12   # at most", "+    epochs: 5   # at most"]),
    ("train.epochs", 12, []),
    ("train.empty", 1.5, ["-    empty:", "+    empty: 1.5"]),
    ("train.empty.x.y", 1, ["-    empty:", "+    empty: {x: {y: 1}}"]),
    ("train.none.x", True, ["-    none: {}", "+    none: {x: true}"]),
    ("train.seed", 7, ["+    seed: 7"]),
    ("train.early.stop", None, ["+    early: {stop: null}"]),
    ("split.seed", 1, ["+    seed: 1"]),
    ("split.parts.0.fraction", 1e-5, ["-        fraction: .5", "+        fraction: 1.0e-05"]),
    ("split.parts.0.name", "a: b", ["-      - name: a", "+      - name: 'a: b'"]),
]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(("place", "value", "lines"), CHANGES)
def test_only_the_line_of_the_value_changes(place, value, lines, line_end):
    before = TEXT.replace("\n", line_end)
    after = edited(before, "one", {place: value})
    assert changed_lines(before, after) == lines
    assert after.count("\n") == after.count(line_end)


def test_several_values_in_one_line():
    after = edited(TEXT, "one", {"train.optimizer.learning_rate": 0.02, "train.optimizer.kind": "sgd"})
    assert "    optimizer: {kind: sgd, learning_rate: 0.02} # Kingma and Ba\n" in after
    after = edited(TEXT, "one", {"train.optimizer.momentum": 0.9, "train.model.layers.0.units": 8})
    assert '{kind: "adam", learning_rate: 1e-3, momentum: 0.9} # Kingma and Ba\n' in after
    assert "[{kind: dense, units: 8}, {kind: flatten}]}  # small\n" in after


def test_every_value_of_the_repositorys_file_can_be_changed(repository):
    text = (repository / "params.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)

    def places(node, prefix=""):
        entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for name, value in entries:
            yield from places(value, f"{prefix}{name}.")
        if not isinstance(node, dict | list):
            yield prefix[:-1]

    for place in places(content["digits"]):
        after = edited(text, "digits", {place: "new"})
        assert len(changed_lines(text, after)) == 2, place


def test_what_an_alias_shares_is_not_changed():
    text = "one: {train: &shared {epochs: 1}}\nother: {train: *shared}\n"
    with pytest.raises(ParamsError, match=r"by hand: train.epochs: 2"):
        edited(text, "other", {"train.epochs": 2})


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_git_applies_the_difference(tmp_path):
    file = tmp_path / "params.yaml"
    write(file, TEXT)
    after = edited(TEXT, "one", {"train.epochs": 3, "train.seed": 1})
    patch = difference(TEXT, after, name="params.yaml")
    subprocess.run(["git", "apply", "-"], input=patch, text=True, cwd=tmp_path, check=True)
    assert read_text(file) == after
