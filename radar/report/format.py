"""How a number is written, everywhere alike: in tables, figures, the page and the terminal."""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

DASH = "–"
Number = Any  # a number; None or NaN: there is none


def missing(value: Number) -> bool:
    """Whether there is no number to write."""
    return value is None or math.isnan(value)


def _writer(write: Callable[[Number], str]) -> Callable[[Number], str]:
    """`write` with a minus sign, and a dash where there is no number."""
    return lambda value: DASH if missing(value) else re.sub("^-", "−", write(value))


def _no_zero(text: str) -> str:
    return re.sub(r"^([+-]?)0\.", r"\1.", text)


def _rounded(value: Number) -> str:
    value = float(f"{value:.2e}")
    return "0" if value == 0 else f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


rounded = _writer(_rounded)          # three significant digits, never in exponential notation: 0.0123, 41.2, 12300
tenths = _writer("{:.1f}".format)    # 93.4
points = _writer("{:+.1f}".format)   # a difference in hundredths, or in percent: +1.5, −0.3
p_value = _writer("{:.2g}".format)   # 0.012, 3e-08
percent = _writer(lambda value: f"{100 * value:.3g} %")        # a rate: 5 %, 12.5 %
share = _writer(lambda value: _no_zero(f"{value:.3f}"))        # of 0 to 1, without the leading zero: .873, 1.000
# a difference of those: +.031, −.120; 0 itself has no sign
signed = _writer(lambda value: _no_zero(f"{value:+.3f}") if value else ".000")


def plain(value: Number) -> str:
    """A number without needless digits: 0.05, 1, 25, 153600."""
    return DASH if missing(value) else f"{value:.10g}"


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
    return f"{number} {noun}{'' if number == 1 else 's'}"
