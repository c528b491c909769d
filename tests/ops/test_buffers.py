"""Memory of large outputs is used again, never while somebody looks at it, and freed at the end."""

import gc
import threading

import pytest
import torch

from gadkit.graph import CSR
from gadkit.ops import buffers, spmm
from gadkit.ops.buffers import empty, empty_like, reused

LARGE = buffers.LEAST // 4  # float32 numbers


def test_a_freed_output_is_the_next_one_and_a_held_one_never_is():
    like = torch.empty(0)
    with reused():
        first, held = empty(like, (LARGE,)), empty(like, (LARGE,))
        places = {first.data_ptr(), held.data_ptr()}
        assert len(places) == 2
        view = first.view(2, -1)[1]
        del first
        third = empty(like, (LARGE,))
        assert third.data_ptr() not in places  # a view still looks at the first
        del view
        assert empty(like, (LARGE // 8, 8)).data_ptr() in places - {held.data_ptr()}


def test_outputs_of_nearly_one_size_share_memory():
    like = torch.empty(0, dtype=torch.float64)
    with reused():
        first = empty(like, (LARGE + 99, 3))
        place = first.data_ptr()
        del first
        second = empty(like, (LARGE + 7, 3))
        assert second.data_ptr() == place
        assert second.shape == (LARGE + 7, 3)
        assert second.dtype == torch.float64
        assert second.is_contiguous()


def test_no_more_is_kept_than_was_once_in_use():
    like = torch.empty(0)
    with reused():
        pool = buffers._pool
        for count in (1, 2, 3, 5, 8, 4, 1):
            large = empty(like, (count * LARGE,))
            kept = sum(map(len, pool.freed))
            assert pool.in_use + kept <= pool.most
            del large
    assert pool.freed == []


def test_memory_outlives_the_context_where_it_is_still_looked_at():
    with reused():
        kept = empty(torch.empty(0), (LARGE,)).fill_(7.0)
        pool = buffers._pool
    assert buffers._pool is None
    assert bool((kept == 7).all())
    del kept
    gc.collect()
    assert (pool.freed, pool.in_use) == ([], 0)


def test_memory_comes_back_while_the_pool_is_locked(monkeypatch):
    """As when the garbage collector finds a tensor while memory is taken."""
    pool = buffers._Pool()
    monkeypatch.setattr(buffers, "_pool", pool)
    held = [empty(torch.empty(0), (LARGE,))]

    def let_go():
        with pool.lock:
            held.clear()

    thread = threading.Thread(target=let_go, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert pool.in_use == 0


def test_an_error_ends_the_context_and_a_nested_one_does_not():
    with reused():
        pool = buffers._pool
        with reused():
            assert buffers._pool is pool
        assert buffers._pool is pool
    with pytest.raises(KeyError), reused():
        raise KeyError
    assert buffers._pool is None


def test_small_outputs_and_those_outside_are_torchs_own():
    x = torch.empty(3, 4)
    with reused():
        assert empty_like(x).shape == (3, 4)
        assert buffers._pool.in_use == 0
    assert empty(x, (2, LARGE)).shape == (2, LARGE)


def test_an_operation_gives_the_same_numbers_in_used_memory(randn):
    csr = CSR.from_edges(torch.arange(9000), torch.arange(9000) % 8999, num_src=9000, num_dst=9000)
    x = randn(9000, 128)
    expected = spmm(csr, x)
    assert expected.nbytes > buffers.LEAST
    with reused():
        for _ in range(3):
            out = spmm(csr, x)
            assert torch.equal(out, expected)
            out.fill_(torch.nan)
            del out
