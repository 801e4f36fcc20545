"""What a text seems to be: how long, and of which characters."""

import codecs
from collections import Counter
from pathlib import Path

from headrace.components.errors import DataError
from headrace.components.guess.findings import Finding, Guess
from headrace.components.sources.compressed import open_plain

MOST_BYTES = 1 << 26
_LENGTH = 100  # of a chunk, in characters: what a model sees before it says the next one
_FEWEST_PASSAGES = 100  # are wanted, because whole passages are held out
_PASSAGE_CHUNKS = 20


def guess_text(path: Path, *, most_bytes: int = MOST_BYTES) -> Guess:
    """How a file's text can be cut into chunks, from its first characters.

    Raises DataError for a file that is not UTF-8, and for a text that is too short or always the same.
    """
    counts = _characters(path, most_bytes)
    characters = counts.total()
    length = min(_LENGTH, characters // (5 * _FEWEST_PASSAGES))
    if length < 2:
        raise DataError(f"{path.name}: expected at least {10 * _FEWEST_PASSAGES} characters, found {characters}")
    if len(counts) == 1:
        raise DataError(f"{path.name} has one character only, {next(iter(counts))!r}: there is nothing to learn")
    chunks = (characters - 1) // length
    passage = min(_PASSAGE_CHUNKS, chunks // _FEWEST_PASSAGES)
    frequent = ", ".join(repr(character) for character, _ in counts.most_common(6))
    findings = (
        Finding("text", "characters", f"{characters:,}, {len(counts)} different, most frequent are {frequent}"),
        Finding("text", "target: next token", f"in {chunks:,} chunks of {length} characters, each after all before it"),
        Finding("passage", "group", f"{passage} chunks, which are held out together"),
    )
    ingest = {
        "key": ["file", "position"],
        "group": ["file", "passage"],
        "features": {"text": {"type": "text", "length": length}},
        "label": {"type": "next_token", "name": "text"},
    }
    most_frequent = counts.most_common(1)[0][1] / characters
    return Guess(ingest, findings, chunks, most_frequent, {"length": length, "passage_chunks": passage})


def _characters(path: Path, most_bytes: int) -> Counter[str]:
    with open_plain(path) as stream:
        content = stream.read(most_bytes)
        is_whole = not stream.read(1)
    try:
        text, _ = codecs.utf_8_decode(content, "strict", is_whole)
    except UnicodeDecodeError as error:
        found = content[error.start : error.end].hex(" ")
        raise DataError(f"{path.name}, byte {error.start}: expected UTF-8 text, found {found}") from error
    return Counter(text.removeprefix("\ufeff"))
