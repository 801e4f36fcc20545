"""`headrace new`: data of each kind becomes a pipeline that loads, and whose data is all taken."""

import csv
import io
import json
import random
import struct

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from headrace.components.errors import DataError, ParamsError
from headrace.components.examples.example_blocks import prepare
from headrace.components.sources.delimited.reader import delimited_blocks, read_layout
from headrace.pipelines.commands.new_pipeline.add_pipeline import add_pipeline
from headrace.pipelines.commands.new_pipeline.inspect_data import Data
from headrace.pipelines.params import Pipeline, list_pipelines, load_pipeline
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.stages.ingest import ingest

PARAMS = "# numbers\npipelines: []  # all\n"


@pytest.fixture
def project(tmp_path) -> ProjectPaths:
    (tmp_path / "params.yaml").write_text(PARAMS)
    return ProjectPaths(tmp_path)


def passengers(rows: int = 400) -> str:
    """A table like the Titanic's, in which the sex and the class say something of who survived."""
    draw = random.Random(1)
    stream = io.StringIO()
    table = csv.writer(stream)
    table.writerow(["PassengerId", "Survived", "Pclass", "Name", "Sex", "Age", "Fare", "Cabin", "Embarked", "Born"])
    for row in range(1, rows + 1):
        sex, pclass = draw.choice(["male", "female"]), draw.choice([1, 2, 3])
        survived = int(draw.random() < 0.15 + 0.6 * (sex == "female") + 0.1 * (3 - pclass) / 2)
        age = "NA" if draw.random() < 0.2 else draw.randint(1, 80)
        cabin = f"C{draw.randint(1, 10**6)}" if draw.random() < 0.2 else ""
        born = f"{draw.randint(1, 28):02}.{draw.randint(1, 12):02}.{draw.randint(1850, 1911)}"
        fare, port = f"{draw.uniform(5, 90):.2f}", draw.choice(["S", "C", "Q", ""])
        table.writerow([row, survived, pclass, f'Passenger, "No. {row}"', sex, age, fare, cabin, port, born])
    return stream.getvalue()


def test_a_table_becomes_a_pipeline_and_the_guesses_are_shown(project, capsys) -> None:
    (project.root / "train.csv").write_text(passengers())
    add_pipeline(project, "passengers", Data(csv=project.root / "train.csv", targets=("Survived",)), dry_run=False)
    text = project.params.read_text()
    assert text.startswith("# numbers\npipelines: [passengers]  # all\n\n# Guessed by `headrace new` from train.csv.")
    pipeline = load_pipeline(project.params, "passengers")
    ingested = pipeline.ingest
    assert ingested.key == ("PassengerId",)
    assert list(ingested.features) == ["Pclass", "Sex", "Age", "Fare", "Embarked", "Born"]
    assert ingested.features["Age"].nullable
    assert ingested.features["Born"].date_format == "%d.%m.%Y"
    assert ingested.source.null_values == ("", "NA")
    assert ingested.source.parts[0].files[0].url == "train.csv"
    said = capsys.readouterr().out
    assert "400 examples in train.csv" in said
    for line in ("Name         left out", "Cabin        left out", "Sex          category of these  2 different"):
        assert line in said
    paths = project.of("passengers")
    ingest(pipeline, paths)
    assert json.loads(paths.ingest_metrics.read_text())["rows_kept"] == 400


def test_a_dry_run_prints_the_section_only(project, capsys) -> None:
    (project.root / "train.csv").write_text(passengers())
    add_pipeline(project, "passengers", Data(csv=project.root / "train.csv", targets=("Survived",)), dry_run=True)
    assert project.params.read_text() == PARAMS
    section = yaml.safe_load(capsys.readouterr().out)
    assert Pipeline.model_validate({"name": "passengers", **section["passengers"]})


