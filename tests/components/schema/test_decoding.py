"""One image file in, pixels of the declared shape out."""

import io
import struct
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.ExifTags import Base

from headrace.components.schema.decoding import ImageError, decode_image, keep_image, pixels_of
from headrace.components.schema.feature_types.image_feature import ImageFeature

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
    image.save(buffer := io.BytesIO(), kind, **options)
    return buffer.getvalue()


def lossless(kind: str) -> dict[str, bool]:
    return {"lossless": True} if kind == "WEBP" else {}


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def feature(height: int, width: int, channels: int = 3, **others: Any) -> ImageFeature:
    return ImageFeature(height=height, width=width, channels=channels, **others)


def decoded(content: bytes, of: ImageFeature) -> np.ndarray:
    """The pixels, which are the same when they are kept encoded, unless that makes a smaller JPEG."""
    pixels = decode_image(content, of)
    kept = keep_image(content, of)
    if kept == content or kept.startswith(b"\x89PNG"):
        np.testing.assert_array_equal(decode_image(kept, of), pixels)
    assert pixels.dtype == np.uint8
    return pixels.reshape(of.shape)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "GIF", "JPEG", "TIFF", "AVIF"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_format_gives_its_pixels(kind, channels) -> None:
    pixels = np.zeros((4, 6, channels), np.uint8)
    pixels[:, 3:] = 255
    content = encoded(pixels.squeeze(), kind, **lossless(kind))
    np.testing.assert_allclose(decoded(content, feature(4, 6, channels)), pixels, atol=5)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_file_as_declared_is_kept_as_it_is(kind) -> None:
    for channels in (1, 3, *((4,) if kind == "PNG" else ())):
        content = encoded(noise(5, 7, channels).squeeze(), kind)
        assert keep_image(content, feature(5, 7, channels)) == content


@pytest.mark.parametrize("kind", ["GIF", "BMP", "WEBP"])
def test_what_tensorflow_can_not_read_is_kept_as_png(kind) -> None:
    assert keep_image(encoded(noise(5, 7, 3), kind), feature(5, 7)).startswith(b"\x89PNG")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_s_orientation_is_applied(orientation) -> None:
    upright = noise(3, 5, 3)
    turned = {  # what has to be done to the stored pixels, by EXIF 2.3, table 6
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(np.ascontiguousarray(turned), exif=exif)
    np.testing.assert_array_equal(decoded(content, feature(3, 5)), upright)
    assert (keep_image(content, feature(3, 5)) == content) == (orientation == 1)


def test_an_orientation_that_there_is_not_means_nothing() -> None:
    exif = Image.Exif()
    exif[0x0112] = 0
    content = encoded(noise(3, 5, 3), "JPEG", exif=exif)
    assert keep_image(content, feature(3, 5)) == content


def test_of_16_bits_the_upper_8_are_kept() -> None:
    values = np.array([[0, 255, 256, 40_000, 65_535]], np.uint16)
    np.testing.assert_array_equal(decoded(encoded(values), feature(1, 5, 1))[..., 0], values >> 8)


def test_colour_becomes_grey_and_grey_colour() -> None:
    content = encoded(np.full((2, 2, 3), RED, np.uint8))
    assert set(decoded(content, feature(2, 2, 1)).flat) == {76}  # 0.299 * 255
    grey = noise(2, 2)
    assert (decoded(encoded(grey), feature(2, 2)) == grey[..., None]).all()
    np.testing.assert_allclose(
        decoded(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), feature(8, 8))[0, 0], RED, atol=3
    )
    assert decoded(encoded(Image.new("1", (2, 2), 1)), feature(2, 2, 1)).min() == 255


def test_what_is_transparent_lies_on_white_unless_there_are_four_channels() -> None:
    clear, half = Image.new("RGBA", (2, 2), (0, 0, 0, 0)), Image.new("RGBA", (2, 2), (255, 0, 0, 128))
    assert decoded(encoded(clear), feature(2, 2)).min() == 255
    np.testing.assert_array_equal(decoded(encoded(half), feature(2, 2))[0, 0], (255, 127, 127))
    np.testing.assert_array_equal(decoded(encoded(half), feature(2, 2, 4))[0, 0], (255, 0, 0, 128))
    assert decoded(encoded(clear, "GIF"), feature(2, 2, 1)).min() == 255
    assert decoded(encoded(Image.new("RGB", (2, 2), RED)), feature(2, 2, 4))[0, 0].tolist() == [*RED, 255]
    keyed = encoded(Image.new("RGB", (2, 2), RED), transparency=RED)  # one colour is transparent
    assert decoded(keyed, feature(2, 2))[0, 0].tolist() == list(WHITE)


def test_of_a_moving_image_the_first_frame_counts() -> None:
    frames = [Image.new("L", (2, 2), value) for value in (10, 200)]
    for kind in ("GIF", "PNG", "WEBP"):
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **lossless(kind))
        assert set(decoded(content, feature(2, 2, 1)).flat) == {10}, kind


