"""Interfaces that lead to no other host: bridges, and links without carrier."""

import sys

import pytest
from test_machine_nic import in_new_network

from bench.core.events import SharedAddress
from bench.core.records import About, Finding
from bench.machine.doctor.interfaces import check_interfaces, check_shared
from bench.machine.interfaces import Interface, Network, find_shared, read_answer
from bench.run.fitness import leave_out_shared, name_suspects

PRINT = "from bench.machine.interfaces import print_network; print_network()"


def network(*interfaces: Interface, identity: str) -> Network:
    return Network(identity=identity, interfaces=interfaces)


def interface(name: str, *addresses: str, kind: str | None = None, up: bool = True) -> Interface:
    return Interface(name=name, kind=kind, carrier=up, addresses=addresses)


ETH = interface("eth0", "10.0.0.1/24")
DOCKER = interface("docker0", "172.17.0.1/16", kind="bridge", up=False)


def test_the_kernel_tells_kind_carrier_and_addresses() -> None:
    """Real interfaces: a bridge without and with a port, a tap, and a pair of which one is up."""
    out = in_new_network(
        """
        echo some profile prints this; ip link set lo up
        ip link add docker0 type bridge; ip address add 172.17.0.1/16 dev docker0
        ip link set docker0 up
        ip tuntap add tap0 mode tap; ip address add 10.255.0.1/24 dev tap0
        ip -6 address add fd00::7/64 dev tap0 nodad; ip link set tap0 up
        ip link add v0 type veth peer name v1; ip link set v0 master docker0 up
        until grep -q 0 /sys/class/net/docker0/carrier; do sleep 0.05; done
        ip tuntap add down0 mode tap; ip address add 10.254.0.1/24 dev down0
        "$1" -c "$2"
        ip link set v1 up
        until grep -q 1 /sys/class/net/docker0/carrier; do sleep 0.05; done
        "$1" -c "$2"
        """,
        sys.executable,
        PRINT,
    )
    first, second = (read_answer(line) for line in out.splitlines()[1:])
    assert first is not None
    assert second is not None
    assert first.identity == second.identity
    assert read_answer(out) == first
    by_name = {found.name: found for found in first.interfaces}
    assert set(by_name) == {"lo", "docker0", "tap0", "v0"}
    assert by_name["docker0"] == DOCKER
    assert by_name["tap0"] == interface("tap0", "10.255.0.1/24", "fd00::7/64", kind="tun", up=False)
    assert by_name["v0"] == interface("v0", kind="veth", up=False)
    assert by_name["lo"].addresses == ()
    (bridge,) = (found for found in second.interfaces if found.name == "docker0")
    assert bridge == interface("docker0", "172.17.0.1/16", kind="bridge")


@pytest.mark.parametrize("output", ["", "clusterbench-interfaces {", "clusterbench-interfaces 7"])
def test_what_is_no_answer_is_unknown(output: str) -> None:
    assert read_answer(f"Welcome\n{output}\n") is None


def test_only_what_several_hosts_have_is_shared() -> None:
    hosts = {
        "n1": network(ETH, DOCKER, identity="a:1"),
        "n2": network(interface("eth0", "10.0.0.2/24"), DOCKER, identity="b:1"),
        # Another name of n1, which has its addresses by right.
        "n1.cluster": network(ETH, DOCKER, identity="a:1"),
        "n3": network(interface("eth0", "10.0.0.3/24"), identity="c:1"),
    }
    assert find_shared(hosts) == (
        SharedAddress(
            interface="docker0",
            kind="bridge",
            address="172.17.0.1/16",
            carrier=False,
            hosts=("n1", "n2"),
            instead=("eth0",),
        ),
    )
    assert find_shared({name: hosts[name] for name in ("n1", "n1.cluster", "n3")}) == ()


def test_one_address_on_interfaces_of_several_names_is_shared_too() -> None:
    other = interface("podman1", "172.17.0.1/16", kind="bridge")
    shared = find_shared(
        {
            "n1": network(DOCKER, identity="a"),
            "n2": network(other, identity="b"),
            "n3": network(other, identity="c"),
        }
    )
    assert [(s.interface, s.hosts) for s in shared] == [
        ("docker0", ("n1",)),
        ("podman1", ("n2", "n3")),
    ]
    first, second = check_shared(shared, "Open MPI", {})
    # One setting that leaves all of them out.
    assert "127.0.0.1/8,sppp,docker0,podman1`" in (first.advice or "")
    assert second.advice == first.advice


def shared_on(*hosts: str) -> SharedAddress:
    return SharedAddress(
        interface="docker0",
        kind="bridge",
        address="172.17.0.1/16",
        carrier=False,
        hosts=hosts,
        instead=("eth0",),
    )


