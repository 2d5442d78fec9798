"""Links and paths: what is left of a line rate, and which hop limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.machine.catalogue import load
from bench.predict.hardware import Packets, link_hop, payload_rate
from bench.predict.model.datasheet.links import (
    infiniband_span,
    pcie_flit_span,
    pcie_rate,
    pcie_span,
    plain_span,
    roce_span,
    tcp_span,
)
from bench.predict.model.datasheet.paths import Hop, staged, streamed

rates = st.floats(1e6, 1e12)
sizes = st.floats(0, 1e12)


@st.composite
def spans(draw):
    rate = draw(rates)
    return draw(
        st.sampled_from(
            [
                plain_span(rate),
                pcie_span(rate, draw(st.sampled_from([128, 256, 512]))),
                pcie_flit_span(rate, 242 / 256),
                infiniband_span(rate, draw(st.sampled_from([None, 256, 2048, 4096]))),
                tcp_span(rate, draw(st.sampled_from([None, 1500, 9000]))),
                roce_span(rate, draw(st.sampled_from([None, 1024, 4096]))),
            ]
        )
    )


hops = st.lists(st.builds(Hop, st.text(min_size=1), spans()), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("transfers", "lanes", "coding", "gigabytes"),
    [
        (2.5e9, 16, 0.8, 4.0),
        (5e9, 8, 0.8, 4.0),
        (8e9, 16, 128 / 130, 15.754),
        (8e9, 8, 128 / 130, 7.877),
        (32e9, 16, 128 / 130, 63.02),
        (64e9, 16, 242 / 256, 121.0),
    ],
)
def test_pcie_after_line_coding(transfers, lanes, coding, gigabytes):
    assert pcie_rate(transfers, lanes, coding) / 1e9 == pytest.approx(gigabytes, rel=1e-4)


@pytest.mark.parametrize(("payload", "share"), [(128, 0.842), (256, 0.914), (512, 0.955)])
def test_a_pcie_write_has_24_bytes_beside_its_data(payload, share):
    assert pcie_span(1.0, payload).usual == pytest.approx(share, abs=5e-4)


def test_pcie_5_x16_holds_what_a_copy_reached():
    # nvbandwidth on a node of H200, each on PCIe 5.0 x16: 55.4 GB/s.
    span = link_hop("pcie5-x16", load()).span
    assert span.low < 55.4e9 < span.usual


@pytest.mark.parametrize(
    ("link", "packets", "gigabytes"),
    [
        ("qdr", Packets(mtu=2048), 4.0 * 0.987),
        ("qdr", Packets(mtu=4096), 4.0 * 0.9937),
        ("1gbe", Packets(mtu=1500), 0.1177),
        ("10gbe", Packets(mtu=9000), 1.2376),
        ("100gbe", Packets(), 11.77),
        ("100gbe", Packets("roce", 4096), 12.255),
        ("nvlink4", Packets(), 450),
        ("pcie3-x8", Packets(), 7.202),
    ],
)
def test_packets_take_their_headers_off(link, packets, gigabytes):
    assert link_hop(link, load(), packets).span.usual / 1e9 == pytest.approx(gigabytes, rel=1e-3)


@pytest.mark.parametrize(
    ("link", "gigabytes"),
    [("sdr", 1), ("qdr", 4), ("fdr", 6.818), ("edr", 12.5), ("xdr", 100), ("40gbe", 5)],
)
def test_payload_rates_are_after_line_coding(link, gigabytes):
    assert payload_rate(link, load()) / 1e9 == pytest.approx(gigabytes, rel=1e-4)


@given(spans())
def test_a_span_goes_from_worst_to_limit(span):
    assert 0 < span.low <= span.usual <= span.high


@given(hops, sizes, st.floats(0, 1e-3))
def test_a_path_is_bracketed_and_staging_never_pays(path, size, latency_s):
    through, copied = streamed(size, path, latency_s), staged(size, path, latency_s)
    assert through.low_s <= through.seconds <= through.high_s
    assert copied.low_s <= copied.seconds <= copied.high_s
    assert copied.seconds >= through.seconds * (1 - 1e-12)
    assert through.limited_by in [hop.name for hop in path]


@given(hops, sizes, st.floats(1, 10))
def test_more_bytes_never_cost_less_and_a_further_hop_never_helps(path, size, times):
    for over in (streamed, staged):
        assert over(size * times, path).seconds >= over(size, path).seconds
        assert over(size, path).seconds >= over(size, path[:1]).seconds
        assert over(0, path).seconds == 0


def test_the_slowest_hop_limits_and_staging_adds_up():
    fast, slow = (Hop(name, plain_span(rate)) for name, rate in (("fast", 12e9), ("slow", 4e9)))
    assert streamed(12e9, [fast, slow]).limited_by == "slow"
    assert streamed(12e9, [fast, slow]).seconds == pytest.approx(3)
    assert staged(12e9, [fast, slow]).seconds == pytest.approx(4)
    assert staged(12e9, [fast, slow]).low_s == pytest.approx(3)


def test_a_chip_in_an_old_slot_is_limited_by_the_slot():
    port, slot = link_hop("qdr", load()), link_hop("pcie2-x8", load())
    assert streamed(4e6, [port, slot]).limited_by == "pcie2-x8"
    assert streamed(4e6, [port, link_hop("pcie3-x8", load())]).limited_by == "qdr"
