"""Which idx files of a folder belong together: images, and the label of each."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.components.errors import DataError
from headrace.components.guess.findings import Finding, Guess
from headrace.components.sources.idx import read_idx, read_idx_shape
from headrace.components.sources.raw_part import GivenSplit


@dataclass(frozen=True)
class IdxPair:
    """Images, their labels, and which split their names say that they are of."""

    images: Path
    labels: Path
    given_split: GivenSplit | None


def find_pairs(folder: Path) -> list[IdxPair]:
    """Return the pairs of idx files in a folder, training before test; raise DataError if there is none, or half a one.

    A file is known by its content; images and labels of a pair are called alike, but for these words and `idx3`.
    """
    shapes = _shapes(folder)
    images = {_stem(path): path for path, shape in shapes.items() if len(shape) in (3, 4)}
    labels = {_stem(path): path for path, shape in shapes.items() if len(shape) == 1}
    if not images:
        raise DataError(f"{folder}: expected idx files of images and labels, found none of images")
    if len(images) == len(labels) == 1:
        labels = dict(zip(images, labels.values(), strict=True))
    for stem, path in images.items():
        if stem not in labels:
            raise DataError(f"{folder}: there are no labels for {path.name}; call them alike, as MNIST's files are")
        count, label_count = shapes[path][0], shapes[labels[stem]][0]
        if count != label_count:
            raise DataError(f"{path.name} has {count} images, but {labels[stem].name} has {label_count} labels")
    pairs = [IdxPair(path, labels[stem], _given_split(path.name)) for stem, path in images.items()]
    pairs.sort(key=lambda pair: (pair.given_split != "train", pair.images.name))
    if {pair.given_split for pair in pairs} == {"train", "test"}:
        return pairs
    return [IdxPair(pair.images, pair.labels, None) for pair in pairs]


def guess_idx(pairs: Sequence[IdxPair]) -> Guess:
    """Description of the images and labels; raises DataError for images of several shapes, and for one class only."""
    shapes = {pair.images.name: read_idx_shape(pair.images) for pair in pairs}
    sizes = {shape[1:] for shape in shapes.values()}
    if len(sizes) > 1:
        raise DataError(f"images must all have one shape, found {', '.join(f'{n} {s[1:]}' for n, s in shapes.items())}")
    height, width, channels = (*sizes.pop(), 1)[:3]
    counts: Counter[int] = Counter()
    for pair in pairs:
        counts.update(read_idx(pair.labels).tolist())
    classes = [str(value) for value in sorted(counts)]
    if len(classes) == 1:
        raise DataError(f"all labels are {classes[0]}: there is nothing to learn")
    rows = counts.total()
    image = {"type": "image", "height": height, "width": width}
    image |= {"channels": channels} if channels != 1 else {}
    findings = [
        Finding("class", "target: category", f"{len(classes)} different labels: {', '.join(classes[:12])}"),
        Finding("image", f"image of {height} x {width} x {channels}", f"the shape of {rows} images"),
        *(Finding(pair.images.name, pair.given_split or "images", f"labels in {pair.labels.name}") for pair in pairs),
    ]
    label = {"type": "category", "name": "class", "classes": classes}
    return Guess({"features": {"image": image}, "label": label}, tuple(findings), rows, max(counts.values()) / rows)


def _shapes(folder: Path) -> dict[Path, tuple[int, ...]]:
    found: dict[Path, tuple[int, ...]] = {}
    for path in sorted(folder.iterdir()):
        try:
            found[path] = read_idx_shape(path)
        except (DataError, IsADirectoryError):
            continue  # something else
    return found


def _stem(path: Path) -> str:
    """What the names of a pair have in common."""
    return re.sub(r"images?|labels?|idx\d", "", path.name.lower().split(".")[0])


def _given_split(name: str) -> GivenSplit | None:
    if re.search(r"t10k|test", name.lower()):
        return "test"
    return "train" if "train" in name.lower() else None
