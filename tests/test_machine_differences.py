"""Which nodes are the odd ones, and in what: a modelled cluster of GPU nodes, job after job."""

import json
import re
from collections.abc import Callable
from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.records import Finding
from bench.machine import differences
from bench.machine.compared import Compared
from bench.machine.direct_path import PathFacts
from bench.machine.facts import NodeFacts
from bench.machine.survey import Survey
from bench.machine.topology import Between

Facts = dict[str, Any]


def pci(address: str, numa: int) -> Facts:
    link = {"generation_now": 5, "width_now": 16, "generation_max": 5, "width_max": 16}
    return {
        "address": address,
        "id": "15b3:1021",
        "name": "ConnectX-7",
        "numa_node": numa,
        "link": link,
    }


def gpus_of_node(number: int) -> list[Facts]:
    return [
        {
            "vendor": "nvidia",
            "index": i,
            "model": "NVIDIA H100 80GB HBM3",
            "uuid": f"GPU-{number:04}-{i}",
            "pci_address": f"0000:{16 * i + 0x18:02x}:00.0",
            "pcie": {"generation_now": 5, "width_now": 16, "generation_max": 5, "width_max": 16},
            "numa_node": i // 4,
            "memory": 80 * 2**30 + 4096 * number,
            "nvlinks": 18,
            "nvlinks_active": 18,
            "sm_mhz_now": 1980,
            "sm_mhz_max": 1980,
            "memory_mhz_now": 2619,
            "throttle": ["idle"],
            "ecc": True,
            "mig": False,
            "driver": "570.86.15",
            "cuda": "12.8",
        }
        for i in range(8)
    ]


