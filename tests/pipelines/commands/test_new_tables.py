"""`headrace new` on tables as users have them, and then the stages: what it guesses must work, and be said."""

import csv
import json
import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from headrace.components.errors import DataError, ParamsError
from headrace.pipelines.commands.new_pipeline.add_pipeline import add_pipeline
from headrace.pipelines.commands.new_pipeline.inspect_data import Data
from headrace.pipelines.params import Pipeline, load_pipeline
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.stages.ingest import ingest
from headrace.pipelines.stages.normalize import normalize
from headrace.pipelines.stages.split import split

CASES = Path(__file__).with_name("cases")


@pytest.fixture
def project(tmp_path) -> ProjectPaths:
    (tmp_path / "params.yaml").write_text("pipelines: []\n")
    return ProjectPaths(tmp_path)


def prepared(project: ProjectPaths, file: Path, *targets: str) -> tuple[Pipeline, dict[str, object]]:
    """The pipeline that `new` proposes, and the report of its ingest, after the stages that need no TensorFlow."""
    add_pipeline(project, "own", Data(csv=file, targets=targets), dry_run=False)
    pipeline, paths = load_pipeline(project.params, "own"), project.of("own")
    ingest(pipeline, paths)
    normalize(pipeline, paths)
    split(pipeline, paths)
    counts = json.loads(paths.manifest.read_text())["splits"]
    assert all(counts[name]["examples"] for name in ("train", "validation", "test"))
    return pipeline, json.loads(paths.ingest_metrics.read_text())


def movies(file: Path) -> None:
    """Money with a currency and thousands, dates with names of months, missing values."""
    draw = random.Random(1)
    with file.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["Budget", "Gross", "Genre", "Released", "Share", "Profit"])
        for _ in range(240):
            budget = draw.randrange(100_000, 90_000_000)
            profit = draw.randrange(-(10**6), 10**6)
            released = f"{draw.choice(['Jan', 'Jun', 'Dec'])} {draw.randint(1, 28):02} 199{draw.randint(0, 9)}"
            shown = f"({-profit:,})" if profit < 0 else f"{profit:,}"
            gross, genre = f"${2 * budget + profit:,}", draw.choice(["Drama", "Comedy", ""])
            table.writerow([f"${budget:,}", gross, genre, released, f"{draw.randint(1, 99)}%", shown])


def formats(pipeline: Pipeline) -> dict[str, dict[str, str]]:
    found = {**pipeline.ingest.features, "label": pipeline.ingest.label}
    written = {name: getattr(one, "number_format", None) for name, one in found.items()}
    return {name: one.model_dump(exclude_defaults=True) for name, one in written.items() if one is not None}


def test_a_decimal_comma_is_read_and_said(project, capsys) -> None:
    pipeline, report = prepared(project, CASES / "n_euro.csv", "klasse")
    assert formats(pipeline) == {"preis": {"decimal": ","}}
    assert report["rows_kept"] == 120
    assert "decimal comma" in capsys.readouterr().out


def test_a_table_with_decimal_commas_and_missing_values(project, capsys) -> None:
    pipeline, report = prepared(project, CASES / "penguins_semi.csv", "species")
    commas = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    assert formats(pipeline) == {name: {"decimal": ","} for name in commas}
    assert (report["rows_kept"], report["rows_rejected"]) == (344, 0)
    assert capsys.readouterr().out.count("decimal comma") == 4


def test_per_cent_thousands_and_currencies_are_read_and_said(project, capsys) -> None:
    pipeline, report = prepared(project, CASES / "new_money.csv", "label")
    assert formats(pipeline) == {"pct": {"unit": "%"}, "thousand": {"thousands": ","}, "cur": {"unit": "$"}}
    assert report["rows_kept"] == 400
    said = capsys.readouterr().out
    for words in ("in %", "thousands set off by commas", "in $", "set ingest.features.thousand.number_format to it"):
        assert words in said


