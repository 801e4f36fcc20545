"""A user who starts a run changes numbers, choices and names, and nothing that is read as a place."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from headrace.components.errors import ParamsError
from headrace.pipelines.params import Normalize, Pipeline, Train, load_pipeline
from headrace.pipelines.project.edit_params import with_values
from headrace.pipelines.run_overrides import OPEN_KEYS, Leaf, is_listed, is_open, leaves, require_open

PARAMS = Path(__file__).parents[2] / "params.yaml"
# Open text: each is looked up among names that the project has, none is a place.
NAMES = {
    ("Training", "best_by"),
    ("WeightedLayer", "name"),
    ("LayerRate", "layers"),
    ("Model", "inputs"),
    ("Training", "class_weights"),
    ("Ordinal", "categories"),
    ("JudgeSettings", "by"),
    ("Compare", "metric"),
}
# What a form must never reach, by the words that its keys have; in whatever class, also one that is new.
PLACES = ("url", "root", "pattern", "file", "sha256", "http", "path", "version", "anonymous", "archives", "weights")
HOSTILE = ["/etc/passwd", None, {"url": "http://127.0.0.1:15000"}]


def settings_classes(annotation: Any) -> set[type[BaseModel]]:
    """Every settings class that a value of this type may hold, however deep."""
    found: set[type[BaseModel]] = set()
    waiting = [annotation]
    while waiting:
        one = waiting.pop()
        if isinstance(one, type) and issubclass(one, BaseModel):
            if one not in found:
                found.add(one)
                waiting += [field.annotation for field in one.model_fields.values()]
        else:
            waiting += get_args(one)
    return found


def text_in(annotation: Any) -> bool:
    """Whether a value of this type may be free text."""
    if get_origin(annotation) is Literal or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return False
    if get_origin(annotation) is Annotated:
        return text_in(get_args(annotation)[0])
    return annotation is str or any(text_in(one) for one in get_args(annotation))


KEYS = sorted(
    (
        (owner, field.alias or name, field.annotation)
        for owner in settings_classes(Pipeline)
        for name, field in owner.model_fields.items()
    ),
    key=lambda key: (key[0].__name__, key[1]),
)


def test_the_list_names_only_what_there_is():
    present = {(base.__name__, key) for owner, key, _ in KEYS for base in owner.__mro__}
    listed = {(name, key) for name, keys in OPEN_KEYS.items() for key in keys}
    assert listed - present == set()


@pytest.mark.parametrize(
    ("owner", "key", "annotation"), [pytest.param(*key, id=f"{key[0].__name__}.{key[1]}") for key in KEYS]
)
def test_every_key_of_the_schema_is_a_number_a_choice_or_a_known_name_or_closed(owner, key, annotation):
    if not is_listed(owner, key):
        return
    names = {(base.__name__, key) for base in owner.__mro__}
    assert not text_in(annotation) or names & NAMES
    assert key == "class_weights" or not any(word in key for word in PLACES)
    assert not key.startswith("allow_")


def test_a_new_setting_is_closed():
    class Extended(Train):
        own_code: str = "model.py"

    assert not is_listed(Extended, "own_code")
    assert is_listed(Extended, "epochs")
    assert is_open(Leaf("train.epochs", 3, Train, "epochs"))
    assert not is_open(Leaf("ingest.epochs", 3, Train, "epochs"))


@pytest.mark.parametrize("name", ["titanic", "shakespeare", "flowers"])
def test_every_place_is_open_or_refused_by_both_ways_in(name):
    from headrace.pipelines.airflow.form import overrides_of, run_params

    pipeline = load_pipeline(PARAMS, name)
    fields = {place: param.value for place, param in run_params(pipeline).items()}
    for leaf in leaves(pipeline):
        for value in [*HOSTILE, *([leaf.value + 1] if type(leaf.value) in (int, float) else [])]:
            for conf in ({leaf.place: value}, {"overrides": {leaf.place: value}}):
                if value == leaf.value:
                    continue
                try:
                    changed = overrides_of(pipeline, {**fields, **conf}, conf)
                except ParamsError as error:
                    assert str(error).isprintable()
                else:
                    assert is_open(leaf)
                    assert changed == {leaf.place: value}


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"ingest.source.parts.0.file.url": "/etc/passwd"}, "ingest.source.parts.0.file.url"),
        ({"ingest.source.parts.0.file.sha256": None}, "ingest.source.parts.0.file.sha256"),
        ({"ingest.source.parts.0.file.max_bytes": 1}, "ingest.source.parts.0.file.max_bytes"),
        ({"train.start_from": "champion"}, "train.start_from"),
        ({"train.epochs": 3, "description": "x"}, "description"),
        ({"schedule.predict": {"input": "/etc", "output": "/tmp"}}, "schedule.predict.input"),
        ({"schedule.cron": "* * * * *"}, "schedule.cron"),
        ({"results.seeds": [5]}, "results.seeds.0"),
        ({"results.seeds": [1, 2]}, "results.seeds.2"),
    ],
)
def test_what_differs_is_refused_wherever_it_comes_from(values, place):
    pipeline = load_pipeline(PARAMS, "shakespeare")
    section = pipeline.model_dump(mode="json", by_alias=True)
    for at, value in values.items():
        *path, last = at.split(".")
        node = section
        for part in path:
            node = node[int(part) if isinstance(node, list) else part]
        node[last] = value
    with pytest.raises(ParamsError, match=rf"^{place}: a run can't change it, only numbers, choices and names of"):
        require_open(pipeline, Pipeline.model_validate(section))


def test_pretrained_weights_can_not_come_in_by_another_kind_of_transform():
    pipeline = load_pipeline(PARAMS, "digits")
    backbone = {"kind": "backbone", "name": "mobilenet", "weights": {"name": "w.h5", "url": "/etc/passwd"}}
    places = {f"normalize.transforms.image.0.{key}": value for key, value in backbone.items()}
    with pytest.raises(ParamsError):
        require_open(pipeline, with_values(pipeline, places))
    normalize = Normalize.model_validate({"transforms": {"image": [backbone]}})
    after = pipeline.model_copy(update={"normalize": normalize})
    with pytest.raises(ParamsError, match=r"normalize\.transforms\.image\.0\.\w+: a run can't change it"):
        require_open(pipeline, after)
