"""Commands that look at one slide: info, tissue, plan."""

from pathlib import Path
from typing import Annotated

import typer

from slidemask.apps.options import Changes, Device, Json, Model, Mpp, OneSlide, show


def info(slide: OneSlide, mpp: Mpp = None, as_json: Json = False) -> None:
    """Say what can be read from a slide: size, levels, µm per pixel, reader."""
    from slidemask.io.open import open_slide

    with open_slide(slide, mpp=mpp) as opened:
        values = {
            "slide": opened.id,
            "reader": opened.reader,
            "width": opened.size.width,
            "height": opened.size.height,
            "mpp": opened.mpp,
            "mpp_note": opened.mpp_reason,
            "level_downsamples": [round(factor, 4) for factor in opened.downsamples],
        }
        if opened.mpp:
            values["width_mm"] = opened.size.width * opened.mpp / 1000
            values["height_mm"] = opened.size.height * opened.mpp / 1000
    show(values, as_json=as_json)


def tissue(
    slide: OneSlide,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG to write.")] = Path("tissue.png"),
    mpp: Mpp = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the picture.")] = False,
    as_json: Json = False,
) -> None:
    """Find a slide's tissue and write a picture of it."""
    from slidemask.base.errors import OutputError
    from slidemask.io.open import open_slide
    from slidemask.recipes.tissue import picture_tissue

    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists; choose another --out or pass --overwrite.")
    with open_slide(slide, mpp=mpp) as opened:
        show(picture_tissue(opened, out) | {"picture": str(out)}, as_json=as_json)


def plan(
    slide: OneSlide,
    model: Model,
    mpp: Mpp = None,
    device: Device = "auto",
    changes: Changes = None,
    as_json: Json = False,
) -> None:
    """Say what `segment` would do and cost, before any network runs."""
    from slidemask.io.open import open_slide
    from slidemask.models.bundle import Bundle
    from slidemask.recipes.plan import plan as make_plan
    from slidemask.recipes.segment import use_of

    bundle = Bundle.load(model, device)
    with open_slide(slide, mpp=mpp) as opened:
        show(make_plan(opened, bundle, use_of(bundle, changes or ())).as_dict(), as_json=as_json)
