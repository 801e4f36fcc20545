"""Text from outside, as it is shown."""

import pytest

from headrace.components.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe 'm'", "größe 'm'"),
        ("a\nb\t\x1b[31m", "a\\nb\\t\\x1b[31m"),  # what a terminal would obey
        ("a\u202eb\u3000c", "a\\u202eb\\u3000c"),  # what turns the text around, and a space that is not a blank
        ("\ud800", "\\ud800"),  # half a pair, which no encoding takes
        ("\\n", "\\n"),  # a backslash stays one
    ],
)
def test_what_is_not_seen_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).isprintable()
