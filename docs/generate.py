"""Pages that follow from the code: the keys of a recipe, and one page of reference a room."""

import re
from collections.abc import Iterator
from inspect import getdoc
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from numpydoc.docscrape import NumpyDocString
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_json

import slidemask
from slidemask.recipes.recipe import Recipe

PACKAGE = Path(slidemask.__file__).parent
ROOMS = (
    "base", "geometry", "io", "tiles", "data", "models", "infer", "post", "evaluate", "train",
    "recipes",
)  # fmt: skip
UNITS = (
    (r"(^|_)mpp$|^um_per_px$", "µm per pixel"),
    (r"_um2$", "µm²"),
    (r"_um$", "µm"),
    (r"_px$", "pixels"),
    (r"_degrees$", "degrees"),
    (r"epochs$", "epochs"),
    (r"^downsample$", "level-0 pixels per pixel"),
    (r"_share$|^overlap$|^threshold$", "share"),
    (r"^(light|dark|min_std|noise_sd)$", "grey levels"),
)
TYPES = {str: "text", float: "number", int: "whole number", bool: "true or false"}
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def write_pages(folder: Path) -> None:
    """Write `recipe_keys.inc` and a page for each room; pages that are the same stay untouched."""
    folder.mkdir(exist_ok=True)
    _write(folder / "recipe_keys.inc", "\n".join(recipe_tables()))
    for room in ROOMS:
        _write(folder / f"{room}.md", "\n".join(room_page(room)))


def recipe_tables() -> Iterator[str]:
    """Yield Markdown: a table for the recipe's own keys and one for each of its parts."""
    yield from _table("At the top of the file", Recipe)
    yield from _parts(Recipe, "")


def room_page(room: str) -> Iterator[str]:
    """Yield Markdown: what the room is for, and the reference of each of its modules."""
    about = (PACKAGE / room / "__init__.py").read_text(encoding="utf-8").split('"""')[1].strip()
    yield from (f"# {room}", "", about, "")
    for path in sorted((PACKAGE / room).rglob("*.py")):
        if path.stem != "__init__":
            name = ".".join(("slidemask", *path.relative_to(PACKAGE).with_suffix("").parts))
            yield from (f"## {name}", "")
            yield from _aliases() if name == "slidemask.base.types" else _reference(name)


def _reference(module: str) -> Iterator[str]:
    yield from ("```{eval-rst}", f".. automodule:: {module}", "```", "")


def _aliases() -> Iterator[str]:
    """Yield names for arrays as they stand in the source, where each has its line of meaning."""
    source = (PACKAGE / "base" / "types.py").read_text(encoding="utf-8")
    yield from ("```python", source[source.index("Rgb:") :].strip(), "```", "")


def _parts(kind: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, info in kind.model_fields.items():
        part = _settings_in(info.annotation)
        if part is None or (prefix, name) == ("", "whole"):
            continue  # `whole` has the keys of `tiling`
        path = f"{prefix}{name}"
        listed = get_origin(info.annotation) is tuple
        yield from _table(f"`[[{path}]]`" if listed else f"`[{path}]`", part)
        yield from _parts(part, f"{path}.")


def _table(heading: str, kind: type[BaseModel]) -> Iterator[str]:
    said = _documented(kind)
    yield from (f"### {heading}", "", (getdoc(kind) or "").partition("\n\n")[0], "")
    yield "| key | type | unit | default | meaning |\n| --- | --- | --- | --- | --- |"
    above = ""
    for name, info in kind.model_fields.items():
        if _settings_in(info.annotation) is None:
            meaning = "as above" if said[name] == above else said[name]
            above = said[name]
            cells = (f"`{name}`", _type(info), _unit(name), _default(info), meaning)
            yield "| " + " | ".join(re.sub(r"[|*]", r"\\\g<0>", cell) for cell in cells) + " |"
    yield ""


def _documented(kind: type[BaseModel]) -> dict[str, str]:
    """Return what the docstring says of each field; a field it passes over is an error."""
    said: dict[str, str] = {}
    for entry in NumpyDocString(getdoc(kind) or "")["Parameters"]:
        said |= {name.strip(): " ".join(entry.desc) for name in entry.name.split(",")}
    fields = kind.model_fields.items()
    silent = [n for n, i in fields if n not in said and not _settings_in(i.annotation)]
    if silent:
        raise ValueError(f"the docstring of {kind.__name__} lacks {silent}")
    return said


def _settings_in(annotation: Any) -> type[BaseModel] | None:
    """Return the settings that a field holds, alone, in a list or as an option."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((kind for kind in map(_settings_in, get_args(annotation)) if kind), None)


def _type(info: FieldInfo) -> str:
    limits = [
        f"{sign} {getattr(rule, name):g}"
        for rule in info.metadata
        for name, sign in SIGNS.items()
        if hasattr(rule, name)
    ]
    return ", ".join((_named(info.annotation), *limits))


def _named(annotation: Any) -> str:
    kind, arguments = get_origin(annotation), get_args(annotation)
    if kind is None:
        return TYPES[annotation]
    if kind is Literal:
        return " or ".join(f'`"{argument}"`' for argument in arguments)
    if kind in {Union, UnionType}:
        return " or ".join(_named(one) for one in arguments if one is not NoneType)
    inner = _named(arguments[-1] if kind is dict else arguments[0])
    if kind is tuple and Ellipsis not in arguments:
        return f"{len(arguments)} {inner}s"
    return inner if kind is Annotated else f"{ {tuple: 'list', dict: 'table'}[kind] } of {inner}s"


def _unit(name: str) -> str:
    return next((unit for pattern, unit in UNITS if re.search(pattern, name)), "")


def _default(info: FieldInfo) -> str:
    value = info.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "left out"
    if isinstance(value, dict):
        return "`{ " + ", ".join(f"{key} = {item}" for key, item in value.items()) + " }`"
    return f"`{to_json(value).decode()}`".replace(",", ", ")


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
