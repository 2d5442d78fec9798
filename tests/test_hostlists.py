"""Lists of hosts in every form that MPIs and batch systems have: hosts, counts and what is said."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import RequestError
from bench.core.hostlists import forms
from bench.core.hostlists.hostfile import parse_hostfile, read_hostfile
from bench.core.hostlists.hosts import HostList
from bench.core.hostlists.typed import parse_hosts, read_typed
from bench.core.placement import place_ranks
from bench.launch.batch.granted import read_pairs, read_repeated, read_slurm

NAMES = st.one_of(
    st.from_regex(
        r"[a-z]([a-z0-9_]{0,5}[a-z0-9])?(-[a-z0-9]{1,3})?(\.[a-z]{1,4}[0-9]?)?", fullmatch=True
    ),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
)
COUNTED = st.lists(
    st.tuples(NAMES, st.integers(1, 9)), min_size=1, max_size=6, unique_by=lambda x: x[0]
)
Counted = list[tuple[str, int]]


def bare(name: str) -> str:
    return name


def bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def open_mpi(hosts: Counted, draw: random.Random) -> str:
    lines = []
    for name, count in hosts:
        equals = draw.choice(["=", " = ", "= "])
        key = draw.choice(["slots", "cpu", "count"])
        most = draw.choice(["", f" max-slots={count + 2}", f"\tmax_slots = {count}"])
        user = draw.choice(["", "someone@"])
        lines.append(f"{user}{name}{draw.choice(' 	')}{key}{equals}{count}{most}")
    return draw.choice(["\n", "\r\n", "  # rack 1\n", "\n\n// none\n"]).join(
        ["# hosts", *lines, ""]
    )


def hydra(hosts: Counted, draw: random.Random) -> str:
    keys = ["", " binding=user:0,1", " user=someone", "   # the fast one"]
    return "".join(f"{bracketed(n)}:{c}{draw.choice(keys)}\n" for n, c in hosts)


def mvapich(hosts: Counted, draw: random.Random) -> str:
    return "\n".join(f"{bracketed(n)}:{c}:mlx5_0{draw.choice(['', ':1'])}" for n, c in hosts)


def node_file(hosts: Counted, draw: random.Random) -> str:
    lines = [name for name, _ in hosts]
    more = [name for name, count in hosts for _ in range(count - 1)]
    draw.shuffle(more)
    return "\n".join(lines + more)


def grid_engine(hosts: Counted, draw: random.Random) -> str:
    return "".join(f"{n} {c} all.q@{n} {draw.choice(['UNDEFINED', '<NULL>'])}\n" for n, c in hosts)


def pairs(hosts: Counted, draw: random.Random) -> str:
    return draw.choice([" ", "\n"]).join(f"{name} {count}" for name, count in hosts)


def slurm(hosts: Counted, draw: random.Random) -> str:
    return draw.choice(["\n", "\r\n", ","]).join(f"{name}*{count}" for name, count in hosts)


FORMS = {
    forms.OPEN_MPI: open_mpi,
    forms.HYDRA: hydra,
    forms.MVAPICH: mvapich,
    forms.SLOT_LINES: node_file,
    forms.GRID_ENGINE: grid_engine,
    forms.SLURM: slurm,
    forms.PAIRS: pairs,
}


@pytest.mark.parametrize("form", FORMS)
@given(hosts=COUNTED, draw=st.randoms(use_true_random=False))
def test_every_form_is_read_as_it_was_written(form: str, hosts: Counted, draw: random.Random):
    read = parse_hostfile(FORMS[form](hosts, draw), "hosts")
    if form == forms.SLOT_LINES and all(count == 1 for _, count in hosts):
        assert (read.names, read.counts) == (tuple(n for n, _ in hosts), ())
        return
    assert list(zip(read.names, read.counts, strict=True)) == hosts
    assert read.form == form
    assert read.room == sum(count for _, count in hosts)


@given(hosts=COUNTED)
def test_counts_are_typed_too(hosts: Counted):
    read = read_typed(",".join(f"{bracketed(name)}:{count}" for name, count in hosts))
    assert list(zip(read.names, read.counts, strict=True)) == hosts


@given(hosts=COUNTED, draw=st.randoms(use_true_random=False))
def test_variables_of_batch_systems_are_read_as_they_were_written(
    hosts: Counted, draw: random.Random
):
    hosts = [(name, count) for name, count in hosts if ":" not in name]
    if not hosts:
        return
    for read in (
        read_pairs(pairs(hosts, draw), "LSB_MCPU_HOSTS"),
        read_repeated(node_file(hosts, draw), "LSB_HOSTS"),
        read_slurm(",".join(n for n, _ in hosts), "SLURM", ",".join(str(c) for _, c in hosts)),
    ):
        assert list(zip(read.names, read.counts, strict=True)) == hosts


def counted(read: HostList) -> dict[str, int | None]:
    return read.slots() or dict.fromkeys(read.names)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        # A host without slots: Open MPI takes its cores, Hydra one rank.
        ("a slots=2\nb\n", {"a": 2, "b": None}),
        ("a:2\nb\n", {"a": 2, "b": 1}),
        # Lines add up; one without a count is a rank.
        ("a slots=2\na slots=3\nb slots=1", {"a": 5, "b": 1}),
        ("a slots=2\na\nb slots=1", {"a": 3, "b": 1}),
        ("a:1:mlx4_0\na:2:mlx4_1\nb:mlx4_0", {"a": 3, "b": 1}),
        ("A\na\nb", {"A": 2, "b": 1}),
        ("a max_slots=4", {"a": 4}),
        ("a slots=4\nb slots=0", {"a": 4}),
        # Sets, with a count for each of their hosts.
        ("n[01-03]:2", {"n01": 2, "n02": 2, "n03": 2}),
        ("n[1-2],m7 slots=4", {"n1": 4, "n2": 4, "m7": 4}),
        (" n[1-2] , m7 ", {"n1": None, "n2": None, "m7": None}),
        ("a*3\nb[1-2]*2", {"a": 3, "b1": 2, "b2": 2}),
        # Left out.
        ("a slots=1\nb slots=1\nc slots=1\n^b", {"a": 1, "c": 1}),
        ("n[1-4] slots=2\n^n[2-3]", {"n1": 2, "n4": 2}),
        ("a.cluster slots=1\nb.cluster slots=1\n^b", {"a.cluster": 1}),
        # Names with dots are not cut into one.
        ("w.1.foo slots=1\nw.2.foo slots=1\n^w.2.foo", {"w.1.foo": 1}),
        ("\ufeffa\r\nb\r\n", {"a": None, "b": None}),
        ("/* old:\na slots=8\n*/\nb slots=2 // new", {"b": 2}),
        (
            "fd00::12 slots=2\n[fd00::13]\nuser@fd00::14 slots=1",
            {"fd00::12": 2, "fd00::13": None, "fd00::14": 1},
        ),
    ],
)
def test_what_lines_mean_together(text: str, hosts: dict[str, int | None]):
    assert counted(parse_hostfile(text, "hosts")) == hosts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("me@a slots=1", "~/.ssh/config"),
        ("a:1 user=me", "~/.ssh/config"),
        ("a slots=2 port=22", "ports"),
        ("a slots=2 max-slots=4", "most slots"),
        ("a:2 binding=rr", "--bind"),
        ("a:2:mlx5_0", "UCX_NET_DEVICES"),
        ("a slots=4 sockets=2 cores=2", "cores"),
        ("a:2 ifhn=a-ib", "interfaces"),
        ("a slots=1\nb slots=0", "b"),
        ("a\n^c", "^c"),
    ],
)
def test_what_a_file_asks_for_and_is_not_done_is_said(text: str, said: str):
    assert any(said in line for line in parse_hostfile(text, "hosts").told()[1:])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a slot=4", "did you mean 'slots'"),
        ("a slots", "more than one name"),
        ("a slots=", "no value"),
        ("a slots=-1", "no count"),
        ("a slots=1e3", "no count"),
        ("a slots=4 max-slots=2", "below"),
        ("a:2 slots=4", "two counts"),
        ("a slots=2 slots=2", "two counts"),
        ("a b", "one host on each line"),
        ("a slots=2 b slots=2", "unknown"),
        ("a:2:mlx5_0:1:3", "no host"),
        ("a:x y", "more than one name"),
        ("rank 0=a slot=0", "'0=a'"),
        ("slots=4", "no host name"),
        ("+n1", "no host name"),
        ("a\n^a", "no host in it"),
        ("a slots=0", "no host in it"),
        ("# a", "no host in it"),
        ("/* a", "never closed"),
        ("a*4:2", "no count"),
        ("a:2*4", "two counts"),
        ("a 0 1 1", "more than one name"),
        ("fe80::1%eth0", "one link only"),
        ("[fe80::1%eth0]:2", "one link only"),
        ("(null)", "has no nodes"),
        ("a slots=9999999\n", "check its count"),
        ("\x1b[2Ja", r"\x1b"),
    ],
)
def test_what_is_no_line_of_a_host_file_is_refused_by_its_line(text: str, why: str):
    with pytest.raises(RequestError) as refused:
        parse_hostfile(text, "--hostfile hosts")
    assert why in str(refused.value)
    assert str(refused.value).startswith("--hostfile hosts")
    assert str(refused.value).isprintable()


def test_the_docs_name_every_form():
    page = (Path(__file__).parent.parent / "docs" / "launchers.md").read_text().replace("`", "")
    assert [form for form in (*FORMS, forms.PLAIN) if f"| {form} |" not in page] == []


def test_the_line_is_told_by_its_number():
    with pytest.raises(RequestError, match="line 5: "):
        parse_hostfile("# one\n/* two\nthree */\na slots=2\nb slots=two\n", "hosts")


@given(st.text(alphabet="ab1:[]-,=@^# \n/*slot", max_size=60))
def test_whatever_a_file_holds_its_hosts_are_safe_as_arguments(text: str):
    try:
        read = parse_hostfile(text, "hosts")
    except RequestError:
        return
    assert read.names
    assert all(name[0].isalnum() or name.startswith(":") for name in read.names)
    assert len(read.counts) in (0, len(read.names))


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("n[9-11]", "n9 n10 n11"),
        ("n[098-101]", "n098 n099 n100 n101"),
        ("n00[8-10]", "n008 n009 n0010"),
        ("n12[1-2]", "n121 n122"),
        ("r[1-2]-[01-02]", "r1-01 r1-02 r2-01 r2-02"),
        ("a3-b[1,14]", "a3-b1 a3-b14"),
        ("x[5-6]-ipmi,c[3,1-2]", "x5-ipmi x6-ipmi c3 c1 c2"),
        ("sw.2.[1-2]", "sw.2.1 sw.2.2"),
        (" t2 , t[5,9-10] ", "t2 t5 t9 t10"),
        ("n[1-2,1[0-2]]", "n1 n2 n10 n11 n12"),
        ("n[1[0-1][5-6]]", "n105 n106 n115 n116"),
    ],
)
def test_sets_keep_zeros_and_order(text: str, hosts: str, tmp_path: Path):
    assert parse_hosts(text) == tuple(hosts.split())
    (tmp_path / "hosts").write_text(text)
    assert read_hostfile(tmp_path / "hosts").names == tuple(hosts.split())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("n[3-1]", "ends before it begins"),
        ("n[1-2", "never closed"),
        ("n1-2]", "never opened"),
        ("n[1-9/2]", "no steps"),
        ("n[1:9]", "no steps"),
        ("n[1-9]%2", "no meaning"),
        ("n[8-010]", "differ in width"),
        ("n[a-c]", "neither a number nor a range"),
        ("n[1-2[3-4]]", "neither a number nor a range"),
        ("n[1[1[1[1[1[1]]]]]]", "nested over"),
        ("(null)", "has no nodes"),
        ("None assigned", "has no nodes"),
        ("(Priority)", "has no nodes"),
        ("N/A", "has no nodes"),
        ("me@n1", "~/.ssh/config"),
        ("n1:4:mlx5_0", "more than a count"),
        ("n1:x", "no count"),
        ("n1 n2", "commas between hosts"),
        ("fe80::1%eth0", "one link only"),
        ("n[1-3],n2:4", "stands there twice"),
    ],
)
def test_what_is_no_list_is_refused_with_what_is_wrong(text: str, why: str):
    with pytest.raises(RequestError, match=r"^--hosts: ") as refused:
        parse_hosts(text)
    assert why in str(refused.value)


def test_a_name_that_is_typed_again_is_one_more_rank():
    assert counted(read_typed("a,a,b,a")) == {"a": 3, "b": 1}


@given(st.integers(1, 60), st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_counts_are_kept_and_blocks_are_as_even_as_they_allow(ranks: int, counts: list[int]):
    names = [f"n{i}" for i in range(len(counts))]
    placement = place_ranks(ranks, names, counts)
    assert sum(placement.counts) == ranks
    if ranks > sum(counts):
        assert placement == place_ranks(ranks, names)
        return
    blocks = placement.blocks()
    most = dict(zip(names, counts, strict=True))
    assert all(count <= most[name] for name, count in blocks.items())
    # A host with fewer ranks than another, by more than one, is full.
    assert all(
        blocks.get(n, 0) >= max(blocks.values()) - 1 for n in names if blocks.get(n, 0) < most[n]
    )
    of_ranks = placement.host_of_ranks()
    assert (of_ranks[0] == of_ranks[-1]) == (ranks == 1 or len(names) == 1)
    assert place_ranks(sum(counts), names, counts).counts == tuple(counts)


@pytest.mark.parametrize(
    ("ranks", "counts"),
    [
        (2, (1, 1)),
        (3, (1, 1, 1)),
        (8, (1, 2, 4, 1)),
        (9, (2, 2, 4, 1)),
        (10, (2, 2, 4, 2)),
        (20, (7, 2, 4, 7)),
    ],
)
def test_a_host_without_a_limit_takes_one_rank_and_what_the_others_leave(ranks, counts):
    assert place_ranks(ranks, 4, (None, 2, 4, None)).counts == counts


@pytest.mark.parametrize(
    ("nodes", "tasks", "counts"),
    [
        ("n[1-6]", "4(x2),3,1(x3)", (4, 4, 3, 1, 1, 1)),
        ("n[1-3]", "2(x3)", (2, 2, 2)),
        ("n1", "8", (8,)),
        ("n[1-2]", "", ()),
        # Of other nodes than these.
        ("n[1-2]", "4(x3)", ()),
        ("n[1-2]", "4", ()),
        ("n[1-2]", "4(x999999999)", ()),
        ("n[1-2]", "four,4", ()),
    ],
)
def test_tasks_of_slurm_are_written_out(nodes: str, tasks: str, counts: tuple[int, ...]):
    read = read_slurm(nodes, "SLURM_JOB_NODELIST", tasks)
    assert read.counts == counts
    assert bool(read.passed_over) == (bool(tasks) and not counts)


@pytest.mark.parametrize("read", [read_pairs, read_repeated, read_slurm])
@pytest.mark.parametrize("text", ["(null)", "-oX 1", "a;b", "n[1-2"])
def test_variables_that_hold_no_hosts_are_refused(read: Callable[..., HostList], text: str):
    with pytest.raises(RequestError):
        read(text, "VARIABLE")
