"""What a time budget cost a run: cases that were left out, and sampling that ended sooner."""

from collections.abc import Sequence

from bench.core.records import BUDGET_CAP, LEFT_OUT, About, Finding, Row, parse_params

BUDGET = "budget"
_MOST_NAMED = 20


def budget_findings(rows: Sequence[Row]) -> list[Finding]:
    """Return one line about a run that its budget cut short; none where there was time for all."""
    left_out = [row for row in rows if (row.reason or "").startswith(LEFT_OUT)]
    caps = [parse_params(row.params).get(BUDGET_CAP) for row in rows]
    caps_ms = [float(cap) for cap in caps if cap is not None]
    if not left_out and not caps_ms:
        return []
    parts = []
    if left_out:
        names = ", ".join(dict.fromkeys(row.benchmark for row in left_out))
        parts.append(f"{len(left_out)} of {len(rows)} rows were left out ({names})")
    if caps_ms:
        low, high = min(caps_ms), max(caps_ms)
        span = f"{high:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
        parts.append(
            f"{len(caps_ms)} were sampled for {span} ms at most, less than the suite allows, so "
            "their intervals are wider"
        )
    cases = tuple(dict.fromkeys(row.case for row in left_out))[:_MOST_NAMED]
    return [
        Finding(
            name=BUDGET,
            level="note",
            text=f"to keep the time budget, {'; '.join(parts)}",
            advice="measure without --budget, or with a larger one"
            + ("; `clusterbench resume` measures what was left out" if left_out else ""),
            about=About(cases=cases),
            value=len(left_out),
            unit="rows",
        )
    ]
