"""Graphs and helpers shared by tests."""

import ctypes
import mmap
import multiprocessing

import numpy as np
import pytest
import torch

from gadkit.graph import CHUNK, CSR, HeteroGraph

NUM_SRC = 128
HUB = 1  # a source with edges to many destinations: a long row of the transpose
# Around a vector and around a chunk; a row of three chunks; first and last row empty.
DEGREES = (0, 1, 31, 32, 33, 200, CHUNK, CHUNK + 1, 2 * CHUNK + 5, *[55] * 40, 0)


@pytest.fixture(scope="session")
def mixed() -> CSR:
    """Every kind of row, in both directions; many repeated edges."""
    generator = torch.Generator().manual_seed(0)
    degrees = torch.tensor(DEGREES)
    dst = torch.arange(len(DEGREES)).repeat_interleave(degrees)
    src = torch.randint(1, NUM_SRC - 1, (len(dst),), generator=generator)  # 0 and the last: no edge
    src[degrees[dst] == 55] = HUB
    return CSR.from_edges(src, dst, num_src=NUM_SRC, num_dst=len(DEGREES))


@pytest.fixture(scope="session")
def large() -> CSR:
    """60,000 edges: several tasks, and with them several threads; the last row is a long one."""
    generator = torch.Generator().manual_seed(1)
    src = torch.randint(4_000, (60_000,), generator=generator)
    dst = torch.randint(3_000, (60_000,), generator=generator)
    dst[::20] = 2_999
    return CSR.from_edges(src, dst, num_src=4_000, num_dst=3_000)


@pytest.fixture(scope="session")
def empties() -> list[CSR]:
    """No edges; no destinations; no sources; nothing at all."""
    none = torch.empty(0, dtype=torch.int64)
    sizes = [(5, 3), (5, 0), (0, 3), (0, 0)]
    return [CSR.from_edges(none, none, num_src=s, num_dst=d) for s, d in sizes]


@pytest.fixture(scope="session")
def small_shop() -> HeteroGraph:
    """Users 0 to 3, products 4 to 6. User 3 also stands in a relation with itself."""
    bought = torch.tensor([[0, 4], [0, 5], [1, 4], [1, 5], [2, 4], [2, 6], [3, 6]])
    buys = CSR.from_edges(bought[:, 0], bought[:, 1] - 4, num_src=4, num_dst=3)
    pairs = torch.tensor([[0, 1], [1, 0], [2, 3], [3, 2], [3, 3]])
    alike = CSR.from_edges(pairs[:, 0], pairs[:, 1], num_src=4, num_dst=4)
    generator = torch.Generator().manual_seed(0)
    x = {"user": torch.randn(4, 3, generator=generator), "product": torch.arange(3.0)[:, None]}
    edges = {("user", "buys", "product"): buys, ("user", "alike", "user"): alike}
    return HeteroGraph({"user": 4, "product": 3}, edges, x, torch.tensor([[1, 1], [2, 0]]))


@pytest.fixture(scope="session")
def shuffled():
    """shuffled(csr): the same relation with the edges of each row in another order."""

    def shuffle(csr: CSR) -> CSR:
        order = torch.randperm(csr.num_edges, generator=torch.Generator().manual_seed(2))
        order = order[torch.argsort(csr.dst()[order], stable=True)]
        return CSR(csr.indptr, csr.indices[order], csr.num_src)

    return shuffle


@pytest.fixture(scope="session")
def counts():
    """counts(csr): the dense matrix of edge counts, (num_dst, num_src) float64."""

    def dense(csr: CSR) -> torch.Tensor:
        matrix = torch.zeros(csr.num_dst, csr.num_src, dtype=torch.float64)
        one = torch.ones((), dtype=torch.float64)
        return matrix.index_put((csr.dst(), csr.indices.long()), one, accumulate=True)

    return dense


@pytest.fixture(scope="session")
def randn():
    """randn(*shape, dtype=float32, seed=0): normal numbers."""

    def draw(*shape, dtype=torch.float32, seed=0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype)

    return draw


@pytest.fixture(scope="session")
def close():
    """close(actual, expected): equal to a few roundings of the dtype of `actual`.

    Sums of up to 2,000 terms of size one; measured errors are a fifth of these.
    """
    tolerance = {torch.float32: (1e-5, 3e-5), torch.float64: (1e-12, 1e-12)}

    def check(actual: torch.Tensor, expected: torch.Tensor) -> None:
        rtol, atol = tolerance[actual.dtype]
        torch.testing.assert_close(actual.to(expected.dtype), expected, rtol=rtol, atol=atol)

    return check


@pytest.fixture
def with_threads():
    """with_threads(n, function): call the function while torch uses n threads."""
    before = torch.get_num_threads()

    def call(threads: int, function):
        torch.set_num_threads(threads)
        return function()

    yield call
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def in_child():
    """in_child(function, threads=1): call it in a forked process, which must end within a minute.

    More than one thread is for gadkit's own: OpenMP, which torch uses for larger tensors, hangs in
    a child whose parent has used it.
    """

    def fork(function, threads=1) -> None:
        def start():
            torch.set_num_threads(threads)
            function()

        child = multiprocessing.get_context("fork").Process(target=start)
        child.start()
        child.join(60)
        if child.is_alive():
            child.kill()
            pytest.fail("the forked process hangs")
        assert child.exitcode == 0  # -11: it touched memory that is not its own

    return fork


@pytest.fixture(scope="session")
def fenced():
    """fenced(tensor): a copy that ends where a page begins that may not be touched."""
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    kept = []  # unmapping memory that a tensor still shows would be worse than keeping it

    def copy(tensor: torch.Tensor) -> torch.Tensor:
        size, page = tensor.nbytes, mmap.PAGESIZE
        room = -(-size // page) * page
        memory = mmap.mmap(-1, room + page)
        kept.append(memory)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        assert protect(start + room, page, 0) == 0
        array = np.frombuffer(memory, tensor.numpy().dtype, tensor.numel(), room - size)
        array[:] = tensor.flatten().numpy()
        return torch.from_numpy(array).view(tensor.shape)

    return copy


LONGEST = ("test_notebooks", "test_nvrtc", "test_kernels")  # files
SLOW = {  # rooms and files that train, compile, start processes, or take many tries
    "kernels", "audit", "network", "ops", "test_notebooks", "test_benchmarks", "test_recommend",
    "test_cli", "test_pages", "test_environment", "test_recipe", "test_learners", "test_baselines",
    "test_views", "test_saved", "test_predictors", "test_explain", "test_cases",
    "test_report_notebooks", "test_ingest_fuzz",
    "test_ingest", "test_features", "test_fetch", "test_tables", "test_marketplace", "test_interop",
    "test_conversion", "test_lines", "test_plot", "test_suspects", "test_report_pages", "published",
    "test_links", "test_files", "test_ids", "test_times", "test_said", "test_labels", "test_bag",
    "test_transfer", "test_budget", "test_report_outputs", "test_report_sheets", "test_queue",
    "test_file_kinds", "test_published_files", "test_shop", "test_transfers", "match",
}  # fmt: skip


def pytest_ignore_collect(collection_path, config):
    """Spare `-m "not slow"` the imports of what it leaves out."""
    slow = SLOW & {collection_path.stem, collection_path.parent.name}
    return True if slow and config.option.markexpr == "not slow" else None


def pytest_collection_modifyitems(items):
    """Put the files that take longest first, so that two processes end together; mark the slow."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else 9)
    for item in items:
        if SLOW & {item.path.stem, item.path.parent.name}:
            item.add_marker(pytest.mark.slow)
