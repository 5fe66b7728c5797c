"""Test-time augmentation: the mean of predictions on flipped and turned tiles."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Probs
from slidemask.infer.blend import Blend
from slidemask.models.bundle import Bundle

_VIEWS = {
    "none": ((0, False),),
    "flips": ((0, False), (0, True), (2, False), (2, True)),
    "all": tuple((turns, flip) for turns in range(4) for flip in (False, True)),
}


def predict_views(bundle: Bundle, tiles: NDArray[np.uint8], blend: Blend) -> Probs:
    """Return (N, C, H, W) probabilities, averaged over the views that `blend` asks for.

    Parameters
    ----------
    bundle : Bundle
        Network.
    tiles : (N, H, W, 3 or 6) uint8
        Square tiles; surroundings, if any, turn with them.
    blend : Blend
        Its augmentation names 1, 4 or 8 views; its precision is that of each.
    """
    each = list(_predict_each(bundle, tiles, blend))
    return each[0] if len(each) == 1 else np.stack(each).mean(axis=0, dtype=np.float32)


def _predict_each(bundle: Bundle, tiles: NDArray[np.uint8], blend: Blend) -> Iterator[Probs]:
    for turns, flip in _VIEWS[blend.augmentation]:
        seen = np.rot90(tiles[:, :, ::-1] if flip else tiles, turns, axes=(1, 2))
        found = bundle.predict(np.ascontiguousarray(seen), blend.precision)
        probs = np.rot90(found, -turns, axes=(2, 3))
        yield probs[:, :, :, ::-1] if flip else probs
