"""What a folder of images seems to hold: classes by folder, the size and colours of the images."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image
from PIL.ExifTags import Base

from headrace.components.errors import DataError
from headrace.components.guess.findings import Finding, Guess, Section
from headrace.components.sources.file import is_image

MOST_IMAGES = 1000  # are looked at
_GREY = {"1", "L", "I", "I;16"}
_LARGEST_KEPT = 256  # pixels a side; larger ones are made smaller
_SMALLEST_SIDE, _LARGEST_SIDE, _STEP = 32, 128, 16
_LARGEST_DECODED_BYTES = 1 << 30  # beyond that images stay encoded
_SIDEWAYS = (5, 6, 7, 8)  # orientations of EXIF that make the width the height


@dataclass(frozen=True)
class ImageFiles:
    """The images below a folder that have a label, by pattern and the split that it stands for."""

    patterns: dict[str, str | None]
    classes: dict[str, list[str]]


def find_classes(keys: Sequence[str], *, folder: Path) -> ImageFiles:
    """Return the images by the folder that each is in, of paths below `folder`.

    They lie in one folder for each class, or so below `train` and `test`. Raises DataError for anything else, and for
    fewer than two classes.
    """
    images = [PurePosixPath(key) for key in keys if is_image(key)]
    if not images:
        raise DataError(f"{folder} has no images; looked for names that end in .jpg, .png ...")
    tops = {path.parts[0] for path in images if len(path.parts) == 3}
    patterns: dict[str, str | None] = {"*/*": None}
    depth = 2
    if tops == {"train", "test"} and not any(len(path.parts) == 2 for path in images):
        patterns, depth = {"train/*/*": "train", "test/*/*": "test"}, 3
    labelled = [path for path in images if len(path.parts) == depth]
    classes: dict[str, list[str]] = {}
    for path in labelled:
        classes.setdefault(path.parent.name, []).append(str(path))
    if len(classes) < 2:
        found = f"one class only, {next(iter(classes))!r}" if classes else f"images such as {images[0]}"
        raise DataError(f"{folder}: expected a folder of images for each class, as in rose/1.jpg, found {found}")
    return ImageFiles(patterns, dict(sorted(classes.items())))


def guess_images(folder: Path, files: ImageFiles, *, most_images: int = MOST_IMAGES) -> Guess:
    """Description of the images, from the headers of `most_images` of them, evenly spread."""
    paths = [path for one in files.classes.values() for path in one]
    looked_at = paths[:: -(-len(paths) // most_images)]
    seen = [header for path in looked_at if (header := _header(folder / path)) is not None]
    if not seen:
        raise DataError(f"{folder}: none of {len(looked_at)} images can be read, such as {looked_at[0]}")
    image = _feature([size for size, _ in seen], is_grey=all(grey for _, grey in seen))
    if len(paths) > len(looked_at) and image.get("resize") is None:
        image["resize"] = "crop"
    if len(paths) * image["height"] * image["width"] * image["channels"] > _LARGEST_DECODED_BYTES:
        image["encoding"] = "encoded"
    counts = Counter({name: len(one) for name, one in files.classes.items()})
    label = {"type": "category", "name": "class", "classes": list(files.classes)}
    # A few damaged ones are in most folders.
    ingest = {"features": {"image": image}, "label": label, "max_bad_fraction": 0.01}
    findings = (_class_finding(counts), _image_finding(image, seen=seen, unread=len(looked_at) - len(seen)))
    return Guess(ingest, findings, len(paths), counts.most_common(1)[0][1] / len(paths))


def _header(path: Path) -> tuple[tuple[int, int], bool] | None:
    """Height and width as the image is shown, and whether it is grey; None if it can't be read."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            # Pillow says a TIFF's size as it is turned.
            sideways = image.format != "TIFF" and image.getexif().get(Base.Orientation, 1) in _SIDEWAYS
            return ((width, height) if sideways else (height, width)), image.mode in _GREY
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None


def _feature(sizes: Sequence[tuple[int, int]], *, is_grey: bool) -> Section:
    image: Section = {"type": "image"}
    if len(set(sizes)) == 1 and max(sizes[0]) <= _LARGEST_KEPT:
        return {**image, "height": sizes[0][0], "width": sizes[0][1], "channels": 1 if is_grey else 3}
    middle = sorted(min(size) for size in sizes)[len(sizes) // 2]
    side = min(_LARGEST_SIDE, max(_SMALLEST_SIDE, middle // _STEP * _STEP))
    return {**image, "height": side, "width": side, "channels": 1 if is_grey else 3, "resize": "crop"}


def _class_finding(counts: Counter[str]) -> Finding:
    shown = [f"{name} {count}" for name, count in counts.items()][:8] + (["..."] if len(counts) > 8 else [])
    return Finding("class", "target: category", f"{len(counts)} folders of images: {', '.join(shown)}")


def _image_finding(image: Section, *, seen: Sequence[tuple[tuple[int, int], bool]], unread: int) -> Finding:
    (low_height, low_width), (high_height, high_width) = (
        tuple(choose(size[axis] for size, _ in seen) for axis in (0, 1)) for choose in (min, max)
    )
    sizes = f"{low_height} x {low_width}"
    if (low_height, low_width) != (high_height, high_width):
        sizes += f" to {high_height} x {high_width}"
    why = (
        f"{sizes} pixels in {len(seen)} images that were looked at, {'grey' if image['channels'] == 1 else 'in colour'}"
    )
    why += f"; {unread} can't be read" if unread else ""
    how = ", cropped" if image.get("resize") == "crop" else ""
    return Finding("image", f"image of {image['height']} x {image['width']} x {image['channels']}{how}", why)