def test_money_is_learned_from_and_predicted(project) -> None:
    movies(project.root / "movies.csv")
    pipeline, report = prepared(project, project.root / "movies.csv", "Gross")
    money = {"thousands": ",", "unit": "$"}
    negatives = {"thousands": ",", "negative": "parentheses"}
    assert formats(pipeline) == {"Budget": money, "label": money, "Share": {"unit": "%"}, "Profit": negatives}
    assert pipeline.ingest.label.unit == "$"
    assert pipeline.ingest.features["Released"].date_format == "%b %d %Y"
    assert (report["rows_kept"], report["rows_rejected"]) == (240, 0)


def test_dates_that_fit_twice_are_said_with_the_key(project, capsys) -> None:
    pipeline, _ = prepared(project, CASES / "new_ambi.csv", "label")
    assert pipeline.ingest.features["d"].date_format == "%m/%d/%Y"
    said = " ".join(capsys.readouterr().out.split())
    assert "'%d/%m/%Y' fits as well; if that is meant, set ingest.features.d.date_format to it" in said
    assert "# Check: 'd' is read as date_format '%m/%d/%Y'" in project.params.read_text()


def test_a_row_of_totals_is_said_and_left_out(project, capsys) -> None:
    pipeline, report = prepared(project, CASES / "n_totals.csv", "klasse")
    assert pipeline.ingest.label.classes == ("blau", "rot")
    assert (report["rows_kept"], report["rows_rejected"]) == (120, 1)
    assert "row 121 of 121 looks like a total ('Summe' in 'klasse')" in capsys.readouterr().out


def test_columns_of_one_name_are_named_as_the_cause(project, capsys) -> None:
    with pytest.raises(DataError, match="preis: 2 columns are called so; rename all but one"):
        add_pipeline(project, "own", Data(csv=CASES / "n_dupcol.csv", targets=("klasse",)), dry_run=False)
    rows = (CASES / "n_dupcol.csv").read_text().splitlines()
    (project.root / "more.csv").write_text("\n".join(f"{row},{number % 7}" for number, row in enumerate(rows)))
    add_pipeline(project, "own", Data(csv=project.root / "more.csv", targets=("klasse",)), dry_run=False)
    assert "check: 'preis' is left out: 2 columns are called so" in capsys.readouterr().out


@pytest.mark.parametrize(("file", "target", "rows"), [("mtcars.csv", "mpg", 32), ("linnerud.csv", "Weight", 20)])
def test_a_few_rows_are_taken_with_a_warning(project, capsys, file, target, rows) -> None:
    pipeline, report = prepared(project, CASES / file, target)
    assert report["rows_kept"] == rows
    assert f"{rows} examples are few" in capsys.readouterr().out
    assert pipeline.register_.thresholds == {}
    assert pipeline.train.global_batch_size == 8


def test_several_targets_become_a_label_of_several_numbers(project, capsys) -> None:
    pipeline, report = prepared(project, CASES / "linnerud.csv", "Weight", "Waist", "Pulse")
    assert report["rows_kept"] == 20
    assert list(pipeline.ingest.label.targets) == ["Weight", "Waist", "Pulse"]
    assert list(pipeline.ingest.features) == ["Chins", "Situps", "Jumps"]
    assert capsys.readouterr().out.count("target: number") == 3
    labels = pl.read_parquet(project.of("own").splits / "train")["label"].to_numpy()
    assert labels.shape == (len(labels), 3)
    assert np.allclose([labels.mean(axis=0), labels.std(axis=0)], [[0] * 3, [1] * 3], atol=1e-5)


def test_several_targets_must_be_numbers(project) -> None:
    with pytest.raises(DataError, match="several targets must all be numbers, and 'species' is a class"):
        add_pipeline(
            project, "own", Data(csv=CASES / "penguins_semi.csv", targets=("body_mass_g", "species")), dry_run=False
        )


def test_numbers_of_which_one_could_outweigh_the_others_are_refused(project) -> None:
    prepared(project, CASES / "linnerud.csv", "Weight", "Waist")
    text = project.params.read_text()
    project.params.write_text(text.replace("    label: {kind: standardize}\n", ""))
    with pytest.raises(ParamsError, match=r"normalize\.label: several numbers need one"):
        load_pipeline(project.params, "own")


