"""Saved models: the same file for the same model, and hostile files that are refused in one line."""

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from headrace.components.errors import DataError
from headrace.components.serving_model.keras_file import CONFIG, WEIGHTS, weights_digest, write_keras_file
from headrace.components.serving_model.saved_model import load_model

MOST_EXTRA_BYTES = 1 << 28  # what refusing any of the files below may take
BUILD = """
import keras, numpy as np
def build():
    keras.utils.clear_session()
    inputs = {name: keras.Input((1,), name=name) for name in ("speed", "weight", "age")}
    text = keras.Input((1,), name="kind", dtype="string")
    index = keras.layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")(text)
    shared = keras.layers.Dense(3, activation="relu", dtype=keras.DTypePolicy("float32"))
    joined = keras.layers.Concatenate()([*map(shared, inputs.values()), index])
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(4)(joined))
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.Dropout(0.5, seed=1)(hidden))
    model = keras.Model({**inputs, "kind": text}, outputs)
    for place, weight in enumerate(model.weights):
        weight.assign(np.random.default_rng(place).normal(size=weight.shape))
    return model
"""


def build() -> keras.Model:
    scope: dict[str, Any] = {}
    exec(BUILD, scope)
    return scope["build"]()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.keras"
    write_keras_file(build(), path)
    return path


def test_equal_models_are_equal_files_in_every_process(saved: Path, tmp_path: Path) -> None:
    keras.layers.Dense(1)  # names that Keras generates continue counting
    write_keras_file(build(), tmp_path / "again.keras")
    code = BUILD + (
        "import sys; from pathlib import Path\n"
        "from headrace.components.serving_model.keras_file import write_keras_file\n"
        "write_keras_file(build(), Path(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1", "TZ": "UTC+1"}  # this process's own seed is random
    subprocess.run([sys.executable, "-c", code, tmp_path / "elsewhere.keras"], env=environment, check=True)
    assert {sha256(file) for file in tmp_path.iterdir()} == {sha256(saved)}
    assert len(list(tmp_path.iterdir())) == 2, "nothing else is beside them"


def test_what_is_written_loads_with_plain_keras(saved: Path) -> None:
    rows = {name: np.array([[1.0], [2.0]], np.float32) for name in ("speed", "weight", "age")}
    rows["kind"] = np.array([["a"], ["?"]], object)
    loaded = keras.saving.load_model(saved, safe_mode=True)
    np.testing.assert_array_equal(loaded(rows), build()(rows))
    np.testing.assert_array_equal(load_model(saved)(rows), build()(rows))


def test_the_weights_digest_is_of_weights_alone(saved: Path, tmp_path: Path) -> None:
    model = build()
    model.save(tmp_path / "by_keras.keras")  # another container, with dates and addresses
    assert weights_digest(tmp_path / "by_keras.keras") == weights_digest(saved)

    kernel, bias = model.layers[-1].get_weights()
    for name, changed in {"value": (kernel, bias + 1e-7), "order": (kernel[::-1], bias)}.items():
        model.layers[-1].set_weights(changed)
        write_keras_file(model, tmp_path / f"{name}.keras")
        assert weights_digest(tmp_path / f"{name}.keras") != weights_digest(saved)


# Hostile files, each made of the good one's members.

Members = dict[str, bytes]
Edit = Callable[[Members, Path], Members | bytes | None]


