"""Products of other batches and other shapes than those that were measured first.

Compared are the fastest samples of each case: what others do on the machine only ever adds time,
and on cores that they share it adds more than products differ by.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from bench.core.errors import RequestError
from bench.core.records import Status
from bench.judge.accuracy import Miss
from bench.judge.baseline import BASELINES
from bench.predict.model.shapes import fit_shapes
from bench.store.folder import open_run
from provekit.tables import print_error_verdict, print_errors

MEASURED = ((250, 250), (500, 500), (1000, 1000), (2000, 2000))
"""No powers of two: rows that far apart fall into the same places of a cache."""
BATCHES = (1, 8, 32, 128, 512)
SAME = ((500, 500), (1000, 1000))
"""Of the measured shapes, those that other batches are held out of."""
OTHERS = ((360, 360), (700, 700), (1000, 500), (500, 1000), (1500, 1500))
HELD_OUT = (4, 16, 64, 100, 256)
DTYPE, THREADS = "fp32", 1
MOST_ERROR = 0.10
TIMEOUT_S = 300

Product = tuple[int, int, int]
"""Batch, k and n."""


def prove_products() -> bool:
    """Print the errors of held-out batches and shapes, and whether the target is met."""
    known = _run((m, *shape) for shape in MEASURED for m in BATCHES)
    by_shape = {shape: {float(m): known[m, *shape] for m in BATCHES} for shape in MEASURED}
    model = fit_shapes(by_shape)
    wanted = [(m, *shape) for shape in (*SAME, *OTHERS) for m in HELD_OUT]
    predicted = {product: model.seconds(*product) for product in wanted}
    frozen = hashlib.sha256(json.dumps(list(predicted.items())).encode()).hexdigest()[:16]
    settings = f"{DTYPE}, {THREADS} thread, fastest samples"
    print(f"{len(predicted)} predictions frozen, hash {frozen}; {settings}.\n")
    groups: dict[str, list[Miss]] = {}
    for (m, k, n), measured_s in _run(predicted).items():
        name = f"{m} x {k} x {n}"
        naive = {
            baseline: predict(
                [m * k * n for m, k, n in known], list(known.values()), float(m * k * n)
            )
            for baseline, predict in BASELINES.items()
            if baseline == "straight line"
        }
        group = "other batches" if (k, n) in SAME else "other shapes and batches"
        miss = Miss(name, 0, name, predicted[m, k, n], measured_s, None, None, naive)
        groups.setdefault(group, []).append(miss)
    pooled = print_errors("products", groups)
    return print_error_verdict("products", pooled.median_error, MOST_ERROR)


def _run(products: Iterable[Product]) -> dict[Product, float]:
    """Measure products in this process's own machine, without MPI."""
    blocks = [
        f'[[benchmark]]\nname = "matmul"\nbatch = {m}\nk = {k}\nn = {n}\ndtype = "{DTYPE}"\n'
        f"threads = {THREADS}"
        for m, k, n in products
    ]
    with tempfile.TemporaryDirectory(prefix="prove-prediction-") as folder:
        suite = Path(folder, "proof.toml")
        text = '[suite]\nname = "proof"\nlaunches = 2\ncap_s = 0.1\n' + "\n".join(blocks)
        suite.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "bench", "run", str(suite), "--launcher", "local"]
        answer = subprocess.run(
            [*command, "-o", folder, "--no-report"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        try:
            rows = open_run(Path(folder, "latest")).rows()
        except RequestError:
            raise RequestError(f"clusterbench run left no run: {answer.stderr[-500:]}") from None
    found: dict[Product, float] = {}
    for row in rows:
        if row.status is Status.OK and row.t_min_s:
            product = (row.m or 0, row.k or 0, row.n or 0)
            found[product] = min(row.t_min_s, found.get(product, row.t_min_s))
    return found
