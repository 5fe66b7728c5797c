"""How a bundle is used on slides: its own settings, changed as the caller asks."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from slidemask.base.errors import SettingsError
from slidemask.base.settings import Settings, digest
from slidemask.infer.blend import Blend
from slidemask.infer.cascade import Cascade
from slidemask.infer.voting import require_own_votes
from slidemask.models.bundle import Bundle, BundleInfo
from slidemask.post.clean import Post
from slidemask.recipes.recipe import apply_change, checked
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling


class Use(Settings):
    """How a bundle is used; it brings its own, which options may change."""

    tiling: Tiling
    filters: Filters = Filters()
    blend: Blend = Blend()
    post: Post = Post()
    cascade: Cascade | None = None


def use_of(bundle: Bundle, changes: Sequence[str] = ()) -> Use:
    """Return how `bundle` is to be used, after "key=value" changes."""
    info = bundle.info
    table: dict[str, Any] = {
        "tiling": info.tiling.model_dump(exclude_none=True),
        "filters": info.filters.model_dump(),
        **deepcopy(info.use),
    }
    table.pop("photo", None)  # of slides in photos: `slidemask photo` reads it
    for change in changes:
        apply_change(table, change)
    use = checked(Use, table, "these settings")
    if use.tiling.context != info.tiling.context:
        raise SettingsError(
            f"tiling.context {use.tiling.context} was asked for, but model {info.name} was trained "
            f"with {info.tiling.context}, which its network is made for. Leave it as it is."
        )
    if use.cascade is not None and bundle.coarse is None:
        raise SettingsError(f"cascade was set, but model {info.name} has no coarse network.")
    if info.model.votes:
        _require_votable(use, info)
    return use


def _require_votable(use: Use, info: BundleInfo) -> None:
    """Refuse what a network that votes cannot be used with."""
    require_own_votes(use.blend, info)
    asked, trained = use.tiling.tile_px, info.tiling.tile_px
    if info.model.head == "dense" and asked != trained:
        raise SettingsError(
            f"tiling.tile_px {asked} was asked for, but the dense layers of model {info.name} fit "
            f"tiles of {trained} px alone. Leave it as it is, or train with model.head=pool."
        )


@dataclass(frozen=True)
class Model:
    """A bundle, changed as the caller asked, and how it is used."""

    bundle: Bundle
    use: Use

    @classmethod
    def of(cls, bundle: Bundle, changes: Sequence[str] = ()) -> "Model":
        """Apply "key=value" changes to a bundle's use."""
        use = use_of(bundle, changes)
        changed = {"tiling": use.tiling, "filters": use.filters}
        return cls(replace(bundle, info=bundle.info.model_copy(update=changed)), use)


def common_post(posts: Sequence[Post]) -> Post:
    """Return how the mean of several models is cleaned: by the mean of each of their numbers.

    So the mean probability stands to the mean threshold as each model's to its own.

    Raises
    ------
    SettingsError
        If one asks for a length in µm and another for it in pixels.

    Examples
    --------
    >>> common_post([Post(threshold=0.4, smooth_px=6), Post(threshold=0.6)])
    Post(threshold=0.5, min_area_um2=0.0, fill_holes_um2=0.0, smooth_um=0.0, smooth_px=3.0,
    shrink=0.0, simplify_px=0.0)
    """
    if len(posts) == 1:
        return posts[0]
    every = [post.model_dump() for post in posts]
    values = {name: sum(one[name] for one in every) / len(every) for name in every[0]}
    if values["smooth_um"] and values["smooth_px"]:
        raise SettingsError(
            "One model smooths by µm and another by pixels; say how their mean is to be smoothed "
            "with --set post.smooth_px=… and --set post.smooth_um=0, or the other way round."
        )
    return Post.model_validate(values)


def identity_of(models: Sequence[Model], source: str, mpp: float | None) -> dict[str, Any]:
    """Return what the summary says of the job: its digest, and all settings."""
    first, several = models[0].use.model_dump(mode="json"), len(models) > 1
    post = common_post([model.use.post for model in models])
    settings = [model.use.model_dump(mode="json") for model in models]
    digests = [model.bundle.digest for model in models]
    made_of = {"model": digests if several else digests[0], "use": settings if several else first}
    return {
        "job": digest({"slide": source, "mpp": mpp, **made_of}),
        "settings": first | {"post": post.model_dump(mode="json")},
        **({"settings_of_models": settings} if several else {}),
    }
