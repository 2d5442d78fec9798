"""The page: what was asked, what came, what it means."""

import html
from collections.abc import Sequence

from firstgpu.answer import Outcome
from firstgpu.supervise import Asked

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a1a1a; background: #fff }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem;
         border-bottom: 1px solid #ddd; overflow-wrap: anywhere }
td.number { text-align: right }
.whole, td.number { white-space: nowrap }
.right { color: #00694b } .wrong { color: #b00020; font-weight: 600 } .open { color: #6b5900 }
"""
_CLASSES = {
    Outcome.RIGHT: "right",
    Outcome.WRONG: "wrong",
    Outcome.CUT: "wrong",
    Outcome.OPEN: "open",
}


def make_page(about: Sequence[str], asked: Sequence[Asked]) -> str:
    """Return the page.

    Args:
        about: lines on where and when.
        asked: the steps in their order.
    """
    wrong = sum(one.answer.outcome is Outcome.WRONG for one in asked)
    cut = sum(one.answer.outcome is Outcome.CUT for one in asked)
    left = sum(one.answer.outcome is Outcome.OPEN for one in asked)
    head = (
        f"{len(asked)} questions, {wrong} with a wrong answer, {cut} not finished, {left} not asked"
    )
    rows = "".join(map(_row, asked))
    tables = "".join(_figures(one) for one in asked if one.answer.table)
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>First GPU</title>'
        f"<style>{_STYLE}</style>\n<h1>First minutes on a GPU</h1>\n"
        f"<p>{'<br>'.join(html.escape(line) for line in about)}</p>\n<p><b>{head}.</b></p>\n"
        "<table><tr><th>Step<th>What was asked<th>What came<th>What it means"
        '<th class="whole">Took</tr>\n'
        f"{rows}</table>\n{tables}</html>\n"
    )


def _row(one: Asked) -> str:
    step, answer = one.step, one.answer
    outcome = f'<td class="{_CLASSES[answer.outcome]}">{answer.outcome}: '
    return (
        f'<tr><td class="whole">{html.escape(step.name)}<td>{html.escape(step.asked)}'
        f"{outcome}{html.escape(answer.came)}<td>{html.escape(answer.means)}"
        f'<td class="number">{one.took_s:.0f} s</tr>\n'
    )


def _figures(one: Asked) -> str:
    names, *rows = one.answer.table
    head = "".join(f"<th>{html.escape(name)}" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in row) + "</tr>\n" for row in rows
    )
    return f"<h2>{html.escape(one.step.name)}</h2>\n<table><tr>{head}</tr>\n{body}</table>\n"
