"""All files of a folder that fit a pattern: which they are, and that only what changed is copied again."""

import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from headrace.components.errors import DataError
from headrace.components.sources.archives import Limits
from headrace.components.sources.file_set import FileSet
from headrace.components.sources.other_files import OtherFiles
from headrace.components.sources.packed_images import read_packed_images
from headrace.pipelines.fetching import file_sets
from headrace.pipelines.fetching.derived_files import write_copies
from headrace.pipelines.fetching.file_sets import copied, copied_files, find_files, packed_images
from headrace.pipelines.object_store import objects
from headrace.pipelines.object_store.objects import open_storage

NAMES = ["b.csv", "a.csv", "in/c.csv", "in/deep/d.csv", "in/e.CSV", "in/f.txt", "g.csv.part"]
HIDDEN = [".h.csv", "_i.csv", ".in/j.csv", "_temporary/0/k.csv", "in/.l.csv"]


@pytest.fixture
def root(tmp_path) -> Path:
    for name in NAMES + HIDDEN:
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(name)
    return tmp_path / "root"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("**/*.csv", ["a.csv", "b.csv", "in/c.csv", "in/deep/d.csv"]),
        ("*.csv", ["a.csv", "b.csv"]),
        ("in/*", ["in/c.csv", "in/e.CSV", "in/f.txt"]),
        ("*/*.csv", ["in/c.csv"]),
        ("in/**/*.csv", ["in/c.csv", "in/deep/d.csv"]),
        ("**/d*", ["in/deep/d.csv"]),
        ("**/*", sorted(NAMES)),
        ("a.csv", ["a.csv"]),
        ("_i.csv", ["_i.csv"]),  # what is named is meant
    ],
)
def test_files_come_in_order_and_hidden_ones_do_not(root, pattern, found) -> None:
    assert find_files(FileSet(root=str(root), pattern=pattern)) == found


@pytest.mark.parametrize("pattern", ["", "/a", "../*", "a//b", "./*", "date={date}/*", "**", "a**/b", "**.csv"])
def test_a_pattern_that_is_no_path_below_the_root_is_a_mistake(pattern) -> None:
    with pytest.raises(ValidationError, match="pattern"):
        FileSet(root="/landing", pattern=pattern)


def test_an_empty_set_is_refused(root) -> None:
    with pytest.raises(DataError, match=r"there is no \*\*/\*.parquet, but 10 other files, such as .in/j.csv; add it"):
        find_files(FileSet(root=str(root), pattern="**/*.parquet"))
    with pytest.raises(DataError, match=r"there is no \*\*/\*; add it there, or fix root and pattern"):
        find_files(FileSet(root=str(root / "nowhere")))


def test_two_files_of_one_name_are_refused(root, tmp_path) -> None:
    (root / "in_c.csv").write_text("another")
    with pytest.raises(DataError, match=r"two files would both be in_c.csv"):
        write_copies(copied_files(FileSet(root=str(root)), folder=tmp_path / "raw"), aside=tmp_path / "aside")


