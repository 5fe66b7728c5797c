"""What light, lens, sensor and file do to a photo."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Rgb
from slidemask.data.photo.camera import Cast, Pose
from slidemask.data.photo.textures import noise_field

Field = NDArray[np.float32]
_COARSE = 8
_BRIGHTEST = 1.08  # of nine tenths of the light: phones expose so that paper is not burnt out


def shadow_under(frame: Rgb, pose: Pose, size: tuple[int, int], rng: np.random.Generator) -> None:
    """Darken a frame, in place, where a sheet's soft shadow will fall."""
    quarter = (frame.shape[0] // 4 + 1, frame.shape[1] // 4 + 1)
    mask = np.zeros(quarter, np.uint8)
    width, height = size
    ring = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)
    reach = 0.004 * max(frame.shape) * rng.uniform(0.3, 3)
    turn = rng.uniform(0, 2 * np.pi)
    seen = (pose.forward(ring) + reach * np.array([np.cos(turn), np.sin(turn)])) / 4
    cv2.fillPoly(mask, [np.rint(np.clip(seen, -9999, 9999)).astype(np.int32)], 255, cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.6, reach / 4))
    gain = np.asarray(1 - rng.uniform(0.2, 0.65) / 255 * np.asarray(soft), np.float32)
    whole = cv2.resize(cv2.merge([gain] * 3), frame.shape[1::-1])
    _multiply(frame, np.asarray(whole, np.float32))


