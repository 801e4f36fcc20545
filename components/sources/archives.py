"""Members of a tar (plain, gzip, bzip2, xz, zstd) or zip archive, one by one, never written to disk.

An archive comes from outside: what readers understand in different ways, or skip in silence, is refused. `tarfile`
parses one header at a time here: its own loop takes a damaged header for the end of the archive.
"""

import hashlib
import io
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from headrace.components.errors import DataError
from headrace.components.sources.compressed import MAX_BYTES, MAX_RATIO, allowed_bytes, open_plain, too_large

_EXTENDED_HEADER_BYTES = 1 << 20
_LONGEST_NAME = 4096
_BLOCK_BYTES = tarfile.BLOCKSIZE  # headers and contents begin at multiples of it
_SIZE, _MAGIC, _PREFIX_BEGIN = slice(124, 136), slice(257, 263), 345
_NOT_OCTAL = re.compile(rb"[^0-7 \0]")
_RECORD_LENGTH = re.compile(rb"([0-9]{1,7}) ")
_ZIP_HEADER_BYTES = 30  # without the name
_ZIP_END_BYTES = 22  # without the comment
_ZIP_DIRECTORY_BYTES = 1 << 27  # zipfile reads it at once, and makes an object of each 46 or more bytes
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What an archive may hold: members of any kind, bytes in all and of one, and bytes out to bytes in."""

    members: int = 2_000_000
    total_bytes: int = MAX_BYTES
    member_bytes: int = 1 << 28  # it is held in memory
    ratio: int = MAX_RATIO


@dataclass(frozen=True)
class Member:
    """A regular file of an archive. `name` is relative, with `/`, without `.` and `..`, and like no other's."""

    name: str
    content: bytes


_LIMITS = Limits()
_Entries = Iterator[tuple[str, bytes | None]]  # names as they are in the archive; None is a folder's content


def read_members(path: Path, *, limits: Limits = _LIMITS) -> Iterator[Member]:
    """Yield the regular files of an archive in its order; folders and what macOS adds (`._*`, `.DS_Store`) are skipped.

    Raises DataError, which may be after some members, for a damaged or truncated archive, anything after its end, a
    link, device or other member that is no file, a name that leads elsewhere or comes twice, or more than `limits`.
    """
    with path.open("rb") as stream:
        is_zip = stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    entries = _zip_entries(path, limits) if is_zip else _tar_entries(path, limits)
    names: set[bytes] = set()
    for count, (raw, content) in enumerate(entries, start=1):
        if count > limits.members:
            raise DataError(f"{path.name} has more than {limits.members} members; divide it into several archives")
        try:
            name = relative_name(raw)
        except ValueError as error:
            raise _refusal(path, raw, error) from error
        if content is None or _is_litter(name):
            continue
        if not name:
            raise _refusal(path, raw, "has no name")
        digest = hashlib.blake2b(name.encode(), digest_size=16).digest()  # millions of long names would fill memory
        if digest in names:
            raise _refusal(path, raw, "comes twice")
        names.add(digest)
        yield Member(name, content)


def relative_name(raw: str) -> str:
    """The name without `.` and repeated `/`; raise ValueError, which says why, for one that could lead elsewhere."""
    try:
        raw.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("has a name that is not UTF-8") from error
    if len(raw) > _LONGEST_NAME or re.search(r"[\0-\x1f\x7f]", raw):
        raise ValueError(f"has a name with a control character, or one of more than {_LONGEST_NAME}")
    parts = raw.split("/")
    if raw.startswith("/") or ".." in parts or "\\" in raw or re.match(r"[A-Za-z]:", raw):
        raise ValueError("has a name that leads elsewhere: absolute, with .., a backslash or a drive")
    return "/".join(part for part in parts if part not in ("", "."))


def _is_litter(name: str) -> bool:
    parts = name.split("/")
    return parts[0] == "__MACOSX" or parts[-1] == ".DS_Store" or parts[-1].startswith("._")


