"""Files of an Iceberg table, from its own folder alone: its metadata is data, and may name any address or class."""

from pathlib import Path

from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import StaticTable
from pyiceberg.typedef import EMPTY_DICT, Properties

from headrace.components.errors import DataError
from headrace.components.sources.table_versions import require_file_of_table


class TableFiles(PyArrowFileIO):  # type: ignore[misc]
    """Files below a folder. The table's own properties are left out: `py-io-impl` would run any function by name."""

    def __init__(self, properties: Properties = EMPTY_DICT, *, folder: Path, place: str) -> None:
        super().__init__(properties)
        self._folder, self._place = folder, place

    def new_input(self, location: str) -> PyArrowFile:
        """A file of the table; raise DataError for any other."""
        scheme, host, path = self.parse_location(location)
        if scheme != "file" or host not in ("", "localhost"):
            raise DataError(f"{self._place}: expected files of this machine, found one at {location!r}")
        require_file_of_table(Path(path), self._folder, place=self._place)
        return super().new_input(path)


def static_table(location: str, *, place: str) -> StaticTable:
    """The table of a metadata file, by its path or `file:` address; raise DataError for files outside its folder."""
    _, _, path = PyArrowFileIO.parse_location(location)
    metadata_folder = Path(path).parent
    folder = metadata_folder.parent if metadata_folder.name == "metadata" else metadata_folder
    files = TableFiles(folder=folder, place=place)
    metadata = FromInputFile.table_metadata(files.new_input(location))
    return StaticTable(("table", path), metadata, path, files, NoopCatalog("table"))
