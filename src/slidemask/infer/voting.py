"""A slide by a network that votes: all its tiles classified, then the map drawn.

The votes of a slide, a few megabytes, are kept beside its bands: what is asked of the same votes
again, the map's missing bands or the slide's label, needs no network.
"""

import logging
import zipfile
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np

from slidemask.base.errors import SettingsError, SlideError
from slidemask.base.files import output_folder, written_whole
from slidemask.base.progress import Meter
from slidemask.base.settings import digest
from slidemask.base.stages import Stages
from slidemask.infer.augmentation import predict_views
from slidemask.infer.blend import Blend
from slidemask.infer.job import Job
from slidemask.infer.reading import batches_in_order, read_ahead
from slidemask.infer.store import BandStore
from slidemask.infer.unread import TolerantSlide
from slidemask.infer.votes import VoteGrid, map_bands, tally
from slidemask.models.bundle import Bundle, BundleInfo
from slidemask.tiles.canvas import Canvas
from slidemask.tiles.filters import keep_tiles

VOTES = "votes.npz"
log = logging.getLogger(__name__)


def predict_by_votes(
    job: Job, to: Path, store: BandStore, stages: Stages, *, threads: int = 2
) -> tuple[int, ...]:
    """Write the bands that are missing; return the positive tiles of each class.

    Raises
    ------
    SettingsError
        If tiles are not of the network's size, or settings are asked for that are not for it.
    """
    votes = votes_of(job, to, stages, threads=threads)
    bands = map_bands(
        votes, job.tiles.grid, job.blend.votes, dominant=job.dominant, first_row=store.rows
    )
    while True:
        with stages.stage("blend"):
            band = next(bands, None)
        if band is None:
            return tally(votes, job.blend.votes.threshold)
        with stages.stage("write"):
            store.append(band)


def votes_of(job: Job, to: Path, stages: Stages, *, threads: int = 2) -> VoteGrid:
    """Return the votes of all tiles, (rows, columns, K + 1), from the folder `to` or computed.

    Tiles without tissue, and those that the pixel filters drop, vote background.
    """
    require_own_votes(job.blend, job.bundle.info)
    path, key = output_folder(to) / VOTES, _key(job)
    votes = _read(path, key)
    if votes is None:
        votes = _classified(job, stages, threads)
        with stages.stage("write"), written_whole(path) as beside, beside.open("wb") as file:
            np.savez_compressed(file, votes=votes, key=np.array(key))
    return votes


def require_own_votes(blend: Blend, info: BundleInfo) -> None:
    """Refuse to make votes of the pixels of a network that votes by itself.

    Raises
    ------
    SettingsError
        If `blend.vote_share` is set.
    """
    if blend.vote_share is not None:
        raise SettingsError(
            f"blend.vote_share = {blend.vote_share:g} makes votes of a network's pixels, but "
            f"model {info.name} votes by itself. Leave it out."
        )


def _classified(job: Job, stages: Stages, threads: int) -> VoteGrid:
    meter = Meter(job.slide.id, len(job.tiles), "tiles")
    try:
        if job.blend.augmentation != "none":  # other views of a tile share nothing
            return _one_by_one(job, stages, meter, threads)
        if isinstance(job.slide, TolerantSlide):
            return _leaving_out(job, job.slide, stages, meter, threads=threads)
        return _together(job, stages, meter)
    finally:
        meter.close()


def _leaving_out(
    job: Job, slide: TolerantSlide, stages: Stages, meter: Meter, *, threads: int
) -> VoteGrid:
    """Read tiles one by one where bands of many cannot be read."""
    if not slide.unread:
        try:
            return _together(job, stages, meter)
        except SlideError as error:
            log.warning("%s: its tiles are now read one by one. %s", slide.id, error)
    return _one_by_one(job, stages, meter, threads)


def _together(job: Job, stages: Stages, meter: Meter) -> VoteGrid:
    from slidemask.infer.shared import how, vote_map

    canvas = Canvas(job.slide, job.tiles.grid)
    segmenter = _of_side(job.bundle, job.tiles.grid.tile).segmenter
    net = segmenter.tile_net()
    log.debug("%s: %s", job.slide.id, how(net.spec, job.tiles.grid.stride).reason)
    with stages.stage("filters"):
        kept = job.tiles.kept & keep_tiles(canvas, job.bundle.info.filters)
    meter.advance(len(job.tiles) - int(np.count_nonzero(kept)))
    with stages.stage("network"):
        return vote_map(
            net, canvas, kept=kept, precision=job.blend.precision,
            temperature=segmenter.temperature, advance=meter.advance,
        )  # fmt: skip


def _one_by_one(job: Job, stages: Stages, meter: Meter, threads: int) -> VoteGrid:
    grid, info = job.tiles.grid, job.bundle.info
    bundle = _of_side(job.bundle, grid.tile)
    votes = np.zeros((*grid.shape, len(info.classes.names)), np.float32)
    votes[..., 0] = 1
    groups = batches_in_order(job.tiles, range(job.tiles.grid.shape[0]), job.batch)
    batches = read_ahead(job.slide, groups, grid, info.filters, threads=threads)
    while True:
        with stages.stage("read"):
            batch = next(batches, None)
        if batch is None:
            return votes
        meter.advance(len(batch.columns))
        if batch.columns:
            with stages.stage("network"):
                found = predict_views(bundle, batch.pixels, job.blend)
            votes[batch.row, list(batch.columns)] = found[:, :, 0, 0]


def _of_side(bundle: Bundle, side: int) -> Bundle:
    """Return the bundle with its network for tiles of another side, where its head takes them.

    Raises
    ------
    SettingsError
        If it takes no others than those of its training.
    """
    spec = bundle.segmenter.tile_net().spec
    if side == spec.tile_px:
        return bundle
    if spec.head != "pool" or side < spec.smallest_tile_px:
        takes = (
            f"{spec.smallest_tile_px} px or more"
            if spec.head == "pool"
            else f"{spec.tile_px} px, as in its training"
        )
        raise SettingsError(
            f"Tiles of {side} px were asked for, but the network takes {takes}; "
            "set tiling.tile_px to that."
        )
    segmenter = deepcopy(bundle.segmenter)  # a pooling head's weights are few
    segmenter.tile_net().spec = spec.model_copy(update={"tile_px": side})
    return replace(bundle, network=segmenter)


def _key(job: Job) -> str:
    """Tell whether votes are those of this job, whatever map is made of them."""
    decisive = job.identity | {"blend": job.blend.augmentation, "dominant": 0}
    return digest(decisive)


def _read(path: Path, key: str) -> VoteGrid | None:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return file["votes"] if str(file["key"]) == key else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
