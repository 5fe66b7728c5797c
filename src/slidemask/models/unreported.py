"""OpenVINO, imported so that nobody is told.

With `openvino_telemetry`, which is installed along with it, `import openvino` alone reports to
Google Analytics that it was imported, under a number that stays the user's, from a process forked
for that. Without it OpenVINO has a stand-in that says nothing, and is imported sooner.
"""

import sys
from typing import Any

_REPORTS = "openvino_telemetry"


def import_openvino() -> Any:  # noqa: ANN401 - it may be missing
    """Import OpenVINO, unless that was done before, with its stand-in for reports.

    Raises
    ------
    ImportError
        If it is not installed.

    Examples
    --------
    >>> import_openvino().__name__
    'openvino'
    """
    if "openvino" not in sys.modules and _REPORTS not in sys.modules:
        sys.modules[_REPORTS] = None  # type: ignore[assignment]  # as Python marks what is not there
        try:
            import openvino
        finally:
            sys.modules.pop(_REPORTS, None)  # another thread may have done so
    import openvino

    return openvino
