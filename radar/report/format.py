"""How a number is written, everywhere alike: in tables, figures, the page and the terminal."""

import math
import re
from collections.abc import Iterable
from typing import Any

DASH = "–"
Number = Any  # a number; None or NaN: there is none


def _no_zero(text: str) -> str:
    return re.sub(r"^([+-]?)0\.", r"\1.", text)


def missing(value: Number) -> bool:
    """Whether there is no number to write."""
    return value is None or math.isnan(value)


def share(value: Number) -> str:
    """A number of 0 to 1, three decimals without the leading zero: .873, 1.000."""
    return DASH if missing(value) else _no_zero(f"{value:.3f}")


def signed(value: Number) -> str:
    """A difference, three decimals with a sign: +.031, −.120; 0 itself has none."""
    return DASH if missing(value) else ".000" if value == 0 else _no_zero(f"{value:+.3f}").replace("-", "−")


def rounded(value: Number) -> str:
    """Three significant digits, never in exponential notation: 0.0123, 41.2, 12300."""
    if missing(value):
        return DASH
    value = float(f"{value:.2e}")
    return "0" if value == 0 else f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}".replace("-", "−")


def plain(value: Number) -> str:
    """A number without needless digits: 0.05, 1, 25, 153600."""
    return DASH if missing(value) else f"{value:.10g}"


def percent(value: Number) -> str:
    """A rate: 5 %, 12.5 %."""
    return DASH if missing(value) else f"{100 * value:.3g} %"


def spread(value: Number, low: Number, high: Number, write=share) -> str:
    """A number and half the width of its interval: .631 ± .096."""
    return write(value) if missing(value) or missing(low) else f"{write(value)} ± {write((high - low) / 2)}"


def interval(value: Number, low: Number, high: Number, write=signed) -> str:
    """A number and both ends of its interval: +.031 [+.012, +.050]."""
    return write(value) if missing(value) or missing(low) else f"{write(value)} [{write(low)}, {write(high)}]"


def span(values: Iterable[float], write=plain) -> str:
    """One number, or the range of several: 2 to 25."""
    values = sorted({value for value in values if not missing(value)})
    return " to ".join(dict.fromkeys(map(write, (values[0], values[-1])))) if values else DASH


def count(number: int, noun: str) -> str:
    """1 seed, 2 seeds."""
    return f"{number} {noun}{'s' * (number != 1)}"


def p_value(value: Number) -> str:
    """Two significant digits: 0.012, 3e-08."""
    return DASH if missing(value) else f"{value:.2g}"


def points(value: Number) -> str:
    """A difference in hundredths, or in percent, with a sign: +1.5, −0.3."""
    return DASH if missing(value) else f"{value:+.1f}".replace("-", "−")


def tenths(value: Number) -> str:
    """One decimal: 93.4."""
    return DASH if missing(value) else f"{value:.1f}".replace("-", "−")
