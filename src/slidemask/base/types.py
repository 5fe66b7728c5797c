"""Array aliases whose names say axes and unit."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Rgb: TypeAlias = NDArray[np.uint8]
"""(H, W, 3), values 0..255."""

Views: TypeAlias = NDArray[np.uint8]
"""(H, W, 3), or (H, W, 6): a tile's red, green, blue, then those of its surroundings."""

Mask: TypeAlias = NDArray[np.bool_]
"""(H, W), True inside."""

Labels: TypeAlias = NDArray[np.uint8]
"""(H, W), class index, 0 = background; 255 = not annotated."""

Probs: TypeAlias = NDArray[np.float32]
"""(C, H, W), background first, sums to 1 over C."""

Quantised: TypeAlias = NDArray[np.uint8]
"""(K, H, W), foreground probabilities times 255, rounded; background is what they leave."""

IGNORE = 255