def test_the_titanic_s_own_table_is_read_as_its_pipeline_says(project, shared_data, repository) -> None:
    add_pipeline(project, "own", Data(csv=shared_data / "titanic" / "train.csv", targets=("Survived",)), dry_run=False)
    own, known = load_pipeline(project.params, "own"), load_pipeline(repository / "params.yaml", "titanic")
    assert own.ingest.key == known.ingest.key
    assert own.ingest.label == known.ingest.label
    types = {name: (one.type, getattr(one, "classes", None)) for name, one in known.ingest.features.items()}
    for name in ("title", "deck", "family"):  # made of other columns, which nobody can guess
        del types[name]
    assert {name: (one.type, getattr(one, "classes", None)) for name, one in own.ingest.features.items()} == types
    ingest(own, project.of("own"))
    assert json.loads(project.of("own").ingest_metrics.read_text())["rows_rejected"] == 0


def test_a_folder_of_images_becomes_a_pipeline(project) -> None:
    for number in range(60):
        path = project.root / "flowers" / ("rose", "daisy")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + number % 3, 20), (number, 0, 0)).save(path)
    add_pipeline(project, "flowers", Data(images=project.root / "flowers"), dry_run=False)
    pipeline = load_pipeline(project.params, "flowers")
    ingest(pipeline, project.of("flowers"))
    report = json.loads(project.of("flowers").ingest_metrics.read_text())
    assert (report["rows_kept"], report["rows_rejected"]) == (60, 0)


def test_idx_files_become_a_pipeline(project) -> None:
    (project.root / "digits").mkdir()
    for name, count in (("train", 60), ("t10k", 20)):
        images = bytes([0, 0, 8, 3]) + struct.pack(">3I", count, 4, 4) + bytes(count * 16)
        labels = bytes([0, 0, 8, 1]) + struct.pack(">I", count) + bytes(row % 3 for row in range(count))
        (project.root / "digits" / f"{name}-images-idx3-ubyte").write_bytes(images)
        (project.root / "digits" / f"{name}-labels-idx1-ubyte").write_bytes(labels)
    add_pipeline(project, "squares", Data(idx=project.root / "digits"), dry_run=False)
    pipeline = load_pipeline(project.params, "squares")
    assert pipeline.split.test_fraction == 0
    ingest(pipeline, project.of("squares"))
    report = json.loads(project.of("squares").ingest_metrics.read_text())
    assert (report["train_rows"], report["test_rows"]) == (60, 20)


def test_a_text_becomes_a_pipeline(project) -> None:
    (project.root / "some.txt").write_text("\ufeff" + "To be, or not to be: ä.\n" * 100, encoding="utf-8")
    add_pipeline(project, "some", Data(text=project.root / "some.txt"), dry_run=False)
    pipeline = load_pipeline(project.params, "some")
    assert (pipeline.ingest.source.length, pipeline.ingest.source.passage_chunks) == (4, 5)
    ingest(pipeline, project.of("some"))
    report = json.loads(project.of("some").ingest_metrics.read_text())
    assert (report["rows_kept"], report["rows_rejected"]) == (599, 0)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("Own", {"csv": "rows.csv", "target": "b"}, ParamsError, "'Own' can't be a pipeline's name"),
        ("pipelines", {"csv": "rows.csv", "target": "b"}, ParamsError, "has 'pipelines' already"),
        ("own", {}, ParamsError, "give one of --csv, --images, --idx, --text; found none"),
        ("own", {"csv": "rows.csv", "idx": "."}, ParamsError, "found --csv and --idx"),
        ("own", {"csv": "rows.csv"}, ParamsError, "--csv needs --target COLUMN"),
        ("own", {"idx": ".", "target": "b"}, ParamsError, "no other kind of data does"),
        ("own", {"csv": "absent.csv", "target": "b"}, ParamsError, r"absent.csv: there is no such file"),
        ("own", {"text": "."}, ParamsError, "there is no such file"),
        ("own", {"text": "rows.csv"}, DataError, "at least 1000 characters"),
        ("own", {"images": "absent"}, ParamsError, "there is no such folder"),
        ("own", {"images": "rows.csv"}, ParamsError, "there is no such folder"),
        ("own", {"images": "."}, DataError, "has no images"),
        ("own", {"idx": "."}, DataError, "found none of images"),
        ("own", {"csv": "rows.csv", "target": "c"}, DataError, "expected one column 'c', the target"),
        ("own", {"csv": "rows.csv", "target": "b"}, DataError, "at least 10 rows"),
        ("own", {"csv": "empty.csv", "target": "b"}, DataError, "expected a header line"),
    ],
)
def test_what_can_t_be_a_pipeline_is_refused_and_nothing_written(project, name, options, error, message) -> None:
    (project.root / "rows.csv").write_text("a,b\n" + "1.5,x\n2,y\n" * 4)
    (project.root / "empty.csv").touch()
    files = {key: project.root / one for key, one in options.items() if key != "target"}
    data = Data(**files, targets=(options["target"],) if "target" in options else ())
    with pytest.raises(error, match=message):
        add_pipeline(project, name, data, dry_run=False)
    assert project.params.read_text() == PARAMS
    assert sorted(path.name for path in project.root.iterdir()) == ["empty.csv", "params.yaml", "rows.csv"]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
