"""Whatever is wrong with a suite or a flag: exit 2, one printable line, and nothing left behind."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cli import run_command

SUITE = '[suite]\nname = "mine"\n'
LATENCY = '[[benchmark]]\nname = "latency"\n'
BANDWIDTH = '[[benchmark]]\nname = "bandwidth"\n'
MEMCPY = '[[benchmark]]\nname = "memcpy"\n'
STREAM = '[[benchmark]]\nname = "stream"\n'
MATMUL = '[[benchmark]]\nname = "matmul"\n'
NINES = "9" * 5000
HEX = "0x" + "f" * 5000

MALFORMED = {
    # No suite, or not one in TOML.
    "an empty file": ("", "suite: missing"),
    "prose": ("measure everything, please", "not valid TOML"),
    "a value without a key": ("= 3", "not valid TOML"),
    "an unclosed string": (f'{SUITE}description = "x', "not valid TOML"),
    "an unclosed list": (f"{SUITE}{LATENCY}bytes = [8,", "not valid TOML"),
    "a control character": ('[suite]\nname = "a\x07"\n', "not valid TOML"),
    "a NUL": ("\x00", "not valid TOML"),
    "an escape sequence as a key": ('"\\u001b[31m" = 1', r"\x1b[31m: unknown key"),
    "a byte order mark": (f"\ufeff{SUITE}{LATENCY}", "not valid TOML"),
    "a key twice": (f'{SUITE}name = "again"\n{LATENCY}', "not valid TOML"),
    "a table twice": (f"{SUITE}{SUITE}{LATENCY}", "not valid TOML"),
    "an axis twice": (f"{SUITE}{LATENCY}bytes = 8\nbytes = 9\n", "not valid TOML"),
    "lists too deep to read": (f"{SUITE}{LATENCY}bytes = {'[' * 5000}", "not valid TOML"),
    "a number of 5000 digits": (f"{SUITE}{LATENCY}bytes = {NINES}", "not valid TOML"),
    "JSON": ('{"suite": {"name": "mine"}}', "not valid TOML"),
    # The document.
    "no head": (LATENCY, "suite: missing"),
    "no benchmark": (SUITE, "benchmark: missing"),
    "an empty list of benchmarks": (f"benchmark = []\n{SUITE}", "benchmark: missing"),
    "a head that is a number": (f"suite = 3\n{LATENCY}", "suite: must be a table"),
    "a head that is a list": (f"suite = []\n{LATENCY}", "suite: must be a table, not a list"),
    "two heads": (f'[[suite]]\nname = "a"\n{LATENCY}', "suite: must be a table, not a list"),
    "a benchmark in single brackets": (
        f'{SUITE}[benchmark]\nname = "latency"\n',
        "benchmark: must be [[benchmark]] tables, not a table",
    ),
    "a benchmark that is a word": (f'benchmark = "latency"\n{SUITE}', "benchmark: must be"),
    "benchmarks that are words": (f'benchmark = ["latency"]\n{SUITE}', "benchmark[0]: must be"),
    "an unknown key at the top": (
        f'{SUITE}[[benchmarks]]\nname = "latency"\n',
        "benchmarks: unknown key; did you mean 'benchmark'?",
    ),
    "a misspelt head": (f'[suit]\nname = "x"\n{LATENCY}', "suit: unknown key; did you mean"),
    "a key that is empty": (f'"" = 1\n{SUITE}{LATENCY}', ": unknown key"),
    # The head.
    "an unknown key in the head": (
        f"{SUITE}lanches = 3\n{LATENCY}",
        "suite.lanches: unknown key; did you mean 'launches'?",
    ),
    "a far miss in the head": (f"{SUITE}colour = 3\n{LATENCY}", "suite.colour: unknown key; valid"),
    "no name": (f"[suite]\nseed = 1\n{LATENCY}", "suite.name: missing"),
    "a name that is a number": (f"[suite]\nname = 3\n{LATENCY}", "suite.name: must be a string"),
    "a name that is a list": (f'[suite]\nname = ["a"]\n{LATENCY}', "suite.name: must be a string"),
    "a name with a slash": (f'[suite]\nname = "a/b"\n{LATENCY}', "suite.name: 'a/b' is no name"),
    "a name that climbs": (f'[suite]\nname = "../x"\n{LATENCY}', "suite.name: '../x' is no name"),
    "a name that is a folder": (f'[suite]\nname = ".."\n{LATENCY}', "suite.name: '..' is no name"),
    "an empty name": (f'[suite]\nname = ""\n{LATENCY}', "suite.name: '' is no name"),
    "a name like a flag": (f'[suite]\nname = "-x"\n{LATENCY}', "suite.name: '-x' is no name"),
    "a name with a space": (f'[suite]\nname = "a b"\n{LATENCY}', "suite.name: 'a b' is no name"),
    "a name with an escape sequence": (
        f'[suite]\nname = "\\u001b[31mred"\n{LATENCY}',
        r"suite.name: '\\x1b[31mred' is no name",
    ),
    "a name with a line break": (f'[suite]\nname = "a\\nb"\n{LATENCY}', "suite.name: "),
    "a name with a letter beyond ASCII": (f'[suite]\nname = "é"\n{LATENCY}', "suite.name: "),
    "a long name": (f'[suite]\nname = "{"a" * 65}"\n{LATENCY}', "suite.name: "),
    "a description of numbers": (f"{SUITE}description = 5\n{LATENCY}", "suite.description: must"),
    "no launches": (f"{SUITE}launches = 0\n{LATENCY}", "suite.launches: 0 is outside 1 to"),
    "launches below 0": (f"{SUITE}launches = -1\n{LATENCY}", "suite.launches: -1 is outside"),
    "too many launches": (f"{SUITE}launches = 10001\n{LATENCY}", "suite.launches: 10001 is"),
    "launches as true": (
        f"{SUITE}launches = true\n{LATENCY}",
        "suite.launches: must be a whole number, not true or false",
    ),
    "launches as text": (f'{SUITE}launches = "3"\n{LATENCY}', "suite.launches: must be"),
    "launches as a float": (f"{SUITE}launches = 3.0\n{LATENCY}", "suite.launches: must be"),
    "launches as a date": (
        f"{SUITE}launches = 2026-01-01\n{LATENCY}",
        "suite.launches: must be a whole number, not a date",
    ),
    "launches beyond all writing": (f"{SUITE}launches = {HEX}\n{LATENCY}", "suite.launches: "),
    "a seed below 0": (f"{SUITE}seed = -1\n{LATENCY}", "suite.seed: -1 is outside"),
    "a seed of 64 bits": (f"{SUITE}seed = {2**63}\n{LATENCY}", "suite.seed: "),
    "a seed as a fraction": (f"{SUITE}seed = 0.5\n{LATENCY}", "suite.seed: must be"),
    "no time": (f"{SUITE}cap_s = 0\n{LATENCY}", "suite.cap_s: 0 s is outside"),
    "time below 0": (f"{SUITE}cap_s = -1.5\n{LATENCY}", "suite.cap_s: -1.5 s is outside"),
    "time without end": (f"{SUITE}cap_s = inf\n{LATENCY}", "suite.cap_s: inf s is outside"),
    "time that is no number": (f"{SUITE}cap_s = nan\n{LATENCY}", "suite.cap_s: nan s is outside"),
    "time as text": (f'{SUITE}cap_s = "5 s"\n{LATENCY}', "suite.cap_s: must be a number"),
    "time as true": (f"{SUITE}cap_s = true\n{LATENCY}", "suite.cap_s: must be a number"),
    "time of an hour of day": (f"{SUITE}cap_s = 07:32:00\n{LATENCY}", "suite.cap_s: must be"),
    "time beyond all writing": (f"{SUITE}cap_s = {HEX}\n{LATENCY}", "suite.cap_s: "),
    # A benchmark.
    "a benchmark without a name": (f"{SUITE}[[benchmark]]\nbytes = 8\n", "benchmark[0].name: miss"),
    "an unknown benchmark": (
        f'{SUITE}[[benchmark]]\nname = "latecny"\n',
        "benchmark[0].name: no benchmark 'latecny'; did you mean 'latency'?",
    ),
    "a benchmark whose name is a number": (
        f"{SUITE}[[benchmark]]\nname = 1\n",
        "benchmark[0].name",
    ),
    "the second benchmark unknown": (
        f'{SUITE}{LATENCY}[[benchmark]]\nname = "bandwith"\n',
        "benchmark[1].name: no benchmark 'bandwith'; did you mean 'bandwidth'?",
    ),
    "an unknown axis": (
        f"{SUITE}{LATENCY}byte = 8\n",
        "benchmark[0].byte: unknown key; did you mean 'bytes'?",
    ),
    "another benchmark's axis": (
        f"{SUITE}{LATENCY}window = 8\n",
        "benchmark[0].window: unknown key; valid:",
    ),
    "an axis with an escape sequence": (
        f'{SUITE}{LATENCY}"by\\u001btes" = 8\n',
        r"benchmark[0].by\x1btes: unknown key; did you mean 'bytes'?",
    ),
    # Sizes.
    "no bytes": (f"{SUITE}{LATENCY}bytes = 0\n", "benchmark[0].bytes: 0 is outside 1 to"),
    "bytes below 0": (f"{SUITE}{LATENCY}bytes = -8\n", "benchmark[0].bytes: -8 is outside"),
    "bytes beyond a C int": (
        f"{SUITE}{LATENCY}bytes = {2**31}\n",
        "benchmark[0].bytes: 2147483648",
    ),
    "bytes of 2 GiB": (f'{SUITE}{LATENCY}bytes = "2 GiB"\n', "benchmark[0].bytes: 2147483648"),
    "bytes beyond 64 bits": (f"{SUITE}{LATENCY}bytes = {10**30}\n", "benchmark[0].bytes: "),
    "bytes beyond all writing": (f"{SUITE}{LATENCY}bytes = {HEX}\n", "benchmark[0].bytes: "),
    "a size of 5000 digits": (f'{SUITE}{LATENCY}bytes = "{NINES} B"\n', "benchmark[0].bytes: "),
    "half a byte": (f'{SUITE}{LATENCY}bytes = "0.5 B"\n', "benchmark[0].bytes: '0.5 B' is not"),
    "bytes as a float": (
        f"{SUITE}{LATENCY}bytes = 8.0\n",
        "benchmark[0].bytes: must be a whole number of bytes or a size such as '1 KiB'",
    ),
    "bytes as true": (f"{SUITE}{LATENCY}bytes = true\n", "benchmark[0].bytes: must be"),
    "bytes as a date": (f"{SUITE}{LATENCY}bytes = 2026-01-01\n", "benchmark[0].bytes: must be"),
    "an unknown unit": (f'{SUITE}{LATENCY}bytes = "1 XB"\n', "benchmark[0].bytes: '1 XB' is no"),
    "a unit in small letters": (
        f'{SUITE}{LATENCY}bytes = "1 kib"\n',
        "benchmark[0].bytes: '1 kib'",
    ),
    "a size without a unit": (f'{SUITE}{LATENCY}bytes = "8"\n', "benchmark[0].bytes: '8' is no"),
    "a size that is empty": (f'{SUITE}{LATENCY}bytes = ""\n', "benchmark[0].bytes: '' is no"),
    "a size that is an escape sequence": (
        f'{SUITE}{LATENCY}bytes = "\\u001b[2J"\n',
        "benchmark[0]",
    ),
    "the third size wrong": (
        f'{SUITE}{LATENCY}bytes = ["8 B", 16, "1 MIB"]\n',
        "benchmark[0].bytes[2]: '1 MIB' is no size",
    ),
    "sizes in a list in a list": (
        f"{SUITE}{LATENCY}bytes = [8, [16]]\n",
        "benchmark[0].bytes[1]: must be a whole number of bytes or a size such as '1 KiB', "
        "not a list",
    ),
    "a range in a list": (
        f"{SUITE}{LATENCY}bytes = [{{ from = 1, to = 2, step = 1 }}]\n",
        "benchmark[0].bytes[0]: must be",
    ),
    "an empty list of sizes": (f"{SUITE}{LATENCY}bytes = []\n", "benchmark[0].bytes: empty"),
    # Other values.
    "one rank for a pair": (f"{SUITE}{LATENCY}ranks = 1\n", "benchmark[0].ranks: 1 is outside 2"),
    "no ranks": (f"{SUITE}{MATMUL}ranks = 0\n", "benchmark[0].ranks: 0 is outside 1"),
    "a size of ranks": (f'{SUITE}{LATENCY}ranks = "2 B"\n', "benchmark[0].ranks: must be a whole"),
    "ranks beyond all writing": (
        f"{SUITE}{LATENCY}ranks = -{NINES[:4000]}\n",
        "benchmark[0].ranks",
    ),
    "an empty window": (f"{SUITE}{BANDWIDTH}window = 0\n", "benchmark[0].window: 0 is outside 1"),
    "a window too wide": (f"{SUITE}{BANDWIDTH}window = 4097\n", "benchmark[0].window: 4097 is"),
    "threads below 0": (f"{SUITE}{MATMUL}threads = -1\n", "benchmark[0].threads: -1 is outside"),
    "no batch": (f"{SUITE}{MATMUL}batch = [1, 0]\n", "benchmark[0].batch[1]: 0 is outside 1"),
    "a matrix too large": (f"{SUITE}{MATMUL}k = 1048577\n", "benchmark[0].k: 1048577 is outside"),
    "an unknown dtype": (
        f'{SUITE}{MATMUL}dtype = ["fp32", "fp46"]\n',
        "benchmark[0].dtype[1]: 'fp46' is not a dtype; did you mean 'fp64'?",
    ),
    "a dtype that is a number": (
        f"{SUITE}{MATMUL}dtype = 32\n",
        "benchmark[0].dtype: must be a st",
    ),
    "a dtype that is a range": (
        f"{SUITE}{MATMUL}dtype = {{ from = 32, to = 64, step = 32 }}\n",
        "benchmark[0].dtype: a range needs numbers",
    ),
    "no dtype": (f"{SUITE}{MATMUL}dtype = []\n", "benchmark[0].dtype: empty"),
    "an unknown kernel": (
        f'{SUITE}{STREAM}kernel = "tirad"\n',
        "benchmark[0].kernel: 'tirad' is not a kernel; did you mean 'triad'?",
    ),
    "an unknown memory": (f'{SUITE}{MEMCPY}memory = "gpu"\n', "benchmark[0].memory: 'gpu' is not"),
    "an unknown path": (
        f'{SUITE}{LATENCY}path = "stage"\n',
        "benchmark[0].path: 'stage' is not a path; did you mean 'staged'?",
    ),
    # Ranges.
    "a range of nothing": (f"{SUITE}{LATENCY}bytes = {{}}\n", "benchmark[0].bytes: a range is"),
    "a range without steps": (
        f"{SUITE}{LATENCY}bytes = {{ from = 1, to = 8 }}\n",
        "benchmark[0].bytes: a range is",
    ),
    "a range with two kinds of steps": (
        f"{SUITE}{LATENCY}bytes = {{ from = 1, to = 8, step = 1, per_octave = 1 }}\n",
        "benchmark[0].bytes: a range is",
    ),
    "a range around and between": (
        f"{SUITE}{MATMUL}batch = {{ around = [32], to = 64 }}\n",
        "benchmark[0].batch: a range is",
    ),
    "a misspelt end": (
        f"{SUITE}{LATENCY}bytes = {{ form = 1, to = 8, step = 1 }}\n",
        "benchmark[0].bytes.form: unknown key; did you mean 'from'?",
    ),
    "a reversed range": (
        f'{SUITE}{LATENCY}bytes = {{ from = "1 KiB", to = "8 B", per_octave = 1 }}\n',
        "benchmark[0].bytes: from 1024 is above to 8",
    ),
    "a range from 0": (
        f"{SUITE}{MATMUL}threads = {{ from = 0, to = 8, per_octave = 1 }}\n",
        "benchmark[0].threads.from: octaves cannot start at 0",
    ),
    "a range to a word": (
        f'{SUITE}{LATENCY}bytes = {{ from = 1, to = "much", step = 1 }}\n',
        "benchmark[0].bytes.to: 'much' is no size",
    ),
    "a range to too much": (
        f'{SUITE}{LATENCY}bytes = {{ from = 1, to = "4 GiB", per_octave = 1 }}\n',
        "benchmark[0].bytes.to: 4294967296 is outside",
    ),
    "a step of 0": (
        f"{SUITE}{LATENCY}bytes = {{ from = 1, to = 8, step = 0 }}\n",
        "benchmark[0].bytes.step: 0 is not above 0",
    ),
    "a step back": (
        f"{SUITE}{LATENCY}bytes = {{ from = 1, to = 8, step = -1 }}\n",
        "benchmark[0].bytes.step: -1 is not above 0",
    ),
    "a step of half a byte": (
        f"{SUITE}{LATENCY}bytes = {{ from = 1, to = 8, step = 0.5 }}\n",
        "benchmark[0].bytes.step: must be",
    ),
    "too many steps": (
        f'{SUITE}{LATENCY}bytes = {{ from = 1, to = "1 GiB", step = 1 }}\n',
        "benchmark[0].bytes: over 100000 values",
    ),
    "no values an octave": (
        f"{SUITE}{LATENCY}bytes = {{ from = 1, to = 8, per_octave = 0 }}\n",
        "benchmark[0].bytes.per_octave: 0 is outside",
    ),
    "values below 0 an octave": (
        f"{SUITE}{LATENCY}bytes = {{ from = 1, to = 8, per_octave = -2 }}\n",
        "benchmark[0].bytes.per_octave: -2 is outside",
    ),
    "values an octave that are no number": (
        f"{SUITE}{LATENCY}bytes = {{ from = 1, to = 8, per_octave = nan }}\n",
        "benchmark[0].bytes.per_octave: nan is outside",
    ),
    "endless values an octave": (
        f"{SUITE}{LATENCY}bytes = {{ from = 1, to = 8, per_octave = inf }}\n",
        "benchmark[0].bytes.per_octave: inf is outside",
    ),
    "too many values an octave": (
        f"{SUITE}{LATENCY}bytes = {{ from = 1, to = 8, per_octave = 1e9 }}\n",
        "benchmark[0].bytes.per_octave: 1000000000.0 is outside",
    ),
    "values an octave beyond all writing": (
        f"{SUITE}{LATENCY}bytes = {{ from = 1, to = 8, per_octave = {HEX} }}\n",
        "benchmark[0].bytes.per_octave: ",
    ),
    "one and a half values an octave": (
        f"{SUITE}{LATENCY}bytes = {{ from = 1, to = 8, per_octave = 1.5 }}\n",
        "benchmark[0].bytes.per_octave: 1.5 is neither whole",
    ),
    "values an octave as true": (
        f"{SUITE}{LATENCY}bytes = {{ from = 1, to = 8, per_octave = true }}\n",
        "benchmark[0].bytes.per_octave: must be a number",
    ),
    "around one number": (
        f"{SUITE}{MATMUL}batch = {{ around = 32 }}\n",
        "benchmark[0].batch.around: must be a list",
    ),
    "around nothing": (f"{SUITE}{MATMUL}batch = {{ around = [] }}\n", "benchmark[0].batch: empty"),
    "around a word": (
        f'{SUITE}{MATMUL}batch = {{ around = [32, "64"] }}\n',
        "benchmark[0].batch.around[1]: must be a whole number",
    ),
    "around the least": (
        f"{SUITE}{MATMUL}batch = {{ around = [1] }}\n",
        "benchmark[0].batch.around: 0 is outside",
    ),
    # Too much of everything.
    "too many cases": (
        f"{SUITE}{MATMUL}"
        "batch = { from = 1, to = 1000, step = 1 }\nk = { from = 1, to = 1001, step = 1 }\n",
        "1001000 cases; a run holds up to 1000000",
    ),
    "too many cases for so many launches": (
        f"{SUITE}launches = 10000\n{LATENCY}bytes = {{ from = 1, to = 101, step = 1 }}\n",
        "1010000 cases; a run holds up to 1000000",
    ),
}

WELL_FORMED = {
    "one value": f"{SUITE}{LATENCY}bytes = 8\n",
    "no axis at all": f"{SUITE}{LATENCY}",
    "a size with a unit": f'{SUITE}{LATENCY}bytes = "1 KiB"\n',
    "half a KiB": f'{SUITE}{LATENCY}bytes = "0.5 KiB"\n',
    "the largest message": f"{SUITE}{LATENCY}bytes = {2**31 - 1}\n",
    "sizes of both kinds": f'{SUITE}{LATENCY}bytes = ["8 B", 16, "1 MiB", "1 MB"]\n',
    "a size twice": f'{SUITE}{LATENCY}bytes = [1024, "1 KiB"]\n',
    "a geometric range": f'{SUITE}{LATENCY}bytes = {{ from = "1 B", to = 8, per_octave = 1 }}\n',
    "half a value an octave": f"{SUITE}{LATENCY}bytes = {{ from = 1, to = 8, per_octave = 0.5 }}\n",
    "two values an octave": f"{SUITE}{LATENCY}bytes = {{ from = 1, to = 8, per_octave = 2.0 }}\n",
    "a range of one": f"{SUITE}{LATENCY}bytes = {{ from = 8, to = 8, per_octave = 1 }}\n",
    "an arithmetic range": f"{SUITE}{LATENCY}bytes = {{ from = 8, to = 64, step = 8 }}\n",
    "a step beyond the end": f"{SUITE}{LATENCY}bytes = {{ from = 8, to = 9, step = 8 }}\n",
    "values around": f"{SUITE}{MATMUL}batch = {{ around = [32, 64] }}\n",
    "two dtypes": f'{SUITE}{MATMUL}dtype = ["fp32", "fp64"]\n',
    "one kernel": f'{SUITE}{STREAM}kernel = "triad"\n',
    "memory that may be missing": f'{SUITE}{MEMCPY}memory = ["host", "device"]\n',
    "most launches": f"{SUITE}launches = 10000\n{LATENCY}",
    "the largest seed": f"{SUITE}seed = {2**63 - 1}\n{LATENCY}",
    "whole seconds": f"{SUITE}cap_s = 1\n{LATENCY}",
    "a description": f'{SUITE}description = "é \\u001b"\n{LATENCY}',
    "the longest name": f'[suite]\nname = "{"a" * 64}"\n{LATENCY}',
    "a benchmark twice": f"{SUITE}{LATENCY}{LATENCY}",
    "Windows line ends": f"{SUITE}{LATENCY}bytes = 8\n".replace("\n", "\r\n"),
    "benchmarks in a list": f'benchmark = [{{ name = "latency" }}]\n{SUITE}',
    "most cases": f"{SUITE}launches = 10000\n{LATENCY}bytes = {{ from = 1, to = 5, step = 1 }}\n",
}

BAD_FLAGS = {
    "an unknown command": (["pla"], "no command 'pla'; did you mean 'plan'?"),
    "a command far from all": (["zzzz"], "no command 'zzzz'; valid: ab, compare, doctor, list"),
    "an escape sequence as command": (["\x1b[31m"], r"\\x1b[31m"),
    "an empty command": ([""], "no command ''"),
    "a flag before the command": (["--bogus", "plan"], "--bogus"),
    "an unknown flag": (["plan", "quick", "--lanches", "3"], "--launches"),
    "an unknown flag far from all": (["plan", "quick", "--zzz"], "--zzz"),
    "an unknown short flag": (["plan", "quick", "-x"], "-x"),
    "a flag with an escape sequence": (["plan", "quick", "--\x1b[31m"], r"\x1b"),
    "plan of nothing": (["plan"], "SUITE"),
    "run of nothing": (["run"], "SUITE"),
    "report of nothing": (["report"], "RUN"),
    "score of nothing": (["score"], "RUN"),
    "two suites": (["plan", "quick", "network"], "network"),
    "a suite by a near name": (["plan", "quikc"], "no suite named 'quikc': did you mean 'quick'?"),
    "a suite by a far name": (
        ["plan", "zzzz"],
        "no suite named 'zzzz': valid: cluster, collectives, exchange, full, gpu, many",
    ),
    "a suite by no name": (["plan", ""], "no suite named ''"),
    "a suite by an escape sequence": (["plan", "\x1b[31m"], r"no suite named '\\x1b[31m'"),
    "a suite that is missing": (["plan", "./no.toml"], "./no.toml: cannot read the suite file"),
    "a suite that is a folder": (["plan", "./"], "./: cannot read the suite file: Is a directory"),
    "a suite below a file": (["plan", "/dev/null/x"], "/dev/null/x: cannot read"),
    "a suite with a NUL": (["plan", "./a\x00b"], r"./a\x00b: cannot read the suite file"),
    "a suite with a long name": (["plan", "./" + "a" * 300], "cannot read the suite file"),
    "a suite without end": (["plan", "/dev/zero"], "/dev/zero: over 16 MiB"),
    "an empty suite": (["plan", "/dev/null"], "/dev/null: suite: missing"),
    "no ranks": (["plan", "quick", "-n", "0"], "-n"),
    "ranks below 0": (["plan", "quick", "-n", "-2"], "-n"),
    "ranks that are a word": (["plan", "quick", "-n", "x"], "-n"),
    "ranks that are a fraction": (["plan", "quick", "-n", "2.5"], "-n"),
    "more ranks than any machine": (["plan", "quick", "-n", "1000001"], "-n"),
    "ranks beyond all writing": (["plan", "quick", "-n", "9" * 5000], "-n"),
    "ranks not given": (["plan", "quick", "-n"], "-n"),
    "one rank for a pair": (["plan", "quick", "-n", "1"], "-n 1: latency runs on 2 to"),
    "no launches": (["plan", "quick", "--launches", "0"], "--launches"),
    "too many launches": (["plan", "quick", "--launches", "10001"], "--launches"),
    "a seed below 0": (["plan", "quick", "--seed", "-1"], "--seed"),
    "a seed of 64 bits": (["plan", "quick", "--seed", str(2**63)], "--seed"),
    "an unknown launcher": (
        ["plan", "quick", "--launcher", "mpirum"],
        "no launcher 'mpirum'; did you mean 'mpirun'?",
    ),
    "a launcher far from all": (
        ["plan", "quick", "--launcher", "bogus"],
        "no launcher 'bogus'; valid: local, mpirun, pbs, replay, sbatch, srun",
    ),
    "an empty launcher": (["plan", "quick", "--launcher", ""], "no launcher ''"),
    "an mpirun that is none": (["plan", "quick", "--mpirun", "/bin/true"], "/bin/true is no"),
    "an mpirun that is missing": (["plan", "quick", "--mpirun", "./no"], "./no is no launcher"),
    "an mpirun that nobody uses": (
        ["plan", "quick", "--launcher", "local", "--mpirun", "/bin/true"],
        "--mpirun",
    ),
    "replay of nothing": (["plan", "quick", "--launcher", "replay"], "--replay RUN"),
    "replay of no run": (
        ["plan", "quick", "--launcher", "replay", "--replay", "."],
        ". is no run folder",
    ),
    "run with a replay of no run": (
        ["run", "quick", "--launcher", "replay", "--replay", "./no"],
        "no is no run folder",
    ),
    "a run to replay and nobody to play it": (
        ["plan", "quick", "--launcher", "local", "--replay", "."],
        "--replay",
    ),
    "JSON with a value": (["plan", "quick", "--json=yes"], "--json"),
    "a report of no run": (
        ["report", "."],
        ". is no run folder, or one whose run had not begun (no run.json in it)",
    ),
    "a report of no folder": (["report", "./no"], "no is no run folder"),
    "a report of an escape sequence": (["report", "\x1b[2J"], r"\x1b[2J is no run folder"),
    "a score of no run": (["score", "."], ". is no run folder"),
    "a score of two runs": (["score", ".", "."], "."),
    "results below a file": (
        ["run", "./mine.toml", "--launcher", "local", "-o", "/dev/null/x"],
        "cannot write results to /dev/null/x",
    ),
    "a label that is not UTF-8": (["plan", "quick", "--label", "\udcff"], r"\udcff is not UTF-8"),
    "a folder that is not UTF-8": (["run", "quick", "-o", "\udce9t\udce9"], "is not UTF-8"),
    "a number with a comma": (["plan", "quick", "--launches", "1,0"], "--launches"),
}


def check_refusal(code: int, out: str, err: str, folder: Path, before: set[str]) -> str:
    """Check everything that holds for every refusal; return its line."""
    assert code == 2
    assert out == ""
    assert err.endswith("\n")
    line = err.removesuffix("\n")
    assert line.isprintable()
    assert line.startswith("clusterbench: ")
    assert line.removeprefix("clusterbench: ").strip()
    assert "Traceback" not in line
    assert {path.name for path in folder.iterdir()} == before
    return line


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text(f"{SUITE}{MEMCPY}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_suite_is_refused_in_one_line_with_the_path_of_the_key(what, here, capsys):
    text, expected = MALFORMED[what]
    (here / "mine.toml").write_text(text, encoding="utf-8")
    code = run_command(["run", "./mine.toml", "--launcher", "local"])
    line = check_refusal(code, *capsys.readouterr(), here, {"mine.toml"})
    source = "" if "cases;" in expected else "./mine.toml: "
    assert line.startswith(f"clusterbench: {source}{expected}")


@pytest.mark.parametrize("what", WELL_FORMED)
def test_a_valid_neighbour_of_a_malformed_suite_is_planned(what, here, capsys):
    (here / "mine.toml").write_text(WELL_FORMED[what], encoding="utf-8", newline="")
    assert run_command(["plan", "./mine.toml", "--launcher", "local"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("suite ")


@pytest.mark.parametrize("what", BAD_FLAGS)
def test_a_bad_command_line_is_refused_in_one_line_that_names_what_is_wrong(what, here, capsys):
    arguments, expected = BAD_FLAGS[what]
    code = run_command(arguments)
    line = check_refusal(code, *capsys.readouterr(), here, {"mine.toml"})
    assert expected in line


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe[\x00s\x00", b"[suite]\nname = '\xe9'\n", b"\x80", b"[suite]\n\xc3"],
)
def test_a_suite_that_is_not_utf8_is_refused_with_the_place(content, here, capsys):
    (here / "mine.toml").write_bytes(content)
    code = run_command(["plan", "./mine.toml", "--launcher", "local"])
    line = check_refusal(code, *capsys.readouterr(), here, {"mine.toml"})
    assert "is not UTF-8" in line


def test_a_suite_that_points_at_itself_is_refused(here, capsys):
    (here / "loop.toml").symlink_to("loop.toml")
    code = run_command(["plan", "./loop.toml", "--launcher", "local"])
    line = check_refusal(code, *capsys.readouterr(), here, {"mine.toml", "loop.toml"})
    assert "./loop.toml: cannot read the suite file" in line


def test_a_suite_larger_than_any_suite_is_refused_unread(here, capsys):
    with (here / "mine.toml").open("wb") as file:
        file.truncate(2**40)
    code = run_command(["plan", "./mine.toml", "--launcher", "local"])
    line = check_refusal(code, *capsys.readouterr(), here, {"mine.toml"})
    assert "over 16 MiB" in line


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "run.json cannot be read"),
        (b"{", "run.json cannot be read"),
        (b"[]", "run.json cannot be read"),
        (b"{}", "run.json cannot be read"),
        (b"\xff", "run.json cannot be read"),
        (b'{"facts": {"a": {"b": ' + b"[" * 100_000, "run.json cannot be read"),
        (b'{"schema": 3}', "schema 3"),
        (b'{"schema": 1, "origin": "guessed"}', "run.json cannot be read"),
    ],
)
@pytest.mark.parametrize("command", ["report", "score"])
def test_a_damaged_run_is_refused(command, content, expected, here, capsys):
    (here / "run").mkdir()
    (here / "run" / "run.json").write_bytes(content)
    code = run_command([command, "run"])
    line = check_refusal(code, *capsys.readouterr(), here, {"mine.toml", "run"})
    assert expected in line


@pytest.mark.parametrize(
    "arguments",
    [
        [b"plan", b"\xff\xfe"],
        [b"plan", b"./\x1b]0;title\x07.toml"],
        [b"plan", b"./mine.toml", b"--launcher", b"local", b"--launches", b"0"],
        [b"plna"],
        [b"score", b"/"],
    ],
)
def test_the_program_itself_refuses_what_its_function_refuses(arguments, here):
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bench", *arguments],
        cwd=here,
        capture_output=True,
        timeout=600,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    check_refusal(done.returncode, done.stdout.decode(), done.stderr.decode(), here, {"mine.toml"})


values = st.recursive(
    st.integers()
    | st.floats()
    | st.booleans()
    | st.text(max_size=8)
    | st.dates()
    | st.sampled_from(["8 B", "1 KiB", "latency", "host", "fp32"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["from", "to", "step", "per_octave", "around"]) | st.text(max_size=4),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
keys = st.sampled_from(["name", "bytes", "ranks", "batch", "k", "launches", "seed", "memory"])
tables = st.dictionaries(keys | st.text(max_size=5), values, max_size=4)


def toml(value: object) -> str:
    """Return a value as inline TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" for c in value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml(k)} = {toml(v)}" for k, v in value.items()) + " }"
    return str(value)


