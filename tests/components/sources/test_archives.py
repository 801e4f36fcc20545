"""Archives as users make them, and as nobody should: built here, byte by byte where Python's writers refuse to."""

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError
from headrace.components.sources import archives
from headrace.components.sources.archives import Limits, read_members

FILES = {"a.txt": b"first", "folder/b.bin": bytes(range(256)) * 20, "empty": b"", "folder/ä ü.txt": b"name in UTF-8"}
TAR_END = bytes(1024)
PACK = {
    "tar": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda content: pa.compress(content, codec="zstd", asbytes=True),
}


def header(name, size=0, kind=tarfile.REGTYPE, form=tarfile.USTAR_FORMAT, **fields) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(form, "utf-8", "surrogateescape")


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def tar_of(files, **fields) -> bytes:
    return b"".join(header(name, len(content), **fields) + padded(content) for name, content in files) + TAR_END


def pax(*records: str, kind=tarfile.XHDTYPE) -> bytes:
    content = b""
    for record in records:
        length = len(record.encode()) + 2
        length += len(str(length + len(str(length))))
        content += f"{length} {record}\n".encode()
    return header("pax", len(content), kind) + padded(content)


def real_tar(tar_format=tarfile.PAX_FORMAT, files=FILES) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tar_format) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def real_zip(files=FILES, compression=zipfile.ZIP_DEFLATED, change=lambda info: None) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.mkdir("folder")
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            change(info)
            archive.writestr(info, content)
    return stream.getvalue()


def read(folder, content: bytes, **limits: int) -> dict[str, bytes]:
    path = folder / "data.archive"
    path.write_bytes(content)
    return {member.name: member.content for member in read_members(path, limits=Limits(**limits))}


@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_of_a_tar_come_in_its_order(tmp_path, pack, tar_format):
    found = read(tmp_path, PACK[pack](real_tar(tar_format)))
    assert found == FILES
    assert list(found) == list(FILES)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_of_a_zip_come_in_its_order(tmp_path, compression):
    found = read(tmp_path, real_zip(compression=compression))
    assert found == FILES
    assert list(found) == list(FILES)


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_whole(tmp_path, tar_format):
    files = {f"{'folder/' * 40}{'ä' * 90}": b"1", "b" * 300: b"2"}
    assert read(tmp_path, real_tar(tar_format, files)) == files


def test_a_long_name_of_posix_1988_is_in_two_fields(tmp_path):
    name = f"{'folder/' * 20}file"
    assert read(tmp_path, tar_of([(name, b"1")])) == {name: b"1"}


def test_before_there_were_types_a_folder_was_recognized_by_its_name(tmp_path):
    content = header("folder/", kind=tarfile.AREGTYPE) + tar_of([("folder/a", b"1")], type=tarfile.AREGTYPE)
    assert read(tmp_path, content) == {"folder/a": b"1"}


def test_a_checksum_of_signed_bytes_is_right_too(tmp_path):
    block = header("é", 1)
    total = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + b" " * 8 + block[156:])
    signed = block[:148] + b"%06o\0 " % total + block[156:]
    assert read(tmp_path, signed + padded(b"1") + TAR_END) == {"é": b"1"}


def test_names_begin_without_a_dot_and_folders_and_litter_of_macos_are_skipped(tmp_path):
    litter = [("./.DS_Store", b"x"), ("./folder/._a", b"x"), ("__MACOSX/folder/a", b"x")]
    content = header("./", kind=tarfile.DIRTYPE) + tar_of([*litter, ("./folder//a", b"1")])
    assert read(tmp_path, content) == {"folder/a": b"1"}
    assert read(tmp_path, real_zip(dict([*litter, ("folder/a", b"1")]))) == {"folder/a": b"1"}


def test_extended_headers_say_name_and_size(tmp_path):
    content = pax("comment=by git", kind=tarfile.XGLTYPE) + pax("path=real", "size=3", "mtime=1.5")
    assert read(tmp_path, content + header("short", 0) + padded(b"abc") + TAR_END) == {"real": b"abc"}