cells = st.one_of(
    texts,
    st.integers(-9, 9).map(str),
    st.integers().map(str),
    st.floats().map(str),
    st.dates().map(str),
    st.dates().map(lambda date: f"{date.day:02}/{date.month:02}/{date.year:04}"),
    st.sampled_from(["", " ", "NA", "nan", "None", "?", "1e999", "1,5", "${x}", "yes", "0o7", "12345678901234567890"]),
)
columns = st.lists(cells, min_size=1, max_size=12)


@given(st.dictionaries(texts, columns, max_size=6), st.lists(cells, min_size=2, max_size=5), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_table_gives_a_section_that_loads_and_takes_every_row(tmp_path_factory, table, targets, quoted) -> None:
    # A folder of its own: a params.yaml above other tests' folders would make a project of them.
    project = ProjectPaths(tmp_path_factory.mktemp("any"))
    project.params.write_text(PARAMS)
    # Some rows have their own pattern, so that no column is like the target, and one can always be learned from.
    table = {
        "target": targets,
        **{name: one for name, one in table.items() if name != "target"},
        "n": ["0.5", "1", "2"],
    }
    rows = [{name: one[row * (3 + row % 2) % len(one)] for name, one in table.items()} for row in range(120)]
    with (project.root / "any.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, table, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
        writer.writeheader()
        writer.writerows(rows)
    try:
        add_pipeline(project, "any", Data(csv=project.root / "any.csv", targets=("target",)), dry_run=False)
    except DataError as error:
        assert "target" in str(error)  # of one class, or missing in most rows
        return
    schema = load_pipeline(project.params, "any").ingest
    options = {"separator": schema.source.separator, "null_values": schema.source.null_values}
    layout = read_layout(project.root / "any.csv", columns=schema.source_columns, **options)
    blocks = delimited_blocks(project.root / "any.csv", layout)
    prepared = [prepare(block, project.root / "run.arrow", schema=schema) for block in blocks]
    assert sum(one.rows_read for one in prepared) == 120
    rejected = sum(one.rejected.height for one in prepared)
    assert rejected == sum(row["target"] in schema.source.null_values for row in rows)
    assert rejected <= 120 * schema.max_bad_fraction


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_new_pipeline_runs_immediately(tmp_path, copy_repository, headrace) -> None:
    root = copy_repository(tmp_path / "a project")
    (tmp_path / "passengers.csv").write_text(passengers(200).replace("Sex", "Sex (of a passenger)"))
    headrace(root, "new", "passengers", "--csv", "../passengers.csv", "--target", "Survived")
    assert "passengers" in list_pipelines(root / "params.yaml")
    assert "test accuracy" in headrace(root, "run", "passengers")
    registration = json.loads((root / "reports" / "passengers" / "registration.json").read_text())
    assert (registration["alias"], registration["version"]) == ("champion", 1)
