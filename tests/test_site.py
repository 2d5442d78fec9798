"""Settings of a site: what they mean, and that nothing in them can become more than a value."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli import run_command
from bench.core.errors import RequestError
from bench.launch.site import SITE_VARIABLE, Container, Site, load_site, parse_site
from bench.run.request import make_request

WHOLE = """
modules = ["module purge", "module load openmpi/5 # the newest"]
account = "hpc-42"
partition = "gpu"
time = "12:30:00"
flags = ["--qos", "debug"]
mpi = "pmix_v4"

[environment]
UCX_TLS = "rc,self"
EMPTY = ""

[container]
image = "/images/bench.sif"
runtime = "pyxis"
gpu = true
mounts = ["/scratch", "/data:/input"]
python = "/opt/bench/bin/python"
"""

WRONG = {
    "no TOML": ("account =", "not valid TOML"),
    "an unknown key": ('acount = "x"', "acount: unknown key; did you mean 'account'?"),
    "an unknown key of the container": (
        '[container]\nimage = "x"\nmount = ["/a"]',
        "container.mount: unknown key; did you mean 'mounts'?",
    ),
    "a number": ("account = 42", "account: must be a string, not a whole number"),
    "a word for a list": ('modules = "module load x"', "modules: must be a list, not a string"),
    "a number in a list": ('flags = ["-x", 3]', "flags[1]: must be a string, not a whole number"),
    "a word for a table": ('environment = "A=1"', "environment: must be a table, not a string"),
    "a number in the environment": (
        "[environment]\nOMP_NUM_THREADS = 4",
        "environment.OMP_NUM_THREADS: must be a string",
    ),
    "a word for the container": ('container = "x.sif"', "container: must be a table"),
    "a container without an image": ("[container]\ngpu = true", "container.image: missing"),
    "an unknown runtime": (
        '[container]\nimage = "x"\nruntime = "aptainer"',
        "container.runtime: 'aptainer' is not valid; did you mean 'apptainer'?",
    ),
    "a word for a truth": (
        '[container]\nimage = "x"\ngpu = "yes"',
        "container.gpu: must be true or false, not a string",
    ),
    "an image that is an option": (
        '[container]\nimage = "--writable"',
        "container.image: '--writable' begins with a dash",
    ),
    "an empty account": ('account = ""', "account: empty"),
    "a time in words": ('time = "2 hours"', "time: '2 hours' is not hours:minutes:seconds"),
    "a time of minutes": ('time = "90"', "time: '90' is not hours:minutes:seconds"),
    "a flavour that is an option": ('mpi = "pmix --uid=0"', "mpi: 'pmix --uid=0' is not a word"),
    "a directive in the account": (
        'account = "a\\n#SBATCH --uid=0"',
        r"account: 'a\\n#SBATCH --uid=0' holds a line break",
    ),
    "a directive in the partition": ('partition = "a\\r#PBS -q x"', "partition: "),
    "a directive in a flag": ('flags = ["a\\u2028b"]', "flags[0]: "),
    "two lines in one module": ('modules = ["a\\nb"]', "modules[0]: "),
    "a line break in the environment": ('[environment]\nA = "x\\ny"', "environment.A: "),
    "a line break in the image": ('[container]\nimage = "a\\nb"', "container.image: "),
    "a variable with a command": (
        '[environment]\n"A=1; reboot; B" = "x"',
        "environment.A=1; reboot; B: no name of a variable",
    ),
    "a variable with a digit first": ('[environment]\n1A = "x"', "environment.1A: no name"),
    "a variable that is empty": ('[environment]\n"" = "x"', "environment.: no name"),
}


def test_every_setting_is_read():
    assert parse_site(WHOLE) == Site(
        modules=("module purge", "module load openmpi/5 # the newest"),
        account="hpc-42",
        partition="gpu",
        time="12:30:00",
        flags=("--qos", "debug"),
        mpi="pmix_v4",
        environment={"EMPTY": "", "UCX_TLS": "rc,self"},
        container=Container(
            image="/images/bench.sif",
            runtime="pyxis",
            gpu=True,
            mounts=("/scratch", "/data:/input"),
            python="/opt/bench/bin/python",
        ),
    )


def test_an_empty_file_and_no_file_settle_nothing(tmp_path):
    (tmp_path / "site.toml").touch()
    assert load_site(tmp_path / "site.toml") == load_site(None) == Site()


def test_an_image_of_the_command_line_beats_the_file_and_keeps_the_rest(tmp_path):
    file = tmp_path / "site.toml"
    file.write_text(WHOLE)
    container = load_site(file, "other.sif").container
    assert container is not None
    assert (container.image, container.runtime, container.gpu) == ("other.sif", "pyxis", True)
    assert load_site(None, "x.sif").container == Container(image="x.sif")


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_one_line_with_its_key(text, said, tmp_path, capsys):
    file = tmp_path / "site.toml"
    file.write_text(text)
    assert run_command(["plan", "quick", "--launcher", "sbatch", "--site", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1
    assert err[:-1].isprintable()


@pytest.mark.parametrize("image", ["-x", "a\nb", "", "a\x1b[31m"])
def test_an_image_that_is_none_is_refused(image, capsys):
    assert run_command(["plan", "quick", "--launcher", "sbatch", f"--container={image}"]) == 2
    assert "--container" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(capsys):
    assert run_command(["plan", "quick", "--launcher", "pbs", "--site", "/nowhere/s.toml"]) == 2
    assert "--site /nowhere/s.toml: cannot read the site file" in capsys.readouterr().err


@given(st.text(max_size=30))
def test_no_value_that_passes_holds_a_line_break(text):
    quoted = "".join(f"\\U{ord(c):08x}" for c in text)
    try:
        site = parse_site(f'account = "{quoted}"')
    except RequestError:
        return
    assert site.account == text
    assert len(text.splitlines()) == 1


def test_the_environment_names_a_default_for_launchers_that_heed_it(monkeypatch, tmp_path):
    monkeypatch.setenv(SITE_VARIABLE, "site.toml")
    monkeypatch.chdir(tmp_path)
    request = {"suite": "quick"}
    assert make_request({**request, "launcher": "sbatch"}).site == tmp_path / "site.toml"
    assert make_request({**request, "launcher": "mpirun"}).site is None
    given_one = make_request({**request, "launcher": "pbs", "site": Path("b.toml")})
    assert given_one.site == Path(os.path.abspath("b.toml"))  # noqa: PTH100
