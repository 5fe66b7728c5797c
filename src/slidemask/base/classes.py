"""The classes of a mask: names, colours, and which annotations mean which."""

from typing import Annotated, TypeVar

from pydantic import Field, model_validator

from slidemask.base.errors import SettingsError
from slidemask.base.settings import Settings
from slidemask.base.types import IGNORE

T = TypeVar("T")
Channel = Annotated[int, Field(ge=0, le=255)]
Colour = tuple[Channel, Channel, Channel]


class ClassInfo(Settings):
    """One foreground class.

    Parameters
    ----------
    name : str
        Name shown in reports and written to annotation files.
    colour : (red, green, blue)
        0..255 each.
    annotations : tuple of str
        Names in annotation files that mean this class; its own name always does.
    values : tuple of int
        Pixel values in label images that mean this class. Empty: with one class any value but 0,
        with several the class's index.
    """

    name: str = Field(min_length=1)
    colour: Colour = (0, 160, 60)
    annotations: tuple[str, ...] = ()
    values: tuple[Annotated[int, Field(ge=0, le=65_535)], ...] = ()


class ClassMap(Settings):
    """The foreground classes in index order (the first has index 1; 0 is background).

    Parameters
    ----------
    classes : tuple of ClassInfo
        At least one, at most 254.
    region : str, optional
        Annotation name of areas that were annotated completely; outside them nothing is known.
    ignored : tuple of str
        Annotation names to pass over; any other unknown name is an error.
    complete : bool
        Whether what is not annotated is background (True) or unknown (False), where a cohort
        row does not say and no region is drawn.

    Examples
    --------
    >>> classes = ClassMap(classes=(ClassInfo(name="gland", annotations=("Crypt",)),))
    >>> classes.names, classes.index_of("crypt"), classes.index_of("Pen")
    (('background', 'gland'), 1, None)
    """

    classes: tuple[ClassInfo, ...] = Field(min_length=1, max_length=IGNORE - 1)
    region: str | None = None
    ignored: tuple[str, ...] = ()
    complete: bool = True

    @model_validator(mode="after")
    def _names_differ(self) -> "ClassMap":
        names = [key for info in self.classes for key in _keys(info)]
        if twice := _repeated(names):
            raise SettingsError(f"annotation names {twice} stand for more than one class")
        if "background" in names:
            raise SettingsError("'background' is index 0; no class can be called so")
        if self.region and self.region.casefold() in names:
            raise SettingsError(f"region {self.region!r} is the name of a class too")
        if both := sorted({name.casefold() for name in self.ignored} & set(names)):
            raise SettingsError(f"annotation names {both} are ignored and stand for a class")
        if twice := _repeated([value for info in self.classes for value in set(info.values)]):
            raise SettingsError(f"values {twice} stand for more than one class")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Class names by index, 'background' first."""
        return ("background", *(info.name for info in self.classes))

    @property
    def colours(self) -> tuple[Colour, ...]:
        """Colours by index; background is white."""
        return ((255, 255, 255), *(info.colour for info in self.classes))

    def index_of(self, annotation: str) -> int | None:
        """Return the class index that an annotation's name stands for, ignoring case."""
        wanted = annotation.casefold()
        for index, info in enumerate(self.classes, start=1):
            if wanted in _keys(info):
                return index
        return None


def _repeated(items: list[T]) -> list[T]:
    return [item for item in dict.fromkeys(items) if items.count(item) > 1]


def _keys(info: ClassInfo) -> set[str]:
    return {name.casefold() for name in (info.name, *info.annotations)}