@pytest.mark.parametrize(
    ("environ", "left_out"),
    [
        ({}, False),
        ({"OMPI_MCA_btl_tcp_if_exclude": "127.0.0.1/8,sppp,docker0"}, True),
        ({"OMPI_MCA_btl_tcp_if_exclude": "127.0.0.1/8,sppp,172.17.0.0/16"}, True),
        ({"OMPI_MCA_btl_tcp_if_exclude": "127.0.0.1/8,sppp"}, False),
        ({"OMPI_MCA_btl_tcp_if_include": "eth0"}, True),
        ({"OMPI_MCA_btl_tcp_if_include": "10.0.0.0/24"}, True),
        ({"OMPI_MCA_btl_tcp_if_include": "eth0,docker0"}, False),
        ({"OMPI_MCA_btl_tcp_if_include": "172.16.0.0/12"}, False),
        ({"OMPI_MCA_btl_tcp_if_exclude": "nonsense/99,,"}, False),
    ],
)
def test_what_a_setting_leaves_out_is_no_topic(environ: dict[str, str], left_out: bool) -> None:
    assert (check_shared([shared_on("n1", "n2")], "Open MPI", environ) == []) == left_out
    assert (check_interfaces([ETH, DOCKER], "Open MPI", environ) == []) == left_out


@pytest.mark.parametrize(
    ("mpi", "words"),
    [
        ("Open MPI", ["OMPI_MCA_btl_tcp_if_exclude=127.0.0.1/8,sppp,docker0"]),
        ("MPICH", ["UCX_NET_DEVICES=eth0", "FI_SOCKETS_IFACE"]),
        (None, ["OMPI_MCA_btl_tcp_if_exclude=127.0.0.1/8,sppp,docker0", "UCX_NET_DEVICES=eth0"]),
    ],
)
def test_the_setting_is_that_of_the_mpi(mpi: str | None, words: list[str]) -> None:
    (finding,) = check_shared([shared_on("n1", "n2", "n3")], mpi, {})
    assert "docker0 (bridge, nothing connected) has 172.17.0.1/16 on all of n[1-3]" in finding.text
    assert finding.about == About(hosts=("n1", "n2", "n3"))
    assert [word for word in words if word not in (finding.advice or "")] == []
    if mpi == "MPICH":
        assert "OMPI" not in (finding.advice or "")


@pytest.mark.parametrize(
    ("interfaces", "found"),
    [
        ([ETH, DOCKER], [("warning", "Docker")]),
        ([ETH, interface("br0", "10.9.0.1/24", kind="bridge")], [("note", "a bridge")]),
        ([ETH, interface("eth1", "10.1.0.1/24", up=False)], [("note", "up without carrier")]),
        # The only way there is, and what has no address to be taken for one.
        ([interface("br0", "10.0.0.1/24", kind="bridge")], []),
        ([ETH, interface("docker0", kind="bridge")], []),
        ([ETH, interface("eth1", "10.1.0.1/24")], []),
    ],
)
def test_one_machine_names_its_bridges_beside_the_way_to_others(
    interfaces: list[Interface], found: list[tuple[str, str]]
) -> None:
    findings = check_interfaces(interfaces, None, {})
    assert [finding.level for finding in findings] == [level for level, _ in found]
    assert all(w in f.text for f, (_, w) in zip(findings, found, strict=True))


def test_a_job_names_what_its_own_hosts_share() -> None:
    findings: list[Finding] = [
        *check_shared([shared_on("n1", "n2")], "Open MPI", {}),
        *check_interfaces([ETH, DOCKER], "Open MPI", {}),
    ]
    (suspect,) = name_suspects(("n2", "n1", "n3"), findings)
    assert suspect.startswith("docker0 (bridge, nothing connected) has 172.17.0.1/16")
    assert "btl_tcp_if_exclude=127.0.0.1/8,sppp,docker0" in suspect
    assert name_suspects(("n1", "n3"), findings[:1]) == []
    # What this host has is known too, and all that is where a scheduler chooses.
    (suspect,) = name_suspects((), findings[1:])
    assert "docker0 is a bridge, with 172.17.0.1/16" in suspect
    # The same is not told twice.
    assert leave_out_shared(findings, findings) == findings[:1]
    assert leave_out_shared(findings[1:], []) == findings[1:]


def test_hostile_names_are_escaped() -> None:
    evil = SharedAddress(
        interface="\x1b[2J", kind="\n", address="\x07", carrier=True, hosts=("n1", "n2")
    )
    (finding,) = check_shared([evil], None, {})
    assert finding.text.isprintable()
    assert (finding.advice or "").isprintable()
