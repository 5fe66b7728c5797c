"""The model card that goes with every bundle."""

from collections.abc import Mapping
from typing import Any

from slidemask.data.balance import Balanced
from slidemask.models.bundle import BundleInfo, parameters_count
from slidemask.models.spec import TILE, ModelSpec
from slidemask.recipes.recipe import Recipe

_CARD = """\
# {name}

{about}

**Research use only. Not for diagnosis.**

| | |
| --- | --- |
| Classes | {classes} |
| Network | {network} |
| Input | {tile} px tiles at {resolution} |
| Trained on | {cases} |
| Epoch | {epoch} |
| Recipe | `{recipe}`, digest {digest} |
| Licence | {licence} |
{learned}
## Scores

Each figure says what it is an average of: "pooled" counts all pixels of the part together,
"slides" is the mean of each slide's or picture's own figure; "any class" takes all classes for one.

{chosen}

{scores}

## Limits

It knows only tissue, stain and scanner of the kinds it was trained on; look at results on your own
slides before you trust them. The figures on the validation part chose the epoch, and on whole
slides threshold and cleaning, so they flatter it a little; score slides that were never used for
that (`slidemask evaluate`).
"""


def write_card(info: BundleInfo, recipe: Recipe, scores: Mapping[str, Mapping[str, float]]) -> str:
    """Return the card of a bundle as Markdown."""
    made, learned = info.provenance, learned_of(info)
    cases = ", ".join(
        f"{part}: {count} cases of {made['patients'][part]} patients"
        for part, count in made["cases"].items()
    )
    value = next(iter(vars(info.tiling.resolution).values()))
    seen = f"{type(info.tiling.resolution).__name__.lower()} {value:g}"
    if info.tiling.context is not None:
        seen += f", seen with their surroundings, {info.tiling.context:g} times as wide and coarser"
    return _CARD.format(
        name=info.name,
        about=recipe.about,
        classes=", ".join(info.classes.names[1:]),
        network=network_of(info),
        tile=info.tiling.tile_px,
        resolution=seen,
        cases=cases,
        epoch=made["epoch"],
        recipe=recipe.name,
        digest=made["recipe_digest"],
        licence=recipe.licence or "as the training data allow",
        learned="\n".join(
            ["\n## Tiles", *(f"\n{line}" for line in learned), ""] if learned else [""]
        ),
        chosen=made.get("selection", {}).get("in_words", ""),
        scores=_tables(scores),
    )


def network_of(info: BundleInfo) -> str:
    """Return a bundle's network in words, with its size."""
    parameters = parameters_count(
        info.model, len(info.classes.classes), info.tiling.context, info.tiling.tile_px
    )
    return f"{architecture_of(info.model)}; {parameters:,} trainable parameters"


def learned_of(info: BundleInfo) -> tuple[str, ...]:
    """Return in words what training learned of its tiles: rails, and how classes were balanced."""
    rails = info.provenance.get("rails", {}).get("in_words")
    balance = [str(Balanced(**one)) for one in info.provenance.get("balance", ())]
    return (*filter(None, [rails]), *([f"Balance: {'; '.join(balance)}."] if balance else ()))


def architecture_of(model: ModelSpec) -> str:
    """Return a network in words.

    >>> architecture_of(ModelSpec(architecture="tile", filters=(8, 16), head="pool"))
    'tile classifier, 2 stages of 8, 16 filters, pool head'
    """
    if model.architecture == "unet":
        return f"U-Net, width {model.width}, depth {model.depth}"
    if model.architecture != TILE:
        return f"{model.architecture} with {model.encoder}"
    filters = ", ".join(map(str, model.filters))
    text = f"tile classifier, {len(model.filters)} stages of {filters} filters, {model.head} head"
    return text + (f", refined to pixels by {model.refine} channels" if model.refine else "")


def _tables(scores: Mapping[str, Mapping[str, Any]]) -> str:
    tables = []
    for title, figures in scores.items():
        rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in figures.items())
        tables.append(
            f"### {title[:1].upper()}{title[1:]}\n\n| figure | value |\n| --- | --- |\n{rows}\n"
        )
    return "\n".join(tables)
