"""Plots as SVG, drawn by hand: lines with points, on axes that are linear or logarithmic."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 130, 36, 48
COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860")
TICKS = 5


@dataclass(frozen=True, slots=True)
class Line:
    """Points that belong together, in the order in which they are joined."""

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str] = ()
    """What a pointer over a point is told."""


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    logarithmic: bool
    begin_px: float
    end_px: float

    def at(self, value: float) -> float:
        """Where a value is, in pixels."""
        scale: Callable[[float], float] = math.log if self.logarithmic else float
        low, high = scale(self.low), scale(self.high)
        place = (scale(max(value, self.low)) - low) / ((high - low) or 1.0)
        return round(self.begin_px + place * (self.end_px - self.begin_px), 1)

    def ticks(self) -> list[float]:
        """Where to write what."""
        if not self.logarithmic:
            step = _round_step((self.high - self.low) / TICKS)
            first, last = math.ceil(self.low / step), math.floor(self.high / step)
            return [place * step for place in range(first, last + 1)]
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        decades = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
        return [tick for tick in decades if self.low <= tick <= self.high]


def plot(title: str, x: str, y: str, lines: Sequence[Line], *, logarithmic_x: bool = False) -> str:
    """An SVG document. Without a point it is empty axes."""
    points = [point for line in lines for point in line.points] or [(1.0, 1.0)]
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    low_x = max(min(xs), max(xs) / 1e6, 1e-9) if logarithmic_x else 0.0
    across = _Axis(low_x, max(*xs, low_x * 1.01, 1e-9), logarithmic_x, LEFT, WIDTH - RIGHT)
    up = _Axis(0.0, max(*ys, 1e-9), False, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 20, title, size=14),
        *_axes(across, up, x, y),
    ]
    for number, line in enumerate(lines):
        parts += _line(line, COLOURS[number % len(COLOURS)], across, up, number)
    return "\n".join([*parts, "</svg>", ""])


def _round_step(least: float) -> float:
    """The next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * 0.999)


def _written(tick: float) -> str:
    return f"{tick:,.0f}" if tick >= 100 else f"{tick:.3g}"


def _axes(across: _Axis, up: _Axis, x: str, y: str) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for tick in across.ticks():
        at = across.at(tick)
        parts.append(f'<path d="M{at} {TOP}V{bottom}" stroke="#ddd"/>')
        parts.append(_text(at, bottom + 16, _written(tick)))
    for tick in up.ticks():
        at = up.at(tick)
        parts.append(f'<path d="M{LEFT} {at}H{right}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, at + 4, _written(tick), anchor="end"))
    parts.append(_text((LEFT + right) / 2, HEIGHT - 10, x))
    middle = (TOP + bottom) / 2
    parts.append(f'<g transform="rotate(-90 16 {middle})">{_text(16, middle, y)}</g>')
    return parts


def _line(line: Line, colour: str, across: _Axis, up: _Axis, number: int) -> list[str]:
    places = [(across.at(x), up.at(y)) for x, y in line.points]
    joined = " ".join(f"{x},{y}" for x, y in places)
    at = TOP + 12 + 18 * number
    parts = [
        f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
        f'<circle cx="{WIDTH - RIGHT + 14}" cy="{at - 4}" r="4" fill="{colour}"/>',
        _text(WIDTH - RIGHT + 24, at, line.name, anchor="start"),
    ]
    for place, (x, y) in enumerate(places):
        label = f"{line.name} {line.labels[place]}" if line.labels else line.name
        title = f"<title>{escape(label)}</title>"
        parts.append(f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}">{title}</circle>')
    return parts


def _text(x: float, y: float, text: str, *, anchor: str = "middle", size: int = 12) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
    )
