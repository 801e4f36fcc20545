"""docs/pipelines.md: every pipeline and network of params.yaml with its data, task, model and bounds; `make pages`."""

from collections import Counter
from pathlib import Path

from headrace.components.models.settings import OwnModel
from headrace.pipelines.params import Pipeline, list_pipelines, load_classifier, load_pipeline
from headrace.pipelines.yaml_dialect import read_yaml_file

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "pipelines.md"

_HEAD = """\
# Pipelines that come with Headrace

Made from params.yaml by `make pages`; nothing here is written by hand. `headrace run NAME` runs one of them. What each
was measured to reach, over several seeds or folds, is in [results](results.md); how long that took, too. The output
layer is not counted: it follows from the target.

| pipeline | data and target | layers | must reach |
|---|---|---|---|
"""
_NETWORKS = """
## Networks that only predict

They were trained by others and have no stages: `headrace predict NAME --input PHOTO`.

| network | what | file |
|---|---|---|
"""
_TAIL = """
## Get their data

`headrace run mnist` fetches its files over https and checks their SHA-256. Without a network, set `HEADRACE_MIRROR` to
a folder that has them as `<folder>/mnist/train-images-idx3-ubyte.gz` and so on. The data sets belong to their authors;
Headrace ships none of them.

`flowers`, `alexnet`, `vgg` and `googlenet` read photos from a folder for each class: unpack TensorFlow's
[flower_photos.tgz](https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz) in `data/`.
The figures in [results](results.md) are of 1,500 of its 3,670 photos, a subset: about 150 photos for the test. The last
three see them small and learn from random weights: they are examples of [model files](own-code.md).

`digits` has 1,797 images, `mnist` 70,000 in four idx files, `titanic` 891 passengers, `takeoff` 380 take-offs in
three CSV files (80 of them for the test), `shakespeare` 1,115,394 characters. `linear`, `study_hours`,
`study_hours_two` and `hello_rnn` have their two to four rows, or their word, in params.yaml; `sine` and `polynomial`
make points from a seed and are tested on the function itself.

Predict Kaggle's file for the Titanic with
`headrace predict titanic --input test.csv --submission --output submission.csv`. Agreement with
`gender_submission.csv` is no accuracy: that file says that all women survive, and no more.
"""


def page(params: Path = REPOSITORY / "params.yaml") -> str:
    """The page as Markdown: a row for each pipeline in the order of params.yaml, then one for each network."""
    rows = "".join(_row(load_pipeline(params, name)) for name in list_pipelines(params))
    networks = "".join(_network(params, name) for name in read_yaml_file(params)["classifiers"])
    return f"{_HEAD}{rows}{_NETWORKS}{networks}{_TAIL}"


def _row(pipeline: Pipeline) -> str:
    bounds = pipeline.results.reach or pipeline.register_.thresholds
    cells = (
        f"`{pipeline.name}`<br>{pipeline.description}",
        f"from {_data(pipeline)}<br>to {_target(pipeline)}",
        _model(pipeline),
        "<br>".join(f"`{name}` {_bounds(one.minimum, one.maximum)}" for name, one in bounds.items()),
    )
    return f"| {' | '.join(cells)} |\n"


def _data(pipeline: Pipeline) -> str:
    source = pipeline.ingest.source
    dataset = getattr(source, "dataset", None)
    features = pipeline.normalize.transforms
    taken = f"`{next(iter(features))}`" if len(features) == 1 else f"{len(features)} columns"
    return f"{source.kind}{f' `{dataset}`' if dataset else ''}: {taken}"


def _target(pipeline: Pipeline) -> str:
    """What is predicted, by the type of the label."""
    label = pipeline.ingest.label.model_dump()
    name, unit, classes = label.get("name"), label.get("unit"), label.get("classes")
    parts = [f"`{name}`" if name else "", f"in {unit}" if unit else "", f"of {len(classes)} classes" if classes else ""]
    return " ".join(filter(None, [label["type"].replace("_", " "), *parts]))


def _model(pipeline: Pipeline) -> str:
    """The file or the architecture, or how many layers there are of each kind before the output layer."""
    model = pipeline.train.model
    if isinstance(model, OwnModel):
        return f"`{model.file}`"
    if model.architecture is not None:
        return str(model.architecture.kind)
    kinds = Counter(layer.kind for layer in model.layers or ())
    counted = [kind if count == 1 else f"{count} x {kind}" for kind, count in kinds.items()]
    return ", ".join(counted) or "the output layer alone"


def _bounds(minimum: float | None, maximum: float | None) -> str:
    if minimum is None:
        return f"≤ {maximum:g}"
    return f"≥ {minimum:g}" if maximum is None else f"{minimum:g} to {maximum:g}"


def _network(params: Path, name: str) -> str:
    classifier = load_classifier(params, name)
    file, what = (classifier.network.weights.name, classifier.description) if classifier else ("", "")
    return f"| `{name}` | {what} | `{file}` |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
