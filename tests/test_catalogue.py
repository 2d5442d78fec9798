"""The catalogue: physics that every row obeys, and rows of public catalogues that it refuses."""

import shutil
from pathlib import Path

import msgspec
import pytest

from bench.core.errors import RequestError
from bench.core.units import parse_bytes, parse_rate
from bench.machine.catalogue import FOLDER, Catalogue, Memory, Peak, find, load, read
from bench.machine.catalogue.checks import contradictions, gpu_contradictions
from bench.predict.hardware import link_hop, payload_rate, processor

CATALOGUE = load()
GPUS = sorted(CATALOGUE.gpus)


def changed(table: str, name: str, **values: object) -> Catalogue:
    """Return the catalogue with values of one row replaced."""
    rows = getattr(CATALOGUE, table)
    row = msgspec.structs.replace(rows[name], **values)
    return msgspec.structs.replace(CATALOGUE, **{table: {**rows, name: row}})


def remembering(name: str, **values: object) -> list[str]:
    """Return what is said of a GPU whose memory has other values."""
    gpu = CATALOGUE.gpus[name]
    memory = msgspec.structs.replace(gpu.memory, **values)
    return gpu_contradictions(msgspec.structs.replace(gpu, memory=memory), CATALOGUE)


def with_peak(name: str, peak: Peak) -> list[str]:
    """Return what is said of a GPU with one more peak."""
    gpu = CATALOGUE.gpus[name]
    more = msgspec.structs.replace(gpu, peaks=(*gpu.peaks, peak))
    return gpu_contradictions(more, CATALOGUE)


def peak_of(gpu: str, of: str, /, **values: object) -> Peak:
    """Return the first dense peak of a dtype with other values."""
    peaks = CATALOGUE.gpus[gpu].peaks
    return msgspec.structs.replace(next(p for p in peaks if p.dtype == of), **values)


# What ships.


def test_the_catalogue_agrees_with_itself():
    assert contradictions(CATALOGUE) == []


def test_it_reaches_from_the_posts_to_today():
    assert {"gtx-titan", "tesla-k20", "b200-sxm", "mi300x"} <= set(CATALOGUE.gpus)
    assert {"connectx-2", "connectx-8"} <= set(CATALOGUE.nics)
    assert {"sdr", "qdr", "xdr", "1gbe", "800gbe"} <= set(CATALOGUE.links)
    assert {f"pcie{generation}" for generation in range(1, 7)} == set(CATALOGUE.pcie)


def test_every_link_name_is_a_link():
    for name in CATALOGUE.link_names():
        assert link_hop(name, CATALOGUE).span.low > 0


@pytest.mark.parametrize("name", GPUS)
def test_flop_are_twice_lanes_times_clock(name):
    for peak in CATALOGUE.gpus[name].peaks:
        built = 2 * peak.lanes * peak.clock_hz * (1 if peak.dense else 2)
        assert peak.flop_per_s == pytest.approx(built, rel=0.01)


@pytest.mark.parametrize("name", GPUS)
def test_memory_bandwidth_is_pin_rate_times_width(name):
    memory = CATALOGUE.gpus[name].memory
    assert memory.rate == pytest.approx(parse_rate(memory.pin) * memory.bus_bits, rel=0.01)


@pytest.mark.parametrize("name", GPUS)
def test_a_gpu_has_a_processor_for_each_of_its_dtypes(name):
    gpu = CATALOGUE.gpus[name]
    for dtype in {peak.dtype for peak in gpu.peaks}:
        chip = processor(gpu, dtype)
        assert 0 < chip.peak <= chip.best_peak


def test_a_fabric_is_its_links():
    for fabric in CATALOGUE.fabrics.values():
        total = fabric.links * parse_rate(fabric.per_link)
        assert parse_rate(fabric.payload) == pytest.approx(total)


