"""A recipe: every setting of a method, from TOML, with nothing unknown in it."""

import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import tomli_w
from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from slidemask.base.classes import ClassMap
from slidemask.base.errors import SettingsError
from slidemask.base.settings import Settings
from slidemask.data.augment import Augment
from slidemask.data.sampling import Sampling
from slidemask.data.split import Split
from slidemask.infer.blend import Blend
from slidemask.infer.cascade import CascadeSpec
from slidemask.models.spec import TILE, LossSpec, ModelSpec, require_room, tile_spec
from slidemask.post.clean import Post
from slidemask.post.outlines import Outlines
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling
from slidemask.train.schedule import Schedule, Selection

FOLDER = Path(__file__).parent
RESOLUTIONS = {"mpp", "magnification", "downsample", "longest_side_px"}
T = TypeVar("T", bound=BaseModel)


class WholeSlide(Settings):
    """How whole slides are cut, at the resolution of training.

    Parameters
    ----------
    tile_px : int
        Tile side; a larger tile has less margin to compute twice.
    overlap : float
        Share of the side that neighbours have in common.
    """

    tile_px: int = Field(ge=8, le=8192)
    overlap: float = Field(default=0.2, ge=0, lt=1)


class Recipe(Settings):
    """All settings of one method; each room gets its own part, which its own class describes.

    Parameters
    ----------
    name, about : str
        What it is called; what it does and where it comes from.
    licence : str
        Of the model that comes out, as far as the data decide it.
    tiling : Tiling
        How training tiles are cut.
    whole : WholeSlide, optional
        How whole slides are cut; the same, unless said otherwise.
    photo : Outlines, optional
        How slides are found in photos, where the network is for that.
    cascade : CascadeSpec, optional
        A second network, trained with it, that says at a coarser resolution where this one has to
        look.
    """

    name: str
    about: str = ""
    licence: str = ""
    classes: ClassMap
    tiling: Tiling
    whole: WholeSlide | None = None
    filters: Filters = Filters()
    split: Split = Split()
    sampling: Sampling = Sampling()
    augment: Augment = Augment()
    model: ModelSpec = ModelSpec()
    loss: LossSpec = LossSpec()
    schedule: Schedule = Schedule()
    selection: Selection = Selection()
    blend: Blend = Blend()
    post: Post = Post()
    photo: Outlines | None = None
    cascade: CascadeSpec | None = None

    @model_validator(mode="after")
    def _network_fits(self) -> "Recipe":
        """Refuse before any slide is read what a tile classifier cannot do."""
        if self.model.architecture != TILE:
            return self
        classes, tile = len(self.classes.classes), self.tiling.tile_px
        if self.tiling.context is not None:
            raise ValueError("a tile classifier sees no surroundings: leave out tiling.context")
        if not self.model.votes:
            tile_spec(self.model, classes, tile)
            return self
        if self.sampling.min_positive_share != self.model.min_share:
            raise ValueError(
                f"training calls a tile positive from sampling.min_positive_share = "
                f"{self.sampling.min_positive_share:g} on, and the network learns it from "
                f"model.min_share = {self.model.min_share:g} on: make both equal"
            )
        for tile_px in (tile, self.tiling_on_slides.tile_px):
            require_room(tile_spec(self.model, classes, tile_px))
        if self.model.head == "dense" and tile != self.tiling_on_slides.tile_px:
            raise ValueError(
                f"tiles have {tile} px in training and {self.tiling_on_slides.tile_px} px on whole "
                "slides, but dense layers fit tiles of one size: make whole.tile_px equal to "
                'tiling.tile_px, or give model.head = "pool"'
            )
        return self

    @property
    def tiling_on_slides(self) -> Tiling:
        """How whole slides are cut: as in training, but for what `whole` says."""
        return self.tiling.model_copy(update=self.whole.model_dump() if self.whole else {})


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.toml"))


def load_recipe(name: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe by path or shipped name and apply "key=value" changes.

    Raises
    ------
    SettingsError
        If there is no such recipe, its TOML is broken, a key is unknown (the nearest valid one
        is named) or a value is impossible.
    """
    path = _find(name)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"Recipe {path} cannot be read ({error.strerror or error}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"Recipe {path} is not valid TOML: {error}.") from error
    for change in changes:
        apply_change(table, change)
    return checked(Recipe, table, f"recipe {path.name}")


def write_recipe(recipe: Recipe) -> str:
    """Return the resolved recipe as TOML."""
    return tomli_w.dumps(_without_none(recipe.model_dump(mode="json")))


def _without_none(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Leave out what TOML cannot say; pydantic's `exclude_none` drops `tissue = false` too."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def checked(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Make settings from a plain table.

    Raises
    ------
    SettingsError
        Naming every wrong key with its nearest valid one, and every impossible value.
    """
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        lines = "\n  ".join(_explain(kind, detail) for detail in error.errors())
        raise SettingsError(f"Something is wrong with {where}:\n  {lines}") from error


def _find(name: str | Path) -> Path:
    for path in (Path(name), FOLDER / f"{name}.toml"):
        if path.is_file():
            return path
    raise SettingsError(
        f"There is no recipe {str(name)!r}. Give the path of a .toml file, "
        f"or one of: {', '.join(recipe_names())}."
    )


def apply_change(table: dict[str, Any], change: str) -> None:
    """Put the value of "some.key=value", read as TOML or else as text, into a plain table."""
    key, equals, text = change.partition("=")
    if not equals:
        raise SettingsError(f"--set wants key=value, got {change!r}; e.g. schedule.epochs=20.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.strip().split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise SettingsError(f"--set {change!r}: {parent!r} is a value, not a table.")
    table[last] = value
    if last in RESOLUTIONS:  # exactly one may be given: the new one takes the old one's place
        for other in RESOLUTIONS - {last}:
            table.pop(other, None)


def _explain(kind: type[BaseModel], detail: ErrorDetails) -> str:
    where = ".".join(str(part) for part in detail["loc"]) or "altogether"
    if detail["type"] == "missing":
        return f"{where}: it must be given"
    if detail["type"] != "extra_forbidden":
        got = f" (got {detail['input']!r})" if detail["loc"] else ""  # no whole recipes
        return f"{where}: {detail['msg'].removeprefix('Value error, ')}{got}"
    valid = list(_fields_at(kind, detail["loc"][:-1]))
    near = get_close_matches(str(detail["loc"][-1]), valid, 1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"valid: {', '.join(valid)}"
    return f"{where}: there is no such key; {hint}"


def _fields_at(kind: type[BaseModel], location: tuple[int | str, ...]) -> Mapping[str, Any]:
    """Return the fields of the settings that `location` leads to."""
    for part in location:
        if isinstance(part, int):
            continue
        annotation: Any = kind.model_fields[part].annotation
        kinds = [annotation, *_nested(annotation)]
        kind = next(k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel))
    return kind.model_fields


def _nested(annotation: Any) -> list[Any]:  # noqa: ANN401 - type forms have no type
    return [kind for arg in get_args(annotation) for kind in (arg, *_nested(arg))]
