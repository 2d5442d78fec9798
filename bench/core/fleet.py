"""Of rows that several places have of one case, the one that stands for all of them."""

from collections.abc import Iterable

from bench.core.records import Row, Status


def middle_rows(rows: Iterable[Row]) -> list[Row]:
    """Return one row of each case and launch: of several places the middle one, the faster of two.

    Places without a time count only where no place has one.
    """
    groups: dict[tuple[str, str | None, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.case, row.arm, row.launch), []).append(row)
    return [_middle(members) for members in groups.values()]


def _middle(rows: list[Row]) -> Row:
    timed = [(row.t_median_s, row) for row in rows if row.status is Status.OK and row.t_median_s]
    if not timed:
        return rows[0]
    timed.sort(key=lambda pair: pair[0])
    return timed[(len(timed) - 1) // 2][1]