def cards_of_node() -> Facts:
    cards = [pci(f"0000:{16 * i + 0x20:02x}:00.0", i // 2) for i in range(4)]
    return {
        "nics": [
            {
                "name": f"ibp{i}",
                "pci": card,
                "firmware": "28.39.1002",
                "state": "up",
                "speed_mbit_per_s": 400_000,
                "mtu": 4092,
            }
            for i, card in enumerate(cards)
        ],
        "rdma": [
            {
                "name": f"mlx5_{i}",
                "pci": card,
                "hca_type": "MT4129",
                "firmware": "28.39.1002",
                "ports": [
                    {
                        "port": 1,
                        "state": "ACTIVE",
                        "physical": "LinkUp",
                        "rate_gbit_per_s": 400.0,
                        "link_layer": "InfiniBand",
                    }
                ],
            }
            for i, card in enumerate(cards)
        ],
    }


def gpu_node(number: int) -> Facts:
    """Return the facts of a sound node with 8 GPUs and 4 cards: an own identity in each."""
    return {
        "host": f"n{number}",
        "system": {"os": "Ubuntu 24.04", "kernel": "6.8.0-45", "container": None},
        "cpu": {
            "model": "Xeon 8480C",
            "sockets": 2,
            "cores": 112,
            "logical": 112,
            "usable": 1,  # a rank looked that was bound to one core
            "usable_cores": 1,
            "usable_list": str(number),
            "smt": "off",
            "governors": ["performance"],
            "mhz_max": 3800.0 + number % 3,
        },
        "memory": {"total": 2015 * 2**30 + 2**20 * number, "available": 10**12 + number},
        "numa": [{"node": n, "cpus": f"{56 * n}-{56 * n + 55}"} for n in range(2)],
        "gpus": gpus_of_node(number),
        **cards_of_node(),
        "blas": {"name": "openblas", "version": "0.3.29", "threads": 1, "architecture": "SPR"},
        "packages": {"numpy": "2.2.0", "numba": "0.61.0", "cupy-cuda12x": "13.4.0"},
        "libraries": {"ucx": "1.18.0", "libfabric": None, "nccl": "2.25.1"},
        "environment": {
            "UCX_NET_DEVICES": "mlx5_0:1",
            "CUDA_VISIBLE_DEVICES": str(number % 8),
            "OMP_NUM_THREADS": str(number),
            "OMPI_MCA_hook_comm": f"/scratch/n{number}/log",
            "LD_LIBRARY_PATH": ("/opt/ompi/lib", "/opt/ompi/lib:", "/opt/ompi/lib:/opt/ompi/lib")[
                number % 3
            ],
            "SLURM_JOB_ID": "4711",
        },
        "clock_s": 1e9 + number % 50 / 1000,
    }


def cluster(count: int = 16) -> dict[str, Facts]:
    # Through JSON: nodes share nothing, so that one can be spoiled alone.
    return {f"n{i}": json.loads(json.dumps(gpu_node(i))) for i in range(1, count + 1)}


def look(nodes: dict[str, Facts], survey: Survey | None = None) -> tuple[Finding, ...]:
    facts = {host: msgspec.convert(node, NodeFacts) for host, node in nodes.items()}
    return (survey or Survey()).look(facts, {})


def odd_texts(nodes: dict[str, Facts]) -> list[str]:
    return [finding.text for finding in look(nodes) if finding.name == "odd-node"]


def test_sound_nodes_give_no_finding() -> None:
    assert look(cluster()) == ()
    assert look({}) == ()
    assert look(cluster(1)) == ()


def test_clocks_of_idle_gpus_are_no_difference() -> None:
    nodes = cluster()
    for number, node in enumerate(nodes.values()):
        for gpu in node["gpus"]:
            gpu |= {"sm_mhz_now": 210 + 15 * number, "memory_mhz_now": 405 * (1 + number % 2)}
            # Power saving lowers the speed of its link, and never its width.
            gpu["pcie"]["generation_now"] = 1 + number % 5
    assert odd_texts(nodes) == []


def narrow_gpu(node: Facts) -> None:
    node["gpus"][3]["pcie"]["width_now"] = 8


def weak_slot(node: Facts) -> None:
    node["gpus"][3]["pcie"]["generation_max"] = 4


def few_nvlinks(node: Facts) -> None:
    node["gpus"][0]["nvlinks_active"] = 14


def half_rate(node: Facts) -> None:
    node["nics"][2]["speed_mbit_per_s"] = 200_000


def half_port(node: Facts) -> None:
    node["rdma"][1]["ports"][0]["rate_gbit_per_s"] = 200.0


def ethernet(node: Facts) -> None:
    node["rdma"][1]["ports"][0]["link_layer"] = "Ethernet"


def narrow_nic(node: Facts) -> None:
    for cards in (node["nics"], node["rdma"]):
        cards[0]["pci"]["link"]["width_now"] = 8


def slow_nic(node: Facts) -> None:
    node["rdma"][0]["pci"]["link"]["generation_now"] = 3


def missing_gpu(node: Facts) -> None:
    del node["gpus"][2]


def missing_card(node: Facts) -> None:
    del node["nics"][1], node["rdma"][1]


def old_driver(node: Facts) -> None:
    for gpu in node["gpus"]:
        gpu["driver"] = "550.90.07"


def other_device(node: Facts) -> None:
    node["environment"]["UCX_NET_DEVICES"] = "mlx5_3:1"


def no_device(node: Facts) -> None:
    del node["environment"]["UCX_NET_DEVICES"]


def other_ucx(node: Facts) -> None:
    node["libraries"]["ucx"] = None


def little_memory(node: Facts) -> None:
    node["memory"]["total"] -= 64 * 2**30


def contained(node: Facts) -> None:
    node["system"]["container"] = "docker"


def shared_cores(node: Facts) -> None:
    node["cpu"]["quota_cores"] = 8.0


def other_numa(node: Facts) -> None:
    node["numa"] = [{"node": 0, "cpus": "0-111"}]


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (narrow_gpu, "gpus[0000:48:00.0].pcie.width_now: 8 instead of 16"),
        (weak_slot, "gpus[0000:48:00.0].pcie.generation_max: 4 instead of 5"),
        (few_nvlinks, "gpus[0000:18:00.0].nvlinks_active: 14 instead of 18"),
        (half_rate, "nics[0000:40:00.0].speed_mbit_per_s: 200000 instead of 400000"),
        (half_port, "rdma[0000:30:00.0].ports[1].rate_gbit_per_s: 200.0 instead of 400.0"),
        (ethernet, "rdma[0000:30:00.0].ports[1].link_layer: Ethernet instead of InfiniBand"),
        (narrow_nic, "nics[0000:20:00.0].pci.link.width_now: 8 instead of 16"),
        (slow_nic, "rdma[0000:20:00.0].pci.link.generation_now: 3 instead of 5"),
        (missing_gpu, "gpus[0000:38:00.0]: absent instead of present"),
        (missing_card, "nics[0000:30:00.0]: absent instead of present"),
        (old_driver, "gpus[0000:18:00.0 and 7 more].driver: 550.90.07 instead of 570.86.15"),
        (other_device, "environment.UCX_NET_DEVICES: mlx5_3:1 instead of mlx5_0:1"),
        (no_device, "environment.UCX_NET_DEVICES: absent instead of mlx5_0:1"),
        (other_ucx, "libraries.ucx: absent instead of 1.18.0"),
        (little_memory, "memory.total: 1951 GiB instead of 2015 GiB"),
        (contained, "system.container: docker instead of none"),
        (shared_cores, "cpu.quota_cores: 8.0 instead of no limit"),
        (other_numa, "numa[1]: absent instead of present"),
    ],
)
def test_the_odd_node_is_named_with_its_fact(spoil: Callable[[Facts], None], text: str) -> None:
    nodes = cluster()
    spoil(nodes["n5"])
    found = odd_texts(nodes)
    assert f"n5 differs from most nodes in {text}" in found
    assert len(found) == (2 if spoil is other_numa else 1), found


