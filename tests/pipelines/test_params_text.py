"""Pipelines over texts are checked whole before any work."""

from copy import deepcopy

import pytest
import yaml

from headrace.components.errors import ParamsError
from headrace.pipelines.params import load_pipeline

NUMBER_LABEL = {"type": "number", "name": "length"}
TEXT = {"type": "text", "length": 100}

# place of the mistake, new value, what the message must say
MISTAKES = [
    (("ingest", "features", "text", "length"), 50, "the source's length is 100, the text's 50; make them equal"),
    (("ingest", "label", "name"), "play", "next_token is of a text feature, and 'play' is none"),
    (("ingest", "label"), {"type": "number", "name": "text"}, "the label 'text' is also a feature"),
    (("ingest", "label", "tokens"), 5, "tokens: unknown name"),
    (("ingest", "source", "length"), 0, "length: input should be greater than or equal to 1, found 0"),
    (("ingest", "source", "files"), {"root": "/plays"}, "give one of parts"),
    (("normalize", "transforms", "text"), [], "a text must become numbers; add vocabulary"),
    (("normalize", "transforms", "text"), [{"kind": "one_hot"}], "one_hot can't be applied to a text"),
    (("normalize", "label"), {"kind": "standardize"}, "only a number can be transformed, and the label is none"),
    (("train", "model", "layers"), [], "the first layer over a text must be embedding or one_hot"),
    (
        ("train", "model", "layers"),
        [{"kind": "one_hot"}, {"kind": "recurrent", "cell": "gru", "units": 3, "return_sequences": False}],
        "next_token needs values after each token",
    ),
    (("train", "model", "layers"), [{"kind": "recurrent", "cell": "lsm", "units": 3}], "'rnn', 'lstm' or 'gru'"),
    (("train", "label_smoothing"), 0.1, "label_smoothing are for categories, and the label is none"),
    (("train", "best_by"), "validation_f1", "no metric 'validation_f1'"),
    (("evaluate", "points"), {"hello": {"text": "hello"}}, "only a number can be a metric, and the label is none"),
    (
        ("register", "compare", "metric"),
        "loss",
        "there is no metric 'loss'; there are: accuracy, cross_entropy, perplexity",
    ),
]


@pytest.fixture(scope="module")
def content(repository):
    return yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))


def loaded(folder, content):
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump({"pipelines": ["shakespeare"], "shakespeare": content}), encoding="utf-8")
    return load_pipeline(file, "shakespeare")


@pytest.mark.parametrize(("place", "value", "message"), MISTAKES, ids=[".".join(place) for place, _, _ in MISTAKES])
def test_a_mistake_is_named(tmp_path, content, place, value, message):
    section = deepcopy(content["shakespeare"])
    *outer, last = place
    inner = section
    for name in outer:
        inner = inner[name]
    inner[last] = value
    with pytest.raises(ParamsError, match=message):
        loaded(tmp_path, section)


def test_a_text_beside_other_features_needs_an_input_of_its_own(tmp_path, content):
    section = deepcopy(content["shakespeare"])
    section["ingest"]["features"]["file"] = {"type": "category"}
    section["normalize"]["transforms"]["file"] = [{"kind": "one_hot"}]
    with pytest.raises(ParamsError, match="an image or a text needs an input of its own"):
        loaded(tmp_path, section)
    section["normalize"]["transforms"] = {"file": [{"kind": "one_hot"}]}
    with pytest.raises(ParamsError):
        loaded(tmp_path, section)
