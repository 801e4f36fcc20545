"""One image file as pixels of the declared shape. What it holds says how it is read, not its name."""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base
from PIL.JpegImagePlugin import JpegImageFile

from headrace.components.schema.feature_types.image_feature import ImageFeature

OTHER_SIZE = "other size"
_JPEG_START = b"\xff\xd8\xff"
_JPEG = ("JPEG", "MPO")  # cameras put a second, small picture behind the first
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_TURNED = range(2, 9)  # orientations of EXIF that are not the file's own
_SIDEWAYS = range(5, 9)  # those that make the width the height
# What Pillow raises for damaged files; its warnings are errors where all warnings are.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Warning,
    Image.DecompressionBombError,
)


_AN_IMAGE = "an image (JPEG, PNG, GIF, BMP, WebP, TIFF or AVIF)"


class ImageError(Exception):
    """An image that can't be used: why, and what was found where what was expected."""

    def __init__(self, reason: str, *, found: str, expected: str = _AN_IMAGE) -> None:
        super().__init__(reason)
        self.reason, self.expected, self.found = reason, expected, found

    def __str__(self) -> str:
        return f"{self.reason}: expected {self.expected}, found {self.found}"


def decode_image(content: bytes, feature: ImageFeature) -> npt.NDArray[np.uint8]:
    """Pixels as uint8[height * width * channels], from 0 to the feature's maximum; raise ImageError if it can't be had.

    The first frame, turned as EXIF says. Of 16 bits the upper 8 are kept; grey is the luma of ITU-R 601; what is
    transparent is laid on white, unless there are 4 channels. Another size is treated as `resize` says.
    """
    pixels = np.asarray(_decode(content, feature).image).reshape(-1)
    if feature.maximum == 255:
        return pixels
    scaled: npt.NDArray[np.uint8] = np.rint(pixels * (feature.maximum / 255)).astype(np.uint8)
    return scaled


def keep_image(content: bytes, feature: ImageFeature) -> bytes:
    """The file as it is if it is a JPEG or PNG as declared; else what `decode_image` returns of it, encoded again.

    A JPEG that is resized stays one (quality 95); all else becomes a PNG, which loses nothing. Raises ImageError.
    """
    if _is_jpeg_as_declared(content, feature):
        return content
    decoded = _decode(content, feature)
    is_jpeg = decoded.came_as in _JPEG
    if not (decoded.is_resized or decoded.is_converted) and (is_jpeg or decoded.came_as == "PNG"):
        return content
    buffer = io.BytesIO()
    if is_jpeg and decoded.is_resized and feature.channels < 4:
        decoded.image.save(buffer, "JPEG", quality=95, subsampling=0)
    else:
        decoded.image.save(buffer, "PNG")
    return buffer.getvalue()


def pixels_of(images: pl.Series, feature: ImageFeature) -> pl.Series:
    """Images of examples as Array(UInt8, height * width * channels), decoding those that are encoded."""
    if images.dtype != pl.Binary:
        return images
    pixels = np.empty((len(images), feature.size), np.uint8)
    for place, content in enumerate(images):
        pixels[place] = decode_image(content, feature)
    return pl.Series(images.name, pixels, dtype=pl.Array(pl.UInt8, feature.size))


@dataclass(frozen=True)
class _Decoded:
    """An image of the declared size and channels, and what had to be done to it."""

    image: Image.Image
    came_as: str
    is_resized: bool
    is_converted: bool


def _is_jpeg_as_declared(content: bytes, feature: ImageFeature) -> bool:
    """Whether the file is a whole JPEG of the declared size and channels, upright: nothing has to be done to it.

    False also for what is damaged: `_decode` says why. It does without `Image.open`, which costs as much as the data of
    a small image.
    """
    if not content.startswith(_JPEG_START):
        return False
    try:
        image = JpegImageFile(io.BytesIO(content))
        if (
            image.size != (feature.width, feature.height)
            or image.mode != _MODES[feature.channels]
            or image.getexif().get(Base.Orientation, 1) in _TURNED
            or _has_too_many_pixels(image)
        ):
            return False
        # All of its data is read, and found damaged where it is; most of its pixels need not be computed for that.
        image.draft(None, (1, 1))
        image.load()
    except _DAMAGE:
        return False
    return True


def _decode(content: bytes, feature: ImageFeature) -> _Decoded:
    if not content:
        raise ImageError("empty file", found="0 bytes")
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if image.format == "PNG":  # it has checksums, which are not looked at where it is decoded
                Image.open(io.BytesIO(content), formats=("PNG",)).verify()
            return _as_declared(image, feature)
    except UnidentifiedImageError as error:
        raise ImageError("not an image", found=f"bytes that begin with {content[:8].hex(' ')}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _bomb(" ".join(str(error).split())) from error
    except _DAMAGE as error:
        raise ImageError("damaged image", found=" ".join(str(error).split())[:200] or type(error).__name__) from error


def _bomb(found: str) -> ImageError:
    return ImageError("too many pixels", found=found, expected=f"at most {Image.MAX_IMAGE_PIXELS} pixels")


def _has_too_many_pixels(image: Image.Image) -> bool:
    """More than Pillow's limit, of which it only warns up to twice."""
    return Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS


def _as_declared(image: Image.Image, feature: ImageFeature) -> _Decoded:
    if _has_too_many_pixels(image):
        raise _bomb(f"{image.width} x {image.height}")
    came_as, declared = image.format or "", (feature.width, feature.height)
    # Pillow turns a TIFF itself, and says its size as turned.
    orientation = 1 if came_as == "TIFF" else image.getexif().get(Base.Orientation, 1)
    size = image.size[::-1] if orientation in _SIDEWAYS else image.size
    is_resized = size != declared
    if is_resized and feature.resize == "none":
        expected = f"{declared[0]} x {declared[1]} pixels; resize takes others"
        raise ImageError(OTHER_SIZE, found=f"{size[0]} x {size[1]}", expected=expected)
    if is_resized:  # a JPEG can be decoded at a half, a quarter or an eighth; here at twice the size or more
        image.draft(None, (2 * max(declared), 2 * max(declared)))
    image.load()
    turned = ImageOps.exif_transpose(image) if orientation in _TURNED else image
    converted = _in_channels(turned, feature.channels)
    return _Decoded(_resized(converted, feature), came_as, is_resized, is_converted=converted is not image)


def _in_channels(image: Image.Image, channels: int) -> Image.Image:
    """The image itself if it has these channels."""
    is_transparent = image.has_transparency_data and channels != 4
    if image.mode == _MODES[channels] and not is_transparent:
        return image
    if image.mode == "F" or (image.mode == "I" and not _has_16_bits(image)):  # a scale that the file does not say
        raise ImageError("pixels of another kind", found=f"pixels as {image.mode} has them", expected="8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits of grey: Pillow would make 255 of all that is above it
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if not is_transparent:
        return image.convert(_MODES[channels])
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(image.convert("RGBA"))
    return ground.convert(_MODES[channels])


def _has_16_bits(image: Image.Image) -> bool:
    low, high = cast(tuple[int, int], image.getextrema())
    return low >= 0 and high < 1 << 16


def _resized(image: Image.Image, feature: ImageFeature) -> Image.Image:
    size = (feature.width, feature.height)
    if image.size == size:
        return image
    match feature.resize:
        case "crop":
            return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
        case "pad":
            return ImageOps.pad(image, size, Image.Resampling.LANCZOS, color="black")
        case _:
            return image.resize(size, Image.Resampling.LANCZOS)
