"""The trigger form: as typed as the settings classes, and no more lenient than they are."""

import json
import math
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.components.errors import ParamsError
from headrace.pipelines.params import Pipeline, list_pipelines, load_pipeline
from headrace.pipelines.project.edit_params import with_values

HEAVY = {"tensorflow", "keras", "ray", "mlflow", "polars", "pyarrow", "sklearn", "matplotlib", "dvc"}
PIPELINES = list_pipelines(Path(__file__).parents[3] / "params.yaml")

PARSE = """
import json, sys, time
from pathlib import Path
from airflow.sdk import DAG
from headrace.pipelines.airflow.form import run_params
from headrace.pipelines.params import list_pipelines, load_pipeline
file = Path("params.yaml")
pipelines = [load_pipeline(file, name) for name in list_pipelines(file)]
started_seconds = time.process_time()
forms = [run_params(pipeline) for pipeline in pipelines]
seconds = time.process_time() - started_seconds
modules = sorted({name.split(".")[0] for name in sys.modules})
files = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "headrace"]
seed = forms[0]["split.seed"].schema["description_md"]
fields = sum(map(len, forms))
json.dump({"seconds": seconds, "fields": fields, "modules": modules, "files": files, "seed": seed}, sys.stdout)
"""


@pytest.fixture(params=PIPELINES)
def pipeline(repository: Path, request: pytest.FixtureRequest) -> Pipeline:
    return load_pipeline(repository / "params.yaml", request.param)


@pytest.fixture
def digits(repository: Path) -> Pipeline:
    return load_pipeline(repository / "params.yaml", "digits")


def form_of(pipeline: Pipeline):
    from headrace.pipelines.airflow.form import run_params

    return run_params(pipeline)


