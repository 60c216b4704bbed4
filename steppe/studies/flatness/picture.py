"""The study in one picture: what flatness buys, and where it does not pay.

A line for each optimizer and each thing that it is compared with, a dot for each technique of
meta-training. One SVG file, for light and dark pages, narrow and wide.
"""

import math
from collections.abc import Sequence
from html import escape

from .findings import Findings
from .lines import Line

METRIC, ARM, RIVAL = "ln test_loss", "relative-trace", "adam"
NAMES = {"dm": "DM", "rnnprop": "RNNProp", "l2o-scale": "L2O-Scale"}
WIDE, LEFT, RIGHT = 420, 92, 12  # whole width, of names, of margin; all in pixels
ROW, GAP, TOP = 28, 46, 96  # height of a line, between blocks, above the first
TICKS = {0.25: "¼", 0.5: "½", 1.0: "equal", 2.0: "twice"}
NOTE = (
    "Lines: 95 % intervals over meta-seeds. A dot for each way of",
    "meta-training. Open grey: not beyond chance, after correction.",
)
STYLE = """
svg {
  --paper: #fbfaf6; --ink: #23261f; --soft: #686c5f; --line: #dcd8cb; --good: #0a7558;
  --bad: #b23c10; background: var(--paper);
}
@media (prefers-color-scheme: dark) { svg {
  --paper: #161814; --ink: #e8e5da; --soft: #a1a394; --line: #363930; --good: #4fd0a5;
  --bad: #ff9a66;
} }
text { font: 13px system-ui, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; }
text { fill: var(--ink); stroke: none; } line { stroke: var(--line); }
.head { font-size: 14px; font-weight: 600; } .soft { fill: var(--soft); font-size: 12px; }
.good { fill: var(--good); stroke: var(--good); } .bad { fill: var(--bad); stroke: var(--bad); }
.open { fill: var(--paper); stroke: var(--soft); } .zero { stroke: var(--ink); }
text.good, text.bad { stroke: none; } circle, line.good, line.bad, line.open { stroke-width: 2; }
"""


def picture(found: Findings) -> str:
    """The SVG. A ratio below 1 is flatness ahead; coloured: beyond chance after correction."""
    blocks = (
        ("with the same, trained without flatness", found.generalisation, None),
        ("with a penalty on the size of the weights", found.control, None),
        ("with Adam, tuned for each task", found.rivals, RIVAL),
    )
    body, y = [], TOP
    for words, lines, theirs in blocks:
        kept = [line for line in lines if line.metric == METRIC and theirs in (None, line.theirs)]
        rows = _rows(kept)
        if not rows:
            continue
        body.append(_text(12, y, words, "head"))
        for name, dots in rows.items():
            y += ROW
            body += [_text(24, y + 4, name), *_dots(dots, y)]
        y += GAP
    bottom = y - GAP + 22
    axis = [
        f'<line class="{"zero" if at == 1 else ""}" x1="{_x(at):.1f}" x2="{_x(at):.1f}" '
        f'y1="{TOP + 10}" '
        f'y2="{bottom - 6}"/>' + _text(_x(at), bottom + 10, word, "soft", "middle")
        for at, word in TICKS.items()
    ]
    head = [
        _text(12, 24, "Test loss on tasks never seen of optimizers", "head"),
        _text(12, 42, "that were meta-trained for flatness, compared …", "head"),
        _text(_x(1) - 8, TOP - 28, "← flatness pays", "good", "end"),
        _text(_x(1) + 8, TOP - 28, "it does not pay →", "bad"),
    ]
    note = [_text(12, bottom + 34 + 16 * i, words, "soft") for i, words in enumerate(NOTE)]
    size = f'viewBox="0 0 {WIDE} {bottom + 64}" width="{WIDE}" height="{bottom + 64}"'
    start = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        "<title>What flatness buys, and where it does not pay</title>",
        f"<style>{STYLE}</style>",
    ]
    return "\n".join([*start, *axis, *head, *body, *note, "</svg>\n"])


def _rows(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """The lines of each optimizer, of one arm: the same for all where they have it."""
    rows: dict[str, list[Line]] = {}
    for name, shown in NAMES.items():
        own = [line for line in lines if line.optimizer == name and line.found.mean is not None]
        arms = {line.ours for line in own}
        arm = ARM if ARM in arms else next(iter(sorted(arms)), "")
        if arm:
            rows[shown] = [line for line in own if line.ours == arm]
    return rows


def _dots(lines: Sequence[Line], y: float) -> list[str]:
    """Mean and interval of each, one a little below the other."""
    parts = []
    for i, line in enumerate(lines):
        at, found = y + 6 * (i - (len(lines) - 1) / 2), line.found
        kind = "good" if line.better else "bad" if line.lost else "open"
        ends = found.difference.low, found.mean, found.difference.high
        low, middle, high = (_x(math.exp(x or 0.0)) for x in ends)
        parts += [
            f'<line class="{kind}" x1="{low:.1f}" x2="{high:.1f}" y1="{at:.1f}" y2="{at:.1f}"/>',
            f'<circle class="{kind}" cx="{middle:.1f}" cy="{at:.1f}" r="3.6"/>',
        ]
    return parts


def _x(ratio: float) -> float:
    """The place of a ratio on the logarithmic axis, kept within the picture."""
    low, high = math.log(0.22), math.log(3.2)
    share = (math.log(ratio) - low) / (high - low)
    return LEFT + min(max(share, 0.0), 1.0) * (WIDE - LEFT - RIGHT)


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    said = escape(words)
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{said}</text>'
