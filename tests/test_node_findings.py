"""What a run keeps about its nodes: of every one, by name, and no more after many jobs."""

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from begun import begun
from test_machine_differences import cluster, few_nvlinks, narrow_gpu, other_device

from bench.core.events import Facts
from bench.core.records import Finding
from bench.machine.doctor import Diagnosis, diagnose
from bench.machine.facts import NodeFacts
from bench.plan.plan import make_plan
from bench.plan.suite import parse_suite
from bench.run import recording, session
from bench.run.attempt import Attempt
from bench.run.runner import Runner
from bench.store.folder import open_run
from bench.store.recorder import Recorder

SUITE = '[suite]\nname = "mine"\n[[benchmark]]\nname = "memcpy"\nbytes = [8]\n'


def recorder_in(folder) -> Recorder:
    return Recorder(begun(folder, suite_text=SUITE))


def jobs_of(recorder: Recorder, nodes: dict[str, dict[str, Any]], count: int) -> list[list[str]]:
    """Return the texts of the findings after each of some jobs on the same nodes."""
    plan = make_plan(parse_suite(SUITE, "mine"))
    nobody = cast("Any", SimpleNamespace())
    runner = Runner(plan, nobody, recorder, nobody, lambda *_: [])
    texts = []
    for job in range(count):
        for number, node in enumerate(nodes.values()):
            for gpu in node["gpus"]:
                gpu["sm_mhz_now"] = 210 + 15 * number + job
        facts = Facts((), None, None, None, None, nodes)
        runner.facts_known(cast("Attempt", SimpleNamespace(facts=facts)))
        texts.append([finding.text for finding in recorder.findings])
    return texts


def test_five_jobs_on_sixteen_nodes_keep_what_one_job_does(tmp_path):
    nodes = cluster()
    narrow_gpu(nodes["n3"])
    few_nvlinks(nodes["n9"])
    other_device(nodes["n5"])
    recorder = recorder_in(tmp_path)
    recorder.finding(Finding(name="busy-cores", level="warning", text="one"))
    first, *others = jobs_of(recorder, nodes, 5)
    assert len(first) == 6
    assert {text.split()[0].strip(":") for text in first} == {"one", "n3", "n5", "n9"}
    assert all(texts == first for texts in others)
    recorder.end("complete")
    recorder.finish()
    assert [finding.text for finding in open_run(tmp_path).findings] == first


def test_a_run_that_is_gone_on_with_repeats_no_finding(tmp_path):
    nodes = cluster()
    few_nvlinks(nodes["n9"])
    recorder = recorder_in(tmp_path)
    ((*first,),) = jobs_of(recorder, nodes, 1)
    recorder.end("interrupted")
    recorder.finish()
    again = Recorder(open_run(tmp_path))
    assert jobs_of(again, nodes, 2) == [first, first]


def test_the_submitting_host_is_judged_as_a_node_only_where_ranks_ran(tmp_path, monkeypatch):
    node = cluster(1)["n1"]
    narrow_gpu(node)
    facts = msgspec.convert(node, NodeFacts)
    load = Finding(name="load", level="warning", text="much to do")
    diagnosis = Diagnosis(facts=facts, mpi=None, findings=(load, *diagnose(facts)))
    assert len(diagnosis.findings) == 2
    kept = []

    def stop(runner: Runner) -> None:
        kept.extend(runner.recorder.findings)
        raise KeyboardInterrupt

    monkeypatch.setattr(recording, "examine", lambda: diagnosis)
    monkeypatch.setattr(session, "run_to_end", stop)
    suite = tmp_path / "mine.toml"
    suite.write_text(SUITE)
    request = session.Request(suite=str(suite), launcher="local")
    with pytest.raises(KeyboardInterrupt):
        session.carry_out(request, tmp_path / "out")
    assert kept == [load]
