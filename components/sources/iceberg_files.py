"""Files of an Iceberg table, from its own folder alone: its metadata is data, and may name any address or class."""

from pathlib import Path, PurePosixPath

from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import StaticTable
from pyiceberg.typedef import EMPTY_DICT, Properties

from headrace.components.errors import DataError
from headrace.components.sources.s3_access import is_s3
from headrace.components.sources.table_versions import require_file_of_table

_S3_SCHEMES = ("s3", "s3a", "s3n")


class TableFiles(PyArrowFileIO):  # type: ignore[misc]  # pyiceberg is not checked
    """Files below a folder. The table's own properties are left out: `py-io-impl` would run any function by name."""

    def __init__(self, properties: Properties = EMPTY_DICT, *, folder: str, place: str) -> None:
        super().__init__(properties)
        self._folder, self._place = folder, place

    def new_input(self, location: str) -> PyArrowFile:
        """A file of the table; raise DataError for any other."""
        scheme, host, path = self.parse_location(location)
        if is_s3(self._folder):
            return super().new_input(self._in_bucket(scheme, path, location))
        if scheme != "file" or host not in ("", "localhost"):
            raise DataError(f"{self._place}: expected files of this machine, found one at {location!r}")
        require_file_of_table(Path(path), Path(self._folder), place=self._place)
        return super().new_input(path)

    def _in_bucket(self, scheme: str, path: str, location: str) -> str:
        address = f"s3://{path}"
        is_below = address.startswith(f"{self._folder}/") and ".." not in PurePosixPath(path).parts
        if scheme not in _S3_SCHEMES or not is_below:
            raise DataError(
                f"{self._place}: names a file outside of its folder {self._folder}: {location!r}; copy the whole table "
                "into one"
            )
        return address


def static_table(location: str, *, place: str, properties: Properties = EMPTY_DICT) -> StaticTable:
    """The table of a metadata file, by its path, `file:` or `s3:` address.

    `properties` are those of PyIceberg's files, such as the keys of a bucket. Raises DataError for files outside of the
    table's folder.
    """
    path = location if is_s3(location) else PyArrowFileIO.parse_location(location)[2]
    folder = path.rpartition("/")[0].removesuffix("/metadata")
    files = TableFiles(properties, folder=folder, place=place)
    metadata = FromInputFile.table_metadata(files.new_input(location))
    return StaticTable(("table", path), metadata, path, files, NoopCatalog("table"))