def test_payload_never_exceeds_the_line_and_names_change_their_basis():
    for link in CATALOGUE.links.values():
        assert parse_rate(link.payload) <= parse_rate(link.line)
    # QDR counts line bits, EDR payload.
    assert (CATALOGUE.links["qdr"].line, CATALOGUE.links["edr"].payload) == (
        "40 Gbit/s",
        "100 Gbit/s",
    )


def test_every_fact_has_two_sources_and_every_measurement_one():
    for table in ("pcie", "links", "fabrics", "nics", "gpus", "nodes"):
        for row in getattr(CATALOGUE, table).values():
            assert len(set(row.sources)) >= 2, row.name
    assert all(row.sources for row in CATALOGUE.effective.values())


@pytest.mark.parametrize(
    ("nic", "port", "slot", "limits"),
    [
        ("connectx-2", "qdr", "pcie2-x8", "slot"),
        ("connectx-4", "edr", "pcie3-x16", "port"),
        ("connectx-6", "hdr", "pcie4-x16", "port"),
        ("connectx-6", "hdr", "pcie3-x16", "slot"),
        ("connectx-7", "ndr", "pcie5-x16", "port"),
        ("connectx-8", "xdr", "pcie5-x16", "slot"),
        ("connectx-8", "xdr", "pcie6-x16", "port"),
    ],
)
def test_which_side_of_an_adapter_limits(nic, port, slot, limits):
    row = CATALOGUE.nics[nic]
    assert port == row.ports[0]
    assert slot in row.host
    spans = {name: link_hop(name, CATALOGUE).span.usual for name in (port, slot)}
    assert (spans[slot] < spans[port]) == (limits == "slot")


def test_a_second_port_of_connectx_3_adds_next_to_nothing():
    port, slot = payload_rate("fdr", CATALOGUE), payload_rate("pcie3-x8", CATALOGUE)
    assert min(2 * port, slot) / port < 1.16


def test_the_tiles_of_the_posts_card_are_its_own():
    assert CATALOGUE.gpus["gtx-titan"].tiles.shapes == ((64, 128),)


# Rows found in public catalogues.


def test_an_a10_with_28_gb_is_refused():
    assert "no GDDR6 on 384 bits makes 28 GB" in remembering("a10", size="28 GB")[0]


def test_a_1080_ti_with_12_gb_is_refused():
    assert "352 bits" in remembering("gtx-1080-ti", size="12 GB")[0]


def test_a_v100_16gb_with_32_gb_is_refused():
    assert "its name says 16 GB" in remembering("v100-sxm2-16gb", size="32 GB")[0]


def test_a_card_whose_links_reach_everyone_is_refused():
    wrong = contradictions(changed("gpus", "a100-pcie-80gb", reach="switch"))
    assert "bridge" in wrong[0]


def test_80_gib_are_not_80_gb():
    assert parse_bytes("80 GiB") != parse_bytes("80 GB")
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(
            {"kind": "HBM3", "size": 80_000_000_000, "bus_bits": 5120, "pin": "5 Gbit/s",
             "bandwidth": "3350 GB/s"},
            Memory,
        )  # fmt: skip


def test_a_connectx_3_with_an_edr_port_is_refused():
    wrong = contradictions(changed("nics", "connectx-3", ports=("edr",)))
    assert wrong == ["connectx-3: its port edr is faster than its slot pcie3-x8"]


def test_a_sparse_rate_sold_as_dense_is_refused():
    peak = peak_of("h100-sxm", "fp16", rate="1979 TFLOP/s", clock_basis="base")
    assert "lanes" in with_peak("h100-sxm", peak)[0]


def test_an_h100_with_half_its_rate_and_the_memory_of_an_a100_is_refused():
    slow = peak_of("h100-sxm", "fp16", rate="500 TFLOP/s", clock_basis="base")
    assert "lanes" in with_peak("h100-sxm", slow)[0]
    assert "are not 2039 GB/s" in remembering("h100-sxm", bandwidth="2039 GB/s")[0]