def test_a_zip_without_the_flag_of_utf_8_has_names_in_utf_8(tmp_path):
    content = real_zip({"ä.txt": b"1"})
    flagged, plain = struct.pack("<H", 0x800), struct.pack("<H", 0)
    assert read(tmp_path, content.replace(flagged, plain)) == {"ä.txt": b"1"}


def test_an_archive_in_an_archive_is_bytes(tmp_path):
    inner = real_zip()
    assert read(tmp_path, tar_of([("inner.zip", inner)])) == {"inner.zip": inner}


NAMES = {
    "/etc/passwd": "leads elsewhere",
    "a/../../b": "leads elsewhere",
    "..": "leads elsewhere",
    "a\\b": "leads elsewhere",
    "C:evil": "leads elsewhere",
    "a\nb": "control character",
    "a\x7f": "control character",
    "./": "has no name",
    "caf\udce9": "not UTF-8",
}


@pytest.mark.parametrize(("name", "problem"), NAMES.items())
def test_a_name_that_leads_elsewhere_is_an_error_in_a_tar(tmp_path, name, problem):
    records = [] if "\udce9" in name or name == "./" else [pax(f"path={name}") + tar_of([("short", b"1")])]
    plain = header("x", 1).replace(b"x", name.encode("utf-8", "surrogateescape"), 1)
    plain = (plain[: plain.index(b"\0")] + bytes(512))[:100] + header("x", 1)[100:]
    for content in [checked(plain) + padded(b"1") + TAR_END, *records]:
        with pytest.raises(DataError, match=rf"data\.archive: member .*{problem}"):
            read(tmp_path, content)


def checked(block: bytes) -> bytes:
    """A header of tar with its checksum made right."""
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


@pytest.mark.parametrize(("name", "problem"), [pair for pair in NAMES.items() if pair[0] not in ("./", "caf\udce9")])
def test_a_name_that_leads_elsewhere_is_an_error_in_a_zip(tmp_path, name, problem):
    with pytest.raises(DataError, match=rf"member .*{problem}"):
        read(tmp_path, real_zip({name: b"1"}))


def test_a_nul_or_other_bytes_in_a_name_of_a_zip_are_an_error(tmp_path):
    with pytest.raises(DataError, match=r"member 'a\\x00b' has a name with a control character"):
        read(tmp_path, real_zip({"aXb": b"1"}).replace(b"aXb", b"a\0b"))
    with pytest.raises(DataError, match="not UTF-8"):
        read(tmp_path, real_zip({"caf!": b"1"}).replace(b"caf!", b"caf\xe9"))


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"6", b"S", b"D", b"V", b"M", b"Z"])
def test_a_member_of_a_tar_that_is_no_file_is_an_error(tmp_path, kind):
    with pytest.raises(DataError, match=r"data\.archive: member 'odd' is no regular file"):
        read(tmp_path, header("odd", kind=kind, linkname="a.txt") + TAR_END)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_member_of_a_zip_that_is_no_file_is_an_error(tmp_path, kind):
    with pytest.raises(DataError, match=r"member 'odd' is no regular file"):
        read(tmp_path, real_zip({"odd": b"a.txt"}, change=lambda info: setattr(info, "external_attr", kind << 16)))


@pytest.mark.parametrize("again", ["a.txt", "./a.txt", ".//a.txt"])
def test_a_name_that_comes_twice_is_an_error(tmp_path, again):
    with pytest.raises(DataError, match=f"member '{again}' comes twice"):
        read(tmp_path, tar_of([("a.txt", b"1"), (again, b"2")]))
    with pytest.raises(DataError, match=f"member '{again}' comes twice"):
        read(tmp_path, real_zip({"a.txt": b"1", "X" * len(again): b"2"}).replace(b"X" * len(again), again.encode()))


def with_size(field: bytes) -> bytes:
    return checked(header("a")[:124] + field + header("a")[136:])


