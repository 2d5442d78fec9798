"""The benchmarks by name; a new one is a file here and a line below."""

from bench.contracts import Measurement
from bench.measure.bandwidth import Bandwidth
from bench.measure.bibandwidth import Bibandwidth
from bench.measure.collectives import COLLECTIVES
from bench.measure.copy import Copy
from bench.measure.exchange.gradient import Exchange
from bench.measure.fan import FanIn, FanOut
from bench.measure.latency import Latency
from bench.measure.matmul import Matmul
from bench.measure.memcpy import Memcpy
from bench.measure.message_rate import MessageRate
from bench.measure.multi_pair import MultiPair
from bench.measure.overlap import Overlap
from bench.measure.pairs import PairsBandwidth, PairsBibandwidth, PairsLatency
from bench.measure.peer_copy import PeerCopy
from bench.measure.ring_shift import RingShift
from bench.measure.split_matmul import SplitMatmul
from bench.measure.stream import Stream
from bench.measure.training.step import TrainingStep
from bench.measure.verbs import VerbsMessages

_ALL: tuple[Measurement, ...] = (
    Latency(),
    Bandwidth(),
    Bibandwidth(),
    MessageRate(),
    PairsLatency(),
    PairsBandwidth(),
    PairsBibandwidth(),
    MultiPair(),
    FanIn(),
    FanOut(),
    RingShift(),
    VerbsMessages(),
    *COLLECTIVES,
    Overlap(),
    Exchange(),
    Memcpy(),
    Copy(),
    PeerCopy(),
    Stream(),
    Matmul(),
    SplitMatmul(),
    TrainingStep(),
)

MEASUREMENTS: dict[str, Measurement] = {measurement.name: measurement for measurement in _ALL}
