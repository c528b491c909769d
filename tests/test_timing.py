"""Structure and arithmetic of the timing functions; no test asserts a speed."""

import pytest
import torch

from gadkit import timing
from gadkit.graph import CSR
from gadkit.timing import copy_rate, gather_rate, measure, traffic


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
def half_a_second(monkeypatch):
    """Every function is called once and is said to have taken half a second."""

    def pretend(functions, *, repeats):
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
    assert moved["gat_inference"] == structure + 3 * (row + score) + 2 * (row + 2 * score)
    assert moved["gat_forward"] == moved["gat_inference"] + 2 * (row + score)
    stream, transpose = 2 * (3 * row + 8 * score), 5 * 8 + 3 * 4
    gathered, own = 3 * (row + 3 * score), 4 * 2 * (row + score)
    assert moved["gat_backward"] == stream + transpose + gathered + own


def test_traffic_follows_dtype_and_drop_edge():
    """Only rows of kept edges are read, and indices have their own size."""
    src = torch.arange(100) % 10
    csr = CSR(torch.tensor([0, 100]), src, 10)
    assert traffic(csr, 8, itemsize=8)["spmm"] == 2 * 8 + 100 * 8 + 101 * 64
    every, some = traffic(csr, 8), traffic(csr, 8, kept=0.15)
    assert every["spmm"] == some["spmm"]
    assert every["gat_forward"] - some["gat_forward"] == 85 * (32 + 4)
    assert every["gat_backward"] - some["gat_backward"] == 85 * (32 + 12)
