"""Show where a slide carries tissue."""

from pathlib import Path
from typing import Any

import numpy as np

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.io.slide import Slide
from slidemask.post.preview import thumbnail, write_preview
from slidemask.tiles.tissue import TissueFilter, find_tissue

_TISSUE = ClassMap(classes=(ClassInfo(name="tissue", colour=(30, 110, 220)),))


def picture_tissue(
    slide: Slide, path: Path, settings: TissueFilter | None = None
) -> dict[str, Any]:
    """Write the thumbnail with the tissue on it; return area and share."""
    found = find_tissue(slide, settings or TissueFilter())
    picture, downsample = thumbnail(slide)
    mpp = slide.mpp and slide.mpp * downsample
    write_preview(
        path, picture, found.mask.astype(np.uint8), _TISSUE, mpp_of_thumbnail=mpp, title=slide.id
    )
    return {
        "tissue_share": float(found.mask.mean()),
        "tissue_mm2": slide.mpp and found.area_mm2(slide.mpp),
        "judged_at_downsample": found.downsample,
    }
