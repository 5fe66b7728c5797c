"""The formats by name; each needs packages of the `export` extra, loaded when it is asked for."""

from importlib import import_module

from slidemask.base.errors import SettingsError
from slidemask.export.quiet import quiet
from slidemask.export.wanted import Format

FORMATS = {
    "onnx": "ONNX",
    "openvino": "OpenVINO",
    "coreml": "Core ML",
    "litert": "LiteRT",
    "executorch": "ExecuTorch",
}
"""Names as options have them, and as people write them."""


def find_format(name: str) -> Format:
    """Return the format of this name.

    Raises
    ------
    SettingsError
        If there is none, or the packages that it needs are not installed.
    """
    if name not in FORMATS:
        raise SettingsError(f"There is no format {name!r}. Choose from {', '.join(FORMATS)}.")
    try:
        with quiet():
            return import_module(f"slidemask.export.to_{name}").FORMAT
    except ImportError as error:
        raise SettingsError(
            f"Export to {FORMATS[name]} needs a package that is not here ({error}). "
            "Install them all: pip install 'slidemask[export]'. Some exist for Linux only."
        ) from error
