"""How far the rows of a run can be trusted, taken together."""

from collections.abc import Sequence

from bench.contracts import Part
from bench.core.errors import printable
from bench.core.gpu_cases import FAR, SHARED
from bench.core.hostnames import host_of
from bench.core.records import About, Finding, Row, parse_params
from bench.core.units import format_bytes, format_seconds
from bench.judge.cut_short import BUDGET, budget_findings
from bench.judge.fleet import SLOWER, fleet_findings
from bench.judge.hosts import STANDS_OUT, host_findings
from bench.measure.profiles import profile_of
from bench.predict.bounds.bound import is_ceiling

# Name, the key in `params` that marks a row, what it means after the count of rows, and advice.
_MARKS = (
    (
        "oversubscribed",
        "oversubscribed",
        "rows were measured with more ranks than cores: each rank waited while others ran",
        "read them as a test that the job runs, or start fewer ranks with -n",
    ),
    (
        "preempted",
        "preempted_percent",
        "rows were measured while other processes ran on the same cores (preempted_percent in the "
        "rows)",
        "end what else runs here, then measure again",
    ),
    (
        "other-state",
        "state_percent",
        "rows were measured while messages between the cores took an eighth longer or shorter "
        "than in the best state of the jobs before (state_percent in the rows)",
        "measure again, with --launches 10; in a virtual machine its host moves the cores",
    ),
    (
        "shared-gpu",
        SHARED,
        "rows are of ranks that shared a GPU, each with a part of its time; messages between them "
        "passed no link (shared_gpus in the rows)",
        "start at most as many ranks on a node as it has GPUs",
    ),
    (
        "far-from-gpu",
        FAR,
        "rows were measured with host memory or CPUs on another NUMA node than the GPU "
        "(gpu_numa and host_numa in the rows)",
        "start ranks with --bind none, and give the job CPUs and memory of all NUMA nodes",
    ),
)


MOST_CASES = 20
"""Cases that a finding about rows names; its value has the number of rows."""
THROTTLED = "throttled"
_BY_CHOICE = {"none", "application-clocks", "sync-boost", "display-clocks"}
"""Words of `throttle` that mean no trouble: somebody set such clocks."""

BEATS_BOUND = "beats-bound"
BEATS_CEILING = "beats-ceiling"
MOST_FRACTION = 1.02
"""A measurement may be so much better than its bound: rates of links and clocks are off by less."""


IN_TURN = "in-turn"
LEAST_IN_TURN = 1.5
"""Both ways at once over one way: a link that carries both takes 1, messages in turn 2 and more."""
_LARGE_BYTES = 65536


def row_findings(rows: Sequence[Row]) -> list[Finding]:
    """Return a warning for each place that stands out, and each kind of disturbance of rows."""
    findings = host_findings(rows) + fleet_findings(rows) + _marked_findings(rows)
    findings += _throttled_findings(rows) + _bound_findings(rows) + _in_turn_findings(rows)
    findings += budget_findings(rows)
    interpreted = [row for row in rows if row.timing_layer == "mpi4py"]
    if interpreted:
        findings.append(
            Finding(
                name="interpreted-loops",
                level="warning",
                text="messages were timed by loops in Python, which add their own time to each "
                "(overhead_ns in the rows)",
                advice="install numba into this environment to compile the loops",
                about=_about(interpreted),
                value=len(interpreted),
                unit="rows",
            )
        )
    return findings


def select_told(findings: Sequence[Finding]) -> list[Finding]:
    """Return what whoever ran a suite should know at once: those that name a part come first."""
    first = (STANDS_OUT, SLOWER, BEATS_BOUND, BUDGET)
    told = [each for each in findings if each.name in first or each.level != "note"]
    told.sort(key=lambda each: each.name not in first)
    return list({each.text: each for each in told}.values())


def _marked_findings(rows: Sequence[Row]) -> list[Finding]:
    """Return one warning for each mark that rows have."""
    marks = [set(parse_params(row.params)) for row in rows]
    findings = []
    for name, key, text, advice in _MARKS:
        marked = [row for row, keys in zip(rows, marks, strict=True) if key in keys]
        if marked:
            findings.append(
                Finding(
                    name=name,
                    level="warning",
                    text=f"{len(marked)} {text}",
                    advice=advice,
                    about=_about(marked),
                    value=len(marked),
                    unit="rows",
                )
            )
    return findings


def _about(rows: Sequence[Row]) -> About:
    """Return the first of the cases of rows, and the hosts that they name."""
    cases = dict.fromkeys(row.case for row in rows)
    hosts = dict.fromkeys(host_of(end) for row in rows for end in (row.src, row.dst) if end)
    return About(cases=tuple(cases)[:MOST_CASES], hosts=tuple(hosts))


