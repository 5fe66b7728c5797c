"""Start a network from the weights of a trained one."""

import logging

from slidemask.base.errors import BundleError
from slidemask.models.bundle import Bundle
from slidemask.models.segmenter import Segmenter

log = logging.getLogger(__name__)


def start_from(segmenter: Segmenter, name: str) -> tuple[str, ...]:
    """Give a network every weight of a trained one that fits it, in place.

    A network for other classes differs in its last layer alone, which stays as it is.

    Parameters
    ----------
    segmenter : Segmenter
        Of the same architecture and widths.
    name : str
        Of a shipped model, a bundle or a run, as `Bundle.load` takes it.

    Returns
    -------
    tuple of str
        Names of the tensors that did not fit.

    Raises
    ------
    BundleError
        If there is no such bundle, or more than its last layer does not fit.
    """
    bundle = Bundle.load(name, "cpu")
    given, own = bundle.segmenter.network.state_dict(), segmenter.network.state_dict()
    fitting = {
        key: value for key, value in given.items() if key in own and own[key].shape == value.shape
    }
    unlike = tuple(key for key in own if key not in fitting)
    layers = {key.rpartition(".")[0] for key in unlike}
    if len(layers) > 1 or len(given) != len(own):
        raise BundleError(
            f"model.start: {name} has another network ({bundle.info.model.architecture}, "
            f"{len(given)} tensors) than the recipe ({len(own)} tensors, of which {len(unlike)} do "
            "not fit). Give both the same architecture, encoder, depth and widths."
        )
    segmenter.network.load_state_dict({**own, **fitting})
    rest = f", but for {', '.join(unlike)}" if unlike else ""
    log.info("Weights start from %s (%s)%s", name, bundle.digest[:12], rest)
    return unlike
