"""Images of archives, in blocks, with their labels."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from headrace.components.errors import DataError, ParamsError
from headrace.components.examples.example_blocks import prepare
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.sources import images
from headrace.components.sources.images import (
    ImageSource,
    LabelsFile,
    image_blocks,
    read_labels,
)


def png(value: int, *, size: int = 2) -> bytes:
    Image.fromarray(np.full((size, size), value, np.uint8)).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


ARCHIVE = {"archives": [{"name": "a.tar", "url": "/a.tar"}]}
FILES = {"pets/cat/a.png": png(1), "pets/cat/b.png": png(2), "pets/dog/c.PNG": png(3), "pets/notes.txt": b"none"}


def tar(path: Path, files: Mapping[str, bytes] = FILES) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def schema(**others: Any) -> ExampleSchema:
    photo = {"type": "image", "height": 2, "width": 2, **others.pop("photo", {})}
    label = {"type": "category", "name": "kind", "classes": ["cat", "dog"]}
    return ExampleSchema.model_validate({"features": {"photo": photo}, "label": label, **others})


def labels(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def file(**others: Any) -> LabelsFile:
    return LabelsFile(name="labels.csv", url="/labels.csv", **others)


def read(archive: Path, of: ExampleSchema, **others: Any) -> tuple[pl.DataFrame, pl.DataFrame]:
    found = [block.decode(of) for block in image_blocks([archive], schema=of, **others)]
    tables = pl.concat([part.table for part, _ in found])
    return tables, pl.concat([refused for _, refused in found])


@pytest.mark.parametrize("encoding", ["tensor", "encoded"])
def test_the_folder_is_the_label(tmp_path, encoding) -> None:
    of = schema(photo={"encoding": encoding}, key=["file"])
    table, refused = read(tar(tmp_path / "a.tar"), of)
    assert table["kind"].to_list() == ["cat", "cat", "dog"]
    assert table["file"].to_list() == [name for name in FILES if name.lower().endswith("png")]
    assert refused.height == 0
    first = table["photo"][0]
    assert (first == png(1)) if encoding == "encoded" else (first.to_list() == [1] * 4)


def test_a_labels_file_names_path_name_or_stem(tmp_path) -> None:
    content = "file;sort;camera\npets/cat/a.png;dog;x\nb.png;cat;y\nc;dog;z\n"
    of = schema(label={"type": "category", "name": "sort", "classes": ["cat", "dog"]}, group=["camera"])
    found = read_labels(labels(tmp_path / "labels.csv", content), file(separator=";"), of)
    table, refused = read(tar(tmp_path / "a.tar"), of, labels=found)
    assert table["sort"].to_list() == ["dog", "cat", "dog"]
    assert table["camera"].to_list() == ["x", "y", "z"]
    assert refused.height == 0


def test_images_without_a_row_and_rows_without_an_image_are_rejected(tmp_path) -> None:
    found = read_labels(labels(tmp_path / "labels.csv", "file,kind\na,cat\nc,dog\nd,dog\n"), file(), of := schema())
    [block] = image_blocks([tar(tmp_path / "a.tar")], schema=of, labels=found)
    rejected = prepare(block, tmp_path / "run.arrow", schema=of).rejected
    assert rejected.select("file", "row", "column", "reason").rows() == [
        ("pets/cat/b.png", 2, "kind", "missing"),
        ("d", 4, "photo", "missing"),
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("file,kind\na,cat\na,dog\n", "row 1: image 'a' is named twice"),
        ("file,kind\na,cat\n,dog\n", "row 2: no image is named"),
        ("image,kind\na,cat\n", "no column 'file'"),
    ],
)
def test_a_labels_file_names_each_image_once(tmp_path, content, problem) -> None:
    with pytest.raises(DataError, match=problem):
        read_labels(labels(tmp_path / "labels.csv", content), file(), schema())


def test_one_row_of_labels_is_of_one_image(tmp_path) -> None:
    archive = tar(tmp_path / "a.tar", {"one/a.png": png(1), "two/a.png": png(2)})
    found = read_labels(labels(tmp_path / "labels.csv", "file,kind\na,cat\n"), file(), schema())
    with pytest.raises(DataError, match=r"one/a.png and two/a.png are both 'a' in the labels file; give paths"):
        list(image_blocks([archive], schema=schema(), labels=found))


def test_a_refused_image_is_reported_by_path_and_place(tmp_path) -> None:
    files = {"cat/a.png": png(1), "cat/b.png": b"", "dog/c.png": png(3, size=4), "bird/d.png": png(4), "e.png": png(5)}
    [block] = image_blocks([tar(tmp_path / "a.tar", files)], schema=schema())
    prepared = prepare(block, tmp_path / "run.arrow", schema=schema())
    assert (prepared.rows_read, prepared.rejected.height) == (5, 4)
    assert prepared.rejected.select("file", "row", "column", "reason", "found").rows() == [
        ("cat/b.png", 2, "photo", "empty file", "0 bytes"),
        ("dog/c.png", 3, "photo", "other size", "4 x 4"),
        ("bird/d.png", 4, "kind", "unknown class", "'bird'"),
        ("e.png", 5, "kind", "missing", None),
    ]
    assert prepared.rejected["values"][1] == '{"kind":"dog","file":"dog/c.png"}'


def test_blocks_are_bounded_by_pixels_and_bytes_and_count_on(tmp_path, monkeypatch) -> None:
    archive = tar(tmp_path / "a.tar", {f"cat/{number}.png": png(number) for number in range(5)})
    monkeypatch.setattr(images, "_PIXEL_BYTES", 8)
    assert [(len(one.contents), one.first) for one in image_blocks([archive], schema=schema())] == [
        (2, 1),
        (2, 3),
        (1, 5),
    ]
    monkeypatch.setattr(images, "BLOCK_BYTES", 1)
    assert [one.first for one in image_blocks([archive], schema=schema())] == [1, 2, 3, 4, 5]


def test_zip_and_tar_are_alike(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    of = schema(key=["file"])
    assert read(tmp_path / "a.zip", of)[0].equals(read(tar(tmp_path / "a.tar"), of)[0])


def test_an_archive_without_images_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match=r"a.tar: no images, found 1 .txt; looked for names that end in .jpg"):
        list(image_blocks([tar(tmp_path / "a.tar", {"notes.txt": b""})], schema=schema()))


@pytest.mark.parametrize(
    ("others", "problem"),
    [
        ({"label": {"type": "category", "name": "file", "classes": ["a", "b"]}}, "give the label another name"),
        ({"group": ["camera"]}, "no column 'camera'; without a labels file, there is only 'file'"),
        ({"features": {"size": {"type": "number"}}}, "gives exactly one image"),
    ],
)
def test_what_images_can_not_give_is_a_mistake(others, problem) -> None:
    with pytest.raises(ParamsError, match=problem):
        ImageSource.model_validate({"dataset": "pets", "parts": [ARCHIVE]}).check_schema(schema(**others))


def test_a_part_is_of_archives_or_of_a_folder() -> None:
    for part in ({}, {"files": {"root": "/a"}, **ARCHIVE}):
        with pytest.raises(ValueError, match="give either archives"):
            ImageSource.model_validate({"dataset": "pets", "parts": [part]})
