import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.sources import tar_headers
from headrace.components.sources.tar_headers import TarHeader, end, format_header, parse_header

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=300)
SIZES = st.integers(0, 8**11 - 1) | st.integers(0, 1 << 60)


def header_of(name: str = "a", size: int = 0, *, form: int = tarfile.USTAR_FORMAT, **fields) -> bytes:
    """What tarfile writes."""
    member = tarfile.TarInfo(name)
    member.size = size
    for field, value in fields.items():
        setattr(member, field, value)
    return member.tobuf(form, "utf-8", "surrogateescape")


def with_sum(block: bytes, *, signed: bool = False) -> bytes:
    block = block[:148] + b" " * 8 + block[156:]
    total = sum(byte - 256 if signed and byte > 127 else byte for byte in block)
    return block[:148] + b"%06o\0 " % total + block[156:]


@given(NAMES | st.text("ab/", min_size=1, max_size=110), SIZES)
def test_a_header_is_written_as_tarfile_writes_it(name, size) -> None:
    assert format_header(name, size) == header_of(name, size, form=tarfile.PAX_FORMAT)


@given(
    st.text("abé/", min_size=1, max_size=90).filter(lambda name: not name.endswith("/")),
    SIZES,
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT]),
    st.sampled_from([tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.SYMTYPE, tarfile.XHDTYPE]),
    st.sampled_from(["", "root"]),
)
def test_a_header_is_read_as_tarfile_reads_it(name, size, form, kind, owner) -> None:
    if form == tarfile.USTAR_FORMAT:
        size %= 8**11
    block = header_of(name, size, form=form, type=kind, uname=owner, mtime=1_700_000_000)[-512:]
    theirs = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    assert parse_header(block) == (theirs.name, theirs.type, theirs.size)


def test_a_long_name_is_in_two_fields() -> None:
    name = f"{'folder/' * 20}file"
    assert parse_header(header_of(name)).name == name


def test_a_prefix_is_read_of_posix_archives_only() -> None:
    block = bytearray(header_of("file", form=tarfile.GNU_FORMAT))
    block[345:348] = b"aaa"  # there GNU tar keeps times
    with pytest.raises(ValueError, match=r"a prefix that is not of POSIX\.1-1988"):
        parse_header(with_sum(bytes(block)))


def test_before_there_were_types_a_folder_was_recognized_by_its_name() -> None:
    assert parse_header(header_of("folder/", type=tarfile.AREGTYPE)).type == tar_headers.FOLDER


def test_a_checksum_of_signed_bytes_is_right_too() -> None:
    block = header_of("é")
    assert parse_header(with_sum(block, signed=True)) == TarHeader("é", tar_headers.FILE, 0)


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        (b"", "0 bytes where a header has 512"),
        (bytes(511), "511 bytes"),
        (bytes(512), "bad checksum"),
        (header_of()[:-1] + b"x", "bad checksum"),
        (with_sum(header_of().replace(b"0" * 11, b"-0000000001")), "a number that is none: b'-0000000001"),
        (with_sum(header_of().replace(b"0" * 11, b"0_000000001")), "a number that is none"),
        (with_sum(header_of().replace(b"0" * 11, b"00000000008")), "invalid literal"),
        (with_sum(header_of().replace(b"0" * 11 + b"\0", b"\xff" * 12)), "a number that is none"),
    ],
)
def test_what_is_no_header_is_an_error(block, problem) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_header(block)


@pytest.mark.parametrize("sizes", [[], [0], [1], [512], [9216], [8192, 1], [10_000] * 5])
def test_an_archive_ends_as_tarfile_ends_it(sizes) -> None:
    contents = {f"{number}.png": bytes(size) for number, size in enumerate(sizes)}
    theirs, ours = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=theirs, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    for name, content in contents.items():
        ours.write(format_header(name, len(content)) + content + bytes(-len(content) % tar_headers.BLOCK_BYTES))
    ours.write(end(ours.tell()))
    assert ours.getvalue() == theirs.getvalue()
