"""Weights that a model of a file starts from: how params.yaml names them, and what is read as weights."""

import pytest
from pydantic import ValidationError

from headrace.components.errors import DataError, ParamsError
from headrace.components.models.own_model_code import model_code
from headrace.components.models.pretrained_weights import WeightsFile, is_preset, require_weights
from headrace.components.models.settings import OwnModel

FILE = "models/own.py"
ADDRESS = {"name": "small.weights.h5", "url": "https://localhost/small.weights.h5", "sha256": "0" * 64}


def settings(weights, **others) -> OwnModel:
    return OwnModel.model_validate({"file": FILE, "weights": weights, **others})


@pytest.mark.parametrize(
    ("weights", "preset"),
    [("weights/a.weights.h5", False), ("a.h5", False), ("models/a.keras", False), ("presets/bert_tiny", True)],
)
def test_a_path_in_the_project_is_a_file_or_a_preset(weights, preset):
    found = settings(weights).weights
    assert found == weights
    assert is_preset(found) == preset


def test_an_address_is_a_section_with_a_checksum():
    assert isinstance(settings(ADDRESS).weights, WeightsFile)
    with pytest.raises(ValidationError, match=r"sha256\s+Field required"):
        settings({name: value for name, value in ADDRESS.items() if name != "sha256"})


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("/data/a.h5", r"expected a path inside the project.*a section of name, url and sha256"),
        ("../a.h5", r"expected a path inside the project"),
        (".", r"expected a path inside the project"),
        ("a.pkl", r"ends in .weights.h5, .h5 or .keras, found 'a.pkl'; other formats may hold code"),
        ("a.ckpt", r"ends in .weights.h5"),
        ({**ADDRESS, "name": "a.npz"}, r"ends in .weights.h5"),
        ({**ADDRESS, "url": "http://localhost/a.h5"}, r"use https"),
    ],
)
def test_other_files_and_places_are_refused(weights, said):
    with pytest.raises(ValidationError, match=said):
        settings(weights)


def test_weights_are_given_once():
    with pytest.raises(ValidationError, match=r"give either weights or arguments.weights, found both"):
        settings("a.h5", arguments={"weights": "b.h5"})


@pytest.mark.parametrize(
    ("signature", "weights", "said"),
    [
        ("inputs, label, weights", "a.h5", None),
        ("inputs, label, *, weights=None", "presets/tiny", None),
        ("inputs, label", "a.h5", None),  # they are loaded into the model
        ("inputs, label, *, weights", None, "needs the argument 'weights'; give train.model.weights"),
        (
            "inputs, label",
            "presets/tiny",
            "takes no argument 'weights', so the preset 'presets/tiny' would not be read",
        ),
    ],
)
def test_the_function_must_take_what_it_is_given(tmp_path, signature, weights, said):
    (tmp_path / "models").mkdir()
    (tmp_path / FILE).write_text(f"def build_model({signature}):\n    pass\n")
    if said is None:
        model_code(tmp_path, settings(weights))
        return
    with pytest.raises(ParamsError, match=rf"models/own.py:1: build_model: {said}"):
        model_code(tmp_path, settings(weights))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.h5", b"\x89HDF\r\n\x1a\nand more", None),
        ("a.keras", b"PK\x03\x04and more", None),
        ("a.h5", b"<!DOCTYPE html>", r"a.h5: expected an HDF5 file, as Keras writes weights, found b'<!DOCTYP' at its"),
        ("a.weights.h5", b"version https://git-lfs", r"expected an HDF5 file"),
        ("a.keras", b"\x89HDF\r\n\x1a\n", r"expected a zip archive"),
        ("a.h5", b"", r"found b'' at its start"),
    ],
)
def test_a_file_is_known_by_its_first_bytes(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    if said is None:
        require_weights(tmp_path / name)
        return
    with pytest.raises(DataError, match=said):
        require_weights(tmp_path / name)


def test_a_preset_has_a_configuration(tmp_path):
    with pytest.raises(DataError, match=r"expected the folder of a KerasHub preset, found no config.json in it"):
        require_weights(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    require_weights(tmp_path)
