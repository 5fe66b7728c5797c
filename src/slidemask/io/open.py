"""Open a slide file, whatever its format."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from slidemask.base.errors import SlideError, SlidemaskError
from slidemask.base.types import Rgb
from slidemask.geometry.box import Box, Size
from slidemask.io import mpp as pixel_sizes
from slidemask.io.openslide_ import open_openslide
from slidemask.io.picture import open_picture
from slidemask.io.resample import levels_of, resampled
from slidemask.io.source import Source
from slidemask.io.tiff import open_tiff

log = logging.getLogger(__name__)

READERS: tuple[Callable[[Path], Source | str], ...] = (
    open_tiff,  # plain, OME and Aperio TIFF: sees SubIFD pyramids, and six times OpenSlide's speed
    open_openslide,  # the other vendors' formats and DICOM; also TIFF that the first refused
    open_picture,  # last, since Pillow would decode a pyramid's level 0 whole
)


class FileSlide:
    """A slide in a file; safe to share between threads and to send to other processes.

    Parameters
    ----------
    path : Path
        The file.
    source : Source
        Its stored pixels.
    mpp : float, optional
        The caller's micrometres per level-0 pixel, which stand above the file's.

    Attributes
    ----------
    id : str
        The file's stem.
    size : Size
        Level-0 pixels.
    mpp : float or None
        Micrometres per level-0 pixel.
    mpp_reason : str
        Where `mpp` comes from, or why there is none.
    downsamples : tuple of float
        Level-0 pixels per pixel of each stored level.
    mpp_assumed : bool
        Whether it is only what the objective's power stands for.
    reader : str
        Which reader opened it.
    """

    def __init__(self, path: Path, source: Source, *, mpp: float | None = None) -> None:
        size = source.pixel_size if mpp is None else pixel_sizes.given(mpp)
        self.path, self.id, self.reader = path, path.stem, source.reader
        self.mpp, self.mpp_reason, self.mpp_assumed = size
        self._given = mpp
        self._source, self._levels = source, levels_of(source.sizes)

    @property
    def size(self) -> Size:
        """Level-0 pixels."""
        return self._levels[0].size

    @property
    def downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each stored level."""
        return tuple(level.downsample for level in self._levels)

    def read(self, box: Box, downsample: float = 1.0) -> Rgb:
        """Read as `Slide.read` says.

        Raises
        ------
        SlideError
            If the file's pixels there are damaged.
        """
        try:
            return resampled(self._levels, self._source.fetch, box, downsample)
        except (SlidemaskError, MemoryError):
            raise
        except Exception as error:  # each codec fails in its own way
            raise SlideError(
                f"Slide {self.path}: {Box(*box)} at downsample {downsample:g} cannot be read "
                f"({type(error).__name__}: {error}). The file seems damaged; copy it again from "
                "its source, or leave it out."
            ) from error

    def forget(self) -> None:
        """Drop decoded pixels: little more of them is wanted. Reading goes on as before."""
        self._source.forget()

    def close(self) -> None:
        """Close the handles of all threads."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., "FileSlide"], tuple[Path, float | None]]:
        return _opened, (self.path, self._given)

    def __repr__(self) -> str:
        return f"FileSlide({str(self.path)!r}, {self.size}, mpp={self.mpp}, {self.reader})"


def open_slide(path: str | Path, *, mpp: float | None = None) -> FileSlide:
    """Open a whole-slide image, a plain TIFF or a picture.

    Parameters
    ----------
    path : str or Path
        The file; of a slide in several files the one that names the others (.mrxs, a .dcm).
    mpp : float, optional
        Micrometres per level-0 pixel, instead of the file's own.

    Returns
    -------
    FileSlide
        A `Slide` that is also a context manager. It opens without a believable pixel size too;
        `mpp` is None then, and `mpp_reason` says why.

    Raises
    ------
    SlideError
        If there is no such file, or no reader can open it.
    SettingsError
        If `mpp` is impossible.
    """
    path = Path(path)
    _check_file(path)
    slide = _opened(path, mpp)
    if slide.mpp_assumed:
        log.warning(
            "%s names no pixel size; its %s stands for %g µm per pixel",
            path,
            slide.mpp_reason,
            slide.mpp,
        )
    return slide


def _opened(path: Path, mpp: float | None) -> FileSlide:
    refusals: list[str] = []
    for reader in READERS:
        try:
            source = reader(path)
        except SlideError as error:
            refusals.append(str(error))
            break
        if not isinstance(source, str):
            return _made(path, source, mpp)
        if source:
            refusals.append(source)
    if not refusals:
        refusals = [f"it begins with {_first_bytes(path)!r}, which is no known format"]
    raise SlideError(
        f"{path} cannot be opened as a slide: {'; '.join(refusals)}. "
        "Check that it was copied whole, or convert it to a pyramidal TIFF."
    )


def _made(path: Path, source: Source, mpp: float | None) -> FileSlide:
    try:
        return FileSlide(path, source, mpp=mpp)
    except SlidemaskError:
        source.close()
        raise


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise SlideError(f"{path} is a directory; name a slide file inside it.")
        if not path.exists():
            raise SlideError(f"{path} does not exist; check the spelling and the mounted disks.")
        if not _first_bytes(path):
            raise SlideError(f"{path} is empty (0 bytes); copy it again from its source.")
    except OSError as error:
        raise SlideError(
            f"{path} cannot be read ({error.strerror or error}); check its access rights."
        ) from error


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)
