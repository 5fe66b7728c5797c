"""What a phantom slide holds; sizes in micrometres."""

from pydantic import Field

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.settings import Settings

GLAND, CLUSTER, TISSUE, PEN = "gland", "lymphoid cluster", "tissue", "pen mark"
NUCLEI = ("nucleus", "nucleus with nucleolus")
LARGEST_PX = 150_000

PHANTOM_CLASSES = ClassMap(
    classes=(
        ClassInfo(name=TISSUE, colour=(220, 170, 190)),
        ClassInfo(name=CLUSTER, colour=(90, 40, 160)),
        ClassInfo(name=GLAND, colour=(0, 160, 60)),
        ClassInfo(name=PEN, colour=(20, 90, 220)),
        ClassInfo(name=NUCLEI[0], colour=(60, 60, 200)),
        ClassInfo(name=NUCLEI[1], colour=(230, 120, 0)),
    )
)
"""Every name that a phantom's annotations may bear."""


class Window(Settings):
    """A small part of a slide, level-0 pixels."""

    x: int = Field(ge=0)
    y: int = Field(ge=0)
    width: int = Field(gt=0, le=20_000)
    height: int = Field(gt=0, le=20_000)


class PhantomSettings(Settings):
    """How large a phantom is and what stands on it.

    Parameters
    ----------
    width_px, height_px : int
        Level-0 size.
    mpp : float
        Micrometres per pixel; nuclei show their inner texture at 0.25 and lose it at 1.
    tissue_share : float
        Share of the slide's area; from 0.97 on, tissue fills the whole slide.
    piece_mm : float
        Usual diameter of one piece of tissue.
    gland_um : float
        Mean diameter of glands in cross section; they vary by a third.
    cluster_mm2 : float
        Mean area of lymphoid clusters.
    clusters_per_cm2, decoys_per_cm2 : float
        How many, per area of tissue. A decoy has a cluster's texture but no pale ring around it,
        and is no ground truth.
    pens : int
        Pen marks.
    dirt : float
        0 = clean glass, 1 = many grey smears.
    annotate : tuple of str
        Classes of the ground truth that are written.
    nuclei_in : tuple of Window
        Where every nucleus is outlined as well, of two kinds that only fine pixels tell apart.
    """

    width_px: int = Field(default=20_000, ge=64, le=LARGEST_PX)
    height_px: int = Field(default=20_000, ge=64, le=LARGEST_PX)
    mpp: float = Field(default=0.5, ge=0.2, le=4)
    tissue_share: float = Field(default=0.25, ge=0, le=1)
    piece_mm: float = Field(default=4.0, gt=0)
    gland_um: float = Field(default=80.0, ge=40, le=120)
    cluster_mm2: float = Field(default=0.2, gt=0)
    clusters_per_cm2: float = Field(default=40.0, ge=0)
    decoys_per_cm2: float = Field(default=40.0, ge=0)
    pens: int = Field(default=2, ge=0, le=50)
    dirt: float = Field(default=0.3, ge=0, le=1)
    annotate: tuple[str, ...] = (TISSUE, CLUSTER, GLAND, PEN)
    nuclei_in: tuple[Window, ...] = ()