def light_field(shape: tuple[int, int], severity: float, rng: np.random.Generator) -> Field:
    """Return the light that falls on each pixel, (H, W, 3), about 1.

    A gradient of brightness and colour, vignetting, shadows of hand, head or edge, white balance
    and exposure.
    """
    height, width = shape
    low = (height // _COARSE + 1, width // _COARSE + 1)
    y, x = np.mgrid[-1 : 1 : low[0] * 1j, -1 : 1 : low[1] * 1j].astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    slope = (x * np.cos(turn) + y * np.sin(turn)) * np.float32(rng.uniform(0, 0.3) * severity)
    field = np.exp(slope)[..., None] * (1 + severity * slope[..., None] * rng.uniform(-0.3, 0.3, 3))
    field *= (1 - severity * rng.uniform(0, 0.22) * (x**2 + y**2) / 2)[..., None]
    for _ in range(int(rng.choice([0, 0, 1, 1, 2]))):
        field *= 1 - severity * rng.uniform(0.15, 0.5) * _shadow(low, rng)[..., None]
    warm = rng.normal(0, 0.09 * severity)
    field *= np.exp([warm, rng.normal(0, 0.03 * severity), -warm])
    field *= np.exp(rng.normal(-0.08, 0.16) * severity)
    field /= max(1.0, float(np.quantile(field, 0.9)) / _BRIGHTEST)
    return np.asarray(cv2.resize(field.astype(np.float32), (width, height)), np.float32)


def shine(frame: Rgb, field: Field, rng: np.random.Generator, severity: float) -> None:
    """Apply the light in place, and glare where a lamp is mirrored."""
    _multiply(frame, np.clip(field, 0.12, 2.2))
    if rng.uniform() < 0.22 * severity:
        low = (frame.shape[0] // _COARSE + 1, frame.shape[1] // _COARSE + 1)
        spot = np.zeros(low, np.float32)
        middle = (int(rng.uniform(0, low[1])), int(rng.uniform(0, low[0])))
        axes = rng.uniform(0.04, 0.2, 2) * max(low)
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(spot, middle, (int(axes[0]), int(axes[1])), angle, 0, 360, 1, -1)
        soft = cv2.GaussianBlur(spot, (0, 0), max(1.0, rng.uniform(0.15, 0.7) * float(axes.min())))
        glow = cv2.resize(np.asarray(soft, np.float32), frame.shape[1::-1])
        bright = cv2.convertScaleAbs(glow, alpha=rng.uniform(60, 170))
        cv2.add(frame, cv2.merge([bright] * 3), dst=frame)


def glow(
    frame: Rgb, seen: tuple[Pose, Cast], lit: tuple[int, int, int, int], rng: np.random.Generator
) -> None:
    """Make a sheet look like a screen, in place: pixel grid, moiré, refresh bands, lifted black.

    The grid of the screen's pixels is sampled at the photo's pixels without a filter, as a sensor
    does, so that moiré comes about as it does in life.
    """
    pose, cast = seen
    part = frame[cast.window]
    if part.size == 0:
        return
    u, v = pose.where(cast.window)
    left, top, width, height = lit
    inside = (u >= left) & (u < left + width) & (v >= top) & (v < top + height)
    gain = np.ones((*part.shape[:2], 3), np.float32)
    if rng.uniform() < 0.65:
        gain = _grid(u, v, rng)
    if rng.uniform() < 0.35:
        rows = np.arange(part.shape[0]) / part.shape[0]
        wave = np.sin(2 * np.pi * (rng.uniform(0.5, 3) * rows + rng.uniform()))
        gain *= (1 + rng.uniform(0.03, 0.15) * np.tanh(2 * wave)).astype(np.float32)[:, None, None]
    tint = np.exp(rng.normal((-0.03, 0, 0.06), 0.05)) * rng.uniform(0.85, 1.15)
    gain *= tint.astype(np.float32)
    lifted = cv2.multiply(part, gain, dtype=cv2.CV_8U)
    black = np.full(part.shape, round(rng.uniform(0, 22)), np.uint8)
    cv2.copyTo(cv2.add(lifted, black), inside.view(np.uint8), part)


def _grid(u: Field, v: Field, rng: np.random.Generator) -> Field:
    """Return the gain of a screen's red, green and blue stripes at places on it, (H, W, 3)."""
    pitch = float(rng.choice([0.5, 1.0, 1.0, 2.0])) * rng.uniform(0.9, 1.1)
    depth = rng.uniform(0.02, 0.14)
    waves = []
    for place in (u, v):
        cycles = place * np.float32(pitch)
        waves += cv2.polarToCart(
            np.ones_like(u), (cycles - np.floor(cycles)) * np.float32(2 * np.pi)
        )
    phases = 2 * np.pi * np.arange(3) / 3
    even = np.full(3, 0.6 * depth)
    mix = np.stack([depth * np.cos(phases), -depth * np.sin(phases), even, 0 * even, even * 0 + 1])
    return np.asarray(cv2.transform(cv2.merge(waves), mix.T), np.float32)


@dataclass(frozen=True, eq=False)
class Hand:
    """Fingers that reach in: capsules of skin.

    Parameters
    ----------
    mask : (H, W) uint8
    colour : (3,) float
    shading : (H, W) float32
    """

    mask: NDArray[np.uint8]
    colour: NDArray[np.float64]
    shading: Field

    def paint(self, frame: Rgb) -> None:
        """Lay it over the frame, in place."""
        skin = cv2.merge([cv2.convertScaleAbs(self.shading, alpha=tone) for tone in self.colour])
        share = np.asarray(cv2.GaussianBlur(self.mask, (0, 0), 1.2), np.float32) / 255
        frame[:] = cv2.blendLinear(np.asarray(skin), frame, share, 1 - share)


def draw_hand(shape: tuple[int, int], rng: np.random.Generator) -> Hand:
    """Draw one to four fingers that come in from one side of the frame."""
    height, width = shape
    side, long = int(rng.integers(4)), max(shape)
    mask = np.zeros(shape, np.uint8)
    along = rng.uniform(0.1, 0.9)
    thick = rng.uniform(0.06, 0.11) * long
    lean = rng.uniform(-0.5, 0.5)
    for finger in range(int(rng.choice([1, 1, 2, 3, 4]))):
        reach = rng.uniform(0.06, 0.24) * long
        start = along * (width if side % 2 == 0 else height) + finger * 0.95 * thick
        tip = start + lean * reach
        ends = {
            0: ((start, -thick), (tip, reach)),
            1: ((width + thick, start), (width - reach, tip)),
            2: ((start, height + thick), (tip, height - reach)),
            3: ((-thick, start), (reach, tip)),
        }[side]
        (x, y), (a, b) = ends
        cv2.line(mask, (int(x), int(y)), (int(a), int(b)), 255, int(thick), cv2.LINE_AA)
    tone = rng.uniform(0.25, 1.0)
    colour = np.array([232, 190, 165]) * tone + np.array([40, 18, 8]) * (1 - tone)
    depth = np.asarray(cv2.distanceTransform(mask, cv2.DIST_L2, 3), np.float32)
    shading = 0.6 + 0.45 * np.sqrt(np.clip(depth / (0.5 * thick), 0, 1))
    shading += 0.05 * noise_field(shape, (24, 24), rng)
    return Hand(mask, colour, shading.astype(np.float32))


def blurred(frame: Rgb, severity: float, rng: np.random.Generator) -> Rgb:
    """Blur by defocus or by a moved hand; most photos hardly."""
    unit = max(frame.shape) / 1280 * severity
    sigma = float(abs(rng.normal(0, 0.8))) * unit + 0.3
    frame = np.asarray(cv2.GaussianBlur(frame, (0, 0), sigma), np.uint8)
    if severity > 0 and rng.uniform() < 0.15:
        length = max(3, round(rng.uniform(3, 13) * unit))
        kernel = np.zeros((length, length), np.float32)
        turn, middle = rng.uniform(0, np.pi), (length - 1) / 2
        step = middle * np.array([np.cos(turn), np.sin(turn)])
        ends = [np.rint(middle + sign * step).astype(int).tolist() for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0, 1)
        frame = np.asarray(cv2.filter2D(frame, -1, kernel / kernel.sum()), np.uint8)
    return frame


def sensed(frame: Rgb, severity: float, rng: np.random.Generator) -> Rgb:
    """Add the sensor's noise, more in the dark, then contrast and sharpening of the phone."""
    if severity == 0:
        return frame
    side = 384
    sd = float(np.exp(rng.normal(0.7, 0.6))) * severity
    noise = rng.standard_normal((side, side, 3), np.float32) * sd
    noise = 0.6 * noise + 0.4 * noise.mean(axis=2, keepdims=True) * 1.7
    repeats = (-(-frame.shape[0] // side), -(-frame.shape[1] // side), 1)
    whole = np.tile(np.rint(noise).astype(np.int16), repeats)[: frame.shape[0], : frame.shape[1]]
    noisy = np.clip(frame + whole, 0, 255).astype(np.uint8)
    exponent = float(np.exp(rng.normal(0, 0.12 * severity)))
    middle = 0.25 * severity * rng.uniform(-0.3, 1)
    level = (np.arange(256) / 255) ** exponent
    curve = level + middle * (level - level**2) * (2 * level - 1)
    noisy = np.asarray(
        cv2.LUT(noisy, np.clip(np.rint(255 * curve), 0, 255).astype(np.uint8)), np.uint8
    )
    if rng.uniform() < 0.4:
        soft = cv2.GaussianBlur(noisy, (0, 0), 1.2)
        amount = rng.uniform(0.2, 0.9)
        noisy = np.asarray(cv2.addWeighted(noisy, 1 + amount, soft, -amount, 0), np.uint8)
    return noisy


def _shadow(shape: tuple[int, int], rng: np.random.Generator) -> Field:
    """Return 0..1, 1 in the shadow of something: a straight edge or a round head or hand."""
    height, width = shape
    mask = np.zeros(shape, np.float32)
    if rng.integers(2):
        turn, middle = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.8, 2) * (width, height)
        along = np.array([np.cos(turn), np.sin(turn)]) * 2 * max(shape)
        off = np.array([-along[1], along[0]])
        corners = [middle - along, middle + along, middle + along + off, middle - along + off]
        cv2.fillPoly(mask, [np.array(corners, np.int32)], 1.0)
    else:
        middle = (int(rng.uniform(-0.1, 1.1) * width), int(rng.uniform(-0.1, 1.1) * height))
        axes = (int(rng.uniform(0.15, 0.6) * width), int(rng.uniform(0.15, 0.6) * height))
        cv2.ellipse(mask, middle, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    sigma = rng.uniform(0.01, 0.12) * max(shape)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), np.float32)


def _multiply(frame: Rgb, gain: Field) -> None:
    cv2.multiply(frame, gain, dst=frame, dtype=cv2.CV_8U)