ODD_TARS = {
    "no archive": (b"a,b\n1,2\n" * 100, "not a tar or zip archive"),
    "nothing": (b"", "not a tar or zip archive"),
    "a damaged second header": (
        tar_of([("a", b"1")])[:1024] + b"\x01" + tar_of([("b", b"2")])[1:],
        "not a tar or zip archive, or truncated: bad checksum",
    ),
    "no end": (tar_of([("a", b"1")])[:-1024], "truncated"),
    "half an end": (tar_of([("a", b"1")])[:-512], "truncated in the mark of its end"),
    "a second archive behind the end": (tar_of([("a", b"1")]) + tar_of([("b", b"2")]), "something follows its end"),
    "garbage behind the end": (tar_of([("a", b"1")]) + b"garbage", "something follows its end"),
    "announced, and nothing follows": (pax("path=b") + TAR_END, "announces a member"),
    "sparse": (pax("GNU.sparse.major=1", "GNU.sparse.name=a") + tar_of([("a", b"1")]), "sparse member"),
    "one name for all": (pax("path=b", kind=tarfile.XGLTYPE) + tar_of([("a", b"1")]), "gives all members one name"),
    "a size that is none": (pax("size=-5") + tar_of([("a", b"1")]), "has a size of '-5'"),
    "a size of letters": (pax("size=1e3") + tar_of([("a", b"1")]), "has a size of '1e3'"),
    "a negative size": (with_size(b"\xff" * 12) + TAR_END, "has a size of '-1'"),
    "a size with a sign": (with_size(b"-0000000001\0") + TAR_END, "a number that is none: b'-0000000001"),
    "a size with an underscore": (with_size(b"0_000000001\0") + TAR_END, "a number that is none"),
    "a size that is not octal": (with_size(b"00000000008\0") + TAR_END, "invalid header"),
    "a prefix where GNU tar keeps times": (
        checked(header("file", form=tarfile.GNU_FORMAT)[:345] + b"aaa" + bytes(164)) + TAR_END,
        r"a prefix that is not of POSIX\.1-1988",
    ),
    "a size far beyond": (header("a", 7 << 30) + b"1" * 512, "7516192768 bytes, more than"),
    "no records": (header("x", 5, tarfile.XHDTYPE) + padded(b"hello") + TAR_END, "no list of records"),
    "a record of no length": (header("x", 6, tarfile.XHDTYPE) + padded(b"0 a=b\n") + TAR_END, "no list of records"),
    "a long header": (header("x", 1 << 21, tarfile.XHDTYPE) + bytes(1 << 21) + TAR_END, "extended header of 2097152"),
    "a folder with content": (header("a", 512, tarfile.DIRTYPE) + bytes(512) + TAR_END, "is no regular file"),
    "a long name": (pax(f"path={'a' * 5000}") + tar_of([("a", b"1")]), "more than 4096"),
}


@pytest.mark.parametrize(("content", "problem"), ODD_TARS.values(), ids=ODD_TARS)
def test_an_odd_tar_is_an_error(tmp_path, content, problem):
    with pytest.raises(DataError, match=rf"data\.archive.*{problem}"):
        read(tmp_path, content)


def zip_of(method=8, flags=0, content=b"1", announced=None, checksum=None) -> bytes:
    """A zip of one member whose headers may lie."""
    packed = zlib.compress(content, wbits=-15) if method == 8 else content
    announced = len(content) if announced is None else announced
    checksum = zlib.crc32(content) if checksum is None else checksum
    fields = struct.pack("<HHHHHIIIHH", 20, flags, method, 0, 33, checksum, len(packed), announced, 1, 0)
    local = b"PK\x03\x04" + fields + b"a" + packed
    directory = b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + b"a"
    return local + directory + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(directory), len(local), 0)


