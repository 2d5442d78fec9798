"""Where ranks are: the cores and the nodes that they share, and what their nodes are called."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import write_tree

from bench.core.events import CaseEnded, Facts, RankFacts, decode, encode
from bench.core.hostlists.typed import parse_hosts
from bench.core.records import Case, Job, Origin, Stage, Status, parse_params
from bench.machine.cpu import (
    count_rank_cores,
    is_masked,
    read_quota,
    share_cores,
    usable_cores,
)
from bench.rank.host_names import OwnNames, name_nodes
from bench.rank.world import number_as_they_appear
from bench.run.rows import Place, make_row
from bench.run.runner import placement_findings

SYSFS = "sys/devices/system/cpu"
COPY = Case("memcpy", "memcpy", {"bytes": 8, "memory": "host", "ranks": 1})


def processor(allowed: str, cores: int = 4) -> dict[str, str]:
    """Return a tree of cores with two threads each: CPU 0 and 4, 1 and 5, ..."""
    tree = {
        f"{SYSFS}/online": f"0-{2 * cores - 1}\n",
        "proc/self/status": f"Cpus_allowed_list:\t{allowed}\n",
    }
    for cpu in range(2 * cores):
        siblings = f"{cpu % cores},{cpu % cores + cores}\n"
        tree[f"{SYSFS}/cpu{cpu}/topology/thread_siblings_list"] = siblings
    return tree


@pytest.mark.parametrize(
    ("allowed", "cores"),
    [
        ("0-7", (0, 1, 2, 3)),
        ("0,4", (0,)),
        ("4", (0,)),  # a core by its second thread alone
        ("1,4-5", (0, 1)),
        ("0-127", (0, 1, 2, 3)),  # of which most are not there
    ],
)
def test_usable_cores_are_physical_ones(tmp_path: Path, allowed: str, cores: tuple[int, ...]):
    assert usable_cores(write_tree(tmp_path, processor(allowed))) == cores


CGROUPS = {
    "v2": ("0::/job/step\n", "", {"cpu.max": "{} 100000"}),
    "v1": (
        "4:cpu,cpuacct:/job/step\n1:name=systemd:/\n",
        "cpu,cpuacct/",
        {"cpu.cfs_quota_us": "{}", "cpu.cfs_period_us": "100000"},
    ),
}


def granted(tree: dict[str, str], version: str, folder: str, quota: str) -> dict[str, str]:
    """Return a tree in which a cgroup grants so many microseconds of every 100 ms."""
    own, base, files = CGROUPS[version]
    limits = {
        f"sys/fs/cgroup/{base}{folder}{file}": text.format(quota) for file, text in files.items()
    }
    return {**tree, "proc/self/cgroup": own, **limits}


@pytest.mark.parametrize("version", CGROUPS)
@pytest.mark.parametrize("folder", ["", "job/", "job/step/"])
@pytest.mark.parametrize(
    ("quota", "granted_cores", "ranks"),
    [("50000", 0.5, 1), ("150000", 1.5, 1), ("200000", 2.0, 2), ("900000", 9.0, 4)],
)
def test_a_quota_grants_cores_to_ranks(tmp_path, version, folder, quota, granted_cores, ranks):
    root = write_tree(tmp_path, granted(processor("0-7"), version, folder, quota))
    assert read_quota(root) == granted_cores
    assert count_rank_cores(root) == ranks


@pytest.mark.parametrize(
    ("version", "quota"), [("v1", "-1"), ("v2", "max"), ("v1", ""), ("v2", "0")]
)
def test_without_a_quota_ranks_have_the_cores_of_their_mask(tmp_path, version, quota):
    root = write_tree(tmp_path, granted(processor("0-1"), version, "job/", quota))
    assert read_quota(root) is None
    assert count_rank_cores(root) == 2


@pytest.mark.parametrize(
    ("allowed", "cpuset", "masked"),
    [
        ("0-7", None, False),
        ("0-127", None, False),  # of which most are not there
        ("0-3", None, True),
        ("0-3", "0-3", False),  # a launcher heeds that one
        ("0-1", "0-3", True),
    ],
)
@pytest.mark.parametrize("version", CGROUPS)
def test_a_mask_is_what_a_cpuset_does_not_explain(tmp_path, version, allowed, cpuset, masked):
    tree = processor(allowed)
    if cpuset is not None and version == "v2":
        tree |= {"proc/self/cgroup": "0::/job\n"}
        tree |= {"sys/fs/cgroup/job/cpuset.cpus.effective": cpuset}
    elif cpuset is not None:
        tree |= {"proc/self/cgroup": "3:cpuset:/job\n"}
        tree |= {"sys/fs/cgroup/cpuset/job/cpuset.effective_cpus": cpuset}
    assert is_masked(write_tree(tmp_path, tree)) is masked


def test_a_cpu_with_unknown_siblings_is_a_core(tmp_path: Path):
    tree = {"proc/self/status": "Cpus_allowed_list:\t0-2\n", f"{SYSFS}/online": "0-3\n"}
    assert usable_cores(write_tree(tmp_path, tree)) == (0, 1, 2)
    assert share_cores((1,), tmp_path) == {1}


def test_all_threads_of_a_core_share_it(tmp_path: Path):
    root = write_tree(tmp_path, processor("0-7"))
    assert share_cores((1, 6), root) == {1, 5, 2, 6}


def test_this_machine_has_cores():
    assert usable_cores()


def facts(*ranks: RankFacts) -> Facts:
    return Facts(ranks, None, None, None, None, nodes={})


def bound(host: str, *cpus: int, cores: tuple[int, ...]) -> RankFacts:
    return RankFacts(host, 1, cpus, physical_cores=cores)


@pytest.mark.parametrize(
    ("ranks", "binding", "oversubscribed", "warned"),
    [
        # Both threads of one core each.
        ([bound("a", 0, 4, cores=(0,)), bound("a", 1, 5, cores=(1,))], "core", False, 0),
        # Two threads of the same core.
        ([bound("a", 0, cores=(0,)), bound("a", 4, cores=(0,))], "core", True, 1),
        ([bound("a", 0, 4, cores=(0,))] * 2, "core", True, 1),
        # Four threads are two cores.
        ([bound("a", 0, 1, 4, 5, cores=(0, 1))] * 2, "none", False, 0),
        ([bound("a", 0, 1, 4, 5, cores=(0, 1))] * 3, "none", True, 0),
        ([bound("a", 0, cores=(0,)), bound("b", 4, cores=(0,))], "core", False, 0),
    ],
)
def test_threads_of_a_core_are_one_core(ranks, binding, oversubscribed, warned):
    place = Place("r", Origin.MEASURED, Job("j", Stage.TARGET, 0, len(ranks), 1, (COPY,)), 0)
    ended = CaseEnded(case=COPY.id, status=Status.OK)
    row = make_row(place, COPY, ended, {0: (1e-6,) * 6}, facts(*ranks), None)
    assert row.binding == binding
    assert ("oversubscribed" in parse_params(row.params)) == oversubscribed
    assert len(placement_findings(facts(*ranks))) == warned


def test_facts_of_older_journals_are_read():
    old = {"host": "a", "pid": 7, "cores": [0, 64]}
    rank = msgspec.convert(old, RankFacts)
    assert (rank.node, rank.hostname, rank.usable_cores) == (-1, "", (0, 64))
    new = facts(RankFacts("10.0.0.1", 7, (0, 64), 0, "n1", (0,)))
    assert decode(encode(new)) == new


# What nodes are called.


def own(*names: str) -> list[OwnNames]:
    return [OwnNames(name, None) for name in names]


@pytest.mark.parametrize(
    ("nodes", "names", "hosts", "host_ranks", "called"),
    [
        # As they were asked for, in blocks; a host may have got no rank.
        ((0, 0, 1), ["n1", "n1", "n2"], ["10.0.0.1", "10.0.0.2"], [2, 1], ["10.0.0.1", "10.0.0.2"]),
        ((0, 1), ["n", "n"], ["a", "b", "c"], [1, 0, 1], ["a", "c"]),
        ((0, 1), ["localhost", "localhost"], ["a", "b"], [1, 1], ["a", "b"]),
        # Where MPI sees other blocks than were asked for, the hosts' own names are true.
        ((0, 1, 0), ["n1", "n2", "n1"], ["a", "b"], [2, 1], ["n1", "n2"]),
        ((0, 0), ["n1", "n1"], ["a", "b"], [1, 1], ["n1"]),
        ((0, 1), ["n1", "n2"], ["a"], [2], ["n1", "n2"]),
        ((0, 0), ["n1", "n1"], ["a"], [1], ["n1"]),
        # Nobody asked for any.
        ((0, 1, 2), ["n1", "n2", "n3"], [], [], ["n1", "n2", "n3"]),
        ((0, 1), ["n", "n"], [], [], ["n-node0", "n-node1"]),
        ((0, 1, 2), ["n", "n-node0", "n"], [], [], ["n-node0-node0", "n-node0", "n-node2"]),
        ((0, 1), [":;\n-", "a:b"], [], [], ["host", "a-b"]),
        ((0, 1), ["Node", "node"], [], [], ["Node-node0", "node-node1"]),
    ],
)
def test_nodes_have_names_of_their_own(nodes, names, hosts, host_ranks, called):
    assert name_nodes(nodes, own(*names), hosts, host_ranks) == tuple(called)


def test_a_scheduler_knows_its_nodes_better_than_they_themselves():
    names = [OwnNames("localhost", "n1"), OwnNames("localhost", "n2")]
    assert name_nodes((0, 1), names) == ("n1", "n2")
    # One environment handed to all hosts names only the first.
    names = [OwnNames("a", "n1"), OwnNames("b", "n1")]
    assert name_nodes((0, 1), names) == ("a", "b")


@given(st.lists(st.text(max_size=64), min_size=1, max_size=6))
def test_any_names_become_host_names_that_differ(names):
    called = name_nodes(tuple(range(len(names))), own(*names))
    assert parse_hosts(",".join(called)) == called


def test_numbers_follow_the_order_of_appearance():
    assert number_as_they_appear("baab") == (0, 1, 1, 0)
    assert number_as_they_appear(()) == ()
