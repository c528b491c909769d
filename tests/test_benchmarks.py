"""benchmarks/ on the CPU, with small graphs: the same code as on a GPU, save events and memory."""

import contextlib
import gc
import json
import sys
from types import SimpleNamespace

import cases
import detection
import harness
import host
import kernel_checks
import launches
import machine
import matching
import memory
import nbformat
import neighbor
import numpy as np
import operations
import page
import peers
import pytest
import run
import scaling
import shapes
import shop
import summary
import torch
import work
from cases import Case
from nbformat.v4 import new_code_cell, new_notebook
from operations import measure_all
from work import Config, Gat, Pairs, Rows, Spmm

from gadkit import ops, store
from gadkit.evaluation.splits import Split
from gadkit.graph import CSR, HeteroGraph
from gadkit.ops import timing
from gadkit.report import notebooks

SMALL = {"device": "cpu", "scale": 0.0005}
QUICK = Config(dim=16)
GATHER = scaling.GATHER
QUICK_CASES = [Case("uniform 10M", kind, QUICK) for kind in (Gat, Spmm, Pairs)]


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Few rounds, and rates known in advance; nothing here looks at a time."""
    with pytest.MonkeyPatch.context() as patch:
        two = harness.Rounds(2, 2, 1.0, 0, 1.0)
        patch.setattr(harness, "ROUNDS", {"cpu": two, "cuda": two})
        patch.setattr(scaling, "ROUNDS", two)
        patch.setattr(timing, "copy_rate", lambda **_: 10.0)
        patch.setattr(timing, "gather_rate", lambda **_: 5.0)
        gc.freeze()  # what is imported need not be looked through before every operation
        yield
        gc.unfreeze()


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("name", shapes.SHAPES)
def test_shapes_are_what_they_say_and_come_from_the_seed(name):
    scale = 1 if name == "tiny" else 0.0005
    csr = shapes.make(name, device="cpu", scale=scale)
    _, *sizes = shapes.SHAPES[name]
    assert [csr.num_dst, csr.num_src, csr.num_edges] == [round(scale * size) for size in sizes]
    assert csr.is_sorted and csr.indices.dtype == torch.int32
    again = shapes.make(name, device="cpu", scale=scale)
    other = shapes.make(name, device="cpu", scale=scale, seed=1)
    assert torch.equal(csr.indices, again.indices) and torch.equal(csr.indptr, again.indptr)
    assert not torch.equal(csr.indices, other.indices)


def test_shapes_have_the_rows_they_are_there_for():
    def degrees(name):
        csr = shapes.make(name, device="cpu", scale=0.002)
        return csr.degrees(), csr.num_edges / csr.num_dst

    flat, mean = degrees("uniform 10M")
    assert flat.max() < 5 * mean
    star, _ = degrees("star")
    assert star[len(star) // 2] == pytest.approx(2_000, abs=50)
    assert star.topk(2).values[1] < 5 * mean
    for name in ("power law", "marketplace buys", "marketplace rev_sells", "Reddit-like"):
        skewed, mean = degrees(name)
        assert skewed.max() > 6 * mean, name
    skewed, _ = degrees("power law")
    assert (skewed == 0).float().mean() > 0.1


def test_blocks_of_rows_are_the_graph(monkeypatch):
    csr = shapes.make("star", device="cpu", scale=0.0005)
    monkeypatch.setitem(work.BLOCK_BYTES, "cpu", 8 * 16 * 300)
    blocks = list(work.row_blocks(csr, 16))
    assert len(blocks) > 10 and blocks[0][0].start == 0 and blocks[-1][0].stop == csr.num_dst
    assert all(a[0].stop == b[0].start for a, b in zip(blocks, blocks[1:], strict=False))
    assert torch.equal(torch.cat([part.indices for _, part in blocks]), csr.indices)
    assert torch.equal(torch.cat([part.degrees() for _, part in blocks]), csr.degrees())


@pytest.mark.parametrize("drop_edge", [0.0, 0.85])
def test_exact_results_are_those_of_the_definition(drop_edge, monkeypatch, close):
    """In blocks, and with dropped edges taken out, as at once by autograd."""
    csr = shapes.make("star", device="cpu", scale=0.0002)
    monkeypatch.setitem(work.BLOCK_BYTES, "cpu", 8 * 6 * 100)
    gat = Gat(csr, Config(dim=3, heads=2, drop_edge=drop_edge), generator())
    leaves = [x.detach().double().requires_grad_() for x in gat.leaves]
    out = ops.gat_aggregate_reference(csr, *leaves, drop_edge=drop_edge, seed=work.SEED)
    expected = out, *torch.autograd.grad(out, leaves, gat.g.double())
    exact = gat.exact()
    for made, right in zip(exact["gat forward + backward"], expected, strict=True):
        close(made, right)
    assert torch.equal(exact["gat inference"][0], exact["gat training forward"][0])
    assert all(map(torch.equal, exact["gat backward"], exact["gat forward + backward"][1:]))


def test_exact_results_of_pairs_are_those_of_the_definition(monkeypatch, close):
    csr = shapes.make("marketplace buys", device="cpu", scale=0.0001)
    monkeypatch.setitem(work.BLOCK_BYTES, "cpu", 8 * 5 * 100)
    pairs = Pairs(csr, Config(dim=5), generator())
    z = [x.detach().double().requires_grad_() for x in pairs.z]
    out = ops.edge_dot_reference(*z, *pairs.ids)
    close(pairs.exact()["edge_dot"][0], out)
    expected = torch.autograd.grad(out, z, pairs.g.double())
    for made, right in zip(pairs.exact()["edge_dot backward"], expected, strict=True):
        close(made, right)


def test_error_is_relative_and_not_fooled_by_nan():
    exact = torch.tensor([4.0, -8.0], dtype=torch.float64)
    assert work.relative_error((exact.float() + 2,), (exact,)) == 0.25
    assert work.relative_error((exact, exact + 1), (exact, exact)) == 0.125
    broken = torch.tensor([float("nan"), -8.0])
    assert not work.relative_error((exact, broken), (exact, exact)) <= 1e9


@pytest.fixture(scope="module")
def result():
    """A run of every operation, with the peers that run anywhere."""
    cases = [*QUICK_CASES, Case("tiny", Gat, QUICK, also=("chunked torch",))]
    cases += [Case("star", Gat, QUICK._replace(dtype=torch.bfloat16))]
    cases += [Case("star", Gat, QUICK._replace(drop_edge=0.85, heads=2))]
    return measure_all(cases, budget=1e9, **SMALL)


def test_every_operation_is_measured(result):
    assert result["failed"] == []
    ops_of = {kind: list(kind.ops) for kind in (Gat, Spmm, Pairs)}
    expected = [*ops_of[Gat], *ops_of[Spmm], *ops_of[Pairs], *3 * ops_of[Gat]]
    assert [case["op"] for case in result["cases"]] == expected
    for case in result["cases"]:
        assert (
            case["seconds"] > 0
            and case["error"] < (5e-3 if case["dtype"] == "bfloat16" else 1e-5)
            and case["repeatable"]
        )
        assert case["rate"] == pytest.approx(10 * case["of_copy"])
        assert case["rate"] == pytest.approx(5 * case["of_gather"])


def test_what_cannot_run_is_named_with_the_reason(result):
    assert result["skipped"] == []
    found = {(c["shape"], c["op"]): c["peers"] for c in result["cases"] if not c["drop_edge"]}
    warp = found["uniform 10M", "gat inference"]["warp per node"]
    assert warp == {"status": "absent", "why": "needs a CUDA device"}
    assert all(not case["peers"] for case in result["cases"] if case["drop_edge"])


def test_peers_are_right_and_timed(result):
    found = {(c["shape"], c["op"]): c["peers"] for c in result["cases"] if not c["drop_edge"]}
    timed = [
        found["uniform 10M", "spmm"]["torch.sparse"],
        found["uniform 10M", "gat inference"]["gadkit with scores"],
        found["uniform 10M", "edge_dot"]["plain torch"],
        found["uniform 10M", "edge_dot backward"]["plain torch"],
        found["tiny", "gat forward + backward"]["chunked torch"],
    ]
    for peer in timed:
        assert peer["status"] == "right" and peer["error"] < 1e-5 and peer["times"] > 0
    assert "chunked torch" not in found["uniform 10M", "gat forward + backward"]  # not asked for


def test_result_is_json_and_a_table(result):
    text = summary.table(json.loads(json.dumps(result, allow_nan=False)))
    assert "uniform 10M, spmm, 16 float32" in text and "times as fast as" in text
    assert "absent: warp per node (needs a CUDA device)" in text
    assert "not measured  spmm in bfloat16, time of float32 <= 0.6" in text


def test_warp_per_node_is_the_definition(monkeypatch):
    """On the host, where its arguments are checked too; the graph has rows without edges."""
    module = host.HostModule(peers.KERNEL, ["warp_per_node"])
    launches = []

    def launch(file, name, *args):
        assert file == peers.KERNEL
        launches.append(name)
        module.launch(name, *args)

    monkeypatch.setattr(peers._cuda, "launch", launch)
    monkeypatch.setattr(peers, "need_cuda", lambda work: None)
    csr = shapes.make("power law", device="cpu", scale=0.0005)
    assert (csr.degrees() == 0).any()
    for dim in (16, 128):
        gat = Gat(csr, Config(dim=dim), generator())
        made = peers.warp_per_node(gat, "gat inference")()
        assert work.relative_error(made, gat.exact()["gat inference"]) < 1e-5
    assert launches == ["warp_per_node"] * 2


def faulty(monkeypatch, **named):
    monkeypatch.setitem(harness.PEERS, "spmm", named)
    measured = measure_all([QUICK_CASES[1]], budget=1e9, **SMALL)
    assert measured["failed"] == []
    return measured["cases"][0]["peers"]


def test_wrong_and_failing_peers_are_noted_and_not_timed(monkeypatch):
    calls = []

    def wrong(work, op):
        return lambda: (calls.append(1) or 2 * work.call(op)()[0],)

    def too_large(work, op):
        raise torch.OutOfMemoryError("CUDA out of memory")

    def too_large_elsewhere(work, op):
        raise MemoryError

    def broken(work, op):
        raise RuntimeError("no kernel\nfor this")

    found = faulty(monkeypatch, a=wrong, b=too_large, c=too_large_elsewhere, d=broken)
    assert found["a"]["status"] == "wrong" and len(calls) == 1
    assert found["b"] == found["c"] == {"status": "out of memory"}
    assert found["d"] == {"status": "failed", "why": "RuntimeError: no kernel"}


def test_failed_operation_is_noted_and_the_next_one_measured(monkeypatch):
    def wrong(csr, x, **scales):
        return ops.spmm_reference(csr, x)

    monkeypatch.setattr(work.ops, "spmm", wrong)
    found = measure_all(QUICK_CASES[1:], budget=1e9, **SMALL)
    assert [case["op"] for case in found["cases"]] == list(Pairs.ops)
    assert found["failed"][0]["case"] == "uniform 10M, spmm, dim 16, 1 head, float32, spmm"
    assert "the result is wrong" in found["failed"][0]["why"]


def test_budget_leaves_the_tiny_graph(monkeypatch):
    found = measure_all([*QUICK_CASES, Case("tiny", Spmm, QUICK)], budget=0, **SMALL)
    assert [case["shape"] for case in found["cases"]] == ["tiny"]
    assert {item["why"] for item in found["skipped"]} == {"budget: 0 s were over"}
    assert len(found["skipped"]) == 3


def test_lost_gpu_ends_the_run(monkeypatch):
    monkeypatch.setattr(harness.Run, "lost", lambda run: True)
    found = measure_all(QUICK_CASES, budget=1e9, **SMALL)
    assert [item["why"] for item in found["skipped"]] == ["the GPU takes no more work"] * 2


def test_long_calls_are_timed_apart(monkeypatch):
    rounds = []

    def measure(calls, *, repeats, device, warmup):
        rounds.append((list(calls), repeats))
        return dict.fromkeys(calls, 1.0)

    monkeypatch.setattr(timing, "measure", measure)
    run = harness.Run("cpu", 0.0005)
    calls, lasted = dict.fromkeys("abc"), {"a": 0.01, "b": 5.0, "c": 0.02}
    assert run.medians(calls, lasted)[1] == {"a": 2, "b": harness.FEW, "c": 2}
    assert rounds == [(["a", "c"], 2), (["b"], harness.FEW)]


@pytest.mark.parametrize("failing", [False, True])
def test_calls_that_take_memory_from_each_other_are_timed_alone(failing, monkeypatch):
    groups, retries = [], iter([0, 3])

    def measure(calls, **_):
        groups.append(list(calls))
        if failing and len(calls) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return dict.fromkeys(calls, float(len(groups)))

    monkeypatch.setattr(timing, "measure", measure)
    monkeypatch.setattr(harness.Run, "retries", lambda run: next(retries))
    medians, _ = harness.Run("cpu", 0.0005).medians(dict.fromkeys("ab"), {"a": 0.01, "b": 0.01})
    assert groups == [["a", "b"], ["a"], ["b"], []] and medians == {"a": 2.0, "b": 3.0}


class FakeStream:
    def wait_stream(self, stream):
        pass


class FakeGraph:
    """A CUDA graph whose capture has run already."""

    def replay(self):
        pass


@pytest.fixture
def fake_cuda(monkeypatch):
    """Torch's names for what only a GPU has; memory grows by 1000 bytes whenever it is asked for.

    A name that torch does not have is an error here, as it would be on a GPU.
    """
    memory = iter(range(0, 1 << 30, 1000))
    for name, stand_in in {
        "synchronize": lambda: None,
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda: None,
        "memory_allocated": lambda: next(memory),
        "max_memory_allocated": lambda: next(memory),
        "memory_stats": lambda: {"num_alloc_retries": 0},
        "mem_get_info": lambda: (1 << 40, 1 << 40),
        "current_stream": FakeStream,
        "Stream": FakeStream,
        "stream": lambda stream: contextlib.nullcontext(),
        "CUDAGraph": FakeGraph,
        "graph": lambda graph: contextlib.nullcontext(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(timing, "measure", lambda calls, **_: dict.fromkeys(calls, 0.25))


def test_what_only_a_gpu_tells_is_noted(fake_cuda):
    run = harness.Run("cpu", 1.0)
    run.cuda = True
    case = Case("tiny", Gat, QUICK)
    assert run.why_not(case) is None
    run.case(case)
    assert run.failed == [] and not run.lost()
    found = {row["op"]: row for row in run.cases}
    assert all(row["peak_bytes"] == 1000 for row in found.values())
    assert [op for op, row in found.items() if "of_bound" in row] == ["gat forward + backward"]
    replayed = [op for op, row in found.items() if row.get("replay_seconds") == 0.25]
    assert replayed == [op for op in Gat.ops if op != "gat backward"]
    assert "as a CUDA graph 250.000 ms" in summary.columns(found["gat inference"])


class View:
    """What stands in for an array of CuPy: it keeps the tensor that it was made of."""

    def __init__(self, tensor):
        assert not tensor.requires_grad and tensor.dtype != torch.bfloat16
        self.tensor = tensor


@pytest.fixture
def launching(fake_cuda, monkeypatch):
    """Stand-ins for what CuPy does: lists of what it has wrapped and of what it has launched."""
    wrapped = []

    def from_dlpack(tensor):
        wrapped.append(tensor.data_ptr())
        return View(tensor)

    def kernel(file, name):
        def launch(grid, block, args, *, stream):
            assert isinstance(stream, launches._cuda._Stream)
            assert not any(isinstance(arg, torch.Tensor) for arg in args)
            done.append((file, name, grid, *block, len(args)))

        return launch

    done = []
    monkeypatch.setattr(FakeStream, "cuda_stream", 7, raising=False)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: FakeStream())
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(launches._cuda, "cupy", lambda: SimpleNamespace(from_dlpack=from_dlpack))
    monkeypatch.setattr(launches._cuda, "_kernel", kernel)
    return wrapped, done


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_views_are_launched_as_addresses_are(dtype, launching, monkeypatch):
    wrapped, done = launching
    by_address = []

    def launch(file, name, blocks, threads, *args):
        grid = blocks if isinstance(blocks, tuple) else (blocks,)
        by_address.append((file, name, grid, threads, len(args)))
        host.launch(file, name, blocks, threads, *args)

    csr = shapes.make("star", device="cpu", scale=0.002)
    monkeypatch.setattr(launches, "ROUNDS", 1)
    monkeypatch.setattr(launches, "CALLS", 1)
    with kernel_checks.on_the_host(launch):
        found = launches.cost(csr, dtype)
        recorded, tensors = found["launches"], found["tensors"]
        assert launches._cuda.launch is launch  # the recorder is gone
    step = by_address[-recorded:]
    assert recorded >= 4 and done[:recorded] == step  # the same kernels, grids and arguments
    assert list(found["seconds"]) == [
        "addresses", "views, once a call", "views, every launch", "views, kept",
    ]  # fmt: skip
    # Kept: every argument once for all. In each of two rounds: every launch, each argument; once a
    # call, each distinct tensor, of which the launches share some.
    distinct, rest = divmod(len(wrapped) - tensors - 2 * tensors, 2)
    assert rest == 0 and 0 < distinct < tensors
    assert f"{recorded} launches, {tensors} tensors" in launches.line(found)


def test_launch_costs_are_noted(fake_cuda, monkeypatch):
    costs = iter([{"dtype": "float32"}, RuntimeError("no view of this")])

    def cost(csr, dtype):
        found = next(costs)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(launches, "cost", cost)
    run = harness.Run("cpu", 0.0005)
    run.launch_costs()
    assert run.launches == []  # on a CPU there is nothing to launch
    run.cuda = True
    run.launch_costs()
    measured, failed = run.launches
    assert measured == {"dtype": "float32"} and run.failed == []
    assert "not measured (RuntimeError: no view of this)" in launches.line(failed)


def test_failed_capture_is_noted(fake_cuda, monkeypatch):
    def graph(graph):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", graph)
    assert "not permitted" in harness.replay(lambda: (torch.ones(1),))["replay_why"]


def test_case_that_does_not_fit_is_skipped(fake_cuda, monkeypatch):
    run = harness.Run("cpu", 1.0)
    run.device, run.cuda = "cuda", True
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10_000_000_000, 1 << 40))
    assert "10 GB left of the GPU" in run.why_not(Case("Reddit-like", Gat))
    assert Case("Reddit-like", Gat).memory_needed(1.0, "cuda") < 60e9  # for a GPU of 80 GB
    run.device, run.cuda = "cpu", False
    monkeypatch.setattr(memory.memory, "available", lambda: (3_000_000_000, "of a group"))
    assert "3 GB left of a group" in run.why_not(Case("skewed 36M", Gat))
    assert run.why_not(Case("R-MAT 3M", Gat)) is None
    assert Case("skewed 36M", Gat).memory_needed(1.0, "cpu") < 12e9


def test_bytes_of_a_graph_are_counted_once():
    csr = shapes.make("uniform 10M", device="cpu", scale=0.0001)
    both = csr, csr.transpose()
    least = sum(x.nbytes for one in both for x in (one.indptr, one.indices, *one.plan))
    assert memory.num_bytes(csr) == least
    graph = sum(x.nbytes for one in both for x in (one.indptr, one.indices))
    assert memory.bound(csr, 512) == graph + 6 * csr.num_dst * 512


def test_cases_start_with_the_telling_and_end_with_the_tiny():
    assert [case.shape for case in cases.GPU[-3:]] == ["tiny"] * 3
    assert all(case.shape != "tiny" for case in cases.GPU[:-3])
    assert {op for case in cases.GPU for op in case.work.ops} == set(harness.PEERS)
    # On a CPU the large graph takes most of the time and memory, so it is the last.
    shapes_of = list(dict.fromkeys(case.shape for case in cases.CPU))
    assert shapes_of == ["R-MAT 3M", "tiny", "skewed 36M"]
    everything = [*cases.GPU, *cases.CPU]
    assert {case.shape for case in everything} == set(shapes.SHAPES)
    asked = {name for case in everything for name in case.also}
    assert asked == harness.ASKED <= {name for names in harness.PEERS.values() for name in names}
    assert harness.OTHER_RESULT <= harness.ASKED
    for names in cases.CASES.values():
        assert len(set(map(str, names))) == len(names)
        for case in names:
            assert set(case.ops) <= set(case.work.ops)
            assert all(any(name in harness.PEERS[op] for op in case.work.ops) for name in case.also)


def example(shape, op, **numbers):
    usual = {"dim": 128, "heads": 1, "drop_edge": 0, "dtype": "float32", "peers": {}}
    measured = {"seconds": 1.0, "of_gather": 0.8, "error": 1e-7, "repeatable": True}
    return {"shape": shape, "op": op, **usual, **measured, **numbers}


def test_goals_by_hand():
    def seconds(**peers):
        return {name.replace("_", " "): {"seconds": s} for name, s in peers.items()}

    inference = seconds(warp_per_node=9.0, gadkit_with_scores=2.0, PyG=100.0)
    sparse = {"torch.sparse": {"seconds": 1.5}, "cupyx": {"status": "absent"}}
    cases = [
        example("uniform 10M", "gat inference", peers=inference),
        example("uniform 50M", "gat inference", of_gather=0.72),
        example("uniform 10M", "gat inference", drop_edge=0.85, of_gather=0.1),  # not spoken of
        example("uniform 10M", "gat backward", of_gather=0.69),
        example("uniform 10M", "gat forward + backward", peers=seconds(PyG=4.0), of_bound=0.9),
        example("star", "gat inference", seconds=1.2),
        example("star", "spmm", seconds=9.0, peers=sparse),  # no uniform one to compare with
        example("tiny", "spmm", dtype="bfloat16", error=4e-3, repeatable=False),
    ]
    judged = [(goal["met"], goal.get("worst")) for goal in summary.goals(cases, "cuda")]
    assert judged == [
        (True, 0.72),
        (False, 0.69),
        (True, 1.2),
        (False, 4.0),
        (True, 4.5),  # gadkit with scores counts, since the other computes them too
        (False, 1.5 / 9.0),
        (True, 0.9),
        (True, 4e-3),
        (False, 0),
    ]
    assert all(goal["met"] is None for goal in summary.goals([], "cuda"))


def test_command_writes_what_timing_reads(tmp_path, monkeypatch, capsys):
    for device in operations.CASES:
        monkeypatch.setitem(operations.CASES, device, [Case("tiny", Spmm, QUICK)])
    checks = {"run": 1, "failed": []}
    monkeypatch.setattr(operations.kernel_checks, "run", lambda device, launch: checks)
    monkeypatch.setattr(timing, "RESULTS", tmp_path / "none")
    small = ["--device", "cpu", "--scale", "0.5"]
    command = [*small, "--out", str(tmp_path / "here.json")]
    assert operations.main(command, emulate=host.launch) == 0
    assert "goals" in capsys.readouterr().out
    (result,) = timing.committed_results(tmp_path)
    assert result["cases"][0]["op"] == "spmm" and result["scale"] == 0.5
    assert result["checks"] == checks
    checks["failed"].append("spmm: wrong")
    assert operations.main(small, emulate=host.launch) == 1
    assert operations.main(small) == 0  # nothing runs kernels, so they are not checked
    checks["failed"].clear()
    monkeypatch.setattr(ops, "spmm", None)
    assert operations.main(small) == 1  # a failed case
    assert operations.main(["--device", "cpu", "--cases", "cuda", "--budget", "0"]) == 1
    assert not (tmp_path / "none").exists()  # rehearsals leave no result of the machine


def test_a_whole_run_leaves_the_result_of_the_machine_and_the_page(tmp_path, monkeypatch):
    monkeypatch.setitem(operations.CASES, "cpu", [Case("tiny", Spmm, QUICK)])
    monkeypatch.setattr(timing, "RESULTS", tmp_path)
    monkeypatch.setattr(page, "PAGE", tmp_path / "benchmarks.md")
    monkeypatch.setattr(machine, "cpu_name", lambda: "Example(R) CPU @ 2.50GHz")
    assert operations.main(["--device", "cpu"]) == 0
    threads = torch.get_num_threads()
    assert (tmp_path / f"example-r-cpu-2-50ghz-{threads}-threads.json").exists()
    assert [r["device"] for r in timing.committed_results(tmp_path, device="cpu")] == ["cpu"]
    assert timing.committed_results(tmp_path, device="cuda") == []
    text = page.PAGE.read_text()
    assert f"## Example(R) CPU @ 2.50GHz, {threads} threads" in text
    assert "`python benchmarks/operations.py --device cpu`" in text
    assert "| tiny, spmm, 16 float32 |" in text


def test_no_two_machines_share_a_file():
    def named(kind, device, **described):
        return machine.file_name({"kind": kind, "device": device, "machine": described})

    cpu = {"name": "Intel(R) Xeon(R)  Processor @ 2.50GHz", "threads": 2}
    assert named("operations", "cpu", **cpu) == "intel-r-xeon-r-processor-2-50ghz-2-threads.json"
    assert named("scaling", "cpu", **cpu).endswith("-2-threads-scaling.json")
    assert named("operations", "cuda", name="NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3.json"


def test_a_run_that_is_stopped_leaves_what_it_has(tmp_path, monkeypatch):
    two = [Case("tiny", Spmm, QUICK), Case("tiny", Pairs, QUICK)]
    monkeypatch.setitem(operations.CASES, "cpu", two)
    measure = harness.Run.case

    def case(run, case):
        if case.work is Pairs:
            raise KeyboardInterrupt
        measure(run, case)

    monkeypatch.setattr(harness.Run, "case", case)
    with pytest.raises(KeyboardInterrupt):
        operations.main(["--device", "cpu", "--out", str(tmp_path / "part.json")])
    (found,) = timing.committed_results(tmp_path)
    assert [c["op"] for c in found["cases"]] == ["spmm"]


def test_command_without_a_gpu_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert operations.main([]) == 1
    assert "no CUDA device" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "drop_edge"), [(Gat, 0.0), (Gat, 0.85), (Spmm, 0.0), (Pairs, 0.0)]
)
def test_a_sample_of_exact_results_is_that_of_all(kind, drop_edge, monkeypatch, close):
    csr = shapes.make("power law", device="cpu", scale=0.0002)
    inputs = kind(
        csr, Config(dim=4, heads=2 if kind is Gat else 1, drop_edge=drop_edge), generator()
    )
    whole = inputs.exact()
    monkeypatch.setattr(work, "SAMPLED", 0)
    monkeypatch.setattr(work, "SAMPLE", 60)
    monkeypatch.setattr(work, "SAMPLED_EDGES", 20_000)
    sample = inputs.exact()
    assert list(sample) == list(kind.ops)
    for op, results in sample.items():
        for some, every in zip(results, whole[op], strict=True):
            assert 3 < len(some.ids) < len(every)
            close(some.values, every[some.ids])
        made = inputs.call(op)()
        assert work.relative_error(made, results) < 1e-5
        wrong = [ours.detach().clone() for ours in made]
        wrong[-1][results[-1].ids[3]] += 1
        assert work.relative_error(wrong, results) > 1e-2


def test_a_node_without_a_sampled_edge_is_left_out():
    """Rows are compared where they lie, whatever stands in the others."""
    ours = torch.tensor([1.0, float("nan"), 4.0])
    right = Rows(torch.tensor([0, 2]), torch.tensor([1.0, 2.0], dtype=torch.float64))
    assert work.relative_error((ours,), (right,)) == 1.0


def test_gadkit_beside_itself():
    """In float32 the numbers are those of bfloat16, and no peer has to drop the same edges."""
    both = ("gadkit in float32", "gadkit, no edge dropped")
    named = [
        Case("tiny", Spmm, QUICK._replace(dtype=torch.bfloat16), also=both[:1]),
        Case("tiny", Gat, QUICK._replace(drop_edge=0.85), also=both[1:], ops=Gat.ops[3:]),
        Case("tiny", Pairs, QUICK._replace(pairs=700), ops=Pairs.ops[2:]),
    ]
    result = measure_all(named, budget=1e9, device="cpu", scale=0.5)
    assert result["failed"] == []
    spmm, gat, pairs = result["cases"]
    assert spmm["peers"]["gadkit in float32"]["error"] < 1e-5 < spmm["error"]
    assert list(gat["peers"]) == ["gadkit, no edge dropped"]
    other = gat["peers"]["gadkit, no edge dropped"]
    assert other["status"] == "other result" and other["times"] > 0 and "error" not in other
    assert pairs["num_pairs"] == 350 and pairs["op"] == "edge_dot forward + backward"


def test_every_case_of_a_cpu_runs_in_small():
    result = measure_all(
        [case._replace(config=case.config._replace(dim=16)) for case in cases.CPU],
        budget=1e9,
        device="cpu",
        scale=0.001,
    )
    assert result["failed"] == result["skipped"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_memory_counts_what_is_taken_and_given_back():
    size = 1 << 24  # what is larger than 32 MiB is no piece of a heap, which may keep it
    held = torch.ones(size, dtype=torch.uint8)

    def call():
        torch.ones(5 * size // 2, dtype=torch.uint8)
        np.ones(3 * size, dtype=np.uint8)  # not of torch, which its profiler would not see
        return held.clone()

    for _ in range(2):  # what a call gave back, the next has to take again
        taken, made = memory.extra(call, False)
        assert 2.9 * size < taken < 3.5 * size and len(made) == size


def test_peers_that_would_not_fit_are_not_tried(monkeypatch):
    monkeypatch.setattr(memory.memory, "available", lambda: (1000, "of this machine"))
    csr = shapes.make("tiny", device="cpu")
    with pytest.raises(peers.Absent, match="GB needed, 0 GB left"):
        peers.need_memory(Gat(csr, QUICK, generator()), 4000)


def test_goals_of_a_cpu_by_hand():
    def seconds(**named):
        return {name.replace("_", " "): {"seconds": s} for name, s in named.items()}

    step, dot = "gat forward + backward", "edge_dot forward + backward"
    size = {"num_dst": 10, "peak_bytes": 3 * 10 * 128 * 4}
    all_edges = {"gadkit, no edge dropped": {"seconds": 5.0}}
    sparse = {"torch.sparse": {"seconds": 4.0}, "torch.sparse int64": {"seconds": 3.0}}
    measured = [
        example("R-MAT 3M", "spmm", peers=sparse, **size),
        example("R-MAT 3M", "spmm", dtype="bfloat16", peers=seconds(gadkit_in_float32=2.0), **size),
        example("R-MAT 3M", step, peers=seconds(PyG=21.0), **size),
        example("R-MAT 3M", step, drop_edge=0.85, peers=all_edges, num_dst=10, peak_bytes=1 << 40),
        example("R-MAT 3M", "edge_dot", peers=seconds(plain_torch=15.0), **size),
        example("R-MAT 3M", dot, peers=seconds(plain_torch=7.0), **size),
        example("tiny", "spmm", of_gather=0.01, peers=seconds(torch_sparse=0.1), **size),
    ]
    judged = [(goal["met"], goal.get("worst")) for goal in summary.goals(measured, "cpu")]
    assert judged == [
        (False, 0.8),
        (False, 3.0),
        (True, 0.5),
        (True, 21.0),
        (True, 0.2),
        (True, 15.0),
        (False, 7.0),
        (True, 3.0),
        (True, 1e-7),
        (True, 1),
    ]
    assert all(goal["met"] is None for goal in summary.goals([], "cpu"))


@pytest.fixture(scope="module")
def scaled():
    return scaling.measure(0.001, 1e9)


def test_scaling_measures_every_size_on_one_thread_and_on_all(scaled):
    assert scaled["skipped"] == [] and scaled["kind"] == "scaling"
    threads = sorted({1, torch.get_num_threads()})
    operations_of = [GATHER, "edge_dot", "gat forward + backward", "spmm", "torch.sparse"]
    expected = {(op, n) for op in operations_of for n in threads}
    for size in (round(0.001 * size) for size in scaling.SIZES):
        chosen = [case for case in scaled["cases"] if case["num_edges"] == size]
        assert {(case["op"], case["threads"]) for case in chosen} == expected
        assert all(c["ns_per_edge"] == pytest.approx(1e9 * c["seconds"] / size) for c in chosen)
        assert all(c["error"] < 1e-4 for c in chosen if c["op"] != GATHER)
    assert scaling.SIZES[0] == 10_000 and scaling.SIZES[-1] == 31_622_777


def test_scaling_says_what_it_leaves_out(monkeypatch):
    result = scaling.measure(0.0003, 0)
    assert {item["why"] for item in result["skipped"]} == {"budget: 0 s were over"}
    monkeypatch.setattr(memory.memory, "available", lambda: (1 << 20, "of a group"))
    assert "0 GB left of a group" in scaling.lacking(scaling.SIZES[-1])
    assert scaling.lacking(1000) is None


def test_scaling_stops_at_a_wrong_result(monkeypatch):
    monkeypatch.setitem(scaling.BESIDE["spmm"], "broken", lambda work, op: lambda: (0 * work.x,))
    with pytest.raises(ValueError, match="wrong results on .* edges.*broken"):
        scaling.measure(0.01, 1e9)


def test_scaling_is_drawn_and_told(scaled, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "PICTURE", tmp_path / "scaling.png")
    page.draw(scaled)
    assert page.PICTURE.read_bytes().startswith(b"\x89PNG")
    text = page.page([], [json.loads(json.dumps(scaled, allow_nan=False))])
    assert "(scaling.png)" in text and "`python benchmarks/scaling.py`" in text
    lines = [line for line in text.splitlines() if line.startswith("| spmm |")]
    assert len(lines) == 2 * len(scaled["threads"])  # of time and of memory
    assert all(line.count("|") == 3 + len(scaling.SIZES) for line in lines)


def test_the_page_tells_what_was_measured(result):
    told = json.loads(json.dumps(result)) | {"skipped": [{"case": "x", "why": "memory: 9 GB"}]}
    told["machine"]["name"] = "Example CPU"
    text = page.page([told], [])
    assert f"## Example CPU, {torch.get_num_threads()} threads" in text
    rows = [line for line in text.splitlines() if line.startswith("| star, gat backward, 16 x 2")]
    assert len(rows) == 1 and rows[0].count("|") == 7
    assert "Not measured: x (memory: 9 GB)." in text and "Time and memory for an edge" not in text
    goals = summary.goals([], "cuda")
    told |= {"device": "cuda", "goals": goals}
    told["machine"] |= {"driver": "570.1"}
    text = page.page([told], [])
    assert "\n## Example CPU\n" in text and "`python benchmarks/operations.py`" in text
    assert text.count("not measured |") == len(goals)


@pytest.fixture
def detectors(tmp_path, monkeypatch):
    """detectors(noise): a small graph, and models that know the labels but for some noise."""
    num = 600
    ring = torch.arange(num)
    edges = {
        ("user", "knows", "user"): CSR.from_edges(ring, ring.roll(1), num_src=num, num_dst=num)
    }
    labels = torch.stack([ring, (ring % 4 == 0).long()], 1)
    graph = HeteroGraph({"user": num}, edges, {"user": torch.zeros(num, 1)}, labels)
    (tmp_path / "ring").mkdir()
    store.save_graph(tmp_path / "ring", graph)
    for name in ("KEPT", "RESULTS", "PAGE"):
        monkeypatch.setattr(detection, name, tmp_path / "out" / name.lower())
    monkeypatch.setattr(detection, "REPEATS", 20)
    monkeypatch.setattr(detection, "_embeddings", lambda folder, graph: torch.zeros(num, 2))
    noise = {"trees": 0.6, detection.NETWORK: 0.9, detection.RECIPE: 0.3, detection.PERMUTED: 99.0}
    calls = []

    def known(name, seed):
        def detect(graph, split):
            calls.append(name)
            assert not set(split.train[:, 0].tolist()) & set(split.test[:, 0].tolist())
            generator = torch.Generator().manual_seed(seed + int(split.test[:, 0].sum()))
            random = torch.randn(num, generator=generator, dtype=torch.float64)
            return (graph.labels[:, 1] + noise[name] * random).sigmoid()

        return detect

    def models(setting, split_seed, seed):
        return {name: known(name, seed) for name in noise}

    monkeypatch.setattr(detection, "models", models)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["detection.py", str(tmp_path / "ring"), *arguments])
        calls.clear()
        detection.main()
        return list(calls)

    return run


def test_detection_measures_each_model_once_and_goes_on(detectors, monkeypatch, capsys):
    models = ["trees", detection.NETWORK, detection.RECIPE, detection.PERMUTED]
    assert sorted(detectors("--splits", "4", "--train-only", "--model", "trees")) == ["trees"] * 4
    assert not detection.RESULTS.exists()
    # those labels that mean nothing are learned from on three splits
    assert sorted(detectors("--splits", "4")) == sorted(models[1:3] * 4 + models[3:] * 3)
    assert detectors("--splits", "4") == []
    page, found = detection.PAGE.read_text(), json.loads(detection.RESULTS.read_text())
    monkeypatch.setattr(detection, "CHECKSUMS", dict.fromkeys(detection.CHECKSUMS, 1))
    assert len(detectors("--splits", "4")) == 15
    assert detection.PAGE.read_text() == page
    assert json.loads(detection.RESULTS.read_text()) == found
    assert str(detection.PAGE) in capsys.readouterr().out


def test_labels_are_permuted_anew_in_each_split():
    labels = torch.stack([torch.arange(900), (torch.arange(900) % 4 == 0).long()], 1)
    parts = Split(labels[:400], labels[400:600], labels[600:])
    taught = []

    def detector(graph, split):
        taught.append(split)
        return torch.zeros(900)

    for seed in (3407, 3417, 3407):
        detection._permuted(detector, None, parts, seed=seed)
    first, second, again = (torch.cat([split.train, split.val]) for split in taught)
    assert torch.equal(first, again) and not torch.equal(first, second)
    assert torch.equal(first[:, 0], labels[:600, 0]) and first[:400, 1].sum() == 100


def test_detection_keeps_the_results_of_other_graphs(detectors):
    detectors("--splits", "2")
    found = json.loads(detection.RESULTS.read_text())
    store.write_json(detection.RESULTS, {"other, full": found["ring, full"]})
    detectors("--splits", "2", "--keep")
    assert list(json.loads(detection.RESULTS.read_text())) == ["other, full", "ring, full"]
    assert "## other, full" in detection.PAGE.read_text()
    detectors("--splits", "2")
    assert list(json.loads(detection.RESULTS.read_text())) == ["ring, full"]


def test_the_page_of_results_says_what_was_measured(detectors):
    detectors("--splits", "4")
    of = json.loads(detection.RESULTS.read_text())["ring, full"]
    assert (of["labelled"], of["test"], of["test_frauds"], of["splits"]) == (600, 240, 60, 4)
    assert of["base_rate"] == 0.25
    auprc = {name: row["auprc"][0] for name, row in of["models"].items()}
    assert auprc[detection.RECIPE] > auprc["trees"] > auprc[detection.NETWORK] > 0.3
    name = f"{detection.NETWORK} − trees"
    value, low, high = of["differences"][name]
    assert value == pytest.approx(auprc[detection.NETWORK] - auprc["trees"])
    assert low < value < high < 0
    assert abs(of["permuted"][0] - 0.5) < 0.15
    lines = detection.PAGE.read_text().splitlines()
    assert lines[0] == "# Results" and "## ring, full" in lines
    row = next(line for line in lines if line.startswith("| trees |"))
    first, *_, error = [cell.strip() for cell in row.strip("|").split("|")][1:]
    assert first.startswith(f"{100 * auprc['trees']:.1f} [")
    assert float(error) == pytest.approx(of["models"]["trees"]["calibration_error"], abs=1e-3)
    assert sum(line.startswith("| ") for line in lines) == 3 + (3 + 2)  # summary; models and head
    assert any(line.startswith("The graph network does not earn its keep") for line in lines)
    assert any("permuted labels" in line for line in lines)


def test_busy_processes_end_with_the_measurement_and_when_it_is_interrupted():
    for interruption in (None, KeyboardInterrupt):
        with contextlib.suppress(KeyboardInterrupt), neighbor.busy_processes(2) as processes:
            assert [process.poll() for process in processes] == [None, None]
            if interruption:
                raise interruption
        assert [process.poll() for process in processes] == [-9, -9]


def test_neighbor_lists_trials_alone_and_beside_and_their_ratio(capsys):
    neighbor.main(["--busy", "1", "--trials", "2", "--", sys.executable, "-c", "pass"])
    first_words = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert first_words == ["wall", "alone", "beside", "alone", "beside", "ratio"]


ORDERS = [
    ("a", "D1", "c1", "1 Oak Street, Apartment 2"),
    ("b", "d1", "c2", "9 Elm Street, Apartment 1"),  # the device of a, in lower case
    ("c", "<NA>", "c3", "1 OAK ST. APT 2"),  # the address of a
    ("d", "<NA>", "c4", "7 Elm Street, Apartment 1"),  # nobody shares a device that is not there
    ("e", "d5", "c5", "5 Elm Street, Apartment 1"),
    ("f", "d5", "c6", "6 Elm Street, Apartment 1"),
]


def test_union_find_groups_by_what_is_shared_however_it_is_spelled():
    columns = ("customer_id", "device_id", "card_hash", "ship_address")
    orders = [dict(zip(columns, order, strict=True)) for order in ORDERS]
    assert shop.union_find(orders, {}) == ["A", "B", "C", "E", "F", "D"]
    verdicts = {"F": "fraud", "A": "ok", "Z": "fraud"}  # nobody has seen an order of Z
    assert shop.union_find(orders, verdicts) == ["E", "F", "A", "B", "C", "D"]


def test_shop_counts_among_those_that_nobody_has_reviewed():
    def row(kind, *, new=False):
        return {"kind": kind, "is_new": str(int(new)), "ring": "-1" if kind == "normal" else "0"}

    truth = {"A": row("quiet_ring"), "B": row("normal"), "C": row("quiet_ring")}
    truth |= {"D": row("quiet_ring", new=True), "E": row("normal", new=True)}
    ranked = ["A", "D", "B", "C", "E"]
    counts = {what: count for _, what, count in shop._counts("x", ranked, truth, {"A"}, old=True)}
    assert counts == {shop.FIRST: (2, 4), shop.MEMBERS: (1, 1)}
    counts = {what: count for _, what, count in shop._counts("x", ranked, truth, {"A"}, old=False)}
    assert counts == {shop.NEW: (1, 2)}


@pytest.mark.slow
def test_a_run_is_taken_apart_by_notebook_and_cell(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    busy = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    notebook = new_notebook(cells=[new_code_cell("1 + 1"), new_code_cell(busy)])
    nbformat.write(notebook, tmp_path / "01_case.ipynb")

    def run_notebooks(arguments):
        assert arguments == ["run", "demo"]
        folders = {"notebooks": tmp_path, "out": tmp_path / "build"}
        notebooks.run_notebooks(tmp_path / "data", **folders)
        return 0

    assert run.main(["demo"], run_notebooks) == 0
    assert "01_case" in capsys.readouterr().out
    with run.watched() as runs:
        notebooks.run_notebooks(tmp_path / "data", notebooks=tmp_path, out=tmp_path / "other")
    (taken,) = runs
    first, second = taken.cells
    assert (first.index, second.index) == (0, 1) and second.cpu >= 0.3 > first.cpu
    assert taken.starts > 0 and taken.megabytes > 10
    assert taken.elapsed >= first.elapsed + second.elapsed


def test_matching_is_measured_beside_its_rendering(tmp_path, capsys):
    out = tmp_path / "matching.json"
    matching.main(["--scale", "0.003", "--memory-scale", "0.0001", "--out", str(out)])
    result = json.loads(out.read_text())
    assert [case["name"] for case in result["cases"]] == ["small", "dense", "R-MAT"]
    for case in result["cases"]:
        assert case["error"] <= matching.TOLERANCE and case["times_faster_in_turn"] > 0
    assert result["memory"]["num_edges"] == 1_800
    assert "plain NumPy" in capsys.readouterr().out
