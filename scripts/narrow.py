"""A model with fewer channels in the last blocks of its U-Net, which says what the wide one says.

    python scripts/narrow.py COHORT --model BUNDLE --widths 96 64 32 16 --out FOLDER

The last blocks of a decoder see the most pixels and take most of the time; with one width fewer
than before there is no last one, and the network stops at half the picture's size. Encoder and the
blocks whose widths stay are taken over as they are; those from the first other width on begin anew
and learn the probabilities that the wide network gives (Hinton et al., "Distilling the knowledge in
a neural network", 2015) for random parts of the cohort's photos, on their long side and mirrored at
random. No annotation is looked at. The bundle's settings stay; its scores do not hold for the new
one and are left out.
"""

import argparse
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slidemask.base.errors import SettingsError
from slidemask.base.memory import freed_kept
from slidemask.base.progress import track
from slidemask.base.record import versions
from slidemask.data.cohort import read_cohort
from slidemask.io.photograph import read_photo
from slidemask.models.bundle import Bundle, save_bundle
from slidemask.models.doubled import with_doubling
from slidemask.models.segmenter import Segmenter
from slidemask.recipes.photo.find import BORDER

SIDES = 448, 576
"""Height and width of what is learnt from."""
SMALLEST = 0.35
"""Of a photo, at least so much of its sides."""
HELD_BACK = 50
"""Photos that are not learnt from; on them the agreement is told."""
BORDER_WEIGHT = 3.0
"""Of pixels of the class that parts slides, over that of others: they are few."""
CARD = """# {name}

By scripts/narrow.py from {wide}. **Research use only. Not for diagnosis.**

On parts of {count} photos that it did not learn from, {same:.2%} of the pixels are of the same
class as that one says; probabilities differ by {off:.4f} on average. Licence: {licence}.
"""