def test_nodes_that_differ_alike_are_one_finding() -> None:
    nodes = cluster()
    for host in ("n1", "n2", "n3"):
        nodes[host]["system"]["kernel"] = "6.5.0-1"
    assert odd_texts(nodes) == [
        "n[1-3] differ from most nodes in system.kernel: 6.5.0-1 instead of 6.8.0-45"
    ]


def test_buses_that_are_numbered_another_way_are_paired_in_order() -> None:
    nodes = cluster()
    for gpu in nodes["n4"]["gpus"]:
        gpu["pci_address"] = f"0000:{int(gpu['pci_address'][5:7], 16) + 1:02x}:00.0"
    assert odd_texts(nodes) == []
    nodes["n4"]["gpus"][3]["nvlinks_active"] = 17
    assert odd_texts(nodes) == [
        "n4 differs from most nodes in gpus[0000:48:00.0].nvlinks_active: 17 instead of 18"
    ]
    del nodes["n4"]["gpus"][7]
    assert odd_texts(nodes) == ["n4 differs from most nodes in number of gpus: 7 instead of 8"]


def test_what_a_node_does_not_know_is_no_difference() -> None:
    nodes = cluster()
    for gpu in nodes["n2"]["gpus"]:
        gpu |= {"ecc": None, "pcie": None, "nvlinks_active": None}
    nodes["n3"]["nics"][0]["speed_mbit_per_s"] = None
    assert odd_texts(nodes) == []


def test_faults_of_any_node_name_it_folded_where_many_share_one() -> None:
    nodes = cluster()
    narrow_gpu(nodes["n7"])
    few_nvlinks(nodes["n9"])
    for host in ("n2", "n3", "n4", "n11"):
        nodes[host]["rdma"][3]["ports"][0]["state"] = "DOWN"
    texts = {f.name: f.text for f in look(nodes) if f.name != "odd-node"}
    assert set(texts) == {"gpu-link-width", "gpu-nvlink", "rdma-port"}
    assert texts["gpu-link-width"].startswith("n7: nvidia GPU 3 ")
    assert texts["gpu-nvlink"].startswith("n9: nvidia GPU 0 ")
    assert texts["rdma-port"].startswith("n[2-4,11]: port 1 of mlx5_3 is DOWN")
    about = {f.name: f.about for f in look(nodes) if f.name != "odd-node"}
    assert about["gpu-link-width"].parts == ("n7:gpu3",)
    assert about["gpu-nvlink"].hosts == ("n9",)
    assert set(about["rdma-port"].parts) == {"n2:nic3", "n3:nic3", "n4:nic3", "n11:nic3"}


def test_many_jobs_find_what_one_job_does() -> None:
    survey, nodes = Survey(), cluster()
    few_nvlinks(nodes["n9"])
    other_device(nodes["n3"])
    nodes["n1"]["clock_s"] += 5
    first = look(nodes, survey)
    assert len(first) == 4
    for job in range(4):
        for number, node in enumerate(nodes.values()):
            node["memory"]["available"] -= 10**9
            for gpu in node["gpus"]:
                gpu |= {"sm_mhz_now": 210 + job * number, "throttle": ["idle"]}
        last = look(nodes, survey)
        assert last == first