ODD_ZIPS = {
    "a wrong checksum": (zip_of(checksum=1), "Bad CRC-32"),
    "encrypted": (zip_of(flags=1), "is encrypted"),
    "another method": (zip_of(method=12), "compressed by method 12"),
    "more than announced": (zip_of(content=b"1" * 99, announced=9), "Bad CRC-32"),
    "less than announced": (zip_of(content=b"1", announced=9), "has 1 bytes, 9 announced"),
    "garbage behind the end": (real_zip() + b"garbage", "something follows its end"),
    "truncated": (real_zip()[:-30], "not a zip file"),
    "the directory gone": (real_zip()[:200], "not a zip file"),
    "a script in front": (b"#!/bin/sh\n" + real_zip(), "not a tar or zip archive"),
}


def test_the_zip_of_these_tests_is_read(tmp_path):
    assert read(tmp_path, zip_of(content=b"1234")) == {"a": b"1234"}


@pytest.mark.parametrize(("content", "problem"), ODD_ZIPS.values(), ids=ODD_ZIPS)
def test_an_odd_zip_is_an_error(tmp_path, content, problem):
    with pytest.raises(DataError, match=rf"data\.archive.*{problem}"):
        read(tmp_path, content)


def test_members_of_a_zip_that_share_bytes_are_an_error(tmp_path):
    content = real_zip({"a": b"1" * 1000, "b": b"1" * 1000})
    second = content.rindex(b"PK\x01\x02")
    first_offset = content[content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1) + 42 :][:4]
    overlapping = content[: second + 42] + first_offset + content[second + 46 :]
    with pytest.raises(DataError, match="shares bytes with another one"):
        read(tmp_path, overlapping)


def test_a_directory_of_a_zip_that_would_fill_memory_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_ZIP_DIRECTORY_BYTES", 100)
    with pytest.raises(DataError, match="its directory has more than 100 bytes"):
        read(tmp_path, real_zip())


@pytest.mark.parametrize("make", [lambda files: gzip.compress(tar_of(files)), lambda files: real_zip(dict(files))])
def test_limits_hold_for_both_kinds(tmp_path, make):
    files = [("a", b"1" * 1000), ("b", b"2" * 1000)]
    with pytest.raises(DataError, match="more than 1 members"):
        read(tmp_path, make(files), members=1)
    with pytest.raises(DataError, match=r"member 'a' has .*more than 999"):
        read(tmp_path, make(files), member_bytes=999)
    with pytest.raises(DataError, match="decompresses to more than 1500 bytes"):
        read(tmp_path, make(files), total_bytes=1500)
    bomb = [(name, bytes(1 << 24)) for name in "abcde"]  # 80 MiB
    with pytest.raises(DataError, match=r"decompresses to more than \d+ bytes: it may be made to fill memory"):
        read(tmp_path, make(bomb))
    assert len(read(tmp_path, make(files))) == 2


ARCHIVES = [real_tar(tarfile.GNU_FORMAT, {"x" * 120: b"1", **FILES}), real_tar(), real_zip(), zip_of()]
ARCHIVES += [pack(ARCHIVES[1]) for name, pack in PACK.items() if name != "tar"]


@pytest.mark.fuzz
@given(st.sampled_from(ARCHIVES), st.data())
@settings(max_examples=400, deadline=None)
def test_a_damaged_archive_gives_members_or_an_error_that_names_it(tmp_path_factory, archive, data):
    damaged = bytearray(archive[: data.draw(st.integers(0, len(archive)) | st.just(len(archive)))])
    for _ in range(data.draw(st.integers(0, 3))):
        # The ends have headers and directories.
        place = data.draw(st.integers(0, 700) | st.integers(1, 500).map(lambda end: max(0, len(archive) - end)))
        damaged[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        read(tmp_path_factory.getbasetemp(), bytes(damaged))
    except DataError as error:
        assert "data.archive" in str(error)


@pytest.mark.parametrize("archive", [real_tar(), gzip.compress(real_tar())], ids=["tar", "gzip"])
def test_every_truncation_of_a_tar_within_its_members_is_an_error(tmp_path, archive):
    content = archive.rstrip(b"\0") if archive[:1] != b"\x1f" else archive
    for length in range(0, len(content), 37):
        with pytest.raises(DataError):
            read(tmp_path, archive[:length])
