"""Where the marks of the page's drawings stand: coordinates of the SVG that the template writes.

Units are those of the drawing's own box, WIDTH wide; its text is set at 11 of them, so that it can still be read where
a phone shows the whole width.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from radar.report.figures import Style
from radar.report.tables import rounded, short

WIDTH = 420
HEIGHT = 300   # of a panel of the plane
LEFT, RIGHT, TOP, BOTTOM = 40, 14, 14, 40
ROW = 20       # height of a row of dots
LETTER = 5.9   # mean width of a letter
SHAPES = {     # outlines around (0, 0) of the markers that figures.MARKERS names
    "o": "M-4.6 0a4.6 4.6 0 1 0 9.2 0a4.6 4.6 0 1 0-9.2 0z", "s": "M-4.2-4.2h8.4v8.4h-8.4z",
    "^": "M0-5.4L5 4H-5z", "v": "M0 5.4L5-4H-5z", ">": "M5.4 0L-4 5V-5z", "<": "M-5.4 0L4 5V-5z",
    "D": "M0-5.6L5.6 0L0 5.6L-5.6 0z",
    "X": "M-5-2.5L-2.5-5L0-2.5L2.5-5L5-2.5L2.5 0L5 2.5L2.5 5L0 2.5L-2.5 5L-5 2.5L-2.5 0z",
    "p": "M0-5.4L5.1-1.7L3.2 4.4H-3.2L-5.1-1.7z", "P": "M-1.8-5.2h3.6v3.4h3.4v3.6h-3.4v3.4h-3.6v-3.4h-3.4v-3.6h3.4z",
}


@dataclass(frozen=True)
class Point:
    """A method on a dataset: latency [ms], accuracy with its interval (NaN if unknown)."""

    method: str
    latency: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Mark:
    """A drawn point: place, ends of its bar, outline and colour, words; text: (x, y, anchor) of its label, or None."""

    x: float
    y: float
    low: float
    high: float
    shape: str
    colour: str
    label: str
    words: str
    text: tuple[float, float, str] | None = None


@dataclass(frozen=True)
class Panel:
    """One dataset of the accuracy-latency plane. Ticks: (place, text); words: what it shows, in a sentence."""

    title: str
    words: str
    marks: list[Mark]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


@dataclass(frozen=True)
class Dots:
    """Rows of dots: (label, y, places of the single values, of their mean, of the ends of its interval or None)."""

    title: str
    words: str
    height: float
    left: float
    rows: list[tuple[str, float, list[float], float, tuple[float, float] | None]]
    ticks: list[tuple[float, str]]
    line: float | None = None
    warnings: list[str] = field(default_factory=list)


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats or ties in both latency and accuracy, the fastest first."""
    found: list[Point] = []
    for one in sorted(points, key=lambda point: (point.latency, -point.value)):
        if not found or one.value > found[-1].value:
            found.append(one)
    return found


def plane(panels: Mapping[str, Sequence[Point]], look: Mapping[str, Style]) -> list[Panel]:
    """A panel per dataset, on common axes; the points of its front carry their names where there is room."""
    every = [point for points in panels.values() for point in points]
    if not every:
        return []
    first, last = (end(point.latency for point in every) for end in (min, max))
    first, last = math.log10(first) - 0.12, math.log10(last) + 0.12
    lowest = min(point.value if math.isnan(point.low) else point.low for point in every)
    floor = min(max(0.0, math.floor(10 * lowest) / 10), 0.8)  # a plane has a height where all are perfect too
    step = 0.1 if floor >= 0.4 else 0.2

    def across(latency: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(latency) - first) / (last - first), 1)

    def down(value: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(max(value, floor), 1)) / (1 - floor), 1)

    decades = range(math.floor(first), math.ceil(last) + 1)
    values = [digit * 10.0**power for power in decades for digit in ((1, 2, 5) if last - first < 2 else (1,))]
    x_ticks = [(across(value), f"{value:g}") for value in values if first <= math.log10(value) <= last]
    y_ticks = [(down(one / 100), short(one / 100)[:-2]) for one in
               range(round(100 * floor), 101, round(100 * step))]
    drawn = []
    for title, points in panels.items():
        best = front(points)
        places = {point.method: (across(point.latency), down(point.value)) for point in points}
        texts = _labels({point.method: look[point.method].label for point in best}, places)
        marks = []
        for point in points:
            style, known = look[point.method], not math.isnan(point.low)
            span = f" [{short(point.low)}, {short(point.high)}]" if known else ""
            words = f"{style.label}: {short(point.value)}{span} at {rounded(point.latency)} ms"
            ends = (down(point.low), down(point.high)) if known else (down(point.value),) * 2
            marks.append(Mark(*places[point.method], *ends, SHAPES[style.marker], style.colour, style.label, words,
                              texts.get(point.method)))
        said = ", ".join(f"{look[point.method].label} {short(point.value)} at {rounded(point.latency)} ms"
                         for point in best)
        drawn.append(Panel(title, f"{title}: image AUROC against latency of {len(points)} methods. Not beaten in both: "
                                  f"{said}.", marks, x_ticks, y_ticks))
    return drawn


def _labels(names: Mapping[str, str], places: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float, str]]:
    """(x, y, anchor) of each name beside its point, where it covers no other point and no other name."""
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in places.values()]
    found = {}
    for method, name in names.items():
        (x, y), wide = places[method], LETTER * len(name)
        for dx, dy, anchor, start in ((0, -9, "middle", -wide / 2), (9, 4, "start", 0), (-9, 4, "end", -wide),
                                      (0, 17, "middle", -wide / 2), (6, -9, "start", 0), (-6, -9, "end", -wide)):
            left, top = x + dx + start, y + dy - 9
            box = (left, top, left + wide, top + 11)
            inside = box[0] >= LEFT and box[2] <= WIDTH and box[1] >= 0 and box[3] <= HEIGHT - BOTTOM
            if inside and not any(box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
                                  for other in taken):
                found[method] = (round(x + dx, 1), round(y + dy, 1), anchor)
                taken.append(box)
                break
    return found


def dots(title: str, rows: Sequence[tuple[str, Sequence[float], float, float]], what: str, ends: tuple[float, float],
         line: float | None = None, warnings: Sequence[str] = ()) -> Dots:
    """Values of each row as dots, their mean and its interval, on an axis from ends[0] to ends[1].

    rows: (label, values, low, high), low and high NaN if there is no interval; what lies beyond the axis ends at it.
    what: the values in words. line: where an upright line stands.
    """
    first, last = ends
    left = 12 + LETTER * max((len(label) for label, *_ in rows), default=0)

    def across(value: float) -> float:
        return round(left + (WIDTH - RIGHT - left) * (min(max(value, first), last) - first) / (last - first), 1)

    drawn = []
    for i, (label, values, low, high) in enumerate(rows):
        span = None if math.isnan(low) else (across(low), across(high))
        drawn.append((label, ROW * (i + 0.5) + 4, [across(value) for value in values],
                      across(sum(values) / len(values)), span))
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if (last - first) / step <= 6)
    ticks = [(across(i * step), f"{i * step:g}") for i in range(math.ceil(first / step - 1e-9),
                                                               math.floor(last / step + 1e-9) + 1)]
    said = "; ".join(f"{label} {short(sum(values) / len(values))}" for label, values, *_ in rows)
    return Dots(title, f"{title}: {what}. {said}.", ROW * len(rows) + 26, round(left, 1), drawn, ticks,
                None if line is None else across(line), list(warnings))
