"""`clusterbench predict`: the posts' figures from the command line, and requests it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli import run_command
from bench.cli.predict import ALGORITHMS
from bench.core.units import format_seconds, parse_seconds
from bench.machine.description import load_description
from bench.predict.layers_file import load_layers
from bench.predict.model.datasheet.collectives import ALGORITHMS as MODELS

ROOT = Path(__file__).parent.parent
MACHINE = """nodes = 2

[node.gpu]
model = "gtx-titan"
count = 3
link = "pcie3-x16"

[node.nic]
link = "qdr"

[network]
latency = "2 us"
"""
LAYERS = """[method]
algorithm = "hierarchical"

[[layer]]
name = "conv"
d_in = 1200
d_out = 256
rows = 729

[[layer]]
name = "dense"
d_in = 9216
d_out = 4096
"""
EXCHANGE = ["exchange", "--bytes", "4MB", "--nodes", "2", "--gpus-per-node", "3"]
MATMUL = ["matmul", "--k", "1000", "--n", "1000", "--gpu", "gtx-titan", "--dtype", "fp32"]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "machine.toml").write_text(MACHINE, encoding="utf-8")
    (tmp_path / "layers.toml").write_text(LAYERS, encoding="utf-8")
    return tmp_path


@pytest.fixture
def predict(capsys):
    """Run `predict` and return what its JSON says."""

    def run(*arguments: str) -> dict:
        assert run_command(["predict", *map(str, arguments), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert {"seconds", "low_s", "high_s", "formula", "limited_by", "inputs"} <= set(told)
        return told

    return run


@pytest.fixture
def refused(capsys):
    """Run `predict`, expect exit code 2, and return the one line."""

    def run(*arguments: str) -> str:
        assert run_command(["predict", *map(str, arguments)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("clusterbench: ")
        assert err.count("\n") == 1
        return err

    return run


# The posts' figures.


@pytest.mark.parametrize(
    ("algorithm", "nodes", "network", "milliseconds"),
    [
        ("naive", 2, "5333333333.333 B/s", 6.75),
        ("naive", 4, "5333333333.333 B/s", 20.25),
        ("naive", 2, "5GB/s", 7.2),
        ("naive", 4, "5GB/s", 21.6),
        ("naive", 2, "qdr", 9.0),
        ("naive", 4, "qdr", 27.0),
        ("ring", 2, "40 Gbit/s", 1.3333),
        ("bound", 2, "5GB/s", 0.8),
    ],
)
def test_the_exchange_of_the_posts(predict, algorithm, nodes, network, milliseconds):
    told = predict("exchange", "--algorithm", algorithm, "--nodes", nodes, "--gpus-per-node", 3,
                   "--bytes", "4MB", "--network", network)  # fmt: skip
    assert told["seconds"] * 1e3 == pytest.approx(milliseconds, rel=1e-4)
    assert told["high_s"] is None


def test_the_hierarchical_bracket(predict):
    told = predict("exchange", "--algorithm", "hierarchical", "--nodes", 4, "--gpus-per-node", 8,
                   "--bytes", "4GiB", "--network", "400GB/s", "--intra", "737GB/s")  # fmt: skip
    assert told["low_s"] * 1e3 == pytest.approx(16.1, abs=0.05)
    assert told["high_s"] * 1e3 == pytest.approx(26.3, abs=0.05)
    assert told["low_s"] <= told["seconds"] <= told["high_s"]


@pytest.mark.parametrize(
    ("node", "size", "measured_s"), [("p5", "16GiB", 66_132e-6), ("p4de", "2GiB", 51_406e-6)]
)
def test_public_logs_from_nodes_of_the_catalogue(predict, node, size, measured_s):
    # nccl-tests on two nodes, largest size; see tests/test_datasheet_collectives.py.
    told = predict("exchange", "--algorithm", "pipelined", "--nodes", 2, "--node", node,
                   "--bytes", size)  # fmt: skip
    assert told["seconds"] == pytest.approx(measured_s, rel=0.05)


@pytest.mark.parametrize(("batch", "seconds"), [(1, 51e-6), (64, 51e-6), (65, 102e-6)])
def test_the_staircase_of_the_gtx_titan(predict, batch, seconds):
    told = predict(*MATMUL, "--m", batch)
    assert told["seconds"] == pytest.approx(seconds, abs=0.5e-6)
    assert told["low_s"] <= told["seconds"]
    assert told["tile"] == [64, 128]


def test_the_posts_layer_split(predict):
    told = predict("split", "--batch", 128, "--d-in", 1000, "--d-out", 500, "--ranks", 2)
    elements = [told[f"{name}_elements"] for name in ("data", "row", "column")]
    assert elements == [500_000, 128_000, 160_000]
    assert [told[f"{name}_bytes"] for name in ("data", "row", "column")] == [
        2_000_000, 512_000, 640_000,
    ]  # fmt: skip
    assert (told["row_crossover_batch"], told["column_crossover_batch"]) == (500, 400)
    assert told["seconds"] is None


def test_a_gigabit_makes_the_posts_net_27_times_slower(predict):
    # Four senders through one link, 150 batches a second without it.
    told = predict("transfer", "--bytes", "5.76MB", "--link", "1gbe")
    assert 150 * 4 * told["low_s"] == pytest.approx(27.6, rel=0.015)
    share = predict("exchange", "--algorithm", "ring", "--nodes", 4, "--bytes", "5.76MB",
                    "--network", "1gbe")  # fmt: skip
    assert 150 * share["seconds"] == pytest.approx(10.4, rel=0.01)


def test_a_transfer_over_qdr(predict):
    told = predict("transfer", "--bytes", "4MB", "--link", "qdr")
    assert told["low_s"] == pytest.approx(1.0e-3)
    assert told["low_s"] <= told["seconds"] <= told["high_s"] < 1.02e-3
    slot = predict("transfer", "--bytes", "4MB", "--link", "qdr", "--nic", "connectx-2")
    assert slot["limited_by"] == "pcie2-x8"
    assert 1.09e-3 < slot["seconds"] < slot["high_s"] < 1.2e-3


def test_staging_through_two_hosts_is_three_copies(predict):
    direct = predict("transfer", "--bytes", "4MB", "--link", "qdr")
    staged = predict("transfer", "--bytes", "4MB", "--link", "qdr", "--path", "staged")
    copy = predict("transfer", "--bytes", "4MB", "--link", "pcie3-x16")
    assert staged["seconds"] == pytest.approx(direct["seconds"] + 2 * copy["seconds"])
    # In chunks, all copies at once, it is no slower than the network alone.
    assert staged["low_s"] == pytest.approx(direct["low_s"])
    inside = predict("transfer", "--bytes", "4MB", "--link", "pcie3-x16", "--path", "staged")
    assert inside["seconds"] == pytest.approx(2 * copy["seconds"])


def test_a_link_trained_to_half_its_lanes_is_a_hop(predict):
    told = predict("transfer", "--bytes", "4MB", "--link", "fdr", "--hop", "pcie3-x4")
    assert told["limited_by"] == "pcie3-x4"


# Steps.


@pytest.mark.parametrize("parallel", ["data", "model", "hybrid", "best"])
def test_a_step(predict, files, parallel):
    told = predict("step", "--machine", files / "machine.toml", "--layers", files / "layers.toml",
                   "--batch", 128, "--parallel", parallel)  # fmt: skip
    assert told["low_s"] <= told["seconds"] <= told["high_s"]
    assert told["parallel"] == ("hybrid" if parallel == "best" else parallel)
    assert told["fits"] is True
    if parallel == "best":
        assert told["seconds"] == min(told["by_parallel_s"].values())


def test_what_does_not_fit_is_said(predict, files):
    (files / "layers.toml").write_text(
        '[[layer]]\nname = "huge"\nd_in = 100000\nd_out = 100000\n', encoding="utf-8"
    )
    asked = ["step", "--machine", files / "machine.toml", "--layers", files / "layers.toml",
             "--batch", 6]  # fmt: skip
    assert predict(*asked, "--parallel", "data")["fits"] is False
    # A sixth of the weights and gradients is more than 6 GB too.
    assert predict(*asked)["fits"] is False


def test_the_documented_files_are_valid(tmp_path, predict):
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    blocks = [b.split("```")[0] for b in text.split("```toml\n")[1:]]
    machine = next(b for b in blocks if b.startswith("nodes = 2"))
    layers = next(b for b in blocks if b.startswith("[method]"))
    (tmp_path / "m.toml").write_text(machine, encoding="utf-8")
    (tmp_path / "l.toml").write_text(layers, encoding="utf-8")
    assert load_description(tmp_path / "m.toml").node.gpu.model == "gtx-titan"
    assert len(load_layers(tmp_path / "l.toml").layers) > 1
    predict("step", "--machine", tmp_path / "m.toml", "--layers", tmp_path / "l.toml",
            "--batch", 128)  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("machine", "nodes = 2", "nods = 2", "nods: unknown key; did you mean 'nodes'?"),
        ("machine", "nodes = 2", "nodes = 0", "nodes: 0 is outside >= 1"),
        ("machine", "nodes = 2", 'nodes = "2"', "nodes: must be a whole number, not a string"),
        ("machine", "nodes = 2", "", "nodes: missing"),
        ("machine", "count = 3", "cout = 3", "node.gpu.cout: unknown key; did you mean 'count'?"),
        ("machine", '"gtx-titan"', '"gtx-titn"', "node.gpu.model: 'gtx-titn' is not valid; did"),
        ("machine", '"qdr"', '"qdrr"', "node.nic.link: 'qdrr' is not valid; did you mean 'qdr'?"),
        ("machine", '"qdr"', '"5 GB"', "node.nic.link: '5 GB' is no rate"),
        ("machine", '"qdr"', '"0 GB/s"', "give one above 0"),
        ("machine", 'link = "qdr"', "", "node.nic.link: missing"),
        ("machine", 'link = "pcie3-x16"', "", "node.gpu.link: missing"),
        ("machine", '"2 us"', '"-2 us"', "network.latency: "),
        ("machine", "[node.gpu]", "[node.gpu", "not valid TOML"),
        ("machine", "[node.gpu]", "[cluster]", "cluster: this table is read no more; write"),
        ("layers", '"hierarchical"', '"tree"', "method.algorithm: 'tree' is not valid"),
        ("layers", "rows = 729", "row = 729", "layer[0].row: unknown key; did you mean 'rows'?"),
        ("layers", "d_in = 9216", "d_in = -1", "layer[1].d_in: -1 is outside >= 1"),
        ("layers", "d_in = 9216\n", "", "layer[1].d_in: missing"),
        ("layers", '"dense"', '"conv"', "two are named 'conv'"),
        ("layers", LAYERS, "", "layer: missing"),
        ("layers", LAYERS, "layer = []", "layer: has 0 values"),
    ],
)
def test_a_wrong_file_is_refused_by_key(refused, files, file, old, new, said):
    path = files / f"{file}.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    line = refused("step", "--machine", files / "machine.toml", "--layers", files / "layers.toml",
                   "--batch", 8)  # fmt: skip
    assert said in line


def test_one_file_is_for_every_verb(predict, files, capsys):
    """What `run --machine` plans with, `predict step --machine` takes, in either grammar."""
    flags = ["plan", "quick", "--launcher", "local", "--machine", str(files / "machine.toml")]
    assert run_command(flags) == 0
    capsys.readouterr()
    flat = files / "flat.toml"
    flat.write_text('hosts = ["h1"]\nlink = "hdr"\n', encoding="utf-8")
    assert run_command(["predict", "step", "--machine", str(flat), "--layers",
                        str(files / "layers.toml"), "--batch", "8"]) == 2  # fmt: skip
    assert "node.gpu.peak.fp32: missing" in capsys.readouterr().err


def test_a_hybrid_of_one_layer_is_refused(refused, files):
    (files / "layers.toml").write_text("[[layer]]\nd_in = 8\nd_out = 8\n", encoding="utf-8")
    line = refused("step", "--machine", files / "machine.toml", "--layers", files / "layers.toml",
                   "--batch", 8, "--parallel", "hybrid")  # fmt: skip
    assert "two layers" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["transfer", "--bytes", "-4MB", "--link", "qdr"], "no size"),
        (["transfer", "--bytes", "4Mb", "--link", "qdr"], "no size"),
        (["transfer", "--bytes", "9999999999TB", "--link", "qdr"], "more than any memory"),
        (["transfer", "--bytes", "4MB", "--link", "qdrr"], "did you mean 'qdr'?"),
        (["transfer", "--bytes", "4MB", "--link", "qdr", "--nic", "connectx-7"], "no port for qdr"),
        (["transfer", "--bytes", "4MB", "--link", "qdr", "--nic", "connectx2"], "'connectx-2'?"),
        (["transfer", "--bytes", "4MB", "--link", "qdr", "--latency", "-1us"], "no duration"),
        (["transfer", "--bytes", "4MB", "--link", "nvlink4", "--path", "staged"], "pcie4-x16"),
        (["transfer", "--bytes", "4MB"], "--link"),
        (["exchange", "--algorithm", "rings", "--nodes", "2", "--bytes", "4MB"], "rings"),
        ([*EXCHANGE, "--algorithm", "ring"], "--network"),
        ([*EXCHANGE, "--algorithm", "ring", "--network", "0GB/s"], "0 carries nothing"),
        ([*EXCHANGE, "--algorithm", "ring", "--network", "5GB"], "no rate"),
        ([*EXCHANGE, "--algorithm", "ring", "--network", "5Gbps"], "no rate"),
        ([*EXCHANGE, "--algorithm", "ring", "--node", "p6"], "no node named"),
        (["exchange", "--algorithm", "ring", "--nodes", "0", "--bytes", "4MB"], "--nodes"),
        (["exchange", "--algorithm", "ring", "--nodes", "1", "--gpus-per-node", "2", "--bytes",
          "4MB"], "--intra"),
        (["exchange", "--algorithm", "ring", "--nodes", "1000000", "--gpus-per-node", "8",
          "--bytes", "4MB", "--network", "5GB/s"], "at most 1000000"),
        ([*MATMUL, "--m", "0"], "--m"),
        (["matmul", "--m", "1", "--k", "1", "--n", "1", "--gpu", "titan"], "'gtx-titan'?"),
        (["matmul", "--m", "1", "--k", "1", "--n", "1", "--gpu", "gtx-titan", "--dtype", "bf16"],
         "it has fp32"),
        (["split", "--batch", "8", "--d-in", "8", "--d-out", "8", "--ranks", "0"], "--ranks"),
        (["steps"], "steps"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_one_line(refused, arguments, said):
    assert said in refused(*arguments)


# Answers.


def test_the_command_line_names_every_algorithm():
    assert set(ALGORITHMS) == set(MODELS)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_answers_for_odd_shapes(predict, algorithm):
    for nodes, gpus in ((1, 1), (1, 3), (3, 1), (5, 7), (64, 8)):
        told = predict("exchange", "--algorithm", algorithm, "--nodes", nodes, "--gpus-per-node",
                       gpus, "--bytes", "1MiB", "--network", "5GB/s", "--intra", "15.75GB/s",
                       "--latency", "2us")  # fmt: skip
        assert told["seconds"] >= told["bound_s"] * (1 - 1e-9)
        assert (told["seconds"] == 0) == (nodes * gpus == 1)


def test_a_million_ranks_are_answered_in_seconds(predict):
    told = predict("exchange", "--algorithm", "recursive-doubling", "--nodes", 125_000,
                   "--gpus-per-node", 8, "--bytes", "1GB", "--network", "50GB/s")  # fmt: skip
    assert told["seconds"] > told["bound_s"]


def test_text_has_units_and_at_most_four_digits(capsys):
    assert run_command(["predict", *EXCHANGE, "--algorithm", "naive", "--network", "5GB/s"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "7.200 ms"
    assert "limited by: network of a node" in lines
    assert any(line.startswith("formula: ") for line in lines)
    assert "network_bytes_per_s 5.000 GB/s" in lines[-1]


def test_a_bracket_is_shown_with_its_ends(capsys):
    asked = ["exchange", "--algorithm", "hierarchical", "--nodes", "4", "--gpus-per-node", "8",
             "--bytes", "4GiB", "--network", "400GB/s", "--intra", "737GB/s"]  # fmt: skip
    assert run_command(["predict", *asked]) == 0
    assert capsys.readouterr().out.startswith("21.21 ms (16.11 ms to 26.30 ms)\n")


@given(st.floats(1e-9, 900))
def test_shown_seconds_can_be_read_again(seconds):
    shown = format_seconds(seconds, 4).replace("µ", "u")
    assert parse_seconds(shown) == pytest.approx(seconds, rel=5.1e-4)


def test_a_prediction_without_seconds_has_text_too(capsys):
    assert run_command(["predict", "split", "--batch", "8", "--d-in", "8", "--d-out", "8",
                        "--ranks", "1"]) == 0  # fmt: skip
    assert "data_elements" in capsys.readouterr().out


def test_help_of_every_prediction_is_instant():
    program = (
        "import sys; from bench.cli import run_command; run_command(sys.argv[1:]);"
        "print(*sys.modules, file=sys.stderr)"
    )
    for command in ([], ["transfer"], ["exchange"], ["matmul"], ["split"], ["step"]):
        done = subprocess.run(
            [sys.executable, "-c", program, "predict", *command, "--help"],
            capture_output=True, text=True, check=True, timeout=600, cwd=ROOT,
        )  # fmt: skip
        assert "Usage" in done.stdout
        loaded = {module.split(".")[0] for module in done.stderr.split()}
        assert loaded & {"numpy", "scipy", "msgspec", "numba", "mpi4py"} == set()


def test_the_page_of_the_posts_is_what_its_command_generates():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "three-posts"],
        capture_output=True, text=True, check=True, timeout=600, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    stored = (ROOT / "docs" / "three-posts.md").read_text(encoding="utf-8")
    assert done.stdout == stored, "run scripts/three-posts --write"
    for figure in ("6.75 ms", "20.25 ms", "7.20 ms", "21.6 ms", "9.00 ms", "27.0 ms", "1.333 ms",
                   "0.800 ms", "27.6 times", "0.102 ms", "0.0510 ms", "128,000", "160,000",
                   "batch 500", "400 columns"):  # fmt: skip
        assert figure in stored