def pack(members: Members, *, compression: int = zipfile.ZIP_STORED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def with_layer(**changed: Any) -> Edit:
    """The last Dense replaced by something else."""

    def edit(members: Members, canary: Path) -> Members:
        config = json.loads(members[CONFIG])
        [last] = config["config"]["output_layers"][:1]
        layer = next(one for one in config["config"]["layers"] if one["name"] == last)
        filled = json.loads(json.dumps(changed).replace("CANARY", str(canary)))
        layer.update({**filled, "config": {**layer["config"], **filled.get("config", {})}})
        if filled.get("class_name") not in (None, "Dense"):
            layer["config"] = {"name": last, **filled.get("config", {})}
        return {**members, CONFIG: json.dumps(config).encode()}

    return edit


def with_weights(change: Callable[[h5py.File, Path], None]) -> Edit:
    def edit(members: Members, canary: Path) -> Members:
        content = io.BytesIO(members[WEIGHTS])
        with h5py.File(content, "a") as file:
            change(file, canary)
        return {**members, WEIGHTS: content.getvalue()}

    return edit


def with_config(change: Callable[[bytes], bytes]) -> Edit:
    return lambda members, canary: {**members, CONFIG: change(members[CONFIG])}


def with_member(name: str, content: bytes) -> Edit:
    return lambda members, canary: {**members, name.replace("CANARY", str(canary)): content}


def function(module: str, name: str) -> dict[str, str]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def constant_operation(members: Members, canary: Path) -> Members:
    """An operation on constants alone runs as the model is built."""
    config = json.loads(members[CONFIG])
    operation = {"module": "keras.src.ops.numpy", "class_name": "BroadcastTo", "name": "z", "registered_name": None}
    large = {**operation, "config": {"name": "z", "shape": [1 << 40]}}
    node = {"args": [{"class_name": "__tensor__", "config": {"value": [1.0], "dtype": "float32"}}], "kwargs": {}}
    config["config"]["layers"].append({**large, "inbound_nodes": [node]})
    return {**members, CONFIG: json.dumps(config).encode()}


class Executed:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def pickled(members: Members, canary: Path) -> Members:
    return {**members, "model.pkl": pickle.dumps(Executed(str(canary)))}


def pickled_weights(members: Members, canary: Path) -> Members:
    content = io.BytesIO()
    np.savez(content, allow_pickle=True, **{"layers/dense": np.array([Executed(str(canary))], object)})
    return {name: data for name, data in members.items() if name != WEIGHTS} | {"model.weights.npz": content.getvalue()}


def marshalled(members: Members, canary: Path) -> bytes:
    """A Lambda layer as Keras saves it, with its function's code in the file."""
    inputs, name = keras.Input((1,), name="speed"), str(canary)
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: [x, __import__("os").mkdir(name)][0])(inputs))
    model.save(canary.with_name("lambda.keras"))
    canary.rmdir()  # building it called the function
    return canary.with_name("lambda.keras").read_bytes()


def overlapping(members: Members, canary: Path) -> bytes:
    """A directory that gives one member's bytes a second, larger life."""
    content = bytearray(pack(members))
    start = content.index(b"PK\x01\x02")
    entry = content.index(WEIGHTS.encode(), start) - 46
    content[entry + 20 : entry + 28] = (0xF0000000).to_bytes(4, "little") * 2
    return bytes(content)


def encrypted(members: Members, canary: Path) -> bytes:
    content = bytearray(pack(members))
    entry = content.index(b"PK\x01\x02")
    content[entry + 8] |= 1
    return bytes(content)


def flipped(members: Members, canary: Path) -> bytes:
    content = bytearray(pack(members))
    content[content.index(b"Functional")] ^= 1
    return bytes(content)


def twice(members: Members, canary: Path) -> bytes:
    packed = io.BytesIO(pack(members))
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(CONFIG, members[CONFIG])
    return packed.getvalue()


KERNEL = "layers/dense/vars/0"


def link_to_file(file: h5py.File, canary: Path) -> None:
    del file[KERNEL]
    file[KERNEL] = h5py.ExternalLink(str(canary), "/x")


def link_within(file: h5py.File, canary: Path) -> None:
    file["layers/dense/vars/2"] = h5py.SoftLink("/" + KERNEL)


