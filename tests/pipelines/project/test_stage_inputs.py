"""Every stage and command that is run too early: one line that names the command to run first."""

import re
import sys

import pytest
import structlog
import yaml

from headrace.components.errors import DataError
from headrace.pipelines.__main__ import main
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.project.stage_inputs import require_inputs

LEFT_BY = {
    "ingest": ["data/digits/examples/part-00000.parquet"],
    "normalize": ["data/digits/normalized/statistics.json"],
    "split": ["data/digits/splits/manifest.json"],
    "train": ["models/digits/model.keras", "models/digits/run.json"],
    "evaluate": ["reports/digits/metrics.json"],
}
STAGES = [*LEFT_BY, "register"]


@pytest.mark.parametrize("done", range(len(LEFT_BY)))
def test_a_stage_that_comes_too_early_names_the_first_command_that_is_missing(tmp_path, done):
    paths = PipelinePaths(tmp_path, "digits")
    for stage in STAGES[:done]:
        for file in LEFT_BY[stage]:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()
    require_inputs(paths, STAGES[done]) if done else None
    for later in STAGES[done + 1 :]:
        with pytest.raises(DataError, match=rf"run `headrace {STAGES[done]} digits` first"):
            require_inputs(paths, later)


def test_a_training_needs_no_examples_where_only_its_inputs_were_fetched(tmp_path):
    for file in (*LEFT_BY["normalize"], *LEFT_BY["split"]):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    require_inputs(PipelinePaths(tmp_path, "digits"), "train")


@pytest.mark.parametrize(
    "command",
    [
        ["normalize"],
        ["split"],
        ["train"],
        ["evaluate"],
        ["register"],
        ["evaluate", "--checkpoint", "3"],
        ["export", "--format", "saved_model"],
        ["tune", "--search", "train.optimizer.learning_rate=log:0.001:0.1", "--trials", "1"],
        ["tensorboard"],
        ["profile"],
    ],
    ids=" ".join,
)
def test_every_command_that_comes_too_early_is_one_line_with_the_next_command(
    tmp_path, monkeypatch, capsys, repository, command
):
    digits = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))["digits"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"pipelines": ["digits"], "digits": digits}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["headrace", command[0], "digits", *command[1:]])
    with pytest.raises(SystemExit) as end:
        main()
    structlog.reset_defaults()  # else log lines of the next fixture go to this test's standard error
    said = capsys.readouterr().err.splitlines()
    assert end.value.code == 2, said
    assert [line for line in said if line.startswith("error: ")] == said[-1:]
    assert re.search("`headrace (ingest|split|train)( digits)?`", said[-1]), said[-1]
