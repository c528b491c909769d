"""Structure and arithmetic of the timing functions; no test asserts a speed."""

import contextlib
import json

import host
import pytest
import torch

from gadkit.graph import CSR
from gadkit.ops import timing
from gadkit.ops.timing import committed_results, copy_rate, gather_rate, measure, traffic


@pytest.fixture
def on_host(monkeypatch):
    """The kernels of probe.cu run on CPU tensors."""
    monkeypatch.setattr(timing._cuda, "launch", host.launch)


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves by hand: clock[0] is the time in seconds."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


def test_measure_takes_turns_and_gives_medians(clock):
    calls = []

    def take(name, durations):
        def function():
            calls.append(name)
            clock[0] += durations[calls.count(name) - 1]

        return function

    functions = {"a": take("a", [100, 1, 50, 2]), "b": take("b", [0, 7, 8, 9])}
    assert measure(functions, repeats=3, warmup=1) == {"a": 2, "b": 8}
    assert calls == ["a", "b"] * 4


def test_measure_without_warmup_and_without_functions(clock):
    def second():
        clock[0] += 1

    assert measure({"second": second}, repeats=1, warmup=0) == {"second": 1}
    assert measure({}) == {}


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"warmup": -1}])
def test_measure_wants_a_round(wrong):
    with pytest.raises(ValueError, match="repeats must be at least 1 and warmup at least 0"):
        measure({}, **wrong)


@pytest.fixture
def gpu(monkeypatch):
    """Torch's names for events; a list of what was done on the GPU, in order."""
    done = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = sum(work for work in done if isinstance(work, int))

        def elapsed_time(self, end):
            assert done[-1] == "synchronize"  # earlier an event may not have happened
            return 1e3 * (end.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: done.append("synchronize"))
    return done


def test_measure_on_a_gpu_takes_events_and_waits_once(gpu):
    long, short = iter([9, 4, 5, 6]), iter([9, 1, 1, 2])
    functions = {"a": lambda: gpu.append(next(long)), "b": lambda: gpu.append(next(short))}
    assert measure(functions, repeats=3, device="cuda") == {"a": 5, "b": 1}
    assert gpu == [9, 9, 4, 1, 5, 1, 6, 2, "synchronize"]


@pytest.fixture
def half_a_second(monkeypatch):
    """Every function is called once and is said to have taken half a second."""

    def pretend(functions, *, repeats, device):
        for function in functions.values():
            function()
        return dict.fromkeys(functions, 0.5)

    monkeypatch.setattr(timing, "measure", pretend)


def test_rates_count_bytes(half_a_second):
    assert copy_rate(num_bytes=1_000) == pytest.approx(2 * 1_000 / 0.5 / 1e9)
    rate = gather_rate(num_rows=10, row_bytes=128, num_gathers=1_000)
    assert rate == pytest.approx(1_000 * (128 + 4) / 0.5 / 1e9)


def test_rates_are_positive():
    assert copy_rate(num_bytes=1_000, repeats=1) > 0
    assert gather_rate(num_rows=10, row_bytes=128, num_gathers=100, repeats=1) > 0


@pytest.mark.parametrize("ahead", [0, 16])
def test_gather_reads_every_row(ahead):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(50, (2 * timing.BLOCK + 5,), generator=generator, dtype=torch.int32)
    x = torch.randint(8, (50, 32), generator=generator).float()  # sums of these are exact
    expected = torch.stack([x[block.long()].sum(0) for block in rows.split(timing.BLOCK)])
    assert torch.equal(timing._gather(x, rows, ahead), expected)


def test_copy_kernel_copies_every_byte(on_host):
    source = torch.arange(16 * 257).byte()
    target = torch.zeros_like(source)
    timing._copy_cuda(source, target)
    assert torch.equal(source, target)


@pytest.mark.parametrize("dim", [4, 32, 64, 256])
def test_gather_kernel_reads_every_row(dim, on_host):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(50, (2 * timing.WARP_ROWS + 5,), generator=generator, dtype=torch.int32)
    x = torch.randint(8, (50, dim), generator=generator).float()  # sums of these are exact
    expected = torch.stack([x[part.long()].sum(0) for part in rows.split(timing.WARP_ROWS)])
    assert torch.equal(timing._gather_cuda(x, rows), expected)


@pytest.mark.parametrize("wrong", [{"row_bytes": b} for b in (0, 6, 1_028, -4)])
def test_gather_refuses_rows_that_do_not_fit(wrong):
    with pytest.raises(ValueError, match=r"row_bytes must be a multiple of 4 in \[4, 1024\]"):
        gather_rate(**wrong)


