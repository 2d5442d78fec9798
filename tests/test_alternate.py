"""Every second size held out: truths recovered, nothing extrapolated, intervals from elsewhere."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.judge.accuracy import judge
from bench.judge.alternate import Curve, hold_out

PROVE = Path(__file__).parent.parent / "scripts" / "prove-prediction"
SIZES = tuple(float(2**power) for power in range(3, 31))


def curve(name: str, alpha_s: float, rate: float, sigma: float = 0.0, seed: int = 0) -> Curve:
    noise = np.random.default_rng(seed).standard_normal(len(SIZES))
    times = [
        (alpha_s + size / rate) * math.exp(sigma * z) for size, z in zip(SIZES, noise, strict=True)
    ]
    return Curve(name, SIZES, tuple(times), fastest=rate)


def test_both_parities_are_held_out_and_the_ends_are_not():
    (misses, _) = hold_out([curve("a", 1e-5, 1e10), curve("b", 1e-5, 2e10)]).values()
    held = {miss.name for miss in misses}
    assert len(misses) == len(SIZES) - 2
    assert "a 16 B" in held
    assert not {"a 8 B", "a 1 GiB"} & held


def test_intervals_come_from_the_other_curves():
    exact, noisy = curve("exact", 1e-5, 1e10), curve("noisy", 1e-5, 1e10, 0.3)
    found = hold_out([exact, noisy])
    assert judge(found["exact"]).coverage.half_width > 1.2
    assert judge(found["noisy"]).coverage.half_width < 1.1
    assert judge(found["noisy"]).coverage.inside < judge(found["noisy"]).count / 2


def test_intervals_hold_what_they_promise_where_curves_are_alike():
    curves = [curve(f"c{i}", 1e-5 * (1 + i), 1e10, 0.03, i) for i in range(20)]
    misses = [miss for found in hold_out(curves).values() for miss in found]
    coverage = judge(misses).coverage
    assert coverage.allows(0.8)
    assert coverage.half_width < 1.1


def test_a_line_is_beaten_and_a_bound_is_never_above_the_truth():
    (misses, _) = hold_out([curve("a", 1e-5, 1e10), curve("b", 2e-5, 1e10)]).values()
    skills = {skill.baseline: skill for skill in judge(misses).skills}
    assert all(miss.baselines["bound"] <= miss.measured_s for miss in misses)
    assert set(skills) == {"bound", "straight line", "interpolation"}
    assert skills["interpolation"].skill > 0.5


def write_log(path: Path, alpha_us: float) -> None:
    lines = ["# size count type redop root time algbw busbw #wrong"]
    for size in map(int, SIZES):
        us = alpha_us + size / 1e4
        rate = size / us / 1e3
        lines.append(f"{size} {size // 4} float sum -1 {us:.4g} {rate:.2f} {rate:.2f} 0")
    path.write_text("\n".join(lines))


def prove(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROVE), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_logs_are_proved_by_one_command(tmp_path):
    for i in range(3):
        write_log(tmp_path / f"machine{i}.log", 20 + 10 * i)
    answer = prove("--nccl-logs", str(tmp_path), "--fastest", "machine0=10GB/s")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.count("- met:") == 3
    assert "| machine0 | bound |" in answer.stdout


@pytest.mark.parametrize("logs", [0, 1])
def test_too_few_logs_are_one_line(tmp_path, logs):
    for i in range(logs):
        write_log(tmp_path / f"machine{i}.log", 20)
    answer = prove("--nccl-logs", str(tmp_path))
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert f"{logs} usable logs" in answer.stderr
