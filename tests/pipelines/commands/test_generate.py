"""`headrace generate`: text on standard output, and mistakes reported before anything is printed."""

from pathlib import Path

import keras
import polars as pl
import pytest
import yaml

from headrace.components.errors import DataError, ParamsError
from headrace.components.models.build import build
from headrace.components.models.output import Output
from headrace.components.schema.labels import NextTokenLabel
from headrace.components.serving_model.prediction_files import joined
from headrace.components.training.restored_model import restored_model
from headrace.components.transforms.fitted_table import FittedTable
from headrace.components.transforms.vocabulary import FittedVocabulary
from headrace.pipelines.commands.generate import GenerateOptions, write_generated, write_text
from headrace.pipelines.commands.inference.prediction_input import open_input
from headrace.pipelines.commands.inference.predictions import predicted
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.tracking import registry

HELLO = {"length": 4, "temperature": 0.8, "seed": 0, "alias": "champion"}


@pytest.fixture(scope="module")
def hello(repository) -> Pipeline:
    content = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))["hello_rnn"]
    return Pipeline.model_validate({"name": "hello_rnn", **content})


@pytest.fixture(scope="module")
def model(tmp_path_factory, hello) -> Path:
    """The pipeline's model, trained on the word: it is heard after each letter."""
    text = {
        "feature": hello.ingest.features["text"],
        "transforms": (FittedVocabulary(tokens=("l", "e", "h", "o")),),
        "shape": (4,),
    }
    label = NextTokenLabel(name="text")
    fitted = FittedTable(features={"text": text}, label=label, training_examples=1)
    keras.utils.set_random_seed(1)
    core = build(hello.train.model, input_shape=(4,), output=Output(6, per_token=True), tokens=6)
    core.compile(keras.optimizers.Adam(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    ids = keras.ops.convert_to_tensor([[4, 3, 2, 2, 5]])
    for _ in range(80):
        core.train_on_batch(keras.ops.cast(ids[:, :-1], "float32"), ids[:, 1:])
    folder = tmp_path_factory.mktemp("model")
    model, _ = restored_model(
        core.get_weights(), model=hello.train.model, fitted=fitted, statistics=folder / "statistics.json"
    )
    model.save(folder / "model.keras")
    return folder / "model.keras"


@pytest.fixture
def champion(monkeypatch, model) -> None:
    monkeypatch.setattr(registry, "model_file", lambda *_: model)


def test_the_prompt_and_what_follows_are_printed(hello, champion, capsys, tmp_path) -> None:
    paths = PipelinePaths(tmp_path, "hello_rnn")
    write_text(hello, paths, prompt="h", **HELLO | {"temperature": 0})
    assert capsys.readouterr().out == "hello\n"
    write_text(hello, paths, prompt="he", **HELLO | {"length": 20, "temperature": 2.0})
    first = capsys.readouterr().out
    write_text(hello, paths, prompt="he", **HELLO | {"length": 20, "temperature": 2.0})
    assert first == capsys.readouterr().out
    assert (first[:2], len(first), set(first) <= set("helo\n")) == ("he", 23, True)


def test_a_prompt_with_unknown_characters_is_refused_before_anything_is_printed(hello, champion, capsys, tmp_path):
    with pytest.raises(DataError, match="characters that no training text had: 'x'"):
        write_text(hello, PipelinePaths(tmp_path, "hello_rnn"), prompt="hex", **HELLO)
    assert capsys.readouterr().out == ""


def test_a_pipeline_that_writes_no_text_is_refused(repository, tmp_path) -> None:
    content = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))["digits"]
    digits = Pipeline.model_validate({"name": "digits", **content})
    with pytest.raises(ParamsError, match=r"digits predicts digit .a category., and only a model of next tokens"):
        write_generated(
            digits, PipelinePaths(tmp_path, "digits"), GenerateOptions(prompt="h"), seed=0, alias="champion"
        )


def test_without_a_champion_it_is_said_how_to_get_one(hello, project_root) -> None:
    with pytest.raises(ParamsError, match=r"has no hello_rnn@champion\. Run `headrace run hello_rnn`"):
        write_text(hello, PipelinePaths(project_root, "hello_rnn"), prompt="h", **HELLO)


def test_predictions_are_what_follows_each_letter(hello, model, tmp_path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "hell"}\n{"text": "he"}\n', encoding="utf-8")
    loaded = keras.saving.load_model(model)
    found = joined(predicted(hello, open_input(hello, tmp_path / "rows.jsonl"), loaded)).origin
    assert found.equals(pl.DataFrame({"row": [1, 2], "prediction": ["ello", "el"]}))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hello_rnn", GenerateOptions(), r"hello_rnn writes text: give its first words, --prompt TEXT"),
        ("hello_rnn", GenerateOptions(prompt="h", count=3), r"hello_rnn writes text: leave --count out"),
        ("mnist_gan", GenerateOptions(), r"mnist_gan makes images: say where to, --output FILE\.png"),
        (
            "mnist_gan",
            GenerateOptions(output=Path("a.png"), temperature=0),
            r"mnist_gan makes images: leave --temperature out",
        ),
        ("mnist_gan", GenerateOptions(output=Path("a.jpg")), r"can't write a\.jpg: its name must end in \.png"),
    ],
)
def test_options_of_the_other_kind_of_model_are_refused(repository, tmp_path, name, options, message) -> None:
    content = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))[name]
    pipeline = Pipeline.model_validate({"name": name, **content})
    with pytest.raises(ParamsError, match=message):
        write_generated(pipeline, PipelinePaths(tmp_path, name), options, seed=0, alias="champion")
