"""From the events of a case to its rows: one, or one for each node or GPU that measured itself."""

from collections.abc import Iterable
from typing import Any

import msgspec

from bench.core.events import CaseEnded, Facts, PlaceEnded
from bench.core.hostnames import part
from bench.core.records import Case, Row, params_text, parse_params
from bench.measure import MEASUREMENTS
from bench.run.rows import Place, crowded_hosts, describe_placement, make_row


def make_rows(
    place: Place,
    case: Case,
    ended: CaseEnded,
    samples: dict[int, tuple[float, ...]],
    facts: Facts | None,
    started_utc: str | None,
) -> list[Row]:
    """Return the final rows of a case: one, or one for each node or GPU that measured for itself.

    Args:
        samples: seconds for one operation, of every rank that measured.
        facts: of the job; None where it never sent them.
    """
    if facts is None or not ended.places:
        row = make_row(place, case, ended, samples, facts, started_utc)
        of_places = MEASUREMENTS[case.benchmark].profile.rows == "place"
        if of_places and not samples and (row.nodes or 1) > 1:
            # It is of no node more than of another.
            row = msgspec.structs.replace(row, src=None, src_host=None)
        return [row]
    job = {name: describe_placement(facts)[name] for name in ("nodes", "ranks_per_node")}
    crowded = crowded_hosts(facts)
    numbers = _number_gpus(facts, ended.places)
    rows = []
    for one in ended.places:
        # Its ranks do the work of a job of their own.
        own = msgspec.structs.replace(case, axes={**case.axes, "ranks": len(one.ranks)})
        seats = msgspec.structs.replace(
            facts, ranks=tuple(facts.ranks[rank] for rank in one.ranks if rank < len(facts.ranks))
        )
        row = make_row(
            place,
            own,
            _ended_there(case, one),
            {rank: samples[rank] for rank in one.ranks if rank in samples},
            seats if seats.ranks else None,
            started_utc,
        )
        changed: dict[str, Any] = {"ranks": case.axes["ranks"], "src_host": one.host, **job}
        if one.gpu is not None:
            changed["src"] = part(one.host, f"gpu{numbers[one.host, one.gpu]}")
        params = {"oversubscribed": 1} if one.host in crowded else {}
        changed["params"] = params_text({**parse_params(row.params), **params})
        rows.append(msgspec.structs.replace(row, **changed))
    return rows


def _ended_there(case: Case, one: PlaceEnded) -> CaseEnded:
    """Return how a case ended in one place, as if there were no other."""
    names = {*PlaceEnded.__struct_fields__} & {*CaseEnded.__struct_fields__}
    return CaseEnded(case=case.id, **{name: getattr(one, name) for name in names})


def _number_gpus(facts: Facts, places: Iterable[PlaceEnded]) -> dict[tuple[str, str], int]:
    """Return the number of each GPU: that of the facts of its node, else its place by address."""
    used: dict[str, set[str]] = {}
    for one in places:
        if one.gpu is not None:
            used.setdefault(one.host, set()).add(one.gpu)
    numbers = {}
    for host, addresses in used.items():
        gpus = facts.nodes.get(host, {}).get("gpus") or ()
        known = {_slot(str(gpu.get("pci_address"))): int(gpu.get("index", 0)) for gpu in gpus}
        told = all(_slot(address) in known for address in addresses)
        for number, address in enumerate(sorted(addresses)):
            numbers[host, address] = known[_slot(address)] if told else number
    return numbers


def _slot(address: str) -> str:
    """Return a PCI address as short as it is unique: drivers write the domain in 4 or 8 digits."""
    domain, _, rest = address.lower().partition(":")
    return f"{domain.lstrip('0') or '0'}:{rest}"
