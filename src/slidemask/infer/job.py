"""What is to be predicted on one slide, and how."""

import hashlib
from dataclasses import dataclass

from slidemask.infer.blend import Blend
from slidemask.io.slide import Slide
from slidemask.models.bundle import Bundle
from slidemask.models.devices import number_name
from slidemask.tiles.select import TileSet


@dataclass(frozen=True)
class Job:
    """What is to be predicted, all of it deciding the result.

    Parameters
    ----------
    slide : Slide
        What to read.
    tiles : TileSet
        Where.
    bundle : Bundle
        With which network.
    blend : Blend
        How tiles are joined.
    source : str
        Fingerprint of the slide's file.
    dominant : int
        Class that alone keeps its votes where `blend.votes.dominant` asks for one; 0: the one
        that this network finds most tiles of.
    batch_chosen : int
        Tiles a forward pass where `blend.batch` leaves it open; 0: what suits the device.
    """

    slide: Slide
    tiles: TileSet
    bundle: Bundle
    blend: Blend
    source: str = ""
    dominant: int = 0
    batch_chosen: int = 0

    @property
    def batch(self) -> int:
        """Tiles a forward pass."""
        return self.batch_chosen or self.blend.batch_on(str(self.bundle.device))

    @property
    def identity(self) -> dict[str, object]:
        """What must be equal for a half-done result to be taken up."""
        grid = self.tiles.grid
        return {
            "slide": self.slide.id,
            "source": self.source,
            "size": list(grid.slide),
            "model": self.bundle.digest,
            "tile": grid.tile,
            "stride": grid.stride,
            "downsample": grid.downsample,
            "context": grid.context,
            "kept": hashlib.sha256(self.tiles.kept.tobytes()).hexdigest()[:16],
            "filters": self.bundle.info.filters.model_dump(mode="json"),
            "blend": self.blend.model_dump(mode="json") | {"batch": self.batch},
            "backend": self.bundle.backend.name if self.bundle.backend else "torch",
            "numbers": number_name(self.bundle.device, self.blend.precision),
            **({"device": self.bundle.device.type} if self.bundle.device.type != "cpu" else {}),
            **({"dominant": self.dominant} if self.dominant else {}),
        }