def test_vector_and_tensor_rates_are_told_apart():
    vector = [p for p in CATALOGUE.gpus["gtx-1080-ti"].peaks if p.dtype == "fp16"]
    assert [(p.unit, p.flop_per_s) for p in vector] == [("vector", 0.177e12)]
    assert with_peak("gtx-1080-ti", msgspec.structs.replace(vector[0], unit="tensor")) == []
    assert "two peaks" in with_peak("gtx-1080-ti", vector[0])[0]


@pytest.mark.parametrize(
    ("gpu", "rates"),
    [
        ("rtx-4090", {("fp32", True): 165.2e12, ("fp16", True): 330.3e12}),
        ("rtx-5090", {("fp32", True): 209.5e12, ("fp16", True): 419e12, ("fp16", False): 838e12}),
    ],
)
def test_rates_of_one_dtype_differ_by_accumulator_and_sparsity(gpu, rates):
    peaks = {(p.accumulate, p.dense): p.flop_per_s for p in CATALOGUE.gpus[gpu].peaks
             if p.dtype == "fp16"}  # fmt: skip
    assert rates.items() <= peaks.items()
    wrong = peak_of(gpu, "fp16", accumulate="fp64", rate="82.6 TFLOP/s")
    assert "lanes" in with_peak(gpu, wrong)[0]


def test_a_sparse_rate_needs_its_dense_one():
    peak = peak_of("h100-sxm", "fp16", dtype="fp8", rate="1979 TFLOP/s", dense=False)
    assert "without its dense one" in with_peak("h100-sxm", peak)[0]


def test_both_directions_added_up_are_refused():
    assert "not 900 GB/s" in contradictions(changed("fabrics", "nvlink4", payload="900 GB/s"))[0]
    with pytest.raises(msgspec.ValidationError, match="direction"):
        msgspec.convert(
            {**msgspec.structs.asdict(CATALOGUE.fabrics["nvlink4"]), "direction": "both"},
            type(CATALOGUE.fabrics["nvlink4"]),
        )


def test_payload_over_the_line_is_refused():
    assert "over the line" in contradictions(changed("links", "qdr", payload="41 Gbit/s"))[0]


def test_a_measurement_over_its_link_needs_switches_that_add_up():
    wrong = contradictions(changed("effective", "nvlink4-all-reduce", reduces=False))
    assert wrong == ["nvlink4-all-reduce: measured over its payload rate"]


def test_one_source_is_no_source():
    assert contradictions(changed("links", "qdr", sources=("ibta",))) == ["qdr: needs two sources"]
    assert (
        "no source hearsay"
        in contradictions(changed("links", "qdr", sources=("ibta", "hearsay")))[0]
    )


# Files and names.


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("gpus.toml", "multiprocessors", "multiprocesors"),
        ("infiniband.toml", '"40 Gbit/s"', "40"),
        ("pcie.toml", 'direction = "each"', 'direction = "sum"'),
        ("nics.toml", '"connectx-3"', '"connectx-2"'),
    ],
)
def test_a_malformed_file_is_refused(tmp_path, file, old, new):
    shutil.copytree(FOLDER, tmp_path / "rows")
    path = tmp_path / "rows" / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError):
        read(tmp_path / "rows")


@pytest.mark.parametrize(
    ("name", "near"), [("h100", "h100-sxm"), ("gtx-titn", "gtx-titan"), ("b200", "b200-sxm")]
)
def test_the_nearest_name_is_offered(name, near):
    with pytest.raises(RequestError, match=near):
        find(CATALOGUE.gpus, name, "GPU")


@pytest.mark.parametrize("name", ["", "pcie3", "pcie3-x3", "pcie9-x16", "qdr\x1b[2J", "x" * 999])
def test_what_is_no_link_is_refused_in_one_line(name):
    with pytest.raises(RequestError) as refused:
        link_hop(name, CATALOGUE)
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)


def test_the_files_lie_inside_the_package():
    assert Path(__file__).parent.parent / "bench" / "machine" / "catalogue" == FOLDER
    assert any(path.suffix == ".toml" for path in FOLDER.iterdir())
