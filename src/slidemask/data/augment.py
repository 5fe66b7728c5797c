"""Random variation of training tiles, image and labels together.

Pixel work is OpenCV's: a flip, an affine map, colour and blur of a 512 px tile took it 2.5 ms on
one core, torchvision's transforms v2 43.
"""

from typing import Annotated

import cv2
import numpy as np
from pydantic import AfterValidator, Field

from slidemask.base.settings import Settings
from slidemask.base.types import Rgb, Views
from slidemask.data import appearance
from slidemask.data.motion import Motion
from slidemask.data.stain import vary_stains


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"a range goes from low to high, got {bounds}")
    return bounds


Chance = Annotated[float, Field(ge=0, le=1)]
Range = Annotated[
    tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]], AfterValidator(_ordered)
]
Spread = Annotated[float, Field(ge=0, lt=1)]


class Augment(Settings):
    """Chances, 0 to 1, of each change, and how far it may go.

    Parameters
    ----------
    flip : float
        Chance of a mirror image.
    turn : float
        Chance of a draw among the four quarter turns; with `flip` 0.5 all eight positions are
        equally likely.
    affine : float
        Chance of one affine map from the four ranges that follow.
    rotation_degrees : float
        To either side.
    scale : (low, high)
        Above 1 structures grow.
    shear_degrees : float
        To either side, along x; a rotation in front makes it any direction.
    translation : float
        Share of the tile's side, to either side, in x and y.
    stain : float
        Chance of varied stains.
    stain_scale, stain_shift : float
        Largest change of each stain's concentration: as a share of it, and in optical density.
    invert : float
        Chance of the negative: every value turned about the middle of its range.
    colour : float
        Chance of a change of the four that follow.
    brightness, contrast, saturation : float
        Largest share by which each grows or shrinks.
    hue_degrees : float
        Largest turn of hues.
    gamma, blur, sharpen, noise, jpeg : float
        Chances; of blur and sharpening at most one is done.
    gamma_range, blur_sigma_px, sharpen_amount, noise_sd, jpeg_quality : (low, high)
        How much.

    Examples
    --------
    >>> Augment.off().blur, Augment(blur=0.5).blur
    (0.0, 0.5)
    """

    flip: Chance = 0.5
    turn: Chance = 1.0
    affine: Chance = 0.5
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 45.0
    scale: Range = (0.8, 1.25)
    shear_degrees: Annotated[float, Field(ge=0, le=45)] = 5.0
    translation: Spread = 0.05
    stain: Chance = 0.7
    stain_scale: Spread = 0.2
    stain_shift: Spread = 0.05
    invert: Chance = 0.0
    colour: Chance = 0.8
    brightness: Spread = 0.15
    contrast: Spread = 0.15
    saturation: Spread = 0.25
    hue_degrees: Annotated[float, Field(ge=0, le=180)] = 12.0
    gamma: Chance = 0.3
    gamma_range: Range = (0.8, 1.25)
    blur: Chance = 0.15
    blur_sigma_px: Range = (0.3, 1.5)
    sharpen: Chance = 0.1
    sharpen_amount: Range = (0.2, 1.0)
    noise: Chance = 0.1
    noise_sd: Range = (1.0, 6.0)
    jpeg: Chance = 0.1
    jpeg_quality: Range = (50, 95)

    @classmethod
    def off(cls) -> "Augment":
        """Change nothing."""
        names = ("flip", "turn", "affine", "stain", "invert", "colour", *_SHARPNESS_AND_NOISE)
        return cls(**dict.fromkeys(names, 0.0))


_SHARPNESS_AND_NOISE = ("gamma", "blur", "sharpen", "noise", "jpeg")


_BETWEEN = 16
"""Mirrored rows on either side of each view, more than any blur reaches."""


def draw_motion(augment: Augment, side: int, rng: np.random.Generator) -> Motion:
    """Draw flips, turns and affine map of a tile `side` pixels wide.

    The motion's `window` says what to read for it.
    """
    flip = rng.random() < augment.flip
    turns = int(rng.integers(4)) if rng.random() < augment.turn else 0
    if rng.random() >= augment.affine:
        return Motion(side, flip=flip, turns=turns)
    angle = np.deg2rad(rng.uniform(-1, 1) * augment.rotation_degrees)
    shear = np.tan(np.deg2rad(rng.uniform(-1, 1) * augment.shear_degrees))
    scale = np.exp(rng.uniform(*np.log(augment.scale)))  # as often twice as half the size
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = rotation @ np.array([[1, shear], [0, 1]]) / scale
    x, y = rng.uniform(-1, 1, 2) * augment.translation * side
    return Motion(side, matrix, (float(x), float(y)), flip, turns)


def change_look_together(views: Views, augment: Augment, rng: np.random.Generator) -> Views:
    """Vary a tile and its surroundings alike, by one draw: they are of one slide.

    Parameters
    ----------
    views : (H, W, 3) or (H, W, 6) uint8
    augment : Augment
    rng : Generator
    """
    height, count = len(views), views.shape[2] // 3
    if count == 1:
        return change_look(views, augment, rng)
    # One picture on top of the other; what lies between keeps blurs from mixing them.
    each = [
        cv2.copyMakeBorder(view, _BETWEEN, _BETWEEN, 0, 0, cv2.BORDER_REFLECT)
        for view in np.split(views, count, axis=2)
    ]
    changed = change_look(np.concatenate(each, dtype=np.uint8), augment, rng)
    return np.concatenate(
        [part[_BETWEEN : _BETWEEN + height] for part in np.split(changed, count)], axis=2
    )


def change_look(image: Rgb, augment: Augment, rng: np.random.Generator) -> Rgb:
    """Vary stains, colours, sharpness and noise, in the order in which a picture comes about."""
    if rng.random() < augment.stain:
        scale = 1 + rng.uniform(-1, 1, 3) * augment.stain_scale
        image = vary_stains(image, scale, rng.uniform(-1, 1, 3) * augment.stain_shift)
    if augment.invert and rng.random() < augment.invert:  # no draw, no other chances, where off
        image = appearance.invert(image)
    if rng.random() < augment.colour:
        image = appearance.recolour(
            image,
            brightness=1 + rng.uniform(-1, 1) * augment.brightness,
            contrast=1 + rng.uniform(-1, 1) * augment.contrast,
            saturation=1 + rng.uniform(-1, 1) * augment.saturation,
            hue_degrees=rng.uniform(-1, 1) * augment.hue_degrees,
        )
    if rng.random() < augment.gamma:
        image = appearance.gamma(image, np.exp(rng.uniform(*np.log(augment.gamma_range))))
    image = _change_sharpness(image, augment, rng)
    if rng.random() < augment.noise:
        image = appearance.add_noise(image, rng.uniform(*augment.noise_sd), rng)
    if rng.random() < augment.jpeg:
        image = appearance.compress(image, round(rng.uniform(*augment.jpeg_quality)))
    return image


def _change_sharpness(image: Rgb, augment: Augment, rng: np.random.Generator) -> Rgb:
    if rng.random() < augment.blur:
        return appearance.blur(image, rng.uniform(*augment.blur_sigma_px))
    if rng.random() < augment.sharpen:
        return appearance.sharpen(image, rng.uniform(*augment.sharpen_amount))
    return image
