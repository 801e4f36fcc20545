"""A transform of the project's own code, from params.yaml to a prediction: fitted, checked, stale when it changes."""

import copy
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from headrace.components.errors import DataError, ParamsError
from headrace.components.serving_model.raw_model import raw_model
from headrace.components.transforms.fitted_table import FittedTable
from headrace.pipelines.commands.check import check
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project import dvc
from headrace.pipelines.project.code_digests import write_digests
from headrace.pipelines.project.command_lines import dvc as run_dvc
from headrace.pipelines.run_overrides import is_open, leaves
from headrace.pipelines.stages.ingest import ingest
from headrace.pipelines.stages.normalize import normalize, require_no_leak

LOG = """\
from keras import ops

from transforms.limits import SMALLEST


class Log:
    def __init__(self, *, scale: float = 1.0):
        self.scale = scale

    def fit(self, column):
        self.minimum = column.minimum

    def transform(self, values):
        return ops.log(self.scale * ops.maximum(values - self.minimum, 0.0) + SMALLEST)
"""
ROWS = """\
import numpy as np
import polars as pl


def rows():
    sizes = np.random.default_rng(0).lognormal(size=40).round(4)
    yield pl.DataFrame({"id": range(40), "size": sizes, "kind": ["big" if size > 1 else "small" for size in sizes]})
"""
LIMITS = "SMALLEST = 0.5\n"
READS_BY_ITSELF = """\
import polars as pl


class Log:
    def fit(self, column):
        self.mean = pl.read_parquet("data/crm/examples/*.parquet")["size"].mean()

    def transform(self, values):
        return values - self.mean
"""


def write(root: Path, **files: str) -> None:
    (root / "transforms").mkdir(exist_ok=True)
    for name, text in files.items():
        (root / "transforms" / f"{name}.py").write_text(text, encoding="utf-8")


def configure(root: Path, repository: Path, *names: str, **transform) -> None:
    section = yaml.safe_load((repository / "params.yaml").read_text())["titanic"]
    section |= {
        "ingest": {
            "source": {"kind": "python", "file": "sizes.py"},
            "key": ["id"],
            "features": {"size": {"type": "number"}},
            "label": {"type": "category", "name": "kind", "classes": ["big", "small"]},
        },
        "normalize": {
            "transforms": {"size": [{"kind": "python", "file": "transforms/log.py", "class": "Log", **transform}]}
        },
        "split": {"validation_fraction": 0.3},
        "results": {},
    }
    (root / "params.yaml").write_text(
        yaml.safe_dump({"pipelines": list(names), **{name: copy.deepcopy(section) for name in names}})
    )


@pytest.fixture
def project(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sizes.py").write_text(ROWS)
    (tmp_path / ".headrace").mkdir()
    write(tmp_path, log=LOG, limits=LIMITS)
    configure(tmp_path, repository, "crm")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def normalized(root: Path) -> tuple[PipelinePaths, FittedTable]:
    pipeline, paths = load_pipeline(root / "params.yaml", "crm"), PipelinePaths(root, "crm")
    ingest(pipeline, paths)
    normalize(pipeline, paths)
    return paths, FittedTable.model_validate_json(paths.statistics.read_text())


def test_table_and_saved_model_apply_it_without_its_file(project):
    import keras

    paths, fitted = normalized(project)
    (project / "transforms" / "log.py").unlink()
    examples = pl.read_parquet(paths.examples / "*.parquet").sort("example_id")
    values = pl.read_parquet(paths.normalized / "*.parquet").sort("example_id")["size"].to_numpy()
    least = float(np.exp(values.min()) - 0.5)
    assert least == pytest.approx(0, abs=1e-6)
    core = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    raw_model(core, fitted).save(project / "model.keras")
    loaded = keras.models.load_model(project / "model.keras")
    inputs = {"size": examples["size"].cast(pl.Float32).to_numpy()[:, None]}
    np.testing.assert_allclose(loaded.predict(inputs, verbose=0)[:, 0], values, rtol=1e-6, atol=1e-6)


def test_a_run_says_before_any_work_what_a_class_can_not_be(project, capsys):
    check("crm")
    assert "transforms: transforms/limits.py, transforms/log.py" in capsys.readouterr().out
    write(project, log=LOG.replace("ops.maximum(", "ops.maximun("))
    with pytest.raises(ParamsError, match=r"transforms/log\.py:14: AttributeError: .*maximun"):
        check("crm")
    write(project, log="import nothing_of_this_name\n")
    with pytest.raises(ParamsError, match=r"transforms/log\.py:1: ModuleNotFoundError"):
        check("crm")
    (project / "transforms" / "log.py").unlink()
    with pytest.raises(ParamsError, match=r"crm.normalize.transforms.size: transforms/log.py: no such file"):
        load_pipeline(project / "params.yaml", "crm")


def test_a_class_that_reads_held_out_rows_by_itself_is_found(project, capsys):
    normalized(project)
    pipeline, paths = load_pipeline(project / "params.yaml", "crm"), PipelinePaths(project, "crm")
    assert 0 < require_no_leak(pipeline, paths) < 40
    check("crm", leaks=True)
    assert "leaks: none" in capsys.readouterr().out
    write(project, log=READS_BY_ITSELF)
    with pytest.raises(DataError, match=r"normalize.transforms: size: fitted otherwise when held-out rows change"):
        require_no_leak(pipeline, paths)
    assert not list(ProjectPaths(project).state.glob("tmp*"))


def test_a_changed_file_makes_normalize_stale_for_the_pipelines_that_import_it(project, repository):
    configure(project, repository, "crm", "other")
    content = yaml.safe_load((project / "params.yaml").read_text())
    content["other"]["normalize"]["transforms"]["size"] = [{"kind": "standardize"}]
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    stages = yaml.safe_load((repository / "dvc.yaml").read_text())["stages"]
    (project / "headrace.lock").write_text((repository / "headrace.lock").read_text())
    kept = {name: stages[name] for name in ("own_code", "normalize")}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": kept}))
    for name in ("crm", "other"):
        pipeline, paths = load_pipeline(project / "params.yaml", name), PipelinePaths(project, name)
        ingest(pipeline, paths)
        normalize(pipeline, paths)
    write_digests(ProjectPaths(project))
    run_dvc(project, "init", "--no-scm", "--quiet")
    run_dvc(project, "commit", "--force", "--quiet")
    assert dvc.status(project) == {}
    write(project, limits="SMALLEST = 0.25\n")
    assert list(dvc.status(project)) == ["normalize@crm"]
    digests = json.loads((project / ".headrace" / "code.json").read_text())
    assert list(digests["crm"]["normalize"]) == ["transforms/limits.py", "transforms/log.py"]
    assert digests["other"]["normalize"] == {}


def test_a_trigger_form_changes_none_of_its_settings(project):
    pipeline = load_pipeline(project / "params.yaml", "crm")
    below = [leaf for leaf in leaves(pipeline) if leaf.place.startswith("normalize.transforms.size.0.")]
    assert {leaf.key for leaf in below} >= {"kind", "file", "class", "columns"}
    assert not any(is_open(leaf) for leaf in below)