def test_only_what_changed_is_copied_again(root, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(objects, "_CLOCK_TICK_NS", 0)
    copied = []
    download = type(open_storage(str(root))).download
    monkeypatch.setattr(
        type(open_storage(str(root))), "download", lambda *given: copied.append(given[1]) or download(*given)
    )

    def copy() -> list[str]:
        copied.clear()
        files = copied_files(FileSet(root=str(root), pattern="**/*.csv"), folder=tmp_path / "raw")
        copies = write_copies(files, aside=tmp_path)
        assert [path.read_text() for path in copies] == [(root / key).read_text() for key in sorted(originals)]
        return sorted(copied)  # several are copied in parallel

    originals = ["a.csv", "b.csv", "in/c.csv", "in/deep/d.csv"]
    assert copy() == originals
    assert copy() == []
    before = (root / "a.csv").stat()
    (root / "a.csv").write_text("A.csv")  # of the same size, and put back to the same time
    os.utime(root / "a.csv", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert copy() == ["a.csv"]
    (tmp_path / "raw" / "b.csv").write_text("as DVC checks another version out")
    assert copy() == ["b.csv"]
    originals += ["in/new.csv"]
    (root / "in" / "new.csv").write_text("new")
    assert copy() == ["in/new.csv"]
    shutil.rmtree(tmp_path / "raw")
    assert copy() == sorted(originals)
    (tmp_path / ".copies.json").write_text("damaged")
    assert copy() == sorted(originals)


def test_a_file_that_has_just_changed_is_copied_again(root, tmp_path) -> None:
    """It may change once more within a tick of the file system's clock."""
    for content in ("1", "2"):
        (root / "a.csv").write_text(content)
        [copy] = write_copies(copied(str(root), ["a.csv"], folder=tmp_path / "raw"), aside=tmp_path)
        assert copy.read_text() == content
    assert open_storage(str(root)).versions("a.csv") == {"a.csv": None}
    assert time.time_ns() - (root / "a.csv").stat().st_ctime_ns < objects._CLOCK_TICK_NS


def test_images_are_packed_folder_by_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(objects, "_CLOCK_TICK_NS", 0)
    images = {name: name.encode() for name in ("b.png", "a.JPG", "in/c.gif", "in/d.webp", "in/deep/e.bmp", "in/f.txt")}
    for name, content in images.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_bytes(content)
    files = FileSet(root=str(tmp_path / "root"))

    def pack(folder: str) -> list[Path]:
        packed = packed_images(files, folder=tmp_path / folder, others=OtherFiles())
        return write_copies(packed, aside=tmp_path / f"aside of {folder}")

    first, second = pack("raw"), pack("other")
    assert [path.name for path in first] == ["images.parquet", "in.parquet", "in_deep.parquet"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    members = [member for path in first for member in read_packed_images(path)]
    del images["in/f.txt"]
    assert {member.name: member.content for member in members} == images
    before = [path.stat().st_ino for path in first]
    (tmp_path / "root" / "in" / "c.gif").write_text("changed")
    after = [path.stat().st_ino for path in pack("raw")]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]
    assert list((tmp_path / "raw").glob(".*")) == []
    with pytest.raises(DataError, match=r"in/\*.txt has no images, but 1 .txt; expected names"):
        packed_images(FileSet(root=files.root, pattern="in/*.txt"), folder=tmp_path, others=OtherFiles())


@pytest.mark.parametrize("patience_seconds", [-1.0, 0.005])
def test_images_that_take_long_to_read_are_packed_in_the_same_order(tmp_path, monkeypatch, patience_seconds) -> None:
    """Several in parallel, from the first one on, or from where it was found that they take long."""
    names = [f"{number:02d}.png" for number in range(50)]
    (tmp_path / "root").mkdir()
    for name in names:
        (tmp_path / "root" / name).write_text(name)
    files = FileSet(root=str(tmp_path / "root"))
    [fast] = write_copies(packed_images(files, folder=tmp_path / "fast", others=OtherFiles()), aside=tmp_path / "a")
    folder = type(open_storage(files.root))
    read, threads = folder.read, set()

    def slow_read(storage, key: str) -> bytes | None:
        time.sleep(0.001)
        threads.add(threading.get_ident())
        return read(storage, key)

    monkeypatch.setattr(folder, "read", slow_read)
    monkeypatch.setattr(file_sets, "_PATIENCE_SECONDS", patience_seconds)
    [slow] = write_copies(packed_images(files, folder=tmp_path / "slow", others=OtherFiles()), aside=tmp_path / "b")
    assert slow.read_bytes() == fast.read_bytes()
    assert [member.name for member in read_packed_images(slow)] == names
    assert len(threads) > 1


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_pipe_or_a_device_among_the_files_is_refused_and_not_left_out(root, tmp_path, is_linked) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, origin in (("x.csv", tmp_path / "pipe"), ("y.csv", Path("/dev/zero"))):
        if is_linked or name == "y.csv":
            (root / name).symlink_to(origin)
        else:
            os.mkfifo(root / name)
        copies = copied_files(FileSet(root=str(root), pattern="**/*.csv"), folder=tmp_path / "raw")
        with pytest.raises(DataError, match=rf"can't read .*{name}: it is a (pipe|device), expected a file"):
            write_copies(copies, aside=tmp_path / "aside")
        (root / name).unlink()


def test_a_pipe_among_images_is_refused(root, tmp_path) -> None:
    os.mkfifo(root / "in" / "x.png")
    [copy] = packed_images(FileSet(root=str(root), pattern="**/*.png"), folder=tmp_path / "raw", others=OtherFiles())
    with pytest.raises(DataError, match=r"x\.png: it is a pipe, expected a file"):
        write_copies([copy], aside=tmp_path / "aside")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (b"caf\xe9.png", r"'in/caf\\udce9.png' has a name that is not UTF-8; rename it"),
        (b"a\nb.png", r"'in/a\\nb.png' has a name with a control character"),
        (b"a\\b.png", "has a name that leads elsewhere"),
        (b"large.png", r"'in/large.png' has 9 bytes, more than 8; make the image smaller, or remove it"),
    ],
)
def test_an_image_that_no_archive_could_have_is_refused_and_nothing_is_packed(
    root, tmp_path, monkeypatch, name, problem
) -> None:
    monkeypatch.setattr(Limits, "member_bytes", 8)
    Path(os.fsdecode(bytes(root / "in") + b"/" + name)).write_bytes(b"123456789" if name == b"large.png" else b"1")
    copies = packed_images(FileSet(root=str(root), pattern="**/*.png"), folder=tmp_path / "raw", others=OtherFiles())
    with pytest.raises(DataError, match=rf"^{root}: .*{problem}"):
        write_copies(copies, aside=tmp_path / "aside")
    assert list((tmp_path / "raw").iterdir()) == []