def other_files_bytes(file: h5py.File, canary: Path) -> None:
    del file[KERNEL]
    secret = canary.with_name("secret")
    secret.write_bytes(b"s" * 64)
    file.create_dataset(KERNEL, (4, 4), "f4", external=[(str(secret), 0, 64)])


def virtual(file: h5py.File, canary: Path) -> None:
    del file[KERNEL]
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(canary), "x", (4,))
    file.create_virtual_dataset(KERNEL, layout)


def unstored(file: h5py.File, canary: Path) -> None:
    del file[KERNEL]
    file.create_dataset(KERNEL, (1 << 38,), "f4")


def chunked(file: h5py.File, canary: Path) -> None:
    del file[KERNEL]
    file.create_dataset(KERNEL, (1 << 38,), "f4", chunks=(1 << 20,), compression="gzip")


def aliased(file: h5py.File, canary: Path) -> None:
    file["layers/dense/vars/2"] = np.zeros(1 << 16, np.float32)
    for place in range(3, 9):
        file[f"layers/dense/vars/{place}"] = file["layers/dense/vars/2"]


def objects(file: h5py.File, canary: Path) -> None:
    del file[KERNEL]
    file.create_dataset(KERNEL, data=[b"text"], dtype=h5py.string_dtype())


def other_shape(file: h5py.File, canary: Path) -> None:
    del file[KERNEL]
    file[KERNEL] = np.zeros((7, 7), np.float32)


def no_kernel(file: h5py.File, canary: Path) -> None:
    del file[KERNEL]


LOOKUP = {"max_tokens": None, "vocabulary": "CANARY", "name": "s"}
HOSTILE: dict[str, tuple[Edit, str]] = {
    "a Lambda with its code": (marshalled, "[Ll]ambda"),
    "a marshalled function": (
        with_layer(config={"activation": {"class_name": "__lambda__", "config": {"value": ["4wEA", None, None]}}}),
        "lambda",
    ),
    "a TFSMLayer": (
        with_layer(module="keras.layers", class_name="TFSMLayer", config={"filepath": "CANARY", "name": "t"}),
        "TFSMLayer",
    ),
    "os.system": (with_layer(config={"activation": function("os", "system")}), "Could not locate function 'system'"),
    "os.system, registered": (
        with_layer(registered_name="os>system", module="os", class_name="system", config={"command": "touch CANARY"}),
        "Could not locate class 'system'",
    ),
    "subprocess.Popen": (
        with_layer(module="subprocess", class_name="Popen", config={"args": ["touch", "CANARY"]}),
        "Could not locate class 'Popen'",
    ),
    "eval": (with_layer(config={"activation": function("builtins", "eval")}), "Could not locate function 'eval'"),
    "eval by its name": (with_layer(config={"activation": "eval"}), "eval"),
    "get_file": (
        with_layer(config={"activation": function("keras.utils", "get_file")}),
        "not a modeling function",
    ),
    "a vocabulary in a file": (
        with_layer(module="keras.layers", class_name="StringLookup", config=LOOKUP),
        "vocabulary",
    ),
    "an unknown layer": (with_layer(module="own", class_name="Own"), "Could not locate class 'Own'"),
    "a pickle beside the model": (pickled, "'model.pkl'"),
    "pickled weights": (pickled_weights, f"without {WEIGHTS}"),
    "a member outside": (with_member("assets/../../CANARY", b"x"), "only members that Keras writes"),
    "a member above": (with_member("../canary", b"x"), "only members that Keras writes"),
    "an absolute member": (with_member("CANARY", b"x"), "only members that Keras writes"),
    "a zip bomb": (
        lambda members, canary: pack({**members, WEIGHTS: bytes(1 << 29)}, compression=zipfile.ZIP_DEFLATED),
        "expected stored members",
    ),
    "sizes that are not there": (overlapping, "declare more than"),
    "an encrypted member": (encrypted, "expected stored members"),
    "a member twice": (twice, "twice"),
    "a flipped bit": (flipped, "CRC"),
    "a huge Dense": (with_layer(config={"units": 1 << 40}), "declare weights of"),
    "a type of a huge size": (
        with_layer(config={"a": {"class_name": "__numpy__", "config": {"value": ["x"], "dtype": "S2000000000"}}}),
        "arrays of numbers",
    ),
    "an operation on constants": (constant_operation, "without an input"),
    "a config 100,000 deep": (with_config(lambda config: b"[" * 100_000 + b"]" * 100_000), "nested too deep"),
    "a config 900 deep": (
        with_config(lambda config: b'{"class_name": "x", "config": ' + b"[" * 900 + b"]" * 900 + b"}"),
        "nested too deep|Expected 'config' to be a dict",
    ),
    "a config that is a list": (with_config(lambda config: b"[]"), "expected an object"),
    "a config that is no JSON": (with_config(lambda config: config[:100]), "Unterminated string"),
    "a config that is no text": (with_config(lambda config: b"\xff\xfe\xff"), "decode|utf"),
    "a large config": (with_config(lambda config: config + b" " * (1 << 26)), "is larger than"),
    "a truncated file": (lambda members, canary: pack(members)[:-2_000], "truncated"),
    "the first bytes of a file": (lambda members, canary: pack(members)[:20], "truncated"),
    "an empty file": (lambda members, canary: b"", "is empty"),
    "no archive": (lambda members, canary: b"a model, they said", "found b'a model,'"),
    "an HDF5 file": (lambda members, canary: members[WEIGHTS], "found HDF5"),
    "an archive of nothing": (lambda members, canary: {}, "found b'PK|without config.json"),
    "weights that are no HDF5": (with_member(WEIGHTS, b"none"), "signature|file"),
    "a link to another file": (with_weights(link_to_file), "ExternalLink"),
    "a link within the file": (with_weights(link_within), "SoftLink"),
    "bytes of another file": (with_weights(other_files_bytes), "no plain array"),
    "a virtual array": (with_weights(virtual), "no plain array"),
    "an array that is not stored": (with_weights(unstored), "does not store them"),
    "a compressed array": (with_weights(chunked), "no plain array"),
    "one array many times": (with_weights(aliased), "does not store them"),
    "text for numbers": (with_weights(objects), "no plain array"),
    "weights of another shape": (with_weights(other_shape), "not those of its layers"),
    "a layer without weights": (with_weights(no_kernel), "not those of its layers"),
}