def refused_or_planned(content: bytes, *flags: str) -> None:
    """Check that a suite file with this content is either planned or refused as it should be."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mine.toml").write_bytes(content)
        arguments = ["plan", str(folder / "mine.toml"), "--launcher", "local", *flags]
        code, out, err = captured(arguments)
        if code != 0:
            check_refusal(code, out, err, folder, {"mine.toml"})


def captured(arguments: list[str]) -> tuple[int, str, str]:
    """Run a command line in this process; return its exit code and both its outputs."""
    import contextlib
    import io

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(arguments)
    return code, out.getvalue(), err.getvalue()


@given(
    st.dictionaries(st.sampled_from(["suite", "benchmark"]) | st.text(max_size=5), values | tables)
)
def test_no_document_of_any_shape_gets_past_the_check(document):
    text = "\n".join(f"{toml(key)} = {toml(value)}" for key, value in document.items())
    refused_or_planned(text.encode())


@given(tables, st.lists(tables, min_size=1, max_size=3))
def test_no_suite_with_odd_values_gets_past_the_check(head, blocks):
    document = {
        "suite": {"name": "mine", **head},
        "benchmark": [{"name": "matmul", **block} for block in blocks],
    }
    text = "\n".join(f"{key} = {toml(value)}" for key, value in document.items())
    refused_or_planned(text.encode())


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_file_of_any_content_gets_past_the_check(content):
    refused_or_planned(content)


words = st.sampled_from(["-n", "--launches", "--seed", "--json", "--label", "--replay", "-o", "--"])
junk = st.text(st.characters(exclude_characters="\x00"), max_size=6) | st.integers().map(str)


@given(st.lists(words | junk | st.sampled_from(["--lunches", "-x", "quick"]), max_size=5))
@settings(max_examples=100)
def test_no_flags_of_any_kind_get_past_the_check(flags):
    if not {"-h", "--help"} & set(flags):
        refused_or_planned(f"{SUITE}{LATENCY}".encode(), *flags)
