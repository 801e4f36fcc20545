"""A source of the project's own code, from params.yaml to examples: what is checked, what is stale, what remains."""

import copy
import json
import sqlite3
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError, ParamsError
from headrace.components.examples import shards
from headrace.components.serving_model.prediction_files import joined
from headrace.pipelines.commands.check import check
from headrace.pipelines.commands.inference.prediction_input import open_input
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project import dvc
from headrace.pipelines.project.code_digests import write_digests
from headrace.pipelines.project.command_lines import dvc as run_dvc
from headrace.pipelines.run_overrides import is_open, leaves
from headrace.pipelines.stages.ingest import ingest

ROWS = """\
import polars as pl

from sources.kinds import KINDS


def rows(*, count: int = 6, size: int = 2):
    for start in range(0, count, size):
        ids = range(start, min(start + size, count))
        yield pl.DataFrame({"id": ids, "size": [n / 2 for n in ids], "kind": [KINDS[n % 2] for n in ids]})
"""
DAY = {"start": "2026-11-20T00:00:00Z", "end": "2026-11-21T00:00:00Z"}
KINDS = 'KINDS = ("big", "small")\n'
BY_DAY = "def rows(*, start, end):\n    import polars as pl\n    yield pl.DataFrame({'id': [start.day], 'size': [1.0], "
BY_DAY += "'kind': ['big']})\n"


def write(root: Path, **files: str) -> None:
    (root / "sources").mkdir(exist_ok=True)
    for name, text in files.items():
        (root / "sources" / f"{name}.py").write_text(text, encoding="utf-8")


def configure(root: Path, repository: Path, names: tuple[str, ...] = ("crm",), **source: Any) -> None:
    """Write params.yaml with pipelines of one source each."""
    section = yaml.safe_load((repository / "params.yaml").read_text())["titanic"]
    section |= {
        "ingest": {
            "source": {"kind": "python", "file": "sources/crm.py", **source},
            "key": ["id"],
            "features": {"size": {"type": "number", "nullable": True, "minimum": 0}},
            "label": {"type": "category", "name": "kind", "classes": ["big", "small"]},
        },
        "normalize": {"transforms": {"size": [{"kind": "impute", "strategy": "median"}]}},
        "results": {},
    }
    content = {"pipelines": list(names), **{name: copy.deepcopy(section) for name in names}}
    (root / "params.yaml").write_text(yaml.safe_dump(content))


@pytest.fixture
def project(tmp_path: Path, repository: Path) -> Path:
    root = tmp_path / "a project"
    root.mkdir()
    write(root, crm=ROWS, kinds=KINDS)
    configure(root, repository)
    return root


def ingested(root: Path) -> pl.DataFrame:
    paths = PipelinePaths(root, "crm")
    ingest(load_pipeline(root / "params.yaml", "crm"), paths)
    return shards.scan(paths.examples).collect().sort("size")


def test_rows_become_examples_and_are_recorded_by_their_digest(project: Path) -> None:
    examples = ingested(project)
    assert examples["size"].to_list() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert examples["kind"].to_list() == ["big", "small"] * 3
    paths = PipelinePaths(project, "crm")
    [file] = json.loads(paths.ingest_metrics.read_text())["files"]
    assert file["name"] == "rows.parquet"
    before = paths.raw.joinpath("rows.parquet").read_bytes()
    assert ingested(project).equals(examples)
    assert paths.raw.joinpath("rows.parquet").read_bytes() == before


@settings(max_examples=5, deadline=None)
@given(size=st.integers(1, 20))
def test_raw_file_and_ids_do_not_depend_on_the_batches(tmp_path_factory, repository, size) -> None:
    found = []
    for one in (20, size):
        root = tmp_path_factory.mktemp("rows")
        write(root, crm=ROWS, kinds=KINDS)
        configure(root, repository, arguments={"count": 20, "size": one})
        examples = ingested(root)
        found.append((examples["example_id"].to_list(), (PipelinePaths(root, "crm").raw / "rows.parquet").read_bytes()))
    assert found[0] == found[1]


def test_its_rows_are_checked_as_those_of_every_source(project: Path) -> None:
    write(project, crm=ROWS.replace("n / 2", "-n / 2"))
    with pytest.raises(DataError, match=r"rows.parquet, row 2, column 'size': expected a number of at least 0"):
        ingested(project)


def test_an_error_leaves_the_rows_of_the_last_run(project: Path) -> None:
    ingested(project)
    raw = PipelinePaths(project, "crm").raw
    before = (raw / "rows.parquet").read_bytes()
    write(project, crm=ROWS.replace("        yield", "        1 // (start - 2)\n        yield"))
    with pytest.raises(ParamsError, match=r"^sources/crm.py:9: ZeroDivisionError"):
        ingested(project)
    assert [file.name for file in raw.iterdir()] == ["rows.parquet"]
    assert (raw / "rows.parquet").read_bytes() == before


def test_a_pin_refuses_other_rows(project: Path, repository: Path) -> None:
    ingested(project)
    [file] = json.loads(PipelinePaths(project, "crm").ingest_metrics.read_text())["files"]
    configure(project, repository, sha256=file["sha256"])
    ingested(project)
    configure(project, repository, sha256=file["sha256"], arguments={"count": 4})
    with pytest.raises(DataError, match=f"expected {file['sha256']}, found"):
        ingested(project)