@pytest.fixture(scope="module")
def members(saved: Path) -> Members:
    with zipfile.ZipFile(saved) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def peak_bytes() -> Callable[[], int]:
    """Memory that this process took at most since the fixture was made, beyond what it had."""
    status = Path("/proc/self/status")
    Path("/proc/self/clear_refs").write_text("5")

    def memory(key: str) -> int:
        return next(int(line.split()[1]) << 10 for line in status.read_text().splitlines() if line.startswith(key))

    before = memory("VmRSS:")
    return lambda: memory("VmHWM:") - before


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(
    kind: str, members: Members, tmp_path: Path, peak_bytes: Callable[[], int]
) -> None:
    edit, reason = HOSTILE[kind]
    canary, folder = tmp_path / "canary", tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    content = edit(dict(members), canary)
    (folder / "model.keras").write_bytes(content if isinstance(content, bytes) else pack(content or {}))
    before = sorted(tmp_path.rglob("*"))
    del content
    Path("/proc/self/clear_refs").write_text("5")
    with pytest.raises(DataError, match=reason) as refused:
        load_model(folder / "model.keras")
    assert "\n" not in str(refused.value)
    assert str(folder / "model.keras") in str(refused.value)
    assert len(str(refused.value)) < 300 + 100 + len(str(folder))
    assert sorted(tmp_path.rglob("*")) == before, "nothing was executed, and nothing written"
    assert peak_bytes() < MOST_EXTRA_BYTES
