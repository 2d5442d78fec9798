"""Which node is the odd one, and in what."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bench.machine.differences import Difference, difference_findings, find_differences

NODE: dict[str, Any] = {
    "host": "h1",
    "system": {"os": "Debian 12", "kernel": "6.1.0-1"},
    "cpu": {"model": "EPYC 9654", "sockets": 2, "cores": 192, "smt": "on", "governors": ["p"]},
    "memory": {"total": 811 * 2**30, "available": 1},
    "gpus": [{"model": "H100", "uuid": "GPU-1", "sm_clock_mhz": 1980}],
    "rdma": [{"name": "mlx5_0", "firmware": "28.39.1002"}],
    "packages": {"numpy": "2.1.0"},
}


def nodes(count: int) -> dict[str, dict[str, Any]]:
    return {f"h{i}": {**copy.deepcopy(NODE), "host": f"h{i}"} for i in range(1, count + 1)}


def test_alike_nodes_do_not_differ() -> None:
    assert find_differences(nodes(5)) == []
    assert find_differences({}) == []


def test_one_node_with_an_older_firmware_is_named_with_both_versions() -> None:
    cluster = nodes(4)
    cluster["h3"]["rdma"][0]["firmware"] = "28.36.1010"
    (found,) = find_differences(cluster)
    assert found == Difference("h3", "rdma[0].firmware", "28.36.1010", "28.39.1002")
    (finding,) = difference_findings([found])
    assert "h3" in finding.text
    assert "28.36.1010" in finding.text


def test_a_missing_gpu_and_another_kernel_are_found() -> None:
    cluster = nodes(3)
    cluster["h2"]["gpus"] = []
    cluster["h2"]["system"]["kernel"] = "6.1.0-2"
    facts = {d.fact for d in find_differences(cluster)}
    assert {"number of gpus", "system.kernel"} <= facts
    assert {d.host for d in find_differences(cluster)} == {"h2"}


def test_what_belongs_to_one_piece_of_hardware_or_one_moment_is_no_difference() -> None:
    cluster = nodes(3)
    cluster["h2"]["gpus"][0] |= {"uuid": "GPU-2", "sm_clock_mhz": 345}
    cluster["h2"]["memory"] |= {"total": 811 * 2**30 - 5_000_000, "available": 7}
    assert find_differences(cluster) == []


@given(st.integers(3, 9), st.data())
def test_the_odd_node_is_accused_and_nobody_else(count: int, data: st.DataObject) -> None:
    cluster = nodes(count)
    odd = data.draw(st.sampled_from(sorted(cluster)))
    cluster[odd]["packages"]["numpy"] = "1.0"
    assert [d.host for d in find_differences(cluster)] == [odd]
