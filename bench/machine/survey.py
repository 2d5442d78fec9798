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
    difference_findings,
    find_odd,
    find_odd_clocks,
    fold_differences,
    view_node,
)
from bench.machine.direct_path import PathFacts
from bench.machine.doctor import by_gravity, diagnose
from bench.machine.facts import NodeFacts


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
        self._odd |= find_odd({host: of_job for host, (_, of_job) in views.items()})
        clocks_s = {host: f.clock_s for host, f in nodes.items() if f.clock_s is not None}
        self._odd |= find_odd_clocks(clocks_s)
        for host, facts in nodes.items():
            self._examine(host, facts)
        return by_gravity((*self._fold_faults(), *difference_findings(fold_differences(self._odd))))

    def _compare(self, known: dict[str, View], views: Mapping[str, View]) -> None:
        """Compare all hosts that are known by now, where one is new or another than it was."""
        if all(known.get(host) == view for host, view in views.items()):
            return
        known |= views
        found = find_odd(known)
        # With more nodes another value may be that of most: who was odd for it no longer is.
        majority = {place[:-1]: odd.majority for place, odd in found.items()}
        kept = {p: odd for p, odd in self._odd.items() if odd.value != majority.get(p[:-1])}
        self._odd = kept | found

    def _examine(self, host: str, facts: NodeFacts) -> None:
        by_name: dict[str, list[Finding]] = defaultdict(list)
        for finding in diagnose(facts):
            by_name[finding.name].append(finding)
        for name, findings in by_name.items():
            self._faults[host, name] = findings

    def _fold_faults(self) -> list[Finding]:
        hosts: dict[Finding, list[str]] = defaultdict(list)
        for (host, _), findings in self._faults.items():
            for finding in findings:
                hosts[finding].append(host)
        return [
            msgspec.structs.replace(finding, text=f"{fold_hosts(names)}: {finding.text}")
            for finding, names in hosts.items()
        ]