class Pair(NamedTuple):
    """A network and the narrower one that shares its first layers.

    Parameters
    ----------
    wide, narrow : Segmenter
    shared : int
        Blocks of the decoder that are the same.
    """

    wide: Segmenter
    narrow: Segmenter
    shared: int

    def features(self, tiles: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the map that both go on from, and the encoder's maps, finest last."""
        network: Any = self.wide.network
        pixels = ((tiles.float() - self.wide.mean) / self.wide.std).permute(0, 3, 1, 2)
        finest, *maps = network.encoder(pixels)
        found, beside = maps[-1], [*maps[-2::-1], finest]
        for number in range(self.shared):
            found = _block(self.wide, number, found, beside)
        return found, beside


def logits_after(
    segmenter: Segmenter, first: int, found: Tensor, beside: Sequence[Tensor]
) -> Tensor:
    """Go through the rest of a decoder, from block `first` on, and the head."""
    network: Any = segmenter.network
    for number in range(first, len(network.decoder.blocks)):
        found = _block(segmenter, number, found, beside)
    return network.segmentation_head(found)


def _block(segmenter: Segmenter, number: int, found: Tensor, beside: Sequence[Tensor]) -> Tensor:
    network: Any = segmenter.network
    height, width = beside[number].shape[2:]
    last = number == len(beside) - 1
    skip = None if last else beside[number]
    return network.decoder.blocks[number](found, height, width, skip_connection=skip)


def narrowed(bundle: Bundle, widths: Sequence[int]) -> tuple[Bundle, Pair]:
    """Return a bundle of other widths, whose last blocks know nothing yet, and the pair.

    The wide one's network is changed: it says the same sooner, and cannot be saved.

    Raises
    ------
    SettingsError
        If the bundle is no U-Net of so many blocks, or of one more, that gives softmax of one
        picture, or no width is another.
    """
    before = bundle.info.model.decoder_channels
    depth, fits = bundle.info.model.depth, len(before) >= len(widths)
    if (
        bundle.info.model.architecture != "Unet"
        or not fits
        or len(widths) not in {depth, depth - 1}
    ):
        raise SettingsError(f"{bundle.info.name}: its decoder has widths {before}, not {widths}.")
    pairs = itertools.zip_longest(before, widths)
    differ = [number for number, pair in enumerate(pairs) if len({*pair}) > 1]
    if bundle.info.tiling.context is not None or bundle.info.model.activation != "softmax":
        raise SettingsError(f"{bundle.info.name} has a context, or sigmoids: narrow does neither.")
    if not differ:
        raise SettingsError(f"{bundle.info.name} has these widths already: {before}.")
    spec = bundle.info.model.model_copy(
        update={"decoder_channels": tuple(widths), "encoder_weights": None}
    )
    info = bundle.info.model_copy(update={"model": spec})
    segmenter = Segmenter(spec, len(bundle.info.classes.names) - 1)
    own = segmenter.network.state_dict()
    taken = {
        name: value
        for name, value in bundle.segmenter.network.state_dict().items()
        if name.startswith("encoder.") or _number(name) in range(differ[0])
    }
    segmenter.network.load_state_dict({**own, **taken})
    wide = bundle.segmenter.eval()
    with_doubling(wide.network, torch.zeros(1, 3, *SIDES))
    pair = Pair(wide, segmenter.eval(), differ[0])
    return Bundle(info, segmenter, "", torch.device("cpu")), pair


def _number(name: str) -> int | None:
    return int(name.split(".")[2]) if name.startswith("decoder.blocks.") else None


def batches(
    photos: Sequence[Path], count: int, size: int, rng: np.random.Generator
) -> Iterator[Tensor]:
    """Yield so many batches (N, 448, 576, 3) uint8 of random parts of random photos."""
    order = itertools.chain.from_iterable(rng.permutation(len(photos)) for _ in itertools.count())
    if not photos:
        raise SettingsError(f"narrow needs a cohort of more than {HELD_BACK} photos.")
    with ThreadPoolExecutor(1) as pool:

        def ahead() -> Tensor:
            some = [part_of(read_photo(photos[next(order)]), rng) for _ in range(size)]
            return torch.from_numpy(np.stack(some))

        coming = pool.submit(ahead)
        for number in range(1, count + 1):
            batch = coming.result()
            if number < count:
                coming = pool.submit(ahead)
            yield batch


def part_of(photo: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a random part of a photo, or all of it, on its long side and mirrored at random."""
    share = 1.0 if rng.random() < 0.3 else rng.uniform(SMALLEST, 1.0)
    height, width = (max(8, round(share * side)) for side in photo.shape[:2])
    top, left = (
        int(rng.integers(0, full - side + 1))
        for full, side in zip(photo.shape[:2], (height, width), strict=True)
    )
    part = photo[top : top + height, left : left + width]
    if part.shape[0] > part.shape[1]:
        part = np.rot90(part)
    way = cv2.INTER_AREA if part.shape[1] > SIDES[1] else cv2.INTER_LINEAR
    part = cv2.resize(part, SIDES[::-1], interpolation=way)
    for axis in (0, 1):
        if rng.random() < 0.5:
            part = np.flip(part, axis)
    return np.ascontiguousarray(part, np.uint8)


def learn(
    pair: Pair,
    names: Sequence[str],
    photos: Sequence[Path],
    *,
    steps: int,
    size: int,
    rate: float,
) -> None:
    """Fit the narrow network's last blocks to what the wide one says of the classes `names`."""
    rng = np.random.default_rng(0)
    network: Any = pair.narrow.network
    learnt = [*network.decoder.blocks[pair.shared :], network.segmentation_head]
    for module in learnt:
        module.train()
    numbers = [number for module in learnt for number in module.parameters()]
    optimiser = torch.optim.AdamW(numbers, rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    border = names.index(BORDER) if BORDER in names else None
    told = 0.0
    for step, tiles in enumerate(
        track(batches(photos, steps, size, rng), "narrowing", steps, "batches"), 1
    ):
        with torch.no_grad():
            found, beside = pair.features(tiles)
            wanted = logits_after(pair.wide, pair.shared, found, beside).softmax(1)
        said = logits_after(pair.narrow, pair.shared, found, beside).log_softmax(1)
        gap = divergence(said, wanted, border)
        optimiser.zero_grad()
        gap.backward()
        optimiser.step()
        schedule.step()
        told += (float(gap.detach()) - told) / min(step, 50)
        if step % 50 == 0:
            print(f"step {step}: {told:.5f}", flush=True)
    for module in learnt:
        module.eval()


def divergence(said: Tensor, wanted: Tensor, border: int | None) -> Tensor:
    """Return how far log-probabilities are off, (N, K, H, W) both: least where they are wanted.

    Pixels count more the likelier they are of the border.
    """
    gap = (wanted * (wanted.clamp_min(1e-8).log() - said)).sum(1)
    if border is not None:
        gap = gap * (1 + (BORDER_WEIGHT - 1) * wanted[:, border])
    return gap.mean()


def agreement(pair: Pair, photos: Sequence[Path]) -> tuple[float, float]:
    """Return how many pixels are of the same class, and the mean difference of probabilities."""
    rng, same, off = np.random.default_rng(1), list[float](), list[float]()
    with torch.no_grad():
        for tiles in batches(photos, len(photos), 1, rng):
            found, beside = pair.features(tiles)
            both = [
                logits_after(one, pair.shared, found, beside).softmax(1)
                for one in (pair.wide, pair.narrow)
            ]
            same.append(float((both[0].argmax(1) == both[1].argmax(1)).float().mean()))
            off.append(float((both[0] - both[1]).abs().mean()))
    return float(np.mean(same)), float(np.mean(off))


def main() -> None:
    """Narrow a model, and say how far it agrees."""
    asked = _arguments()
    photos = [case.slide for case in read_cohort(asked.cohort)]
    bundle = Bundle.load(asked.model, "cpu")
    torch.manual_seed(0)
    made, pair = narrowed(bundle, asked.widths)
    with freed_kept():
        learn(
            pair,
            bundle.info.classes.names,
            photos[HELD_BACK:],
            steps=asked.steps,
            size=asked.batch,
            rate=asked.rate,
        )
    same, off = agreement(pair, photos[:HELD_BACK])
    print(f"pixels of the same class: {same:.4%}; mean difference of probabilities: {off:.5f}")
    given = made.info.provenance
    provenance = {key: given[key] for key in ("licence", "cases", "patients") if key in given} | {
        "narrowed": {
            "from": bundle.digest,
            "photos": len(photos) - HELD_BACK, "steps": asked.steps, "batch": asked.batch,
            "rate": asked.rate, "same_class": same, "difference": off,
        },
        "trained": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
    }  # fmt: skip
    info = made.info.model_copy(update={"name": asked.out.name, "provenance": provenance})
    card = CARD.format(
        name=asked.out.name, wide=f"{bundle.info.name} ({bundle.digest[:12]})", count=HELD_BACK,
        same=same, off=off, licence=given.get("licence", "that of the wide one's data"),
    )  # fmt: skip
    save_bundle(asked.out, info, made.segmenter, card=card, scores={})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cohort", type=Path)
    parser.add_argument(
        "--model", default="photo", help="the wide model (default: the shipped one)"
    )
    parser.add_argument("--widths", type=int, nargs="+", required=True, metavar="N")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