def test_a_node_whose_direct_path_is_closed_is_named() -> None:
    def paths(**changes: Any) -> PathFacts:
        between = tuple(
            Between(gpu=f"0000:{i}8:00.0", nic=f"mlx5_{i}", distance="PIX", acs_redirect=redirect)
            for i, redirect in enumerate(changes.pop("acs", (False, False)))
        )
        facts = PathFacts(peer_module="nvidia_peermem", iommu="off", between=between)
        return msgspec.structs.replace(facts, **changes)

    seen = {f"n{i}": paths() for i in range(1, 9)}
    assert Survey().look({}, seen) == ()
    seen |= {"n3": paths(peer_module=None), "n4": paths(acs=(True, True))}
    assert [finding.text for finding in Survey().look({}, seen)] == [
        "n3 differs from most nodes in peer_module: none instead of nvidia_peermem",
        "n4 differs from most nodes in between[0000:08:00.0 to mlx5_0 and 1 more].acs_redirect: "
        "True instead of False",
    ]


def test_a_clock_seen_again_replaces_what_was_seen_before() -> None:
    survey, nodes = Survey(), cluster(3)
    for skew_s in (5, 6, 7):
        nodes["n1"]["clock_s"] = 1e9 + skew_s
        (finding,) = look(nodes, survey)
    assert "+7.0 s" in finding.text


def test_with_more_nodes_the_odd_one_is_known() -> None:
    survey, nodes = Survey(), cluster(5)
    nodes["n1"]["system"]["kernel"] = "6.5.0-1"
    (finding,) = look({host: nodes[host] for host in ("n1", "n2")}, survey)
    assert finding.text == "n[1-2] differ in system.kernel: 6.5.0-1 on n1, 6.8.0-45 on n2"
    assert finding.about.hosts == ("n1", "n2")
    assert (finding.value, finding.limit) == (None, None)
    (finding,) = look(nodes, survey)
    assert finding.text.startswith("n1 differs from most nodes")
    assert finding.about.hosts == ("n1",)
    assert (finding.value, finding.limit) == ("6.5.0-1", "6.8.0-45")
    assert look({host: nodes[host] for host in ("n1", "n2")}, survey) == (finding,)


SPOILED = (narrow_gpu, few_nvlinks, half_rate, narrow_nic, missing_gpu, missing_card, old_driver,
           other_device, no_device, other_ucx, little_memory, contained)  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILED)
def test_of_two_nodes_that_differ_neither_is_the_odd_one(spoil: Callable[[Facts], None]) -> None:
    told = []
    for host in ("n1", "n2"):
        nodes = cluster(2)
        spoil(nodes[host])
        (finding,) = (f for f in look(nodes) if f.name == "odd-node")
        assert finding.about.hosts == ("n1", "n2")
        assert "most nodes" not in finding.text
        assert finding.limit is None
        told.append(finding.text)
    # Whichever is spoiled, the same is told, with the hosts exchanged.
    first, second = (sorted(re.findall(r"([^ ,:]+) on (n\d)", text)) for text in told)
    assert len(first) == 2
    assert sorted((value, {"n1": "n2", "n2": "n1"}[host]) for value, host in first) == second


def test_without_a_value_that_most_have_all_are_told() -> None:
    nodes = cluster(4)
    for host in ("n1", "n2"):
        nodes[host]["system"]["kernel"] = "6.5.0-1"
    assert odd_texts(nodes) == [
        "n[1-4] differ in system.kernel, and no value is that of most nodes: "
        "6.5.0-1 on n[1-2], 6.8.0-45 on n[3-4]"
    ]
    nodes = cluster(7)
    for number, node in enumerate(nodes.values()):
        node["packages"]["numpy"] = f"2.{number}"
    (text,) = odd_texts(nodes)
    assert text.endswith("2.0 on n1, 2.1 on n2, 2.2 on n3, 2.3 on n4, 3 more values elsewhere")


@pytest.mark.parametrize(("count", "accused"), [(2, ("n1", "n2")), (3, ("n1",))])
def test_of_two_clocks_nobody_knows_which_is_wrong(count: int, accused: tuple[str, ...]) -> None:
    nodes = cluster(count)
    nodes["n1"]["clock_s"] += 5
    (finding,) = look(nodes)
    assert finding.about.hosts == accused
    assert ("median node" in finding.text) == (count > 2)
    if count == 2:
        assert finding.text == "n[1-2] differ in clock: +0.0 s on n2, +5.0 s on n1"


