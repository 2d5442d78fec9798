"""Continue a run that was interrupted or lost cases: what is missing is measured, nothing else.

Rows that are ok, skipped or wrong answers stay as they are. Rows that failed because a job died,
fell silent or never started are measured again, in new attempts of their jobs, and so is what a
time budget left out.
"""

from collections.abc import Iterable, Sequence

import msgspec

from bench.core.errors import RequestError, printable
from bench.core.hostlists.hosts import HostList
from bench.core.placement import Limits
from bench.core.records import LEFT_OUT, LOST, Finding, Job, Prediction, Row, Status
from bench.plan.plan import Plan
from bench.plan.suite import parse_suite
from bench.predict.fit import predict_targets
from bench.run.request import Request
from bench.run.runner import Predict
from bench.store.folder import RunFolder
from bench.store.meta import RunMeta


def is_final(row: Row) -> bool:
    """Return whether a row stays: measured, skipped with a reason, or a wrong answer."""
    if row.status is Status.SKIPPED:
        return not (row.reason or "").startswith((LOST, LEFT_OUT))
    return row.status is Status.OK or bool(row.bytes_wrong)


def stored_plan(run: RunFolder) -> Plan:
    """Return the plan that a run was started with."""
    suite = parse_suite(run.suite_text, f"the suite in {run.meta.run}")
    made = run.meta.measured
    return Plan(suite, made.seed, made.launches, run.plan)


def refuse_changes(then: RunMeta, now: RunMeta, force: bool) -> list[Finding]:
    """Return a warning for each difference that makes rows of then and now incomparable.

    Raises:
        RequestError: where there is one, unless forced.
    """
    hosts, hosts_now = then.measured.hosts, now.measured.hosts
    slots = then.measured.slots if hosts else now.measured.slots
    differences = {
        f"{what} was {before or 'unknown'} and is {after or 'unknown'}": (before, after)
        for what, before, after in (
            ("clusterbench", then.version, now.version),
            ("launcher", then.measured.launcher, now.measured.launcher),
            ("MPI", _mpi(then), _mpi(now)),
            # A run of before hosts were stored has none to compare.
            (
                "the list of hosts",
                _list_of(hosts or hosts_now, slots),
                _list_of(hosts_now, now.measured.slots),
            ),
        )
        if before != after
    }
    if differences and not force:
        raise RequestError(
            f"cannot resume {then.run}: {'; '.join(differences)}; rows of both in one run would "
            "mislead: start a new run, or accept it with --force"
        )
    return [
        Finding(
            name="changed-on-resume",
            level="warning",
            text=f"the run was resumed although {difference}",
            advice="compare rows of different attempts with care, or measure again in a new run",
            value=printable(after, 200) or None,
            limit=printable(before, 200) or None,
        )
        for difference, (before, after) in differences.items()
    ]


def hosts_to_resume(meta: RunMeta, request: Request) -> HostList:
    """Return the hosts to go on with: those that a file names now, or else those of the run.

    The file may be gone, as one of a scheduler's job is.
    """
    made = meta.measured
    if made.hosts and not (request.hostfile is not None and request.hostfile.is_file()):
        counts = tuple(made.slots.get(host) for host in made.hosts) if made.slots else ()
        return HostList(names=tuple(made.hosts), counts=counts, source=made.hosts_from)
    return request.host_list()


def _list_of(hosts: Iterable[str], slots: dict[str, int | None]) -> str:
    counted = {host: slots.get(host) for host in hosts}
    return ",".join(h if count is None else f"{h}:{count}" for h, count in counted.items())


def _mpi(meta: RunMeta) -> str:
    return " ".join(
        meta.measured.mpi.get(key) or "" for key in ("name", "version", "library")
    ).strip()


def what_is_left(plan: Plan, rows: Sequence[Row], attempts: dict[str, int]) -> tuple[Job, ...]:
    """Return the jobs with only the cases that have no row, and with new attempt numbers."""
    done = {(row.case, row.arm, row.launch) for row in rows}
    jobs = []
    for job in plan.jobs:
        cases = tuple(case for case in job.cases if (case.id, job.arm, job.launch) not in done)
        if cases:
            changed = msgspec.structs.replace(job, cases=cases, attempt=attempts.get(job.id, 0))
            jobs.append(changed)
    return tuple(jobs)


def predict_rest(known: RunFolder, kept: Sequence[Row], hosts: Limits | None = None) -> Predict:
    """Return the prediction of a resumed run: frozen ones stay, measured cases get none.

    A calibration case that was lost is measured all the same, but a prediction that was frozen
    without it is not made again; one that a crash tore off before its case was measured is.

    Args:
        known: the run, as it is.
        kept: its rows that stay.
        hosts: that ranks are spread over, how many or the most ranks of each; None where nobody
            knows.
    """
    # Those from datasheets were frozen before anything was measured.
    frozen = {(p.case, p.launch) for p in known.predictions() if p.tier == "C"}
    done = {(row.case, row.launch) for row in kept}

    def predict(plan: Plan, rows: Sequence[Row], frozen_at: str) -> list[Prediction]:
        # What a crash tore off is made again: every target has one, be it without an answer.
        made = predict_targets(plan, rows, frozen_at, hosts)
        return [p for p in made if (p.case, p.launch) not in done | frozen]

    return predict
