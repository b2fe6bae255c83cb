"""The matrix of pairs as a drawing, in SVG: a triangle of cells, one for each pair, for light and dark pages.

A cell tells what found the path, first reply and direct path in seconds, and the checks that were spent; its colour is
that of the technique, a red frame marks less than theory allows, and a dashed one what came at the second try only.
Pointing at a cell shows it in words. Kinds that are pairs by themselves stand below.
"""

from collections.abc import Sequence
from html import escape
from typing import Final

from ntvl.kind import SITE_KINDS
from ntvl.matrix import PairOutcome, Verdict

__all__ = ["draw_matrix", "shorten_technique"]

_CELL: Final = (76, 42)
_LEFT: Final = 150
_TOP: Final = 196
_GAP: Final = 26
_LEGEND: Final = (
    ("simultaneous", "both fire at once"),
    ("prediction", "ports in steps, foretold"),
    ("birthday", "random ports, guessed"),
    ("tcp", "a connection, without UDP"),
    ("relay", "over the supernode"),
    ("none", "do not talk"),
)
_STYLE: Final = """\
text { font: 11px system-ui, sans-serif; fill: #1f2328 } .small { font-size: 10px } .title { font-size: 17px }
.page { fill: #ffffff } rect.simultaneous { fill: #b7e4c0 } rect.prediction { fill: #a6e0e0 }
rect.birthday { fill: #b3d4fb } rect.tcp { fill: #dccbf5 } rect.relay { fill: #e3e5e8 } rect.none { fill: #f6caca }
rect.cell { stroke: #ffffff; stroke-width: 2 } rect.short { stroke: #cf222e; stroke-width: 2.5 }
rect.again { stroke: #9a6700; stroke-width: 2.5; stroke-dasharray: 5 3 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .page { fill: #0d1117 } rect.simultaneous { fill: #1d5a33 } rect.prediction { fill: #115e62 }
rect.birthday { fill: #1b4a86 } rect.tcp { fill: #4f3385 } rect.relay { fill: #30363d } rect.none { fill: #6e2424 }
rect.cell { stroke: #0d1117 } rect.short { stroke: #ff7b72 } rect.again { stroke: #d29922 }
}
"""


def draw_matrix(outcomes: Sequence[PairOutcome], title: str, slack: float = 1.0) -> str:
    """Returns the drawing, a whole SVG document.

    Args:
        title: what stands above it.
        slack: as for `PairOutcome.judge`.
    """
    names = [name for name in SITE_KINDS if any(name in (outcome.left, outcome.right) for outcome in outcomes)]
    crossed = [name for name in names if not SITE_KINDS[name].shared]
    alone = [name for name in names if SITE_KINDS[name].shared]
    width = max(_LEFT + len(crossed) * _CELL[0] + 130, 720)
    body = _TOP + len(crossed) * _CELL[1]
    height = body + (len(alone) * _CELL[1] + _GAP if alone else 0) + _GAP
    place = {name: number for number, name in enumerate(crossed)}
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(title)}">',
        f"<style>\n{_STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        _text(16, 28, title, "title"),
        *_legend(16),
    ]
    for name, number in place.items():
        middle = _TOP + number * _CELL[1] + _CELL[1] / 2 + 4
        parts.append(_text(_LEFT - 8, middle, name, anchor="end"))
        x, y = _LEFT + number * _CELL[0] + _CELL[0] / 2, _TOP + number * _CELL[1] - 8
        parts.append(f'<text transform="translate({x:g} {y:g}) rotate(-35)">{escape(name)}</text>')
    for outcome in outcomes:
        if outcome.left in place:
            column, row = sorted((place[outcome.left], place[outcome.right]))
            parts += _cell(_LEFT + column * _CELL[0], _TOP + row * _CELL[1], outcome, slack)
        else:
            y = body + _GAP + alone.index(outcome.left) * _CELL[1]
            parts += _cell(_LEFT, y, outcome, slack)
            parts.append(_text(_LEFT - 8, y + _CELL[1] / 2 + 4, outcome.left, anchor="end"))
            parts.append(
                _text(_LEFT + _CELL[0] + 10, y + _CELL[1] / 2 + 4, f"both behind {SITE_KINDS[outcome.left].title}")
            )
    return "\n".join([*parts, "</svg>"]) + "\n"


def shorten_technique(technique: str) -> str:
    """Returns a technique in one word, as tables and cells have it."""
    return "tcp" if technique.startswith("tcp-") else technique.removesuffix("-udp").removeprefix("port-")


def _cell(x: float, y: float, outcome: PairOutcome, slack: float) -> list[str]:
    verdict = outcome.judge(slack)
    word = shorten_technique(outcome.technique)
    known = [name for name, _ in _LEGEND]
    colour = word if word in known else "simultaneous" if outcome.path == "direct" else outcome.path
    times = " / ".join(_seconds(time) for time in (outcome.first_reply_s, outcome.direct_after_s) if time is not None)
    wanted = outcome.expected
    words = (
        f"{outcome.left} and {outcome.right}: {outcome.path}, {outcome.technique}; {verdict}; theory allows"
        f" {wanted.path} {wanted.technique}".rstrip()
    )
    if outcome.tries > 1:
        words += f"; second try, the first came to {outcome.first_verdict}"
    middle = x + _CELL[0] / 2
    frame = " short" if verdict.is_shortfall else " again" if outcome.tries > 1 else ""
    inset = 1.5 if frame else 0
    size = f'width="{_CELL[0] - 2 * inset:g}" height="{_CELL[1] - 2 * inset:g}"'
    parts = [
        f"<g><title>{escape(words)}</title>",
        f'<rect class="cell {colour}{frame}" x="{x + inset:g}" y="{y + inset:g}" {size} rx="4"/>',
        _text(middle, y + 14, "-" if verdict is Verdict.NONE else word, "small", "middle"),
    ]
    if times:
        parts.append(_text(middle, y + 26, f"{times} s", "small", "middle"))
    if outcome.packets:
        packets = f"{outcome.packets} pkt{'' if outcome.packets == 1 else 's'}"
        parts.append(_text(middle, y + 37, packets, "small", "middle"))
    return [*parts, "</g>"]


def _legend(x: float) -> list[str]:
    parts = []
    for number, (word, meaning) in enumerate(_LEGEND):
        y = 44 + 21 * number
        parts.append(f'<rect class="cell {word}" x="{x:g}" y="{y}" width="22" height="17" rx="3"/>')
        parts.append(_text(x + 30, y + 13, f"{word}: {meaning}"))
    y = 44
    x += 260
    parts.append(f'<rect class="cell relay short" x="{x:g}" y="{y}" width="22" height="17" rx="3"/>')
    parts.append(_text(x + 30, y + 13, "less, or later, than theory allows"))
    parts.append(f'<rect class="cell relay again" x="{x:g}" y="{y + 21}" width="22" height="17" rx="3"/>')
    parts.append(_text(x + 30, y + 34, "as theory allows, at the second try only"))
    parts.append(
        _text(x, y + 55, "in a cell: technique, first reply / direct path after the first packet, checks spent")
    )
    return parts


def _text(x: float, y: float, words: str, name: str = "", anchor: str = "") -> str:
    more = (f' class="{name}"' if name else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{x:g}" y="{y:g}"{more}>{escape(words)}</text>'


def _seconds(time_s: float) -> str:
    return f"{time_s:.2f}" if time_s < 10 else f"{time_s:.0f}"
