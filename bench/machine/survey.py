"""What is known of the nodes of a run, job after job: what is wrong with each, and the odd ones."""

from collections import defaultdict
from collections.abc import Mapping

import msgspec

from bench.core.hostnames import fold_hosts
from bench.core.records import Finding
from bench.machine.differences import (
    Odd,
    Place,
    View,
    find_odd,
    find_odd_clocks,
    usual_slots,
    view_node,
)
from bench.machine.direct_path import PathFacts
from bench.machine.doctor import by_gravity, check_node
from bench.machine.facts import NodeFacts
from bench.machine.odd_nodes import difference_findings, fold_differences
from bench.machine.parts import name_devices, place


class Survey:
    """Findings about nodes, over all jobs of a run so far; as many after many jobs as after one.

    Hardware and software are compared between all nodes seen, settings between the nodes of one
    job, since the next job may have others. What was wrong once stays, as rows were measured then,
    until the same is seen in another state.
    """

    def __init__(self) -> None:
        self._views: dict[str, View] = {}
        """What each host had when it was last seen, of what no job changes."""
        self._paths: dict[str, View] = {}
        """Of the direct path, which only jobs that are to prove it look at."""
        self._odd: dict[Place, Odd] = {}
        self._faults: dict[tuple[str, str], list[Finding]] = {}
        """Findings of a host alone, by host and name."""

    def look(
        self, nodes: Mapping[str, NodeFacts], paths: Mapping[str, PathFacts]
    ) -> tuple[Finding, ...]:
        """Add what a job saw of its nodes, by host; return all findings now, gravest first."""
        views = {host: view_node(facts).split() for host, facts in nodes.items()}
        self._compare(self._views, {host: lasting for host, (lasting, _) in views.items()})
        self._compare(self._paths, {host: view_node(facts) for host, facts in paths.items()})
        self._keep(find_odd({host: of_job for host, (_, of_job) in views.items()}))
        clocks_s = {host: f.clock_s for host, f in nodes.items() if f.clock_s is not None}
        self._keep(find_odd_clocks(clocks_s))
        for host, facts in nodes.items():
            self._examine(host, facts)
        names = name_devices(usual_slots(self._views.values()))
        differences = difference_findings(fold_differences(self._odd), names)
        return by_gravity((*self._fold_faults(), *differences))

    def _compare(self, known: dict[str, View], views: Mapping[str, View]) -> None:
        """Compare all hosts that are known by now, where one is new or another than it was."""
        if all(known.get(host) == view for host, view in views.items()):
            return
        known |= views
        found = find_odd(known)
        # With more nodes another value may be that of most: who was odd for it no longer is.
        majority = {p[:-1]: odd.majority for p, odd in found.items()}
        self._odd = {p: odd for p, odd in self._odd.items() if odd.value != majority.get(p[:-1])}
        self._keep(found)

    def _keep(self, found: dict[Place, Odd]) -> None:
        """Add what was found; values that nobody could call odd are, once that of most is known."""
        both = (*self._odd.items(), *found.items())
        majority = {p[:-1]: odd.majority for p, odd in both if odd.majority is not None}
        every = self._odd | found
        settled = {
            p[:-1]
            for p, odd in every.items()
            if odd.majority is None and odd.value == majority.get(p[:-1])
        }
        self._odd = {}
        for p, odd in every.items():
            if odd.majority is not None or p[:-1] not in settled:
                self._odd[p] = odd
            elif odd.value != majority[p[:-1]]:
                self._odd[p] = Odd(odd.value, majority[p[:-1]])

    def _examine(self, host: str, facts: NodeFacts) -> None:
        by_name: dict[str, list[Finding]] = defaultdict(list)
        for finding in check_node(facts):
            by_name[finding.name].append(finding)
        for name, findings in by_name.items():
            self._faults[host, name] = findings

    def _fold_faults(self) -> list[Finding]:
        hosts: dict[Finding, list[str]] = defaultdict(list)
        for (host, _), findings in self._faults.items():
            for finding in findings:
                hosts[finding].append(host)
        return [
            place(msgspec.structs.replace(f, text=f"{fold_hosts(names)}: {f.text}"), sorted(names))
            for f, names in hosts.items()
        ]