@pytest.mark.parametrize("wrong", [{"num_rows": 0}, {"num_gathers": 0}, {"ahead": -1}])
def test_gather_refuses_sizes(wrong):
    with pytest.raises(ValueError, match="num_rows and num_gathers must be positive"):
        gather_rate(**wrong)


def test_copy_refuses_nothing():
    with pytest.raises(ValueError, match="num_bytes must be positive, got 0"):
        copy_rate(num_bytes=0)


def test_traffic_by_hand():
    """3 edges into 2 rows from 4 sources; rows of 2 heads times 5 numbers."""
    csr = CSR(torch.tensor([0, 1, 3]), torch.tensor([0, 1, 3], dtype=torch.int32), 4)
    structure, row, score = 3 * 8 + 3 * 4, 2 * 5 * 4, 2 * 4
    assert traffic(csr, 5)["spmm"] == structure + 3 * 5 * 4 + 2 * 5 * 4
    moved = traffic(csr, 5, heads=2)
    assert moved["spmm"] == traffic(csr, 5)["spmm"]
    assert moved["gat_inference"] == structure + 3 * (row + score) + 2 * (row + 3 * score)
    assert moved["gat_forward"] == moved["gat_inference"] + 2 * (row + score)
    stream, transpose = 2 * (3 * row + 10 * score), 5 * 8 + 3 * 4
    gathered, own = 3 * (row + 4 * score), 4 * 2 * (row + score)
    assert moved["gat_backward"] == stream + transpose + gathered + own


def test_gather_on_a_gpu_wants_whole_vectors():
    with pytest.raises(ValueError, match="row_bytes must be a multiple of 16 in"):
        gather_rate(row_bytes=8, device="cuda")


def test_traffic_of_pairs_by_hand():
    """3 pairs between 2 destinations and 4 sources; rows of 5 numbers."""
    csr = CSR(torch.tensor([0, 1, 3]), torch.tensor([0, 1, 3], dtype=torch.int32), 4)
    moved = traffic(csr, 5, itemsize=2)
    assert moved["edge_dot"] == 3 * (2 * 8 + 2 * 10 + 2)
    assert moved["edge_dot_backward"] == 2 * 3 * (2 * 8 + 2 + 10) + (2 + 4) * 10


def test_traffic_of_half_precision_keeps_scores_in_float32():
    csr = CSR(torch.tensor([0, 1, 3]), torch.tensor([0, 1, 3], dtype=torch.int32), 4)
    half, whole = traffic(csr, 8, itemsize=2), traffic(csr, 8)
    assert whole["gat_inference"] - half["gat_inference"] == (3 + 2) * 8 * 2
    assert whole["spmm"] - half["spmm"] == (3 + 2) * 8 * 2


def test_traffic_follows_dtype_and_drop_edge():
    """Only rows of kept edges are read."""
    src = torch.arange(100) % 10
    csr = CSR(torch.tensor([0, 100]), src, 10)
    assert traffic(csr, 8, itemsize=8)["spmm"] == 2 * 8 + 100 * 4 + 101 * 64
    every, some = traffic(csr, 8), traffic(csr, 8, kept=0.15)
    pairs = traffic(csr, 8, num_pairs=3)
    assert pairs["edge_dot"] == 3 * (2 * 8 + 2 * 32 + 4) and pairs["spmm"] == every["spmm"]
    assert pairs["edge_dot_backward"] == 2 * 3 * (2 * 8 + 4 + 32) + (1 + 10) * 32
    assert every["spmm"] == some["spmm"]
    assert every["gat_forward"] - some["gat_forward"] == 85 * (32 + 4)
    assert every["gat_backward"] - some["gat_backward"] == 85 * (32 + 16)


def test_results_are_read_newest_first(tmp_path):
    assert committed_results(tmp_path / "none") == []
    kinds = {"operations": ("cpu", "cuda", "cuda"), "scaling": ("cpu",)}
    for kind, devices in kinds.items():
        for month, device in enumerate(devices, 1):
            text = {"format": timing.FORMAT, "kind": kind, "device": device}
            path = tmp_path / f"{kind}{-month}.json"
            path.write_text(json.dumps(text | {"date": f"2025-0{month}-01"}))
    assert [r["date"][5:7] for r in committed_results(tmp_path)] == ["03", "02", "01"]
    assert [r["date"][5:7] for r in committed_results(tmp_path, device="cuda")] == ["03", "02"]
    assert [r["date"][5:7] for r in committed_results(tmp_path, device="cpu")] == ["01"]
    assert [r["kind"] for r in committed_results(tmp_path, kind="scaling")] == ["scaling"]


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 0}', "{"])
def test_other_files_are_no_results(text, tmp_path):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ValueError, match=r"other\.json"):
        committed_results(tmp_path)


def test_committed_results_can_be_read():
    for result in committed_results():
        assert result["cases"] and result["machine"]["name"]
