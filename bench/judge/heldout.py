"""Which predictions count: those that the files show to be frozen first and fitted elsewhere."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import pandas as pd

from bench.core.errors import printable
from bench.core.gpu_cases import SHARED
from bench.core.records import Prediction, Stage, parse_params
from bench.judge.accuracy import Miss
from bench.judge.baseline import BASELINES
from bench.judge.strata import SplitKey, held_out_by, size_class
from bench.judge.table import measured
from bench.predict.bounds.bound import is_ceiling
from bench.store.folder import RunFolder

Line = Mapping[Any, Any]
"""One line of the table."""
Key = tuple[str, int]
"""Case and launch."""


_COLUMNS = [
    *("case", "launch", "name", "label", "benchmark", "series", "size", "status", "reason"),
    *(
        "origin",
        "bytes",
        "nodes",
        "ranks",
        "pairs",
        "params",
        "t_median_s",
        "bound_s",
        "bound_source",
    ),
    "started_utc",
]
"""What is looked at of a line."""


class Refused(msgspec.Struct, frozen=True):
    """A prediction that may not be scored, and why."""

    case: str
    launch: int
    name: str
    reason: str


class Unscored(msgspec.Struct, frozen=True):
    """Target cases that could not be scored, counted by reason."""

    reason: str
    count: int


class Pair(NamedTuple):
    """A prediction that counts, against what was measured, and the groups that it belongs to."""

    miss: Miss
    benchmark: str
    label: str | None
    stratum: str
    held_out_by: str
    moved: bool
    """Whether the machine was in another state than when the model was calibrated."""

    @property
    def case(self) -> str:
        """Id of the case."""
        return self.miss.case

    @property
    def launch(self) -> int:
        """Which launch measured it."""
        return self.miss.launch


class HeldOut(NamedTuple):
    """The target cases of a run, sorted by what is known of their predictions."""

    pairs: tuple[Pair, ...]
    refused: tuple[Refused, ...]
    unscored: tuple[Unscored, ...]


def pair_up(run: RunFolder, table: pd.DataFrame) -> HeldOut:
    """Match target cases with the calibrated predictions of the run, and refuse what breaks a rule.

    A case is a target unless the plan calls it a calibration case.
    """
    curves = _Curves(measured(table))
    predictions: dict[Key, list[Prediction]] = {}
    bounds: dict[Key, float | None] = {}
    for prediction in run.predictions():
        key = (prediction.case, prediction.launch)
        if prediction.tier == "C":
            predictions.setdefault(key, []).append(prediction)
        else:
            bounds[key] = prediction.seconds
    pairs: list[Pair] = []
    refused: list[Refused] = []
    unscored: dict[str, int] = {}
    for line in table.loc[table["stage"] != Stage.CALIBRATE, _COLUMNS].to_dict("records"):
        found = predictions.get((line["case"], line["launch"]), [])
        missing = _why_unscored(line, found)
        if missing is not None:
            unscored[missing] = unscored.get(missing, 0) + 1
        elif (reason := _why_refused(line, found, run.meta.origin.value)) is not None:
            refused.append(Refused(line["case"], line["launch"], line["name"], reason))
        else:
            # What was reached beside the case was not known before it, and predicts nothing.
            known_s = None if is_ceiling(line["bound_source"]) else line["bound_s"]
            bound_s = bounds.get((line["case"], line["launch"]), known_s)
            pairs.append(_pair(line, found[0], curves, bound_s))
    return HeldOut(tuple(pairs), tuple(refused), tuple(Unscored(*u) for u in unscored.items()))


def _why_unscored(line: Line, found: Sequence[Prediction]) -> str | None:
    if line["status"] != "ok":
        return f"{line['status']}: {printable(line['reason'], 120)}"
    if SHARED in parse_params(line["params"]):
        return "its ranks shared a GPU"
    if not found:
        return "no prediction was made"
    if all(prediction.seconds is None for prediction in found):
        return f"no model could speak: {printable(found[0].formula, 120)}"
    return None


def _why_refused(line: Line, found: Sequence[Prediction], origin: str) -> str | None:
    prediction = found[0]
    if len(found) > 1:
        return f"predicted {len(found)} times; only one prediction of a case can count"
    if line["origin"] != origin:
        return f"the row is {line['origin']} in a run that is {origin}; they are never mixed"
    if not (_is_time(prediction.seconds) and _is_time(line["t_median_s"])):
        return "predicted and measured seconds must be positive numbers"
    if line["case"] in (prediction.calibration_cases or "").split():
        return "it was calibrated on this very case"
    frozen, started = _moment(prediction.frozen_at), _moment(line["started_utc"])
    if frozen is None or started is None:
        return "nothing shows that it was frozen before the case began (no readable time)"
    if frozen >= started:
        return (
            f"frozen at {printable(prediction.frozen_at)}, not before the case began "
            f"at {printable(line['started_utc'])}"
        )
    return None


def _is_time(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _pair(line: Line, prediction: Prediction, curves: "_Curves", bound_s: float | None) -> Pair:
    fitted_on = (prediction.calibration_cases or "").split()
    baselines = curves.predict(line, fitted_on)
    if bound_s is not None and _is_time(bound_s):
        baselines = {"bound": bound_s} | baselines
    benchmark, nbytes = line["benchmark"], line["bytes"]
    return Pair(
        miss=Miss(
            case=line["case"],
            launch=line["launch"],
            name=line["name"],
            predicted_s=prediction.seconds or math.nan,
            measured_s=line["t_median_s"],
            low_s=prediction.low_s,
            high_s=prediction.high_s,
            baselines=baselines,
        ),
        benchmark=benchmark,
        label=line["label"],
        stratum=f"{benchmark} {size_class(nbytes)}" if nbytes > 0 else benchmark,
        held_out_by=held_out_by(_whereabouts(line), curves.places(fitted_on)),
        moved="state_percent" in parse_params(line["params"]),
    )


def _whereabouts(line: Line) -> SplitKey:
    nodes, ranks, pairs = (
        None if math.isnan(line[name]) else int(line[name]) for name in ("nodes", "ranks", "pairs")
    )
    return SplitKey(line["benchmark"], nodes, ranks, pairs)


class _Curves:
    """The measured calibration cases, as the naive predictors need them: medians over launches."""

    def __init__(self, times: pd.DataFrame) -> None:
        usable = times[(times["stage"] == Stage.CALIBRATE) & (times["size"] > 0)]
        lines = usable.drop_duplicates("case")[_COLUMNS].to_dict("records")
        self._place = {line["case"]: (line["series"], line["size"]) for line in lines}
        self._seconds = usable.groupby("case")["t_median_s"].median().to_dict()
        self._whereabouts = {line["case"]: _whereabouts(line) for line in lines}

    def places(self, cases: Sequence[str]) -> Iterator[SplitKey]:
        """Yield what those of the cases are that were measured."""
        return (self._whereabouts[case] for case in cases if case in self._whereabouts)

    def predict(self, line: Line, calibration_cases: Sequence[str]) -> dict[str, float]:
        """Return what each baseline predicts, nothing where its curve has fewer than two cases."""
        points: dict[float, float] = {}
        for case in calibration_cases:
            series, size = self._place.get(case, (None, math.nan))
            if series == line["series"]:
                points[size] = self._seconds[case]
        if len(points) < 2 or not line["size"] > 0:
            return {}
        sizes, seconds = list(points), list(points.values())
        return {
            name: baseline(sizes, seconds, line["size"]) for name, baseline in BASELINES.items()
        }