def test_a_smaller_maximum_scales() -> None:
    pixels = np.array([[0, 128, 255]], np.uint8)
    assert decode_image(encoded(pixels), feature(1, 3, 1, maximum=16)).tolist() == [0, 8, 16]


def test_another_size_is_what_resize_says() -> None:
    """Left half black, right half white, 4 high and 8 wide, into 4 x 4."""
    content = encoded(np.array([[0] * 4 + [255] * 4] * 4, np.uint8))
    with pytest.raises(ImageError) as refused:
        decode_image(content, feature(4, 4, 1))
    assert (refused.value.reason, refused.value.found) == ("other size", "8 x 4")
    stretch, crop, pad = (
        decoded(content, feature(4, 4, 1, resize=how))[..., 0].tolist() for how in ("stretch", "crop", "pad")
    )
    assert all(row[0] < 10 and row[3] > 245 for row in stretch)
    assert crop == [[0, 0, 255, 255]] * 4
    assert pad[0] == pad[3] == [0] * 4
    assert pad[1][0] < 10
    assert pad[1][3] > 245


def test_a_large_jpeg_is_made_smaller_and_stays_one() -> None:
    ramp = np.linspace(0, 255, 2000).astype(np.uint8)[None, :].repeat(1000, axis=0)
    content, small = encoded(ramp, "JPEG", quality=95), feature(50, 100, 1, resize="stretch")
    expected = np.asarray(Image.fromarray(ramp).resize((100, 50), Image.Resampling.LANCZOS))[..., None]
    np.testing.assert_allclose(decoded(content, small), expected, atol=3)
    kept = keep_image(content, small)
    assert kept.startswith(b"\xff\xd8\xff")
    np.testing.assert_allclose(decode_image(kept, small).reshape(small.shape), expected, atol=4)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    for side in (10_000, 60_000):  # Pillow warns of the first and refuses the second
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
        with pytest.raises(ImageError, match="too many pixels"):
            decode_image(content, feature(4, 4, resize="stretch"))


def test_a_jpeg_as_declared_is_no_exception_from_the_limit_of_pixels(monkeypatch) -> None:
    content = encoded(noise(16, 16, 3), "JPEG")
    assert keep_image(content, feature(16, 16)) == content
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 16 * 16 - 1)
    with pytest.raises(ImageError, match="too many pixels"):
        keep_image(content, feature(16, 16))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"<html>not found</html>", "not an image"),
        (b"\xff\xd8\xff", "not an image"),
        (encoded(np.zeros((1, 1), np.uint8), "PPM"), "not an image"),  # not among the formats
        (encoded(noise(16, 16, 3), "JPEG")[:-200], "damaged image"),
        (encoded(noise(16, 16, 3))[:-100], "damaged image"),
    ],
)
def test_what_is_no_image_says_why(content, reason) -> None:
    for take in (decode_image, keep_image):
        with pytest.raises(ImageError) as refused:
            take(content, feature(16, 16))
        assert refused.value.reason == reason
        assert refused.value.found


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_no_damage_gives_any_other_error(data) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "WEBP"]))
    content = bytearray(encoded(noise(9, 9, 3), kind))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    for resize in ("stretch", "none"):
        of = feature(9, 9, resize=resize)
        with suppress(ImageError):
            assert decode_image(bytes(content), of).shape == (of.size,)
        with suppress(ImageError):
            assert keep_image(bytes(content), of)


def test_a_column_of_encoded_images_becomes_pixels() -> None:
    images = [noise(2, 3, 3, seed=seed) for seed in range(3)]
    of = feature(2, 3, encoding="encoded")
    column = pl.Series("photo", [encoded(one) for one in images], dtype=pl.Binary)
    np.testing.assert_array_equal(pixels_of(column, of).to_numpy().reshape(3, 2, 3, 3), images)
    assert len(pixels_of(column[:0], of)) == 0
    tensors = pl.Series("photo", np.zeros((1, 18), np.uint8), dtype=pl.Array(pl.UInt8, 18))
    assert pixels_of(tensors, feature(2, 3)) is tensors


def test_encoded_pixels_run_to_255() -> None:
    with pytest.raises(ValueError, match="leave maximum out"):
        feature(2, 2, maximum=16, encoding="encoded")


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_tiff_has_the_pixels_of_the_png(compression) -> None:
    for pixels in (noise(5, 7), noise(5, 7, 3), noise(5, 7, 4), noise(5, 7).astype(np.uint16) * 257):
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        tiff = encoded(pixels, "TIFF", compression=compression)
        for wanted in {1, 3, 4, channels}:
            of = feature(5, 7, wanted)
            np.testing.assert_array_equal(decoded(tiff, of), decoded(encoded(pixels), of))


