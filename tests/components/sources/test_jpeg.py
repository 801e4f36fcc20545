import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.ExifTags import Base

from headrace.components.examples.settings import ImageFeature
from headrace.components.sources import decoding
from headrace.components.sources.decoding import ImageError, keep_image
from headrace.components.sources.jpeg import is_sound_jpeg

HEIGHT, WIDTH = 19, 26


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[Base.Orientation] = orientation
    return found


def jpeg(mode: str = "RGB", size: tuple[int, int] = (HEIGHT, WIDTH), **options) -> bytes:
    channels = {"L": (), "RGB": (3,), "CMYK": (4,)}[mode]
    pixels = np.random.default_rng(1).integers(0, 256, (*size, *channels), dtype=np.uint8)
    Image.fromarray(pixels, mode).save(buffer := io.BytesIO(), "JPEG", **options)
    return buffer.getvalue()


def is_sound(content: bytes, height: int = HEIGHT, width: int = WIDTH, channels: int = 3) -> bool:
    return is_sound_jpeg(content, height=height, width=width, channels=channels)


PLAIN = {
    "baseline": jpeg(),
    "progressive": jpeg(progressive=True),
    "without loss of colour": jpeg(subsampling=0, quality=100),
    "with restarts": jpeg(restart_marker_blocks=1),
    "with a comment": jpeg(comment=b"by hand"),
}
OTHERS = {
    "with an orientation": jpeg(exif=exif(6)),
    "with EXIF that turns nothing": jpeg(exif=exif(1)),
    "with a colour profile": jpeg(icc_profile=b"profile"),
    "grey": jpeg("L"),
    "for print": jpeg("CMYK"),
    "small": jpeg(size=(7, 26)),
    "of another size": jpeg(size=(HEIGHT, WIDTH + 1)),
}


@pytest.mark.parametrize("content", PLAIN.values(), ids=PLAIN)
def test_a_plain_jpeg_of_the_shape_is_sound(content) -> None:
    assert is_sound(content)
    assert is_sound(content + b"more behind the end")


def test_grey_is_sound_where_one_channel_is_declared() -> None:
    assert is_sound(jpeg("L"), channels=1)
    assert not is_sound(jpeg("L"), channels=4)


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_any_other_jpeg_is_left_to_pillow(content) -> None:
    assert not is_sound(content)


def test_a_small_one_is_left_to_pillow_even_as_declared() -> None:
    assert not is_sound(jpeg(size=(7, 26)), height=7)


def test_more_pixels_than_pillow_allows_are_refused_as_ever(monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH - 1)
    assert not is_sound(jpeg())


@pytest.mark.parametrize("content", PLAIN.values(), ids=PLAIN)
def test_wherever_a_jpeg_breaks_off_it_is_not_sound_unless_pillow_takes_it(content) -> None:
    of = ImageFeature(height=HEIGHT, width=WIDTH, encoding="encoded")
    sound = [length for length in range(len(content)) if is_sound(content[:length])]
    assert all(length >= len(content) - 2 for length in sound)  # without the mark of the end
    for length in sound:
        assert by_pillow(content[:length], of) == content[:length]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from([*PLAIN.values(), *OTHERS.values()])))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content) - 1) | st.integers(0, 200))
        content[place] = draw(st.integers(0, 255) | st.sampled_from([0xFF, 0xD9, 0xC0, 0xC2, 0xE1, 0xEE]))
    return bytes(content[: draw(st.just(len(content)) | st.integers(0, len(content)))])


@pytest.mark.fuzz
@given(damaged(), st.sampled_from([1, 3]))
@settings(max_examples=300, deadline=None)
def test_what_is_sound_is_also_kept_as_it_is_by_pillow(content, channels) -> None:
    if is_sound(content, channels=channels):
        of = ImageFeature(height=HEIGHT, width=WIDTH, channels=channels, encoding="encoded")
        assert by_pillow(content, of) == content


def by_pillow(content: bytes, of: ImageFeature) -> bytes | str:
    """What `keep_image` gives without the plain case."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "is_sound_jpeg", lambda *_, **__: False)
        try:
            return keep_image(content, of)
        except ImageError as error:
            return str(error)
