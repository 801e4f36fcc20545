import pytest

from headrace.components.errors import DataError
from headrace.components.guess.text_file import guess_text


@pytest.mark.parametrize(("count", "length", "passage"), [(1000, 2, 4), (20_000, 40, 4), (10**6, 100, 20)])
def test_a_text_is_cut_so_that_there_are_many_passages(tmp_path, count, length, passage) -> None:
    (tmp_path / "a.txt").write_text("aba " * (count // 4))
    guess = guess_text(tmp_path / "a.txt")
    assert guess.source == {"length": length, "passage_chunks": passage}
    assert (guess.rows, guess.most_frequent) == ((count - 1) // length, 0.5)
    assert "3 different, most frequent are 'a', 'b', ' '" in guess.findings[0].why


def test_the_beginning_of_a_text_may_end_within_a_character(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("aä" * 2000, encoding="utf-8")
    assert guess_text(tmp_path / "a.txt", most_bytes=3002).most_frequent == 1001 / 2001


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"ab" * 499, "at least 1000 characters, found 998"), (b"a" * 5000, "one character"), (b"a\xff", "byte 1: .* ff")],
)
def test_a_text_that_can_t_be_learned_is_refused(tmp_path, content, message) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        guess_text(tmp_path / "a.txt")
