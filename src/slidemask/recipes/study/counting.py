"""What a trained network says of whole slides, counted for every threshold at once."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidemask.base.files import written_whole
from slidemask.base.record import peak_memory_mb
from slidemask.base.stages import Stages
from slidemask.data.case import Case
from slidemask.data.shelf import open_case
from slidemask.evaluate.histogram import Histogram, histogram_slide
from slidemask.infer.predict import Job, predict
from slidemask.models.bundle import Bundle
from slidemask.post.ink import without_ink
from slidemask.recipes.segment import use_of
from slidemask.tiles.grid import lay_grid
from slidemask.tiles.select import select
from slidemask.train.wholeslides import BandRows


@dataclass(frozen=True, eq=False)
class Counted:
    """A part's slides, as one network sees them.

    Parameters
    ----------
    slides, patients : tuple of str
        One per slide; a patient that is not named is its slide.
    counts : (S, C, K, 256) int64
        As in `Histogram`.
    seconds_per_slide : float
        Reading, network and blending.
    peak_memory_mb : float
        Of the process that did this.
    """

    slides: tuple[str, ...]
    patients: tuple[str, ...]
    counts: NDArray[np.int64]
    seconds_per_slide: float
    peak_memory_mb: float

    @property
    def pooled(self) -> Histogram:
        """All slides together."""
        return Histogram(self.counts.sum(axis=0))

    def save(self, path: Path) -> None:
        """Write as npz: plain arrays, no pickle."""
        with written_whole(path) as beside:
            np.savez_compressed(
                beside, slides=np.array(self.slides), patients=np.array(self.patients),
                counts=self.counts, cost=np.array([self.seconds_per_slide, self.peak_memory_mb]),
            )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> "Counted":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            seconds, memory = (float(value) for value in file["cost"])
            slides, patients = (tuple(file[name].tolist()) for name in ("slides", "patients"))
            return cls(slides, patients, file["counts"], seconds, memory)


def count_slides(bundle: Bundle, cases: Sequence[Case], work: Path, threads: int) -> Counted:
    """Segment slides whole and count truth against probability; no mask is written.

    Post-processing plays no part: a threshold alone decides.

    Parameters
    ----------
    bundle : Bundle
    cases : sequence of Case
        Annotated slides.
    work : Path
        Folder for probabilities of one slide at a time; they are removed again.
    threads : int
        Reading threads.
    """
    began = time.perf_counter()
    counts = [_count(bundle, case, work, threads).counts for case in cases]
    return Counted(
        tuple(str(case.slide) for case in cases),
        tuple(case.patient or str(case.slide) for case in cases),
        np.stack(counts),
        (time.perf_counter() - began) / len(cases),
        peak_memory_mb(),
    )


def _count(bundle: Bundle, case: Case, work: Path, threads: int) -> Histogram:
    use, classes = use_of(bundle), bundle.info.classes
    with (
        open_case(case, classes) as (slide, truth),
        tempfile.TemporaryDirectory(prefix="counting-", dir=work) as folder,
    ):
        grid = lay_grid(slide, use.tiling)
        tiles = select(slide, grid, use.filters)
        job = Job(slide, tiles, bundle, use.blend)
        prediction = predict(job, Path(folder) / "map", Stages(), threads=threads)
        bands = without_ink(prediction.bands(), tiles.tissue, grid.downsample)
        return histogram_slide(
            truth, BandRows(bands, prediction.canvas), slide.size,
            downsample=grid.downsample, classes=len(classes.names),
        )  # fmt: skip