def _refusal(path: Path, member: str, problem: object) -> DataError:
    shown = f"{member[:100]}..." if len(member) > 100 else member
    return DataError(f"{path.name}: member {shown!r} {problem}; recreate the archive from regular files only")


def _damage(path: Path, problem: object) -> DataError:
    return DataError(f"{path.name} is a damaged archive ({problem}): fetch it again, or recreate it")


def _tar_entries(path: Path, limits: Limits) -> _Entries:
    with open_plain(path, max_bytes=limits.total_bytes, max_ratio=limits.ratio) as stream:
        said: dict[str, str] = {}  # by extended headers, of the member that follows
        while (header := _tar_header(stream, path, is_last_allowed=not said)) is not None:
            name = said.get("path", header.name)
            match header.type:
                case tarfile.XHDTYPE:
                    said |= _records(_extended(stream, header, path), path)
                case tarfile.GNUTYPE_LONGNAME:
                    content = _extended(stream, header, path).partition(b"\0")[0]
                    said["path"] = content.decode("utf-8", "surrogateescape")
                case tarfile.XGLTYPE:
                    if _records(_extended(stream, header, path), path):
                        raise _damage(path, "a global header gives all members one name or size")
                case tarfile.REGTYPE | tarfile.AREGTYPE | tarfile.CONTTYPE:
                    size = _size(said, header, path, name)
                    if size > limits.member_bytes:
                        raise _refusal(path, name, f"has {size} bytes, more than {limits.member_bytes}")
                    yield name, _content(stream, size, path)
                    said = {}
                case tarfile.DIRTYPE if not _size(said, header, path, name):
                    yield name, None
                    said = {}
                case _:
                    raise _refusal(path, name, f"is no regular file (type {header.type!r}: a link, a device ...)")


def _tar_header(stream: BinaryIO, path: Path, *, is_last_allowed: bool) -> tarfile.TarInfo | None:
    """Read the next header; None at a proper end of the archive."""
    block = stream.read(_BLOCK_BYTES)
    if len(block) == _BLOCK_BYTES and not any(block):
        _require_end(stream, path)
        if not is_last_allowed:
            raise _damage(path, "its last header announces a member, and none follows")
        return None
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise _damage(path, f"not a tar or zip archive, or truncated: {error}") from error
    size = block[_SIZE]
    if size[0] < 0x80 and _NOT_OCTAL.search(size):  # tarfile takes signs and underscores
        raise _damage(path, f"a number that is none: {size!r}")
    if block[_PREFIX_BEGIN] and block[_MAGIC] != b"ustar\0" and header.type != tarfile.GNUTYPE_LONGNAME:
        raise _damage(path, "a header with a prefix that is not of POSIX.1-1988")  # readers differ in what it means
    return header


def _require_end(stream: BinaryIO, path: Path) -> None:
    """Raise DataError unless a second block of zeros follows, and zeros only: a member could be hidden behind it."""
    count = 0
    while chunk := stream.read(_CHUNK_BYTES):
        if chunk.strip(b"\0"):
            raise _damage(path, "something follows its end")
        count += len(chunk)
    if count < _BLOCK_BYTES:
        raise _damage(path, "truncated in the mark of its end")


def _size(said: Mapping[str, str], header: tarfile.TarInfo, path: Path, name: str) -> int:
    size = said.get("size", str(header.size))
    if not (size.isascii() and size.isdigit() and len(size) < 20):
        raise _refusal(path, name, f"has a size of {size[:40]!r}")
    return int(size)


def _content(stream: BinaryIO, size: int, path: Path) -> bytes:
    content = stream.read(size)
    padding = stream.read(-size % _BLOCK_BYTES)
    if len(content) + len(padding) < size + -size % _BLOCK_BYTES:
        raise _damage(path, "truncated within a member")
    return content