def test_an_interval_is_passed_on(project: Path, repository: Path, tmp_path: Path) -> None:
    write(project, crm=BY_DAY)
    configure(project, repository, interval=DAY)
    assert ingested(project).height == 1
    raw = pl.read_parquet(PipelinePaths(project, "crm").raw / "rows.parquet")
    assert raw["id"].to_list() == [20]
    configure(project, repository)
    with pytest.raises(ParamsError, match=r"^sources/crm.py:1: rows: needs start and end; set ingest.source.interval"):
        ingested(project)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"file": "sources/none.py"}, "sources/none.py: no such file in the project"),
        ({"function": "row"}, "sources/crm.py: no function 'row'; did you mean 'rows'"),
        ({"arguments": {"counts": 3}}, "sources/crm.py:6: rows: takes no argument 'counts'; did you mean 'count'"),
    ],
)
def test_a_mistake_is_found_when_params_yaml_is_read(project, repository, source, said) -> None:
    configure(project, repository, **source)
    with pytest.raises(ParamsError, match=rf"^params.yaml: crm.ingest.source: {said}"):
        load_pipeline(project / "params.yaml", "crm")


def test_check_names_the_code_and_tries_its_arguments(project, repository, monkeypatch, capsys) -> None:
    monkeypatch.chdir(project)
    write(project, crm=f"{ROWS}\nprint('imported')")
    check("crm")
    assert capsys.readouterr().out.splitlines()[1:] == ["source: sources/crm.py, sources/kinds.py", "imported"]
    configure(project, repository, arguments={"count": "many"})
    with pytest.raises(ParamsError, match=r"sources/crm.py: rows: argument 'count': Input should be a valid integer"):
        check("crm")
    write(project, crm=BY_DAY)
    configure(project, repository)
    check("crm")
    assert "source: not called, sources/crm.py:1: rows: needs start and end" in capsys.readouterr().out


def test_files_to_predict_are_read_by_their_suffix(project: Path) -> None:
    ingested(project)
    pipeline = load_pipeline(project / "params.yaml", "crm")
    raw = PipelinePaths(project, "crm").raw / "rows.parquet"
    pl.read_parquet(raw).write_csv(project / "rows.csv")
    tables = [joined(open_input(pipeline, file).blocks)[1] for file in (raw, project / "rows.csv")]
    assert tables[0].equals(tables[1])
    assert tables[0]["size"].to_list() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]


def test_no_run_can_choose_code(project: Path, repository: Path) -> None:
    configure(project, repository, arguments={"count": 3}, interval=DAY)
    write(project, crm="def rows(*, start, end, count): pass")
    below = [leaf for leaf in leaves(load_pipeline(project / "params.yaml", "crm")) if "ingest.source" in leaf.place]
    places = {leaf.place.removeprefix("ingest.source.") for leaf in below}
    assert places == {"kind", "file", "function", "arguments.count", "interval.start", "interval.end", "sha256"}
    assert not any(is_open(leaf) for leaf in below)


def test_the_example_of_the_page_runs(tmp_path: Path, repository: Path) -> None:
    page = (repository / "docs" / "your-data.md").read_text().partition("## Rows that your own code gives")[2]
    section, code = (page.partition(f"```{language}\n")[2].partition("```")[0] for language in ("yaml", "python"))
    write(tmp_path, crm=code)
    database = sqlite3.connect(tmp_path / "crm.db")
    database.execute("CREATE TABLE orders (id, amount, status, ordered_at)")
    times = ["2026-11-19T23:59:59", "2026-11-20T00:00:00+00:00", "2026-11-20T23:59:59", "2026-11-21T00:00:00+00:00"]
    database.executemany("INSERT INTO orders VALUES (?, ?, 'paid', ?)", [(n, n / 2, at) for n, at in enumerate(times)])
    database.commit()
    database.close()
    configure(tmp_path, repository)
    content = yaml.safe_load((tmp_path / "params.yaml").read_text())
    content["crm"]["ingest"] = yaml.safe_load(section.replace("/srv/crm.db", str(tmp_path / "crm.db")))["ingest"]
    content["crm"]["normalize"] = {"transforms": {"amount": [{"kind": "standardize"}]}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    paths = PipelinePaths(tmp_path, "crm")
    ingest(load_pipeline(tmp_path / "params.yaml", "crm"), paths)
    assert sorted(shards.scan(paths.examples).collect()["amount"]) == [0.5, 1.0]


def test_a_changed_file_makes_ingest_stale_for_the_pipelines_that_import_it(tmp_path, repository) -> None:
    configure(tmp_path, repository, ("crm", "other"))
    content = yaml.safe_load((tmp_path / "params.yaml").read_text())
    content["other"]["ingest"]["source"]["file"] = "sources/other.py"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    write(tmp_path, crm=ROWS, kinds=KINDS, other=ROWS.replace("from sources.kinds import KINDS", KINDS))
    stages = yaml.safe_load((repository / "dvc.yaml").read_text())["stages"]
    (tmp_path / "headrace.lock").write_text((repository / "headrace.lock").read_text())
    kept = {"own_code": stages["own_code"], "ingest": stages["ingest"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": kept}))
    for name in ("crm", "other"):
        ingest(load_pipeline(tmp_path / "params.yaml", name), PipelinePaths(tmp_path, name))
    write_digests(ProjectPaths(tmp_path))
    run_dvc(tmp_path, "init", "--no-scm", "--quiet")
    run_dvc(tmp_path, "commit", "--force", "--quiet")
    assert dvc.status(tmp_path) == {}
    write(tmp_path, kinds=f"{KINDS}# changed\n")
    assert list(dvc.status(tmp_path)) == ["ingest@crm"]
    digests = json.loads((tmp_path / ".headrace" / "code.json").read_text())
    assert {name: (list(of["ingest"]), of["train"]) for name, of in digests.items()} == {
        "crm": (["sources/crm.py", "sources/kinds.py"], {}),
        "other": (["sources/other.py"], {}),
    }
