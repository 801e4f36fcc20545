"""Image folders, and archives of them, from ingest to what the model is fed."""

import io
import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image
from structlog.testing import capture_logs

from headrace.components.errors import DataError
from headrace.components.examples import shards
from headrace.components.training.batches import Windows
from headrace.components.training.feeding.disk_splits import write_columns
from headrace.components.training.feeding.split_arrays import load_split
from headrace.components.transforms.fitted_table import FittedTable
from headrace.pipelines.object_store import objects
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.ingest import ingest
from headrace.pipelines.stages.normalize import normalize
from headrace.pipelines.stages.split import split

SIZE = 16
Files = Mapping[str, bytes]


def photo(seed: int) -> bytes:
    """A JPEG without sharp edges, as photos are."""
    colours = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    smooth = Image.fromarray(colours).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    smooth.save(buffer := io.BytesIO(), "JPEG", quality=90)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def files() -> Files:
    return {
        f"{kind}/{n:02d}.jpg": photo(100 * place + n) for place, kind in enumerate(("cat", "dog")) for n in range(30)
    }


@pytest.fixture(scope="module")
def digits(repository) -> dict:
    return yaml.safe_load((repository / "params.yaml").read_text())["digits"]


def pipeline_of(digits: dict, part: dict, **others: Any) -> Pipeline:
    section = {
        "source": {"kind": "images", "dataset": "pets", "parts": [part]},
        "features": {"photo": {"type": "image", "height": SIZE, "width": SIZE, "channels": 3}},
        "label": {"type": "category", "name": "kind", "classes": ["cat", "dog"]},
        "key": ["file"],
    }
    section["features"]["photo"] |= others.pop("photo", {})
    transforms = {"transforms": {"photo": [{"kind": "scale_pixels"}]}}
    return Pipeline.model_validate(
        {**digits, "name": "pets", "ingest": {**section, **others}, "normalize": transforms}
        | {"split": {"seed": 1, "validation_fraction": 0.2, "test_fraction": 0.2}}
    )


def folder(path: Path, files: Files) -> dict:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return {"files": {"root": str(path)}}


def tar(path: Path, files: Files) -> dict:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return {"archives": [{"name": path.name, "url": str(path)}]}


def zipped(path: Path, files: Files) -> dict:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return {"archives": [{"name": path.name, "url": str(path)}]}


def labelled(path: Path, files: Files) -> dict:
    path.with_suffix(".csv").write_text("file,kind\n" + "".join(f"{name},{name[:3]}\n" for name in files))
    return zipped(path, files) | {"labels": {"name": f"{path.stem}.csv", "url": str(path.with_suffix(".csv"))}}


@pytest.mark.parametrize("encoding", ["tensor", "encoded"])
def test_folder_tar_zip_and_labels_give_the_same_examples(digits, files, tmp_path, encoding) -> None:
    parts = {
        "folder": folder(tmp_path / "folder", files),
        "tar": tar(tmp_path / "all.tar.gz", files),
        "zip": zipped(tmp_path / "all.zip", files),
        "labels": labelled(tmp_path / "labelled.zip", files),
    }
    parts["folder and labels"] = parts["folder"] | {"labels": parts["labels"]["labels"]}
    found = {}
    for name, part in parts.items():
        paths = PipelinePaths(tmp_path / "projects" / name, "pets")
        ingest(pipeline_of(digits, part, photo={"encoding": encoding}), paths)
        [shard] = shards.files(paths.examples)
        found[name] = shard.read_bytes()
    assert len(set(found.values())) == 1
    assert pl.read_parquet(found["tar"])["kind"].value_counts(sort=True)["count"].to_list() == [30, 30]


def prepared(pipeline: Pipeline, root: Path) -> tuple[PipelinePaths, FittedTable]:
    paths = PipelinePaths(root, "pets")
    for stage in (ingest, normalize, split):
        stage(pipeline, paths)
    return paths, FittedTable.model_validate_json(paths.statistics.read_text())


def test_kept_encoded_the_model_is_fed_the_same(digits, files, tmp_path) -> None:
    from headrace.components.training.feeding.feed import serve_evaluation

    part = zipped(tmp_path / "all.zip", files)
    paths, fitted = prepared(pipeline_of(digits, part), tmp_path / "tensor")
    encoded, fitted_encoded = prepared(pipeline_of(digits, part, photo={"encoding": "encoded"}), tmp_path / "encoded")
    for name in ("train", "validation"):
        found = load_split(paths.splits / name, fitted=fitted)
        images, labels = found.features, found.labels
        windows = Windows(len(labels), 8)
        columns = write_columns(
            encoded.splits / name, tmp_path / name, fitted=fitted_encoded, block_examples=windows.block_examples
        )
        workers = [serve_evaluation(columns, windows, rank=rank, num_workers=2) for rank in range(2)]
        steps = zip(*(worker.take(windows.steps) for worker in workers), strict=True)
        batches = [batch for step in steps for batch in step]
        np.testing.assert_array_equal(np.concatenate([batch[1] for batch in batches]), labels)
        np.testing.assert_allclose(np.concatenate([batch[0] for batch in batches]), images, atol=1e-6)