def _extended(stream: BinaryIO, header: tarfile.TarInfo, path: Path) -> bytes:
    if not 0 <= header.size <= _EXTENDED_HEADER_BYTES:
        raise _damage(path, f"an extended header of {header.size} bytes")
    return _content(stream, header.size, path)


def _records(content: bytes, path: Path) -> dict[str, str]:
    """Path and size, if there, of a POSIX.1-2001 (pax) header: records `LENGTH KEY=VALUE` with a line end."""
    records, start = {}, 0
    while start < len(content):
        length = _RECORD_LENGTH.match(content, start)
        end = start + int(length[1]) if length else 0
        key, mark, value = content[length.end() if length else 0 : end - 1].partition(b"=")
        if not mark or end > len(content) or content[end - 1 : end] != b"\n":
            raise _damage(path, "an extended header that is no list of records")
        if key.startswith(b"GNU.sparse"):
            raise _damage(path, "a sparse member; recreate it without --sparse")
        if key in (b"path", b"size"):
            records[key.decode()] = value.decode("utf-8", "surrogateescape")
        start = end
    return records


class _ZipFile(io.FileIO):
    """A file of which not much can be read at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _ZIP_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its directory has more than {_ZIP_DIRECTORY_BYTES} bytes")
        return super().read(size) or b""


def _zip_entries(path: Path, limits: Limits) -> _Entries:
    left = allowed = allowed_bytes(path, max_bytes=limits.total_bytes, max_ratio=limits.ratio)
    try:
        with _ZipFile(str(path)) as stream, zipfile.ZipFile(stream) as archive:
            _require_apart(archive, stream, path)
            for info in archive.infolist():
                content = _zip_content(archive, info, path, limits)
                left -= len(content or b"")
                if left < 0:
                    raise too_large(path, allowed)
                yield _zip_name(info), content
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, NotImplementedError) as error:
        raise _damage(path, error) from error


def _require_apart(archive: zipfile.ZipFile, stream: _ZipFile, path: Path) -> None:
    """Raise DataError where members share bytes (https://www.bamsoftware.com/hacks/zipbomb), or are not all."""
    infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    if infos and infos[0].header_offset:  # also a negative one
        raise _damage(path, "its first member does not begin where the file does")
    starts = [*(info.header_offset for info in infos[1:]), archive.start_dir]
    for info, next_start in zip(infos, starts, strict=False):
        if info.header_offset + _ZIP_HEADER_BYTES + len(info.orig_filename) + info.compress_size > next_start:
            raise _refusal(path, info.filename, "shares bytes with another one")
    stream.seek(-_ZIP_END_BYTES - len(archive.comment), io.SEEK_END)
    if stream.read(4) != b"PK\x05\x06":
        raise _damage(path, "something follows its end")


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Name of a member: UTF-8 also without the flag that says so, as macOS writes it, and not code page 437."""
    if info.flag_bits & 0x800:
        return info.orig_filename
    return info.orig_filename.encode("cp437").decode("utf-8", "surrogateescape")


def _zip_content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, limits: Limits) -> bytes | None:
    name, kind = _zip_name(info), stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refusal(path, name, "is no regular file (a link, a device ...)")
    if info.flag_bits & 0x1:
        raise _refusal(path, name, "is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # zipfile bounds the output of these only
        raise _refusal(path, name, f"is compressed by method {info.compress_type}; only deflate and none are read")
    with archive.open(info) as stream:
        content = stream.read(limits.member_bytes + 1)
    if len(content) > limits.member_bytes:
        raise _refusal(path, name, f"has more than {limits.member_bytes} bytes")
    if len(content) != info.file_size:
        raise _refusal(path, name, f"has {len(content)} bytes, {info.file_size} announced")
    is_folder = kind == stat.S_IFDIR or info.orig_filename.endswith("/")
    if is_folder and content:
        raise _refusal(path, name, "is a folder with content")
    return None if is_folder else content
