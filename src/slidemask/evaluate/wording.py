"""Numbers as a reader wants them; what is missing is a dash, never NaN."""

import math

MISSING = "\N{EN DASH}"
THIN = "\u202f"
"""Narrow no-break space, between thousands."""


def figure(value: float | None) -> str:
    """Return a share or score with three decimals.

    >>> figure(0.91249), {figure(None), figure(float("nan"))} == {MISSING}
    ('0.912', True)
    """
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:.3f}"


def number(value: float | None) -> str:
    """Return three significant digits, whole numbers in full, thousands apart.

    >>> number(0.012345), number(12.345), number(1234567).split(THIN)
    ('0.0123', '12.3', ['1', '234', '567'])
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if value == int(value) or abs(value) >= 100:
        return f"{round(value):,}".replace(",", THIN)
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def percent(share: float | None) -> str:
    """Return a share in per cent.

    >>> percent(0.1234), percent(0.0001)
    ('12.3 %', '< 0.1 %')
    """
    if share is None or not math.isfinite(share):
        return MISSING
    return "< 0.1 %" if 0 < share < 0.001 else f"{100 * share:.1f} %"


def duration(seconds: float | None) -> str:
    """Return seconds below two minutes, else minutes and hours.

    >>> duration(8.26), duration(61), duration(150), duration(7384)
    ('8.3 s', '61 s', '2 min 30 s', '2 h 03 min')
    """
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