def _throttled_findings(rows: Sequence[Row]) -> list[Finding]:
    """Return one warning where power or heat held the clocks of GPUs down."""
    reasons_of = [set(parse_params(row.params).get("throttle", "none").split("+")) for row in rows]
    held = [words - _BY_CHOICE for words in reasons_of if words - _BY_CHOICE]
    slow = [row for row, words in zip(rows, reasons_of, strict=True) if words - _BY_CHOICE]
    if not held:
        return []
    count = "1 row was" if len(held) == 1 else f"{len(held)} rows were"
    reasons = ", ".join(printable(word, 60) for word in sorted(set().union(*held)))
    return [
        Finding(
            name=THROTTLED,
            level="warning",
            text=f"{count} measured while a GPU held its clocks down: {reasons} (throttle, "
            "sm_clock_mhz and power_watts in the rows)",
            advice="look at its power limit and its cooling (nvidia-smi -q -d POWER,TEMPERATURE), "
            "then measure again",
            about=_about(slow),
            value=len(slow),
            unit="rows",
        )
    ]


def _bound_findings(rows: Sequence[Row]) -> list[Finding]:
    """Return one warning for each kind of bound that rows are faster than; their times stay.

    A row above a fact doubts the fact; one above a ceiling that was measured doubts its moment.
    """
    beyond = [
        (row.fraction_of_bound, row)
        for row in rows
        if row.fraction_of_bound is not None and row.fraction_of_bound > MOST_FRACTION
    ]
    found = []
    for name, measured in ((BEATS_BOUND, False), (BEATS_CEILING, True)):
        kind = [pair for pair in beyond if is_ceiling(pair[1].bound_source) == measured]
        if kind:
            fraction, row = max(kind, key=lambda pair: pair[0])
            found.append(
                Finding(
                    name=name,
                    level="note" if measured else "warning",
                    text=f"{beaten_text(len(kind), measured)}; the most is {row.case}: "
                    f"{format_seconds(row.t_median_s or 0.0)}, and its bound is "
                    f"{format_seconds(row.bound_s or 0.0)}, {fraction:.3g} times that "
                    f"({printable(row.bound_source, 300)})",
                    advice=BEATEN_ADVICE[measured],
                    about=_about([row]),
                    value=fraction,
                    limit=MOST_FRACTION,
                    unit="ratio",
                )
            )
    return found


def beaten_text(count: int, measured: bool) -> str:
    """Return how many rows are faster than their bounds, which were measured or are facts."""
    rows = "1 row is" if count == 1 else f"{count} rows are"
    if measured:
        return (
            f"{rows} faster by over 2 % than the ceiling that was measured beside "
            f"{'it' if count == 1 else 'them'}, in a slower moment of the machine"
        )
    return f"{rows} faster than {'its' if count == 1 else 'their'} bound by over 2 %"


BEATEN_ADVICE = {
    False: "a fact or the machine file is wrong, a cache was overlooked, or the work was "
    "not done; look at the source of the bound first",
    True: "the row may well be right and its ceiling too low: measure again on a machine that does "
    "nothing else",
}


def _in_turn_findings(rows: Sequence[Row]) -> list[Finding]:
    """Return one warning where messages between hosts that cross wait for each other.

    Inside a host they share cores and memory, and may well take twice the time.
    """
    apart = [row for row in rows if row.src and row.dst and host_of(row.src) != host_of(row.dst)]
    one_way_s = {_ends(row): row.t_median_s for row in apart if _is_alone(row, "window")}
    ratios = [
        (row.t_median_s / alone_s, row.bytes, row)
        for row in apart
        if _is_alone(row, "crossing") and row.t_median_s
        if row.bytes and row.bytes >= _LARGE_BYTES
        if (alone_s := one_way_s.get(_ends(row)))
    ]
    held = [pair for pair in ratios if pair[0] >= LEAST_IN_TURN]
    if not held:
        return []
    ratio, size, worst = max(held, key=lambda pair: pair[:2])
    return [
        Finding(
            name=IN_TURN,
            level="warning",
            text=f"messages both ways at once took up to {ratio:.2g} times as long as one way "
            f"({format_bytes(size)}), at {len(held)} of {len(ratios)} sizes of 64 KiB and more at "
            "least 1.5 times: they wait for each other, and so does whatever exchanges data",
            advice="over TCP with Open MPI set OMPI_MCA_btl_tcp_flags=send and measure again; "
            "else look for a link that is half duplex (docs/exchange.md)",
            about=_about([worst]),
            value=ratio,
            limit=LEAST_IN_TURN,
            unit="ratio",
        )
    ]


def _is_alone(row: Row, part: Part) -> bool:
    """Return whether a row is of such messages of one pair, while no other pair sends."""
    return profile_of(row.benchmark).part == part and row.pairs in (None, 1)


def _ends(row: Row) -> tuple[object, ...]:
    buffers = parse_params(row.params).get("buffers")
    return row.bytes, row.window, buffers, row.src, row.dst, row.path
