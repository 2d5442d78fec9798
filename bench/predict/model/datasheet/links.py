"""What a link carries: from transfers per second and lanes to bytes that a program sees.

Sources: PCI Express Base Specification (lane rates, codings, packet and flit layout); InfiniBand
Architecture Specification volume 1 (packet headers); IEEE 802.3, RFC 791, RFC 793 and RFC 7323
(Ethernet, IP, TCP with timestamps); InfiniBand annex A17 (RoCEv2).
"""

import msgspec

TLP_WRITE_OVERHEAD = 24
"""Bytes of a PCIe memory write beside its data: 4 framing and sequence, 16 header with a 64-bit
address, 4 link check."""
DLLP_BYTES = 8
"""An acknowledgement or a flow control update on the wire."""
SKIP_SHARE = 4 / 1538
"""Symbols that PCIe inserts for clock compensation, at most every 1538 symbols."""
FLIT_TLP_SHARE = 236 / 256
"""Of a PCIe 6 flit of 256 bytes 236 carry packets; 6 are link layer, 8 check and 6 correct."""

INFINIBAND_HEADERS = 26
"""Bytes of a middle packet beside its data: LRH 8, BTH 12, ICRC 4, VCRC 2."""
ETHERNET_FRAMING = 38
"""Bytes of a frame beside its packet: preamble 8, header 14, check 4, gap 12."""
ROCE_HEADERS = ETHERNET_FRAMING + 44
"""The frame, IPv4 20, UDP 8, BTH 12 and ICRC 4; the MTU of RoCE counts its data alone."""
TCP_HEADERS = 52
"""IPv4 20, TCP 20 and its timestamps 12; the MTU of Ethernet counts them."""


class Span(msgspec.Struct, frozen=True):
    """Bytes per second and direction of a link, from the worst that is usual to the limit."""

    low: float
    usual: float
    high: float
    formula: str


def pcie_rate(transfers: float, lanes: int, coding: float) -> float:
    """Return the payload rate of a PCIe link after line coding, in bytes per second.

    Args:
        transfers: per second and lane, such as 8e9.
        lanes: as negotiated, not as the slot is long.
        coding: payload bits per bit on the line, such as 128 / 130.
    """
    return transfers * lanes * coding / 8


def pcie_span(rate: float, payload: int = 256) -> Span:
    """Return what a PCIe link of generation 1 to 5 carries as writes of `payload` bytes.

    At best each packet has its header alone; at worst the opposite direction is as busy, so that
    an acknowledgement and a flow control update go with every packet, and clock compensation.

    Args:
        rate: after line coding, bytes per second.
        payload: the maximum payload size as negotiated, in bytes.
    """
    best = rate * payload / (payload + TLP_WRITE_OVERHEAD)
    worst = payload / (payload + TLP_WRITE_OVERHEAD + 2 * DLLP_BYTES) * (1 - SKIP_SHARE)
    return Span(
        rate * worst, best, rate, f"coded rate x {payload} / ({payload} + {TLP_WRITE_OVERHEAD})"
    )


def pcie_flit_span(rate: float, coding: float) -> Span:
    """Return what a PCIe link of generation 6 carries; headers within packets are not counted.

    Args:
        rate: after flit check and correction, bytes per second.
        coding: the share of the line that `rate` is, 242 / 256.
    """
    carried = rate / coding * FLIT_TLP_SHARE
    return Span(carried, carried, rate, "line rate x 236 / 256")


def infiniband_span(payload: float, mtu: int | None = None) -> Span:
    """Return what InfiniBand carries in packets of `mtu` bytes of data.

    Args:
        payload: after line coding, bytes per second.
        mtu: 256 to 4096; unknown where None: usually 4096, at worst 2048, the limit is no header.
    """
    usual = mtu or 4096
    return Span(
        payload * _share(mtu or 2048, INFINIBAND_HEADERS),
        payload * _share(usual, INFINIBAND_HEADERS),
        payload if mtu is None else payload * _share(usual, INFINIBAND_HEADERS),
        f"payload rate x {usual} / ({usual} + {INFINIBAND_HEADERS})",
    )


def roce_span(line: float, mtu: int | None = None) -> Span:
    """Return what RoCEv2 carries in packets of `mtu` bytes of data; `line` in bytes per second."""
    usual = mtu or 4096
    return Span(
        line * _share(mtu or 1024, ROCE_HEADERS),
        line * _share(usual, ROCE_HEADERS),
        line if mtu is None else line * _share(usual, ROCE_HEADERS),
        f"line rate x {usual} / ({usual} + {ROCE_HEADERS})",
    )


def tcp_span(line: float, mtu: int | None = None) -> Span:
    """Return what TCP over Ethernet carries in frames of `mtu` bytes.

    Args:
        line: bytes per second; the line coding of Ethernet is already taken off in its name.
        mtu: of the interface; unknown where None: usually 1500, at best 9000.
    """
    usual = mtu or 1500
    rate = line * _tcp_share(usual)
    return Span(
        rate,
        rate,
        line * _tcp_share(mtu or 9000),
        f"line rate x {usual - TCP_HEADERS} / {usual + ETHERNET_FRAMING}",
    )


def plain_span(rate: float) -> Span:
    """Return the span of a link whose headers its vendor does not publish, such as NVLink."""
    return Span(rate, rate, rate, "payload rate")


def _share(data: int, headers: int) -> float:
    return data / (data + headers)


def _tcp_share(mtu: int) -> float:
    return (mtu - TCP_HEADERS) / (mtu + ETHERNET_FRAMING)