def test_what_can_not_be_used_is_rejected_and_counted(digits, files, tmp_path) -> None:
    bad = {"cat/b.jpg": photo(1)[:-300], "cat/c.png": b"<html>", "dog/d.jpg": b"", "bird/e.jpg": photo(2)}
    part = folder(tmp_path / "pets", {**files, **bad, "readme.txt": b"pets"})
    paths = PipelinePaths(tmp_path, "pets")
    with pytest.raises(DataError, match=r"cat/b.jpg, row 31, column 'photo': expected an image"):
        ingest(pipeline_of(digits, part), paths)
    ingest(pipeline_of(digits, part, max_bad_fraction=0.1), paths)
    report = json.loads(paths.ingest_metrics.read_text())
    assert (report["rows_read"], report["rows_rejected"], report["rows_kept"]) == (64, 4, 60)
    rejected = pl.read_parquet(paths.rejected)
    assert set(rejected.select("file", "reason").rows()) == {
        ("cat/b.jpg", "damaged image"),
        ("cat/c.png", "not an image"),
        ("dog/d.jpg", "empty file"),
        ("bird/e.jpg", "unknown class"),
    }


def test_of_one_changed_file_only_its_folder_is_read_again(digits, files, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(objects, "_CLOCK_TICK_NS", 0)
    pipeline, paths = pipeline_of(digits, folder(tmp_path / "pets", files)), PipelinePaths(tmp_path, "pets")
    ingest(pipeline, paths)
    packed = {path.name: path.stat().st_ino for path in paths.raw.iterdir()}
    runs = {path.name for path in paths.runs.iterdir()}
    assert set(packed) == {"cat.parquet", "dog.parquet"}
    (tmp_path / "pets" / "dog" / "03.jpg").write_bytes(photo(999))
    ingest(pipeline, paths)
    assert [name for name in packed if (paths.raw / name).stat().st_ino != packed[name]] == ["dog.parquet"]
    assert len({path.name for path in paths.runs.iterdir()} & runs) == 1


def test_folders_that_were_packed_as_tar_before_are_packed_again(digits, files, tmp_path) -> None:
    pipeline, paths = pipeline_of(digits, folder(tmp_path / "pets", files)), PipelinePaths(tmp_path, "pets")
    ingest(pipeline, paths)
    [expected] = [shard.read_bytes() for shard in shards.files(paths.examples)]
    shutil.rmtree(paths.raw)
    paths.raw.mkdir()
    for name in ("cat", "dog"):  # of other images: none of them may be read
        tar(paths.raw / f"{name}.tar", {f"{name}/old.jpg": photo(7)})
    with capture_logs() as logs:
        ingest(pipeline, paths)
    assert sorted(path.name for path in paths.raw.iterdir()) == ["cat.parquet", "dog.parquet"]
    assert [shard.read_bytes() for shard in shards.files(paths.examples)] == [expected]
    log = {"event": "removed what an earlier ingest left in raw", "files": 2, "such_as": "cat.tar", "log_level": "info"}
    assert log in logs


def test_a_damaged_packed_folder_is_refused_until_it_is_packed_again(digits, files, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(objects, "_CLOCK_TICK_NS", 0)
    pipeline, paths = pipeline_of(digits, folder(tmp_path / "pets", files)), PipelinePaths(tmp_path, "pets")
    ingest(pipeline, paths)
    packed = paths.raw / "cat.parquet"
    before, content = packed.stat(), packed.read_bytes()
    packed.write_bytes(content.replace(files["cat/00.jpg"], bytes(len(files["cat/00.jpg"]))))
    os.utime(packed, ns=(before.st_atime_ns, before.st_mtime_ns))  # a disk changes no times
    with pytest.raises(DataError, match=r"cat\.parquet is a damaged Parquet file, or none \(.*CRC.*write or fetch it"):
        ingest(pipeline, paths)
    packed.unlink()
    ingest(pipeline, paths)
    assert packed.read_bytes() == content


@pytest.mark.parametrize("encoding", ["tensor", "encoded"])
def test_a_copy_of_a_training_image_is_not_tested_on(digits, files, tmp_path, encoding) -> None:
    copies = {f"{name[:-4]}-copy.jpg": content for name, content in files.items()}
    part = tar(tmp_path / "all.tar.gz", {**files, **copies})
    paths, _ = prepared(pipeline_of(digits, part, photo={"encoding": encoding}), tmp_path)
    manifest = json.loads(paths.manifest.read_text())
    assert manifest["overlap"]["left_out"] > 0
    assert sum(one["examples"] for one in manifest["splits"].values()) == 120 - manifest["overlap"]["left_out"]


@pytest.mark.parametrize("packed", [False, True])
def test_no_file_vanishes_without_a_count(digits, cases, tmp_path, packed) -> None:
    root = cases / "images" / "img"
    part: dict[str, Any] = {"files": {"root": str(root), "pattern": "*/*"}}
    if packed:
        with tarfile.open(tmp_path / "img.tar", "w") as archive:
            archive.add(root, "img")
        part = {"archives": [{"name": "img.tar", "url": str(tmp_path / "img.tar")}]}
    image = {"type": "image", "height": 3, "width": 4, "channels": 3, "resize": "stretch"}
    label = {"type": "category", "name": "kind", "classes": ["a", "b"]}
    pipeline = pipeline_of(digits, part, features={"photo": image}, label=label, key=["file"])

    paths = PipelinePaths(tmp_path, "pets")
    ingest(pipeline, paths)

    report = json.loads(paths.ingest_metrics.read_text())
    assert report["rows_kept"] == 22
    system = {"desktop.ini": 1, "thumbs.db": 1} | ({} if packed else {".ds_store": 1})
    assert report["files_left_out"] == {".txt": 1, **system}


def test_a_class_of_other_files_only_ends_ingest(digits, files, tmp_path) -> None:
    for name, content in files.items():
        file = (tmp_path / "pets" / name).with_suffix(".heic" if name.startswith("dog") else ".jpg")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    pipeline = pipeline_of(digits, {"files": {"root": str(tmp_path / "pets"), "pattern": "*/*"}})
    with pytest.raises(DataError, match=r"the folder of class 'dog' has no image, but 30 \.heic"):
        ingest(pipeline, PipelinePaths(tmp_path, "pets"))
