"""Files that may be compressed: plain, .gz, or the one document in a .zip."""

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from slidemask.base.errors import AnnotationError
from slidemask.base.files import written_whole

_EPOCH = (1980, 1, 1, 0, 0, 0)  # equal content gives equal files


def read_packed(path: Path, endings: tuple[str, ...]) -> bytes:
    """Read a file, unpacked by what its first bytes say it is.

    Parameters
    ----------
    path : Path
        Plain file, gzip, or zip.
    endings : tuple of str
        Which member of a zip is meant; exactly one may match.

    Raises
    ------
    AnnotationError
        If it cannot be read or unpacked.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            return gzip.decompress(content)
        if content.startswith(b"PK\x03\x04"):
            return _only_member(path, endings)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AnnotationError(
            f"{path} cannot be read ({reason}). Check the path, or export it again."
        ) from error
    return content


@contextmanager
def writing_packed(path: Path) -> Iterator[BinaryIO]:
    """Open `path` for writing in one step, packed as its name's end says (.gz, .zip)."""
    with written_whole(path) as beside, beside.open("wb") as file:
        if path.suffix == ".gz":
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed:
                yield cast(BinaryIO, packed)
        elif path.suffix == ".zip":
            name = path.stem if Path(path.stem).suffix else f"{path.stem}.geojson"
            member = zipfile.ZipInfo(name, _EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            with zipfile.ZipFile(file, "w") as archive, archive.open(member, "w") as packed:
                yield cast(BinaryIO, packed)
        else:
            yield file


def _only_member(path: Path, endings: tuple[str, ...]) -> bytes:
    with zipfile.ZipFile(path) as archive:
        members = [
            name
            for name in archive.namelist()
            if name.lower().endswith(endings) and not name.startswith("__MACOSX/")
        ]
        if len(members) != 1:
            raise AnnotationError(
                f"{path} should hold one file that ends in {' or '.join(endings)}, "
                f"found {members or archive.namelist()[:5]}. Unpack it and give the file."
            )
        return archive.read(members[0])
