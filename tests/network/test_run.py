"""Runs: killed and resumed, they end at the same bytes; a checkpoint serves its own run alone."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from trainings import (
    GAE_OPTIONS,
    TUNED,
    assert_identical,
    not_called,
    pipeline,
    planted_graph,
    tune,
)

from gadkit import store
from gadkit.evaluation.splits import stratified
from gadkit.network import run as runs
from gadkit.network import train_gae


class Killed(Exception):
    """What an impatient user's interrupt raises from the callback."""


def kill_at(epoch: int):
    def callback(record):
        if record["epoch"] == epoch:
            raise Killed

    return callback


def gae_run(graph, path=None, **options):
    return train_gae(graph, epochs=8, checkpoint=path, **(GAE_OPTIONS | options))


def gat_run(graph, path=None, **options):
    z, split = torch.cat(list(graph.x.values())), stratified(graph.labels)
    options = TUNED | {"heads": 2, "eval_every": 3} | options
    return tune(graph, z, split, epochs=8, checkpoint=path, **options)


@pytest.fixture(scope="module", autouse=True)
def frequent_checkpoints():
    """A checkpoint every 4 epochs, so that 8 of them are enough to resume from either."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "CHECKPOINT_EVERY", 4)
        yield


@pytest.fixture(scope="module", params=[gae_run, gat_run])
def run(request):
    return request.param


@pytest.fixture(scope="module")
def whole(run, planted, tmp_path_factory):
    """What the run finds if nothing comes in between, and the bytes of its checkpoint."""
    path = tmp_path_factory.mktemp("whole") / "run.pt"
    return run(planted, path), path.read_bytes()


@pytest.mark.parametrize("epoch", [2, 4, 6, 8])
def test_interrupted_runs_end_at_the_same_bytes(planted, tmp_path, run, whole, epoch):
    broken = tmp_path / "broken.pt"
    with pytest.raises(Killed):
        run(planted, broken, callback=kill_at(epoch))
    done = len(store.load_checkpoint(broken)["history"]) if broken.exists() else 0
    assert done == (0 if epoch <= 4 else 4)
    calls = []
    resumed = run(planted, broken, callback=calls.append)
    assert [record["epoch"] for record in calls] == list(range(done + 1, 9))
    assert_identical(resumed, whole[0])
    assert broken.read_bytes() == whole[1]


def test_a_checkpoint_makes_no_difference(planted, run, whole):
    assert_identical(run(planted), whole[0])


def test_a_finished_run_is_not_trained_again(planted, tmp_path, run, whole):
    (tmp_path / "run.pt").write_bytes(whole[1])
    assert_identical(run(planted, tmp_path / "run.pt", callback=not_called), whole[0])
    assert (tmp_path / "run.pt").read_bytes() == whole[1]


@pytest.mark.parametrize("other", ["seed", "graph", "lr"])
def test_a_checkpoint_of_another_run_is_ignored(planted, tmp_path, run, whole, other):
    path, calls = tmp_path / "run.pt", []
    path.write_bytes(whole[1])
    graph = planted_graph(1) if other == "graph" else planted
    options = {"seed": {"seed": 1}, "graph": {}, "lr": {"lr": 2e-3}}[other]
    result = run(graph, path, callback=calls.append, **options)
    assert len(calls) == 8
    assert_identical(result, run(graph, **options))


@pytest.mark.parametrize("name", ["layers.py", "gat.py", "gae.py", "finetune.py", "../ops/gat.py"])
def test_a_checkpoint_of_other_code_is_ignored(name, monkeypatch):
    file, read = (Path(runs.__file__).parent / name).resolve(), Path.read_bytes
    before = runs.code_checksum()
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * (path == file))
    assert runs.code_checksum() != before


def test_a_checkpoint_of_other_labels_is_ignored(planted, z, split, tmp_path):
    options = {"epochs": 2, "checkpoint": tmp_path / "run.pt"}
    tune(planted, z, split, **options)
    for other in (stratified(planted.labels, seed=1), split):
        calls = []
        tune(planted, z, other, **options, callback=calls.append)
        assert len(calls) == 2


def test_a_damaged_checkpoint_is_refused(planted, tmp_path, run, whole):
    path = tmp_path / "run.pt"
    path.write_bytes(whole[1][:-1_000])
    with pytest.raises(
        ValueError, match="run.pt is damaged, cut off or no checkpoint; delete it to start again"
    ):
        run(planted, path)


@pytest.mark.parametrize("lost", ["model", "optimizer", "history", "best"])
def test_a_checkpoint_that_lacks_a_part_is_refused_and_kept(planted, tmp_path, run, whole, lost):
    path = tmp_path / "run.pt"
    path.write_bytes(whole[1])
    state = store.load_checkpoint(path)
    del state[lost]
    store.save_checkpoint(path, state)
    content = path.read_bytes()
    with pytest.raises(ValueError, match=f"run.pt is damaged: it lacks '{lost}'; delete it"):
        run(planted, path)
    assert path.read_bytes() == content


def start(folder: Path) -> subprocess.Popen:
    code = """
import sys, time, torch, trainings
from gadkit.network import run
torch.set_num_threads(2)
run.CHECKPOINT_EVERY = 4
trainings.pipeline(sys.argv[1], lambda record: time.sleep(0.05))
"""
    return subprocess.Popen([sys.executable, "-c", code, folder], cwd=Path(__file__).parent)


def kill_when(process: subprocess.Popen, path: Path) -> None:
    """Kill a process, with no chance to tidy up, as soon as a file is there."""
    deadline = time.monotonic() + 240  # a busy machine is slow to import
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -9  # killed, not ended by itself
    assert path.exists()


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")  # what a kill in the middle of a write left behind
    }


def test_killed_processes_end_at_the_same_files(planted, tmp_path, with_threads):
    store.save_graph(tmp_path, planted)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with_threads(2, lambda: pipeline(whole))
    for name in ("gae_run.pt", "gat_run.pt"):
        kill_when(start(killed), killed / name)
        assert len(store.load_checkpoint(killed / name)["history"]) in (4, 8)
    with_threads(2, lambda: pipeline(killed))
    assert digests(killed) == digests(whole)
    assert len(digests(whole)) == 7