def test_two_nodes_of_a_later_job_do_not_take_back_what_many_showed() -> None:
    survey, nodes = Survey(), cluster(6)
    other_device(nodes["n3"])
    (first,) = look(nodes, survey)
    assert first.about.hosts == ("n3",)
    for pair in (("n3", "n4"), ("n4", "n3"), ("n1", "n2")):
        assert look({host: nodes[host] for host in pair}, survey) == (first,)


def test_a_later_job_of_many_settles_what_two_nodes_left_open() -> None:
    survey, nodes = Survey(), cluster(6)
    other_device(nodes["n3"])
    (doubt,) = look({host: nodes[host] for host in ("n3", "n4")}, survey)
    assert doubt.about.hosts == ("n3", "n4")
    (settled,) = look(nodes, survey)
    assert settled.about.hosts == ("n3",)


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (narrow_gpu, ("n5:gpu3",)),
        (few_nvlinks, ("n5:gpu0",)),
        (half_rate, ("n5:nic2",)),
        (half_port, ("n5:nic1",)),
        (narrow_nic, ("n5:nic0",)),
        (missing_gpu, ("n5:gpu2",)),
        (missing_card, ("n5:nic1",)),
        (old_driver, tuple(f"n5:gpu{i}" for i in range(8))),
        (other_ucx, ()),
    ],
)
def test_the_odd_part_is_named(spoil: Callable[[Facts], None], parts: tuple[str, ...]) -> None:
    nodes = cluster()
    spoil(nodes["n5"])
    findings = look(nodes)
    assert findings
    for finding in findings:
        assert finding.about.hosts == ("n5",)
        assert finding.about.parts == parts


def test_settings_are_compared_within_a_job_only() -> None:
    survey, nodes = Survey(), cluster(4)
    assert look(nodes, survey) == ()
    for node in nodes.values():
        node["environment"]["UCX_TLS"] = "tcp"
    assert look({host: nodes[host] for host in ("n1", "n2")}, survey) == ()


def test_a_link_that_was_down_for_one_job_stays_in_the_findings() -> None:
    survey, nodes = Survey(), cluster()
    half_rate(nodes["n5"])
    first = look(nodes, survey)
    nodes["n5"]["nics"][2]["speed_mbit_per_s"] = 400_000
    assert look(nodes, survey) == first != ()


def test_work_grows_with_the_nodes_and_not_with_their_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = 0
    alike = differences.find_usual

    def counting(*args: Any) -> Any:
        nonlocal compared
        same, text = alike(*args)

        def count(value: Any) -> bool:
            nonlocal compared
            compared += 1
            return same(value)

        return count, text

    monkeypatch.setattr(differences, "find_usual", counting)
    counts = []
    for size in (64, 512):
        nodes = cluster(size)
        for node in list(nodes.values())[::7]:
            few_nvlinks(node)
        compared = 0
        assert len(look(nodes)) == 2
        counts.append(compared / size)
    assert counts[0] == counts[1]


def test_everything_that_is_declared_is_a_field_that_can_be_compared() -> None:
    def declared(record: Any, path: str) -> list[str]:
        hints = get_type_hints(record, include_extras=True)
        found = []
        for name, hint in hints.items():
            if any(isinstance(how, Compared) for how in getattr(hint, "__metadata__", ())):
                found.append(f"{path}{name}")
        return found

    assert "gpus" in declared(NodeFacts, "")
    # Settings and counters are compared as those of the cards that name them.
    own = {"host", "clock_s", "silent_gpus", "nic_settings", "port_counters"}
    assert set(declared(NodeFacts, "")) == set(NodeFacts.__struct_fields__) - own


def test_names_from_machines_are_escaped() -> None:
    nodes = cluster(3)
    nodes["n2"]["environment"]["UCX_TLS\x1b[2J"] = "\x1b[2J\n"
    nodes["n2"]["packages"]["numpy"] = "\x1b[2J"
    evil = {"n1": nodes["n1"], "n3": nodes["n3"], "\x1b[2J,n[1-9]": nodes["n2"]}
    texts = [finding.text for finding in look(evil)]
    assert texts
    assert all(text.isprintable() for text in texts)


@settings(deadline=None)
@given(st.integers(3, 9), st.data())
def test_the_odd_node_is_accused_and_nobody_else(count: int, data: st.DataObject) -> None:
    nodes = cluster(count)
    host = data.draw(st.sampled_from(sorted(nodes)))
    nodes[host]["packages"]["numpy"] = "1.0"
    (text,) = odd_texts(nodes)
    assert text.startswith(f"{host} differs")
