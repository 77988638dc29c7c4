"""Measured latencies as a picture: bars for a comparison, curves for a sustained run. SVG, so no library is needed."""

from __future__ import annotations

from html import escape

COLORS = ("#2f6fde", "#e07a1f", "#2a9d6f", "#b0489c", "#8a6d3b", "#c0392b")
WIDTH, LEFT, RIGHT = 720, 56, 56


def bars(rows: list[tuple[str, float, float]]) -> str:
    """SVG text of one bar per (label, median ms, p90 ms): the bar ends at the median, the thin line at the p90."""
    longest = max(p90 for _, _, p90 in rows)
    lines = []
    for i, (label, median, p90) in enumerate(rows):
        top = 24 + 46 * i
        width, right = ((WIDTH - 2 * RIGHT) * value / longest for value in (median, p90))
        lines.append(_text(16, top + 8, label))
        lines.append(
            f'<rect x="16" y="{top + 14}" width="{width:.1f}" height="16" rx="3" fill="{COLORS[i % len(COLORS)]}"/>'
            f'<path d="M{16 + width:.1f},{top + 22}H{16 + right:.1f}" stroke="#888" stroke-width="2"/>'
        )
        lines.append(_text(22 + right, top + 27, f"{median:.2f} ms"))
    return _svg(24 + 46 * len(rows), lines)


def curve(
    times: list[float], series: dict[str, list[float | None]], unit: str, other: list[float | None], other_unit: str
) -> str:
    """SVG text of each of `series` against `times` (minutes), scaled from 0 to the largest value, in `unit`.

    `other` is one more curve, dashed, on its own axis to the right, from its smallest to its largest value (say, the
    temperature in `other_unit`); None where there was no reading, [] where there is none at all.
    """
    top, bottom = 24 + 18 * len(series), 320
    last = max(times[-1], 1e-9)
    highest = max(value for values in series.values() for value in values if value is not None) * 1.1
    lines = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = bottom - share * (bottom - top)
        lines.append(f'<path d="M{LEFT},{y:.1f}H{WIDTH - RIGHT}" stroke="#8884"/>')
        lines.append(_text(LEFT - 6, y + 4, f"{share * highest:.3g}", "end"))
        lines.append(_text(LEFT + share * (WIDTH - LEFT - RIGHT), bottom + 18, f"{share * last:.3g}", "middle"))
    lines.append(_text(LEFT - 6, top - 12, unit, "end"))
    lines.append(_text(WIDTH / 2, bottom + 36, "minutes", "middle"))

    def path(values: list[float | None], low: float, high: float, style: str) -> str:
        points, pen = [], "M"
        for minute, value in zip(times, values, strict=True):
            if value is None:
                pen = "M"
                continue
            x = LEFT + minute / last * (WIDTH - LEFT - RIGHT)
            points.append(f"{pen}{x:.1f},{bottom - (value - low) / (high - low) * (bottom - top):.1f}")
            pen = "L"
        return f'<path d="{"".join(points)}" fill="none" {style}/>'

    for i, (label, values) in enumerate(series.items()):
        color = COLORS[i % len(COLORS)]
        lines.append(path(values, 0, highest, f'stroke="{color}" stroke-width="2"'))
        lines.append(f'<rect x="{LEFT}" y="{8 + 18 * i}" width="12" height="12" rx="2" fill="{color}"/>')
        lines.append(_text(LEFT + 18, 18 + 18 * i, label))
    readings = [value for value in other if value is not None]
    if readings:
        low, high = min(readings), max(max(readings), min(readings) + 1)
        lines.append(path(other, low, high, 'stroke="#888" stroke-dasharray="4 3"'))
        lines.append(_text(WIDTH - RIGHT + 6, bottom + 4, f"{low:.3g}"))
        lines.append(_text(WIDTH - RIGHT + 6, top + 4, f"{high:.3g}"))
        lines.append(_text(WIDTH - 6, top - 12, f"{other_unit} (dashed)", "end"))
    return _svg(bottom + 48, lines)


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: float, lines: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif" '
        f'font-size="13" fill="#555"><rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(lines) + "\n</svg>\n"
    )
