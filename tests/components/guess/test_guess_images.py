"""Folders of images, and of idx files."""

import gzip
import struct

import numpy as np
import pytest
from PIL import Image

from headrace.components.errors import DataError
from headrace.components.guess.idx_files import find_pairs, guess_idx
from headrace.components.guess.image_files import find_classes, guess_images


def picture(path, *, size=(8, 8), mode="RGB", turned=False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new(mode, size)
    exif = image.getexif()
    if turned:
        exif[0x0112] = 6
    image.save(path, exif=exif)


def guessed(folder, **options):
    keys = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    files = find_classes(keys, folder=folder)
    return files, guess_images(folder, files, **options)


# what each image is, the feature
IMAGES = [
    ({}, {"height": 8, "width": 8, "channels": 3}),
    ({"mode": "L", "size": (20, 10)}, {"height": 10, "width": 20, "channels": 1}),
    ({"size": (20, 10), "turned": True}, {"height": 20, "width": 10, "channels": 3}),
    ({"size": (300, 200)}, {"height": 128, "width": 128, "channels": 3, "resize": "crop"}),
]


@pytest.mark.parametrize(("how", "feature"), IMAGES)
def test_images_are_what_their_headers_say(tmp_path, how, feature) -> None:
    for name in ("rose", "daisy"):
        for number in range(2):
            picture(tmp_path / name / f"{number}.png", **how)
    (tmp_path / "rose" / "about.txt").touch()
    files, guess = guessed(tmp_path)
    assert files.patterns == {"*/*": None}
    assert guess.ingest["features"] == {"image": {"type": "image", **feature}}
    assert guess.ingest["label"]["classes"] == ["daisy", "rose"]
    assert (guess.rows, guess.most_frequent) == (4, 0.5)


def test_images_of_several_sizes_become_one_by_cropping(tmp_path) -> None:
    picture(tmp_path / "a" / "1.jpg", size=(70, 50))
    picture(tmp_path / "b" / "1.jpg", size=(90, 60), mode="L")
    picture(tmp_path / "b" / "2.jpg", size=(70, 70), mode="L")
    (tmp_path / "b" / "3.jpg").write_bytes(b"damaged")
    _, guess = guessed(tmp_path)
    image = guess.ingest["features"]["image"]
    assert image == {"type": "image", "height": 48, "width": 48, "channels": 3, "resize": "crop"}
    assert (
        "50 x 70 to 70 x 90 pixels in 3 images that were looked at, in colour; 1 can't be read" in guess.findings[1].why
    )


def test_images_that_were_not_looked_at_may_have_another_size(tmp_path) -> None:
    for number in range(5):
        picture(tmp_path / "a" / f"{number}.png")
        picture(tmp_path / "b" / f"{number}.png")
    assert "resize" not in guessed(tmp_path)[1].ingest["features"]["image"]
    assert guessed(tmp_path, most_images=3)[1].ingest["features"]["image"]["resize"] == "crop"


def test_folders_of_training_and_test_are_its_splits(tmp_path) -> None:
    for split in ("train", "test"):
        for name in ("a", "b"):
            picture(tmp_path / split / name / "1.png")
    files, guess = guessed(tmp_path)
    assert files.patterns == {"train/*/*": "train", "test/*/*": "test"}
    assert (guess.ingest["label"]["classes"], guess.rows) == (["a", "b"], 4)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.txt"], "has no images"),
        (["1.png", "2.png"], "a folder of images for each class, as in rose/1.jpg, found images such as 1.png"),
        (["a/1.png", "a/2.png"], "found one class only, 'a'"),
        (["x/a/1.png", "y/b/1.png"], "found images such as x/a/1.png"),
    ],
)
def test_a_folder_without_classes_is_refused(tmp_path, names, message) -> None:
    with pytest.raises(DataError, match=message):
        find_classes(names, folder=tmp_path)


def test_a_folder_of_damaged_images_is_refused(tmp_path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    with pytest.raises(DataError, match=r"none of 2 images can be read, such as a/1.png"):
        guessed(tmp_path)


def idx(path, values: np.ndarray) -> None:
    content = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    content += values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def test_idx_files_are_paired_by_name_and_recognized_by_content(tmp_path) -> None:
    for name, count in (("t10k", 2), ("train", 6)):
        idx(tmp_path / f"{name}-images-idx3-ubyte.gz", np.zeros((count, 4, 5)))
        idx(tmp_path / f"{name}-labels-idx1-ubyte", np.arange(count) % 3 + 7)
    (tmp_path / "README").write_text("about")
    pairs = find_pairs(tmp_path)
    assert [(pair.images.name, pair.given_split) for pair in pairs] == [
        ("train-images-idx3-ubyte.gz", "train"),
        ("t10k-images-idx3-ubyte.gz", "test"),
    ]
    guess = guess_idx(pairs)
    assert guess.ingest["features"] == {"image": {"type": "image", "height": 4, "width": 5}}
    assert guess.ingest["label"] == {"type": "category", "name": "class", "classes": ["7", "8", "9"]}
    assert (guess.rows, guess.most_frequent) == (8, 3 / 8)


def test_one_pair_has_no_split_and_any_names(tmp_path) -> None:
    idx(tmp_path / "x", np.zeros((4, 3, 3, 3)))
    idx(tmp_path / "y", np.arange(4))
    [pair] = find_pairs(tmp_path)
    assert (pair.images.name, pair.labels.name, pair.given_split) == ("x", "y", None)
    assert guess_idx([pair]).ingest["features"]["image"]["channels"] == 3


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "found none of images"),
        ({"a-labels": (3,)}, "found none of images"),
        ({"a-images": (3, 2, 2), "b-images": (3, 2, 2), "a-labels": (3,)}, "there are no labels for b-images"),
        ({"a-images": (3, 2, 2), "a-labels": (4,)}, "a-images has 3 images, but a-labels has 4 labels"),
    ],
)
def test_idx_files_that_lack_their_other_half_are_refused(tmp_path, files, message) -> None:
    for name, shape in files.items():
        idx(tmp_path / name, np.zeros(shape))
    with pytest.raises(DataError, match=message):
        find_pairs(tmp_path)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [([(2, 2), (3, 3)], "images must all have one shape"), ([(2, 2), (2, 2)], "all labels are 0")],
)
def test_idx_files_that_can_t_be_learned_from_are_refused(tmp_path, shapes, message) -> None:
    for name, shape in zip("ab", shapes, strict=True):
        idx(tmp_path / f"{name}-images", np.zeros((3, *shape)))
        idx(tmp_path / f"{name}-labels", np.zeros(3))
    with pytest.raises(DataError, match=message):
        guess_idx(find_pairs(tmp_path))
