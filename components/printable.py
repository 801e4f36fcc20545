"""Text from outside, as a terminal or a log can show it."""


def printable(text: str) -> str:
    """The text without line ends, control characters and what is not seen: each stands as Python's escape."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
