import pickle
import threading
from pathlib import Path

import pytest

from headrace.components.mapping import map_in_threads, map_to_files


def shout(word: str, file: Path) -> int:
    file.write_text(word.upper())
    return len(word)


def elsewhere(function, items, /):
    """What another process does: all that it takes and gives is pickled."""
    for item in items:
        call = pickle.loads(pickle.dumps((function, item)))
        yield pickle.loads(pickle.dumps(call[0](call[1])))


def test_results_are_in_the_order_of_the_items_and_few_items_are_taken_ahead() -> None:
    taken = []
    results = map_in_threads(lambda item: -item, (taken.append(one) or one for one in range(100)), threads=2)
    assert next(results) == 0
    assert len(taken) <= 4
    assert list(results) == [-one for one in range(1, 100)]


def test_an_error_is_raised_once_nothing_runs_any_more() -> None:
    started, end = threading.Event(), threading.Event()
    ended = []

    def work(item: int) -> None:
        if item == 0:
            started.wait(10)
            end.set()
            raise ValueError("broken")
        started.set()
        end.wait(10)
        ended.append(item)

    with pytest.raises(ValueError, match="broken"):
        list(map_in_threads(work, range(2)))
    assert ended == [1]


@pytest.mark.parametrize("map_", [map_in_threads, elsewhere])
def test_every_item_has_its_file(tmp_path, map_) -> None:
    words = ["one", "two", "three", "four", "five", "six"]
    files = [tmp_path / f"{number}.txt" for number in range(len(words))]
    assert list(map_to_files(map_, shout, zip(words, files, strict=True))) == [3, 3, 5, 4, 4, 3]
    assert [file.read_text() for file in files] == [word.upper() for word in words]
    assert sorted(tmp_path.iterdir()) == files


def test_another_process_does_not_receive_the_file(tmp_path) -> None:
    def refuse(item: str, file: Path) -> None:
        assert file.parent != tmp_path
        raise OSError("no space left")

    def here_but_pickled(function, items, /):
        for item, output in items:
            yield function((item, pickle.loads(pickle.dumps(output))))

    with pytest.raises(OSError, match="no space left"):
        list(map_to_files(here_but_pickled, refuse, [("word", tmp_path / "file")]))
    assert not list(tmp_path.iterdir())
