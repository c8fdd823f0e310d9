"""Draws a plot of the results: bars as SVG, readable on light and dark pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _LEFT, _BARS = 760, 216, 300
_ROW, _GAP, _TOP = 19, 34, 60
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 }
.group { font-weight: 600 }
.faint { fill: #6e7781 }
.bar { fill: #8c959f }
.ours { fill: #2da44e }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .faint { fill: #9198a1 }
}
"""


@dataclass(frozen=True)
class Bar:
    """One bar and its label."""

    label: str
    value: float
    note: str
    is_ours: bool


@dataclass(frozen=True)
class Group:
    """Bars with one scale."""

    title: str
    bars: Sequence[Bar]


def draw(title: str, caption: str, groups: Sequence[Group]) -> str:
    """The plot as an SVG document."""
    lines, y = [], _TOP
    for group in groups:
        lines.append(_text(0, y, group.title, "group"))
        longest = max(bar.value for bar in group.bars)
        for bar in group.bars:
            y += _ROW
            lines += _drawn(bar, y, longest)
        y += _GAP
    height = y
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
        f' role="img" aria-label="{escape(title)}">'
    )
    body = [f"<style>{_STYLE}</style>", _text(0, 16, title, "title"), _text(0, 33, caption, "faint"), *lines]
    return "\n".join([head, *body, "</svg>", ""])


def _drawn(bar: Bar, y: int, longest: float) -> list[str]:
    width = max(1.0, _BARS * bar.value / longest)
    kind = "ours" if bar.is_ours else "bar"
    return [
        _text(_LEFT - 8, y, bar.label, anchor="end"),
        f'<rect class="{kind}" x="{_LEFT}" y="{y - 11}" width="{width:.1f}" height="14" rx="2"/>',
        _text(round(_LEFT + width + 6), y, bar.note, "faint"),
    ]


def _text(x: int, y: int, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'