def parsed(folder: Path, **environment: str) -> dict:
    """What PARSE prints in a process of its own that begins in this folder."""
    ended = subprocess.run(
        [sys.executable, "-P", "-c", PARSE],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def made(repository: Path) -> dict:
    return parsed(repository)


def overrides(pipeline: Pipeline, conf: dict):
    """The overrides of a run with this conf, after Airflow's own check and merge."""
    from airflow.sdk.definitions.param import ParamsDict

    from headrace.pipelines.airflow.form import overrides_of, run_params

    params = ParamsDict(run_params(pipeline))
    params.update(conf)
    return overrides_of(pipeline, params.validate(), conf)


def test_the_form_is_made_without_loading_anything_heavy(made):
    assert HEAVY.intersection(made["modules"]) == set()
    assert made["fields"] > 100
    assert made["seconds"] < 1, "about 0.1 s of CPU"


def test_airflow_takes_every_default(pipeline):
    form = form_of(pipeline)
    assert all(param.resolve() == param.value for param in form.values())
    assert overrides(pipeline, {place: param.value for place, param in form.items()}) == {}


def test_every_field_is_explained_in_its_section(pipeline):
    for place, param in form_of(pipeline).items():
        assert len(param.schema["description_md"]) > 10, place
        assert param.schema["section"] == place.partition(".")[0]


def test_a_field_is_explained_by_its_docstring_and_its_range(made):
    assert made["seed"] == "Seed of the split: another seed draws another split. (integer, >= 0, < 2^63)"


def test_without_sources_a_field_is_explained_by_its_class(repository, made, tmp_path, copy_model_files):
    for file in map(Path, made["files"]):
        place = (tmp_path / file.relative_to(repository)).with_suffix(".pyc")
        py_compile.compile(str(file), str(place), doraise=True)
    (tmp_path / "params.yaml").write_bytes((repository / "params.yaml").read_bytes())
    copy_model_files(tmp_path)
    without = parsed(tmp_path, PYTHONPATH=str(tmp_path))
    assert {Path(file).suffix for file in without["files"]} == {".pyc"}
    assert without["fields"] == made["fields"]
    assert without["seed"].startswith("Which examples are held out")


@pytest.mark.parametrize(
    ("place", "schema"),
    [
        ("train.epochs", {"type": "integer", "minimum": 1, "maximum": 100_000}),
        ("train.optimizer.learning_rate", {"type": "number", "exclusiveMinimum": 0, "maximum": 10}),
        ("train.optimizer.kind", {"type": "string", "enum": ["adam", "adamw"]}),
        ("train.use_gpu", {"type": "boolean"}),
        ("train.num_workers", {"type": "integer", "minimum": 1, "maximum": 1024}),  # or a section
        ("train.window_examples", {"type": ["integer", "null"], "minimum": 16}),
        ("train.class_weights", {"type": ["string", "null"], "enum": ["balanced", None]}),  # or a section
        ("train.model.layers.5.rate", {"type": "number", "minimum": 0, "exclusiveMaximum": 1}),
        ("register.thresholds.accuracy.minimum", {"type": ["number", "null"]}),  # under its alias
    ],
)
def test_a_field_has_the_type_and_range_of_its_settings_class(digits, place, schema):
    found = form_of(digits)[place].schema
    assert {key: value for key, value in found.items() if key not in ("description_md", "section")} == schema


def test_what_stands_as_a_section_has_fields_of_its_own(digits):
    schedule = {"kind": "cosine", "peak": 0.01}
    values = {"train.num_workers": {"max": 4}, "train.optimizer.learning_rate": schedule}
    form = form_of(with_values(digits, {**values, "train.class_weights": {"0": 2.0}}))
    assert form["train.num_workers.max"].value == 4
    assert form["train.optimizer.learning_rate.peak"].value == 0.01
    assert form["train.class_weights.0"].schema["minimum"] == 0
    assert not {"train.num_workers", "train.optimizer.learning_rate", "train.class_weights"} & set(form)


def test_free_text_and_what_no_stage_reads_is_not_in_the_form(digits):
    places = form_of(digits)
    assert not {"name", "description", "train.best_by", "schedule.retries", "train.model.layers.3.kind"} & set(places)
    assert {place.partition(".")[0] for place in places} <= {
        "normalize",
        "split",
        "train",
        "evaluate",
        "register",
        "overrides",
    }


def test_airflow_and_the_settings_classes_refuse_the_same_numbers(pipeline):
    from airflow.sdk.exceptions import ParamValidationError

    for place, param in form_of(pipeline).items():
        limits = [value for key, value in param.schema.items() if "imum" in key]
        steps = (-1, 0, 1) if "integer" in param.schema["type"] else (-1e-6, 0, 1e-6)
        for value in [limit + step for limit in limits for step in steps]:
            try:
                accepted = param.resolve(value) == value
            except ParamValidationError:
                accepted = False
            try:
                with_values(pipeline, {place: value})
                reason = ""
            except ParamsError as error:
                reason = str(error)
            assert accepted != ("input should be" in reason), (place, value, reason)


def test_a_dag_keeps_its_form_when_airflow_stores_it(pipeline):
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import DagSerialization

    form = form_of(pipeline)
    with DAG("form", schedule="@daily", params=dict(form)) as dag:
        pass
    stored = json.dumps(DagSerialization.to_dict(dag))
    params = DagSerialization.from_dict(json.loads(stored)).params
    assert list(params) == list(form)
    for place, param in form.items():
        assert (params.get_param(place).value, params.get_param(place).schema) == (param.value, param.schema)
    with pytest.raises(Exception, match=r"param train\.epochs"):
        params.deep_merge({"train.epochs": 0}).validate()


def test_overrides_are_what_differs(digits):
    conf = {"train.epochs": 12, "train.seed": 7, "overrides": {"train.optimizer.kind": "adamw", "split.seed": 1}}
    assert overrides(digits, conf) == {"train.seed": 7, "train.optimizer.kind": "adamw"}
    assert overrides(digits, {}) == {}
    stopping = {"train.early_stopping": {"patience_epochs": 3}}  # a section that params.yaml does not have
    assert overrides(digits, {"overrides": stopping}) == stopping
    assert overrides(digits, {"overrides": {"train.optimizer.kind": "sgd"}}) == {"train.optimizer.kind": "sgd"}


def test_a_default_that_has_changed_since_is_no_override(digits):
    from headrace.pipelines.airflow.form import overrides_of

    assert overrides_of(digits, {"train.epochs": 99, "overrides": {}}, {}) == {}


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"train.epoch": 3}, "conf: unknown key 'train.epoch'; did you mean 'train.epochs'?"),
        ({"epochs": 3}, "conf: unknown key 'epochs'"),
        ({"overrides": {"train.epoch": 3}}, "digits.train.epoch: unknown name; did you mean 'epochs'?"),
        ({"overrides": {"train.epochs": 0}}, "train.epochs: input should be greater than or equal to 1, found 0"),
        ({"overrides": {"train.epochs": math.inf}}, "digits.train.epochs"),
        ({"overrides": {"train.model.layers.0": 3}}, "is not one value"),
        ({"overrides": {"schedule.retries": 3}}, "conf: schedule.retries: a run can't change it"),
        ({"overrides": {"name": "other"}}, "conf: name: a run can't change it"),
        ({"ingest.source.dataset": "x"}, "conf: ingest.source.dataset: a run can't change it"),
        ({"overrides": {"train.start_from": "/etc/passwd"}}, "train.start_from: a run can't change it"),
        ({"overrides": {"train.allow_untested_keras": True}}, "train.allow_untested_keras: a run can't change it"),
        ({"train.start_from": "/etc/passwd"}, "conf: unknown key 'train.start_from'"),
        ({"split.validation_fraction": 0.9}, "leave no training examples"),  # each by itself is allowed
        ({"train.global_batch_size": 2}, "too small for 2 workers"),
    ],
)
def test_what_airflow_lets_pass_is_refused(digits, conf, message):
    with pytest.raises(ParamsError) as raised:
        overrides(digits, conf)
    assert message in str(raised.value)
