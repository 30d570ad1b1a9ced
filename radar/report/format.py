"""How a number is written, everywhere alike: in tables, figures, the page and the terminal."""

import math
import re
from collections.abc import Iterable

DASH = "–"


def _no_zero(text: str) -> str:
    return re.sub(r"^([+-]?)0\.", r"\1.", text)


def missing(value: float | None) -> bool:
    """Whether there is no number to write."""
    return value is None or math.isnan(value)


def share(value: float | None) -> str:
    """A number of 0 to 1, three decimals without the leading zero: .873, 1.000."""
    return DASH if missing(value) else _no_zero(f"{value:.3f}")


def signed(value: float | None) -> str:
    """A difference, three decimals with a sign: +.031, −.120; 0 itself has none."""
    return DASH if missing(value) else ".000" if value == 0 else _no_zero(f"{value:+.3f}").replace("-", "−")


def rounded(value: float | None) -> str:
    """Three significant digits, never in exponential notation: 0.0123, 41.2, 12300."""
    if missing(value):
        return DASH
    value = float(f"{value:.2e}")
    return "0" if value == 0 else f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}".replace("-", "−")


def plain(value: float | None) -> str:
    """A number without needless digits: 0.05, 1, 25, 153600."""
    return DASH if missing(value) else f"{value:.10g}"


def percent(value: float | None) -> str:
    """A rate: 5 %, 12.5 %."""
    return DASH if missing(value) else f"{100 * value:.3g} %"


def spread(value: float | None, low: float | None, high: float | None, write=share) -> str:
    """A number and half the width of its interval: .631 ± .096."""
    return write(value) if missing(value) or missing(low) else f"{write(value)} ± {write((high - low) / 2)}"


def interval(value: float | None, low: float | None, high: float | None, write=signed) -> str:
    """A number and both ends of its interval: +.031 [+.012, +.050]."""
    return write(value) if missing(value) or missing(low) else f"{write(value)} [{write(low)}, {write(high)}]"


def span(values: Iterable[float], write=plain) -> str:
    """One number, or the range of several: 2 to 25."""
    values = sorted({value for value in values if not missing(value)})
    return " to ".join(dict.fromkeys(map(write, (values[0], values[-1])))) if values else DASH


def count(number: int, noun: str) -> str:
    """1 seed, 2 seeds."""
    return f"{number} {noun}{'s' * (number != 1)}"


def p_value(value: float | None) -> str:
    """Two significant digits: 0.012, 3e-08."""
    return DASH if missing(value) else f"{value:.2g}"


def points(value: float | None) -> str:
    """A difference in hundredths, or in percent, with a sign: +1.5, −0.3."""
    return DASH if missing(value) else f"{value:+.1f}".replace("-", "−")


def tenths(value: float | None) -> str:
    """One decimal: 93.4."""
    return DASH if missing(value) else f"{value:.1f}".replace("-", "−")
