"""What a benchmark declares for the rooms that plan, fit, bound, score and draw its cases.

A room that has rules of its own keys them by the kinds below, never by names of benchmarks.
"""

from typing import Literal

import msgspec

FitKind = Literal["sizes", "rows", "rounds"]
"""Models (`predict/model`): measured sizes joined; linear in rows of a product; rounds of ranks."""

BoundRule = Literal[
    "ping-pong",
    "one way",
    "both ways",
    "between devices",
    "routes",
    "collective",
    "no data",
    "host copy",
    "device copy",
    "between GPUs",
    "kernel",
    "product",
    "split product",
    "gradient sum",
    "training step",
]
"""What hardware must do at least (`predict/bounds`)."""

Part = Literal["message", "window", "crossing", "senders", "product"]
"""What its times are to those of others (`predict/compose`): single messages, windows one way or
both ways between two ranks, windows of several senders at once, products of matrices."""

Composition = Literal["senders", "call", "sum", "step"]
"""How its own times are composed of such parts (`predict/compose`)."""

RowsOf = Literal["job", "place"]
"""What a row of its cases is of: all ranks of the job together, or those of one node alone, or of
one GPU where the memory is a device's. Nothing may pass between places."""

HeadlinePick = Literal[
    "small message",
    "best of each curve",
    "best",
    "best of each dtype",
    "largest of each curve",
    "most ranks",
    "ends of pairs",
]
"""Which of its cases a reader remembers (`judge/headline.py`)."""

RateColumn = Literal["gbytes_per_s", "busbw_gbytes_per_s", "messages_per_s", "tflops"]
"""Columns of `results.csv` that hold rates."""

Quantity = Literal[
    "times", "rates", "message rates", "bus bandwidths", "product times", "product rates"
]
"""What a figure draws against size (`report/curves.py`, `report/products.py`)."""

CaptionNumbers = Literal[
    "flat part", "both directions", "best", "best case", "ends", "best and last", "extremes", "step"
]
"""Which numbers of a run follow in a caption (`report/captions.py`)."""


class Headline(msgspec.Struct, frozen=True, kw_only=True):
    """The number of a benchmark that stands at the top of a report."""

    pick: HeadlinePick
    what: str
    """Words for it."""
    rate: RateColumn | None = None
    """The column that it is read from; None for the time."""
    label: str = ""
    """Word that a curve's label must have; empty for all curves."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A figure against size; benchmarks that declare the same one share it."""

    name: str
    """Stem of its files."""
    title: str
    draws: Quantity
    see: str
    """What a reader should see in it: the beginning of its caption."""
    numbers: CaptionNumbers | None = None
    subject: str = ""
    """What those numbers are of, as the subject of a sentence."""
    ending: str = ""
    """Sentence that closes a caption with numbers."""
    x_label: str = "message size"
    y_label: str = ""
    """Words for the vertical axis, without a unit; empty for those of what it draws."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What a benchmark declares beside its axes; its family alone has no default."""

    family: str
    """Benchmarks whose curves miss alike: they share intervals and a score."""
    fit: FitKind = "sizes"
    bound: BoundRule | None = None
    """None where no formula is known."""
    operation: str | None = None
    """Collective call that it is, as models name it, such as `all-reduce`."""
    part: Part | None = None
    """None where nothing is composed of its times."""
    composition: Composition | None = None
    """None where its own times are not composed."""
    compares_hosts: Literal["rates", "latencies"] | None = None
    """What its pairs show of hosts beside each other (`judge/hosts.py`)."""
    hands_memory_to_mpi: bool = True
    """False where MPI gets no address of its buffers, wherever they lie."""
    turns_pages: bool = False
    """Whether its large messages are sampled on several sets of buffers, and so of pages: buffers
    must be all that two preparations of a case differ in."""
    rows: RowsOf = "job"
    headline: Headline | None = None
    figures: tuple[Figure, ...] = ()
    panel: int = 0
    """Which panel of its figures it is drawn in, from the top."""
