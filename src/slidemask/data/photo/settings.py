"""What composed photos show, and how badly the camera is held."""

from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import Field, field_validator

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.errors import SettingsError
from slidemask.base.settings import Settings

SLIDE, BORDER = "slide", "border"
Kind: TypeAlias = Literal[
    "page", "prints", "screen", "poster", "glass", "close", "negative", "photograph"
]
KINDS: tuple[str, ...] = get_args(Kind)
Share = Annotated[float, Field(ge=0, le=1)]

PHOTO_CLASSES = ClassMap(
    classes=(
        ClassInfo(name=SLIDE, colour=(0, 160, 60)),
        ClassInfo(name=BORDER, colour=(230, 120, 0)),
    )
)
"""Names in the annotations of a photo: outlines, and the band just inside each of them."""


class PhotoSettings(Settings):
    """How photos are composed.

    Parameters
    ----------
    longest_px : int
        Longer side of a photo.
    kinds : mapping of str to float
        How often each kind of scene comes, in any unit. `page`: a textbook page; `prints`: prints
        on a desk; `screen`: a monitor, tablet or phone; `poster`; `glass`: glass slides with a
        label; `close`: one slide picture that nearly fills the photo; `negative`: any of them
        without a slide, and what looks like one; `photograph`: a scene of the user's as it is.
    most_slides : int
        Slides in one photo at most.
    scene_share : float
        Share of desks that are the user's scenes, where there are any.
    whole_scenes : bool
        Scenes of the user are shown whole and in turn, the photo taking their shape, instead of in
        parts; where `photograph` is among the kinds, the first photos are the scenes as they are.
    touching : float
        Share of groups of slides with nothing, or only a thin white line, between them.
    closer : float
        Share of photos taken from near, of one slide or one group of slides; its neighbours may be
        cut by the frame.
    curved : float
        Share of book pages that are bent.
    restained : float
        Share of H&E pictures turned into another stain by stain separation.
    hands : float
        Share of photos with fingers in them.
    largest_tilt_degrees : float
        Of the camera, away from looking straight down.
    severity : float
        How much blur, noise, shadow and compression: 0 none, 1 as phones do, 2 worse.
    cut : float
        Share kept of the views in which the frame cuts a slide; people mostly avoid them.
    smallest_share : float
        Area of the smallest slide, as a share of the photo's.
    border_share : float
        Width of the border class, as a share of the photo's longer side.
    groups : int
        Groups that the sources are dealt into; a photo takes all of its slides from one, so that
        a split by group keeps sources apart.
    """

    longest_px: int = Field(default=1280, ge=256, le=12_000)
    kinds: dict[str, float] = Field(
        default={
            "page": 0.28, "prints": 0.2, "screen": 0.2, "poster": 0.06, "glass": 0.05,
            "close": 0.06, "negative": 0.13, "photograph": 0.02,
        }
    )  # fmt: skip
    most_slides: int = Field(default=6, ge=1, le=12)
    scene_share: Share = 0.25
    whole_scenes: bool = False
    touching: Share = 0.35
    closer: Share = 0.3
    curved: Share = 0.5
    restained: Share = 0.3
    hands: Share = 0.15
    largest_tilt_degrees: float = Field(default=38, ge=0, le=60)
    severity: float = Field(default=1.0, ge=0, le=3)
    cut: Share = 0.4
    smallest_share: float = Field(default=0.008, gt=0, lt=0.2)
    border_share: float = Field(default=0.01, gt=0, lt=0.1)
    groups: int = Field(default=12, ge=1)

    @field_validator("kinds")
    @classmethod
    def _known(cls, kinds: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(set(kinds) - set(KINDS)):
            raise SettingsError(f"kinds {unknown} are unknown; there are {', '.join(KINDS)}")
        if not kinds or min(kinds.values()) < 0 or sum(kinds.values()) <= 0:
            raise SettingsError("kinds needs a positive number for at least one kind of scene")
        return kinds
