"""Ingest, normalize and split one after the other: what never leaks, never moves and is never half there."""

import hashlib
import json
import multiprocessing
import os
import time

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError
from headrace.components.examples import shards
from headrace.components.sources.delimited import reader
from headrace.pipelines.host.file_lock import locked
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.ingest import ingest
from headrace.pipelines.stages.normalize import normalize
from headrace.pipelines.stages.split import split

SPLITS = ("train", "validation", "test")


def make_table(rows: int, *, seed: int = 1) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    days = np.datetime64("2026-01-01") + random.integers(0, 300, rows)
    return pl.DataFrame(
        {
            "id": [f"r{number}" for number in range(rows)],
            "patient": random.integers(0, max(1, rows // 10), rows),
            "taken": np.datetime_as_string(days, unit="D"),
            "level": random.normal(size=rows).round(6),
            "weather": random.choice(["fog", "rain", "sun"], rows),
            "kind": random.choice(["a", "b"], rows),
        }
    )


class Project:
    """A pipeline over one or several files of its own."""

    def __init__(self, root, *, split_settings=None, **ingest_settings):
        self.root, self.paths = root, PipelinePaths(root, "small")
        self.split_settings = split_settings or {"seed": 1, "validation_fraction": 0.1, "test_fraction": 0.2}
        self.ingest_settings = {"key": ["id"], **ingest_settings}

    def write(self, *tables: pl.DataFrame) -> None:
        self.files = []
        for number, table in enumerate(tables):
            file = self.root / f"rows{number}.csv"
            table.write_csv(file)
            sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
            self.files.append({"files": [{"name": file.name, "url": str(file), "sha256": sha256}]})

    @property
    def pipeline(self) -> Pipeline:
        features = {"level": {"type": "number", "nullable": True}, "weather": {"type": "category"}}
        ingest_section = {
            "source": {"kind": "delimited", "dataset": "small", "parts": self.files},
            "features": features,
            "label": {"type": "category", "name": "kind", "classes": ["a", "b"]},
            **self.ingest_settings,
        }
        transforms = {
            "level": [{"kind": "impute", "strategy": "median"}, {"kind": "standardize"}],
            "weather": [{"kind": "one_hot"}],
        }
        return Pipeline.model_validate(
            {
                "name": "small",
                "description": "Kind by level",
                "ingest": ingest_section,
                "normalize": {"transforms": transforms},
                "split": self.split_settings,
                "train": {
                    "model": {"layers": []},
                    "optimizer": {"kind": "adam", "learning_rate": 0.01},
                    "global_batch_size": 8,
                    "epochs": 1,
                },
                "evaluate": {},
                "register": {"thresholds": {}, "compare": {"metric": "loss"}},
            }
        )

    def run(self, *tables: pl.DataFrame) -> dict[str, pl.DataFrame]:
        self.write(*tables)
        for stage in (ingest, normalize, split):
            stage(self.pipeline, self.paths)
        return {name: shards.scan(self.paths.splits / name).collect() for name in SPLITS}

    def split_by_id(self) -> dict[int, str]:
        tables = {name: shards.scan(self.paths.splits / name).collect() for name in SPLITS}
        return {example: name for name, table in tables.items() for example in table["example_id"]}

    def examples(self) -> pl.DataFrame:
        return shards.scan(self.paths.examples).collect()

    @property
    def manifest(self) -> dict:
        return json.loads(self.paths.manifest.read_text())


def test_all_rows_of_a_group_are_in_one_split(tmp_path):
    project = Project(tmp_path, group=["patient"])
    project.run(make_table(2000))
    by_id = project.split_by_id()
    groups = project.examples().select("group_id", split=pl.col("example_id").replace_strict(by_id, default=None))
    assert groups.drop_nulls().group_by("group_id").n_unique()["split"].to_list() == [1] * 200
    shares = groups["split"].value_counts(normalize=True).filter(split="test")["proportion"].item()
    assert shares == pytest.approx(0.2, abs=5 * np.sqrt(0.2 * 0.8 / 200))


def test_training_comes_before_validation_and_validation_before_testing(tmp_path):
    by_time = {"validation_from": "2026-08-01", "test_from": "2026-09-15T12:00:00+02:00"}
    project = Project(tmp_path, split_settings=by_time, time={"column": "taken"})
    project.run(make_table(500))
    by_id = project.split_by_id()
    times = project.examples().select("time", split=pl.col("example_id").replace_strict(by_id))
    ends = {name: (rows["time"].min(), rows["time"].max()) for (name,), rows in times.group_by("split")}
    assert ends["train"][1] < ends["validation"][0] < ends["validation"][1] < ends["test"][0]
    assert str(ends["validation"][0]) >= "2026-08-01 00:00:00+00:00" > str(ends["train"][1])


def test_each_class_is_in_each_split_as_often_as_drawing_makes_it(tmp_path):
    table = make_table(20_000).with_columns(
        kind=pl.when(pl.int_range(20_000) % 20 == 0).then(pl.lit("b")).otherwise(pl.lit("a"))
    )
    splits = Project(tmp_path).run(table)
    for name, share in {"train": 0.7, "validation": 0.1, "test": 0.2}.items():
        for label, count in {0: 19_000, 1: 1_000}.items():
            rows = (splits[name]["label"] == label).sum()
            assert abs(rows - share * count) <= 5 * np.sqrt(share * (1 - share) * count)


@pytest.mark.parametrize("grouping", [{}, {"group": ["patient"]}])
def test_no_row_moves_when_the_data_grows_ten_times(tmp_path, grouping):
    project, table = Project(tmp_path, **grouping), make_table(5000)
    project.run(table[:500])
    before = project.split_by_id()
    project.run(table)
    after = project.split_by_id()
    assert {example: after.get(example) for example in before} == before
    assert len(after) == 5000


def test_held_out_rows_with_the_content_of_training_rows_are_left_out_and_counted(tmp_path):
    table = make_table(1000).with_columns(level=pl.int_range(1000) % 500 * 1.0, weather=pl.lit("fog"), kind=pl.lit("a"))
    table = table.with_columns(kind=table["kind"].scatter([0, 1], ["b", "b"]))
    project = Project(tmp_path)
    splits = project.run(table)
    contents = {name: set(rows.select("level", "label").rows()) for name, rows in splits.items()}
    assert not contents["train"] & (contents["validation"] | contents["test"])
    assert not contents["validation"] & contents["test"]
    overlap = project.manifest["overlap"]
    assert (overlap["by_id"], overlap["by_content"]) == (0, 0)
    assert overlap["left_out"] == 1000 - sum(rows.height for rows in splits.values()) > 100


def test_overlap_may_be_kept_or_refused(tmp_path):
    table = make_table(1000).with_columns(level=pl.int_range(1000) % 500 * 1.0, weather=pl.lit("fog"))
    fractions = {"seed": 1, "validation_fraction": 0.1, "test_fraction": 0.2}
    keeping = Project(tmp_path, split_settings={**fractions, "overlap": "keep"})
    assert sum(rows.height for rows in keeping.run(table).values()) == 1000
    assert keeping.manifest["overlap"]["by_content"] > 100
    with pytest.raises(DataError, match="rows whose content is also in another split"):
        Project(tmp_path, split_settings={**fractions, "overlap": "refuse"}).run(table)


CHANGES = {"level": st.none() | st.floats(-1e6, 1e6), "weather": st.sampled_from(["fog", "snow", "ice"])}


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(column=st.sampled_from(sorted(CHANGES)), place=st.integers(0, 10_000), data=st.data())
def test_no_held_out_value_reaches_a_statistic_or_a_byte_of_training(tmp_path, column, place, data):
    project, table = Project(tmp_path), make_table(300)
    project.run(table)
    before = (project.paths.statistics.read_bytes(), training_bytes(project))
    held_out = [example for example, name in project.split_by_id().items() if name != "train"]
    chosen = held_out[place % len(held_out)]
    from headrace.components.examples.identity import example_ids

    row = int(np.flatnonzero(example_ids(table, columns=["id"]) == np.uint64(chosen))[0])
    changed = table.with_columns(table[column].scatter(row, data.draw(CHANGES[column])))
    project.run(changed)
    assert (project.paths.statistics.read_bytes(), training_bytes(project)) == before


def training_bytes(project) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in shards.files(project.paths.splits / "train")}


def test_rows_are_counted_through_all_blocks_of_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_block_bytes", lambda _: 1000)
    project = Project(tmp_path)
    table = make_table(500)
    project.write(table.with_columns(level=table["level"].cast(pl.String).scatter(333, "high")))
    with pytest.raises(DataError, match=r"rows0\.csv, row 334, column 'level': expected a number, found 'high'"):
        ingest(project.pipeline, project.paths)
    file = tmp_path / "rows0.csv"
    lines = file.read_text().splitlines()
    lines[400] = lines[400] + ",more"
    file.write_text("\n".join(lines).replace("high", "1") + "\n")
    project.files[0]["files"][0]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(DataError, match=r"rows0\.csv, row 400: expected 6 values, found 7"):
        ingest(project.pipeline, project.paths)
    assert not project.paths.examples.exists()


def test_only_files_that_changed_are_read_again(tmp_path, capsys):
    project, table = Project(tmp_path), make_table(300)
    project.write(table[:100], table[100:200], table[200:])
    ingest(project.pipeline, project.paths)
    first = project.examples()
    capsys.readouterr()
    project.write(table[:100], table[100:200], table[200:250])
    ingest(project.pipeline, project.paths)
    said = capsys.readouterr().out
    assert "unchanged=2" in said
    assert project.examples().height == 250
    project.write(table[:100], table[100:200], table[200:])
    ingest(project.pipeline, project.paths)
    assert project.examples().equals(first)


def test_values_that_must_differ_are_held_to_it(tmp_path):
    features = {"level": {"type": "number", "unique": True}, "weather": {"type": "category"}}
    project, table = Project(tmp_path, features=features), make_table(300)
    project.write(table)
    ingest(project.pipeline, project.paths)
    project.write(table.with_columns(level=table["level"].scatter(7, table["level"][200])))
    with pytest.raises(DataError, match=r"ingest\.features\.level: values must differ .* 1 of them"):
        ingest(project.pipeline, project.paths)


def test_of_rows_with_the_same_key_the_last_may_stay(tmp_path):
    project, table = Project(tmp_path, repeated_keys="last"), make_table(20)
    corrected = table[3].with_columns(level=pl.lit(99.0))
    project.write(table, corrected)
    ingest(project.pipeline, project.paths)
    assert project.examples().height == 20
    assert project.examples().filter(level=99.0).height == 1
    assert json.loads(project.paths.ingest_metrics.read_text())["rows_left_out"] == 1


def hold(file, seconds, held) -> None:
    with locked(file):
        held.set()
        time.sleep(seconds)
    os._exit(0)


def test_the_second_process_waits_for_the_first(tmp_path, capsys):
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    first = context.Process(target=hold, args=(tmp_path / "lock", 2.0, held))
    first.start()
    assert held.wait(30)
    begin = time.monotonic()
    with locked(tmp_path / "lock"):
        waited_seconds = time.monotonic() - begin
    first.join(30)
    assert waited_seconds > 1
    assert f"pid={first.pid}" in capsys.readouterr().out


def test_a_process_that_was_killed_holds_no_lock(tmp_path):
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    first = context.Process(target=hold, args=(tmp_path / "lock", 60.0, held))
    first.start()
    assert held.wait(30)
    first.kill()
    first.join(30)
    with locked(tmp_path / "lock"):
        pass
