"""Models with classes of KerasHub: loaded where it is installed, and refused where they read files."""

import importlib.util
import sys

import keras
import numpy as np
import pytest

from headrace.components.errors import DataError
from headrace.components.serving_model.hub_classes import import_hub, uses_hub
from headrace.components.serving_model.keras_file import read_config, write_keras_file
from headrace.components.serving_model.saved_model import load_model

needs_hub = pytest.mark.skipif(importlib.util.find_spec("keras_hub") is None, reason="needs headrace[hub]")
BERT = {"module": "keras_hub.src.models.bert.bert_backbone", "class_name": "BertBackbone", "config": {}}


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"config": {"layers": [BERT]}}, True),
        ({"class_name": "function", "module": "builtins", "registered_name": "keras_hub>gelu_approximate"}, True),
        ({"registered_name": "keras_nlp>TransformerEncoder"}, True),
        (
            {"module": "keras.layers", "class_name": "Dense", "registered_name": None, "config": {"name": "keras_hub"}},
            False,
        ),
        ({"module": "keras_hubris", "registered_name": "own>Dense"}, False),
    ],
)
def test_a_class_is_kerashubs_by_its_module_or_registered_name(config, found):
    assert uses_hub(config) == found


def test_without_kerashub_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    import_hub({"module": "keras.layers"})
    with pytest.raises(ValueError, match=r"^it needs KerasHub, which is not installed: pip install 'headrace\[hub\]'$"):
        import_hub(BERT)


@needs_hub
def test_a_saved_backbone_is_loaded(tmp_path, monkeypatch):
    import keras_hub

    tokens = keras.Input((6,), name="text")
    ids = keras.ops.cast(tokens, "int32")
    network = keras_hub.models.BertBackbone(
        vocabulary_size=9, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=8, max_sequence_length=6
    )
    given = {"token_ids": ids, "segment_ids": keras.ops.zeros_like(ids), "padding_mask": keras.ops.ones_like(ids)}
    model = keras.Model({"text": tokens}, keras.layers.Dense(2)(network(given)["pooled_output"]))
    path = tmp_path / "model.keras"
    write_keras_file(model, path)
    assert uses_hub(read_config(path))
    texts = {"text": np.array([[1, 2, 3, 0, 0, 0], [4, 5, 6, 7, 8, 0]], np.float32)}
    np.testing.assert_allclose(load_model(path)(texts), model(texts), rtol=1e-5, atol=1e-6)
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(DataError, match=r"can't load the model .*model.keras: it needs KerasHub, .*headrace\[hub\]"):
        load_model(path)


@needs_hub
@pytest.mark.parametrize(
    "entry",
    [
        {"registered_name": "keras_hub>BertTokenizer", "class_name": "Dense", "module": "keras.layers"},
        {"registered_name": "keras_nlp>BertTokenizer", "class_name": "BertTokenizer", "module": None},
        {
            "registered_name": None,
            "class_name": "BertTextClassifierPreprocessor",
            "module": "keras_hub.src.models.bert.bert_text_classifier_preprocessor",
        },
    ],
)
def test_a_class_that_reads_a_vocabulary_is_refused(entry):
    with pytest.raises(ValueError, match=r"could read files of this machine; save a backbone"):
        import_hub({"layers": [{**entry, "config": {"vocabulary": "/etc/passwd"}}]})