def test_of_few_rows_each_class_is_in_training(project) -> None:
    """Eleven rows of which one is the only one of its class: most seeds would hold it out, or leave a split empty."""
    rows = [f"{row}.5,{'abc'[row % 2 if row else 2]}" for row in range(11)]
    (project.root / "few.csv").write_text("\n".join(["x,y", *rows]) + "\n")
    pipeline, report = prepared(project, project.root / "few.csv", "y")
    assert report["rows_kept"] == 11
    assert pipeline.ingest.label.classes == ("a", "b", "c")


def articles(file: Path, *, more: bool = False) -> None:
    """Texts in which a few words depend on the class."""
    draw = random.Random(1)
    words = {
        "ships": "port vessel cargo harbour",
        "grain": "wheat corn harvest tonnes",
        "money": "bank rate dollar yen",
    }
    with file.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["class", "text", *(["day"] if more else [])])
        for number in range(240):
            topic = draw.choice(list(words))
            text = " ".join(draw.choice([*words[topic].split(), "the", "of", "said", "in"]) for _ in range(14))
            table.writerow([topic, f"{text}, {number}", *([f"2026-11-{draw.randint(1, 28):02}"] if more else [])])


@pytest.mark.parametrize("more", [False, True])
def test_a_text_and_a_class_become_a_pipeline_of_texts(project, capsys, more) -> None:
    articles(project.root / "articles.csv", more=more)
    pipeline, report = prepared(project, project.root / "articles.csv", "class")
    assert {name: (one.type, one.unit) for name, one in pipeline.ingest.features.items()} == {"text": ("text", "word")}
    assert [one.kind for one in pipeline.train.model.layers] == ["embedding", "recurrent"]
    assert report["rows_kept"] == 240
    assert ("take 'text' out of the file" in " ".join(capsys.readouterr().out.split())) == more


def test_the_cases_of_others_are_taken_too(project, repository) -> None:
    folder = repository.parent / "shared" / "cases" / "new"
    if not folder.is_dir():
        pytest.skip(f"needs the tables in {folder}, which are not part of the repository")
    pipeline, report = prepared(project, folder / "movies_money.csv", "Worldwide Gross")
    money = {"thousands": ",", "unit": "$"}
    assert formats(pipeline) == {"Production Budget": money, "label": money}
    assert (report["rows_kept"], report["rows_rejected"]) == (199, 0)
    add_pipeline(project, "texts", Data(csv=folder / "reuters_head.csv", targets=("Category",)), dry_run=True)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("file", "targets"),
    [
        ("linnerud.csv", ["Weight", "Waist", "Pulse"]),
        ("new_odd.csv", ["label"]),
        ("articles.csv", ["class"]),
        ("n_euro.csv", ["klasse"]),
        ("mtcars.csv", ["mpg"]),
    ],
)
def test_a_table_goes_from_file_to_trained_and_exported_model(
    tmp_path, copy_repository, headrace, file, targets
) -> None:
    root = copy_repository(tmp_path / "a project")
    path = CASES / file
    if file == "articles.csv":
        articles(path := tmp_path / file)
    headrace(root, "new", "own", "--csv", path, *(word for target in targets for word in ("--target", target)))
    headrace(root, "run", "own")
    reports = tmp_path / "a project" / "reports" / "own"
    registration = json.loads((reports / "registration.json").read_text())
    if file == "articles.csv":
        assert registration["metrics"]["accuracy"] > 0.8
    if len(targets) > 1:
        assert {"r2", *(f"{name}.root_mean_squared_error" for name in targets)} <= set(registration["metrics"])
    if registration["alias"] == "champion":  # of few rows always: there is no threshold
        headrace(root, "predict", "own", "--input", path, "--output", tmp_path / "predicted.csv")
        predicted = pl.read_csv(tmp_path / "predicted.csv")
        assert predicted.height == len(path.read_text().splitlines()) - 1
        assert [name for name in predicted.columns if name.startswith("prediction")] == (
            ["prediction"] if len(targets) == 1 else [f"prediction_{name}" for name in targets]
        )
    else:
        assert file == "new_odd.csv"  # which is noise
    shown = headrace(root, "export", "own", "--format", "saved_model")
    assert ("grosse_m" in shown) == (file == "new_odd.csv")
