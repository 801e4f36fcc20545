"""Pipelines that make images are checked whole before any work."""

from copy import deepcopy

import pytest
import yaml

from headrace.components.errors import ParamsError
from headrace.pipelines.params import load_pipeline

LAYERS = {"layers": [{"kind": "dense", "units": 8}]}

# place of the mistake, new value (None: left out), what the message must say
MISTAKES = [
    (("ingest", "label", "name"), "digit", "generated are images, and 'digit' is no image feature"),
    (("ingest", "label", "name"), "picture", "generated are images, and 'picture' is no image feature"),
    (("normalize", "transforms", "image"), [], r"expected image: \[{kind: scale_pixels}\] alone"),
    (("normalize", "transforms"), {"digit": [{"kind": "one_hot"}]}, r"expected image: \[{kind: scale_pixels}\] alone"),
    (("split",), {"validation_fraction": 0.1}, "split.held_out: validation computes no metric of generated images"),
    (("train", "model"), LAYERS, "the label generated needs an architecture of kind gan"),
    (("train", "best_by"), "loss", "no metric rates generated images; expected last, found loss"),
    (("train", "best_by"), None, "expected last, found validation_loss|no metric 'validation_loss'"),
    (("train", "early_stopping"), {"patience_epochs": 2}, "with best_by: last no metric shows when to stop"),
    (("train", "class_weights"), "balanced", "class_weights and train.label_smoothing are for categories"),
    (("train", "model", "architecture", "noise"), 0, "noise: input should be greater than or equal to 1, found 0"),
    (
        ("train", "model", "architecture", "generator"),
        [{"kind": "max_pooling2d"}],
        r"train.model.architecture.generator.0 \(max_pooling2d\): needs an image",
    ),
    (("evaluate",), {}, "evaluate.judge: generated images need one, such as {by: digit}"),
    (("evaluate", "judge", "by"), "digits", "expected a category of ingest.features.*'digits'; did you mean 'digit'"),
    (("evaluate", "judge", "by"), "image", "expected a category of ingest.features"),
    (
        ("ingest", "features", "digit", "nullable"),
        True,
        r"label\.by: .* never missing, .* found 'digit': .*nullable=True",
    ),
    (
        ("ingest", "features", "digit", "classes"),
        None,
        r"label\.by: .* with the classes 0, 1, .* found 'digit': .*None",
    ),
    (("ingest", "label", "by"), "digits", r"label\.by: .* found 'digits': no feature"),
    (("ingest", "label", "by"), "image", r"label\.by: .* found 'image'"),
    (("ingest", "label", "by"), None, "by and classes belong together"),
    (("ingest", "label", "classes"), ["0"], r"classes: tuple should have at least 2"),
    (
        ("schedule",),
        {"predict": {"input": "a.csv", "output": "b.csv"}},
        "a model that generates images predicts nothing",
    ),
    (("register", "compare", "metric"), "loss", "there is no metric 'loss'; there are: classes_named, judge_accuracy"),
]


@pytest.fixture(scope="module")
def content(repository):
    return yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))


def loaded(folder, name, content):
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump({"pipelines": [name], name: content}), encoding="utf-8")
    return load_pipeline(file, name)


def changed(section, place, value):
    section = deepcopy(section)
    *outer, last = place
    inner = section
    for name in outer:
        inner = inner[name]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return section


@pytest.mark.parametrize(("place", "value", "message"), MISTAKES, ids=[".".join(place) for place, _, _ in MISTAKES])
def test_a_mistake_is_named(tmp_path, content, place, value, message):
    with pytest.raises(ParamsError, match=message):
        loaded(tmp_path, "mnist_gan", changed(content["mnist_gan"], place, value))


@pytest.mark.parametrize("category", [{"nullable": True, "classes": ["0", "1"]}, {}])
def test_a_judge_needs_classes_that_are_never_missing(tmp_path, content, category):
    section = changed(content["mnist_gan"], ("ingest", "label"), {"type": "generated", "name": "image"})
    section = changed(section, ("ingest", "features", "digit"), {"type": "category", **category})
    with pytest.raises(ParamsError, match="with two classes or more, never missing; found 'digit'"):
        loaded(tmp_path, "mnist_gan", section)


def test_a_judge_is_for_generated_images(tmp_path, content):
    with pytest.raises(ParamsError, match=r"evaluate\.judge: it is for images that are generated"):
        loaded(tmp_path, "mnist", changed(content["mnist"], ("evaluate", "judge"), {"by": "digit"}))


def test_a_gan_is_for_generated_images(tmp_path, content):
    model = content["mnist_gan"]["train"]["model"]
    with pytest.raises(ParamsError, match=r"gan makes images; ingest\.label is a category, not generated"):
        loaded(tmp_path, "mnist", changed(content["mnist"], ("train", "model"), model))


def test_any_pipeline_may_take_its_last_epoch(tmp_path, content):
    assert loaded(tmp_path, "mnist", changed(content["mnist"], ("train", "best_by"), "last")).train.best_by == "last"