@pytest.mark.parametrize("kind", ["TIFF", "AVIF", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_format_is_turned_once(kind, orientation) -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:2, :3] = 255
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(pixels, exif=exif))))
    content = encoded(pixels, kind, exif=exif, **({"quality": 100} if kind == "AVIF" else {}))
    found = decoded(content, feature(turned.height, turned.width))
    np.testing.assert_allclose(found, np.asarray(turned), atol=60)


@pytest.mark.parametrize("values", [[[0.5]], [[70_000]], [[-1]]])
def test_numbers_without_a_known_scale_are_no_pixels(values) -> None:
    dtype = np.float32 if isinstance(values[0][0], float) else np.int32
    with pytest.raises(ImageError, match="pixels of another kind: expected 8 or 16 bits"):
        decode_image(encoded(np.array(values, dtype), "TIFF"), feature(1, 1, 1))


def test_one_picture_under_every_suffix_has_the_same_pixels(cases) -> None:
    folder = cases / "images" / "img" / "b"
    of = feature(3, 4)
    expected = decoded((folder / "left.tif").read_bytes(), of).astype(int)
    for suffix in ("jfif", "avif"):  # they lose something
        found = decoded((folder / f"left.{suffix}").read_bytes(), of)
        assert np.abs(found - expected).mean() <= 30


def jpeg(mode: str = "RGB", size: tuple[int, int] = (19, 26), **options) -> bytes:
    channels = {"L": (), "RGB": (3,), "CMYK": (4,)}[mode]
    pixels = np.random.default_rng(1).integers(0, 256, (*size, *channels), dtype=np.uint8)
    Image.fromarray(pixels, mode).save(buffer := io.BytesIO(), "JPEG", **options)
    return buffer.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    return exif


PLAIN_JPEGS = {
    "baseline": jpeg(),
    "progressive": jpeg(progressive=True),
    "without loss of colour": jpeg(subsampling=0, quality=100),
    "with restarts": jpeg(restart_marker_blocks=1),
    "with a comment": jpeg(comment=b"by hand"),
    "with EXIF that turns nothing": jpeg(exif=turned(1)),
    "with a colour profile": jpeg(icc_profile=b"profile"),
}
OTHER_JPEGS = {
    "with an orientation": jpeg(exif=turned(6)),
    "grey": jpeg("L"),
    "for print": jpeg("CMYK"),
    "small": jpeg(size=(7, 26)),
    "of another size": jpeg(size=(19, 27)),
}


@pytest.mark.parametrize("content", PLAIN_JPEGS.values(), ids=PLAIN_JPEGS)
def test_a_jpeg_as_declared_is_kept_as_it_is(content) -> None:
    of = feature(19, 26, encoding="encoded")
    assert keep_image(content, of) == content
    assert keep_image(content + b"more behind the end", of) == content + b"more behind the end"


def test_a_small_or_grey_jpeg_is_kept_where_it_is_declared_so() -> None:
    assert keep_image(jpeg("L"), feature(19, 26, 1, encoding="encoded")) == jpeg("L")
    assert keep_image(jpeg(size=(7, 26)), feature(7, 26, encoding="encoded")) == jpeg(size=(7, 26))


@pytest.mark.parametrize("content", OTHER_JPEGS.values(), ids=OTHER_JPEGS)
def test_any_other_jpeg_is_encoded_again(content) -> None:
    of = feature(19, 26, encoding="encoded", resize="stretch")
    assert keep_image(content, of) != content
    assert decoded(keep_image(content, of), of).shape == (19, 26, 3)


def test_a_jpeg_of_more_pixels_than_pillow_allows_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 19 * 26 - 1)
    with pytest.raises(ImageError, match="too many pixels"):
        keep_image(jpeg(), feature(19, 26, encoding="encoded"))


@pytest.mark.parametrize("content", PLAIN_JPEGS.values(), ids=PLAIN_JPEGS)
def test_wherever_a_jpeg_breaks_off_it_is_not_kept(content) -> None:
    of = feature(19, 26, encoding="encoded")
    for length in range(len(content) - 2):  # the last two mark the end
        with pytest.raises(ImageError):
            keep_image(content[:length], of)


@st.composite
def damaged_jpegs(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from([*PLAIN_JPEGS.values(), *OTHER_JPEGS.values()])))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content) - 1) | st.integers(0, 200))
        content[place] = draw(st.integers(0, 255) | st.sampled_from([0xFF, 0xD9, 0xC0, 0xC2, 0xE1, 0xEE]))
    return bytes(content[: draw(st.just(len(content)) | st.integers(0, len(content)))])


@pytest.mark.fuzz
@given(damaged_jpegs(), st.sampled_from([1, 3]))
@settings(max_examples=300, deadline=None)
def test_what_is_kept_of_a_damaged_jpeg_can_be_decoded(content, channels) -> None:
    of = feature(19, 26, channels, encoding="encoded")
    try:
        kept = keep_image(content, of)
    except ImageError:
        return
    assert decode_image(kept, of).shape == (of.size,)
