import math
import zlib

import numpy as np
import pytest
import torch

from gadkit.graph import CSR, HeteroGraph, check_finite, check_labels, checksum
from gadkit.graph import csr as csr_module

DEGREES = (0, 1, 31, 32, 33, 200, 2_000, 0)  # warp edges; 2,000 is a long row; first and last empty


def three_nodes() -> CSR:
    """0 -> 1, 0 -> 2, 1 -> 2: rows are destinations."""
    return CSR.from_edges(torch.tensor([1, 0, 0]), torch.tensor([2, 1, 2]), num_src=3, num_dst=3)


def random_csr(num_dst: int, num_src: int, num_edges: int, seed: int) -> CSR:
    generator = torch.Generator().manual_seed(seed)
    src = torch.randint(num_src, (num_edges,), generator=generator)
    dst = torch.randint(num_dst, (num_edges,), generator=generator)
    return CSR.from_edges(src, dst, num_src=num_src, num_dst=num_dst)


def dense(csr: CSR) -> torch.Tensor:
    """Count the edges of each (destination, source)."""
    counts = torch.zeros(csr.num_dst, csr.num_src)
    return counts.index_put((csr.dst(), csr.indices.long()), torch.ones(()), accumulate=True)


def test_from_edges_by_hand():
    csr = three_nodes()
    assert csr.indptr.tolist() == [0, 0, 1, 3]
    assert csr.indices.tolist() == [0, 0, 1]
    assert csr.dst().tolist() == [1, 2, 2]
    assert csr.degrees().tolist() == [0, 1, 2]
    assert (csr.num_src, csr.num_dst, csr.num_edges) == (3, 3, 3)


def test_transpose_by_hand():
    transposed = three_nodes().transpose()
    assert transposed.indptr.tolist() == [0, 2, 3, 3]
    assert transposed.indices.tolist() == [1, 2, 2]


def test_a_graph_without_edges_or_rows():
    none = torch.empty(0, dtype=torch.int64)
    empty = CSR.from_edges(none, none, num_src=2, num_dst=3)
    assert empty.degrees().tolist() == [0, 0, 0]
    assert empty.transpose().indptr.tolist() == [0, 0, 0]
    assert not empty.contains(torch.tensor([1]), torch.tensor([2])).any()
    assert CSR.from_edges(none, none, num_src=0, num_dst=0).plan.task_ptr.tolist() == [0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_transpose_twice_is_the_identity(seed):
    csr = random_csr(17, 23, 300, seed)  # repeated edges included
    fresh = CSR(csr.indptr, csr.indices, csr.num_src).transpose()
    twice = CSR(fresh.indptr, fresh.indices, fresh.num_src).transpose()
    assert torch.equal(twice.indptr, csr.indptr)
    assert torch.equal(twice.indices, csr.indices)
    assert torch.equal(dense(csr.transpose()), dense(csr).T)
    assert csr.transpose() is csr.transpose()


def test_transpose_sorts_unsorted_rows():
    unsorted = CSR(torch.tensor([0, 3]), torch.tensor([2, 0, 1]), 3)
    assert not unsorted.is_sorted
    back = unsorted.transpose().transpose()
    assert back.is_sorted
    assert back.indices.tolist() == [0, 1, 2]
    assert unsorted.indices.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("indptr", "indices", "expected"),
    [
        ([0, 2, 3], [0, 1, 0], True),  # a new row may start lower
        ([0, 2, 2, 3], [0, 1, 0], True),
        ([0, 0, 2], [1, 0], False),
        ([0, 2, 2], [1, 0], False),
        ([0, 2], [1, 1], True),
        ([0, 0], [], True),
    ],
)
def test_is_sorted(indptr, indices, expected):
    csr = CSR(torch.tensor(indptr), torch.tensor(indices, dtype=torch.int32), 2)
    assert csr.is_sorted is expected


def test_is_symmetric():
    one_way = three_nodes()
    src = torch.cat([one_way.indices, one_way.dst()])
    dst = torch.cat([one_way.dst(), one_way.indices])
    both = CSR.from_edges(src, dst, num_src=3, num_dst=3)
    assert both.is_symmetric
    assert not one_way.is_symmetric
    assert CSR(torch.tensor([0, 2, 3]), torch.tensor([1, 0, 0]), 2).is_symmetric  # rows unsorted
    assert not CSR(torch.tensor([0, 1]), torch.tensor([1]), 2).is_symmetric  # not square


@pytest.mark.parametrize("seed", range(3))
def test_contains_agrees_with_a_set(seed):
    csr = random_csr(13, 9, 60, seed)
    edges = set(zip(csr.indices.tolist(), csr.dst().tolist(), strict=True))
    src, dst = torch.cartesian_prod(torch.arange(9), torch.arange(13)).unbind(1)
    expected = [pair in edges for pair in zip(src.tolist(), dst.tolist(), strict=True)]
    assert csr.contains(src, dst).tolist() == expected
    assert csr.contains(src.int(), dst.int()).tolist() == expected


def test_contains_takes_ids_of_any_integer_dtype_and_refuses_others():
    csr = CSR.from_edges(torch.tensor([0, 1, 0]), torch.tensor([0, 1, 1]), num_src=2, num_dst=2)
    for dtype in (np.uint8, np.uint32, np.int16, np.int64):
        src, dst = np.array([0, 1, 0], dtype), np.array([1, 0, 0], dtype)
        assert csr.contains(src, dst).tolist() == [True, False, True]
    for dst in (-1, 2):
        with pytest.raises(ValueError, match=r"dst has ids outside \[0, 2\)"):
            csr.contains(torch.tensor([0]), torch.tensor([dst]))
    with pytest.raises(TypeError, match="dst must be integer"):
        csr.contains(torch.tensor([0]), torch.tensor([1.0]))


def test_contains_needs_sorted_rows():
    with pytest.raises(ValueError, match="bisects sorted rows"):
        CSR(torch.tensor([0, 2]), torch.tensor([1, 0]), 2).contains(
            torch.tensor([0]), torch.tensor([0])
        )


def test_plan_computes_every_edge_once(monkeypatch):
    monkeypatch.setattr(csr_module, "TASK", 100)  # many tasks in a small graph
    degrees = torch.tensor(DEGREES * 40)
    indptr = torch.cat([torch.zeros(1, dtype=torch.int64), degrees.cumsum(0)])
    csr = CSR(indptr, torch.zeros(int(indptr[-1]), dtype=torch.int32), 1)
    plan = csr.plan
    assert plan.task_ptr[0] == 0
    assert plan.task_ptr[-1] == csr.num_dst
    assert (plan.task_ptr.diff() >= 0).all()
    assert plan.long_row.tolist() == (degrees > csr_module.CHUNK).nonzero().flatten().tolist()
    visits = torch.zeros(csr.num_edges, dtype=torch.int64)
    for begin, end in zip(plan.task_ptr[:-1].tolist(), plan.task_ptr[1:].tolist(), strict=True):
        work = 0
        for row in set(range(begin, end)) - set(plan.long_row.tolist()):
            visits[indptr[row] : indptr[row + 1]] += 1
            work += int(degrees[row]) + 1
        assert work <= 100 + 201  # a task, and the row it may end in
    for begin, end in zip(plan.chunk_begin.tolist(), plan.chunk_end.tolist(), strict=True):
        assert 0 < end - begin <= csr_module.CHUNK
        visits[begin:end] += 1
    assert (visits == 1).all()
    for r, row in enumerate(plan.long_row.tolist()):
        chunks = range(int(plan.chunk_ptr[r]), int(plan.chunk_ptr[r + 1]))
        assert plan.chunk_row[list(chunks)].tolist() == [row] * len(chunks)
        assert plan.chunk_begin[chunks[0]] == indptr[row]
        assert plan.chunk_end[chunks[-1]] == indptr[row + 1]


@pytest.mark.parametrize(
    ("indptr", "indices", "message"),
    [
        ([1, 2], [0, 0], r"indptr must start at 0, but indptr\[0\] is 1"),
        ([0, 2, 1], [0], "indptr decreases at row 1: 2 is followed by 1"),
        ([0, 2], [0], "indptr ends at 2, but there are 1 column ids"),
        ([0, 3], [0, 5, 9], r"2 entries outside \[0, 2\); first at edge 1: 5"),
        ([0, 1], [-1], r"1 entries outside \[0, 2\); first at edge 0: -1"),
        ([], [], "rows \\+ 1 entries"),
    ],
)
def test_bad_csr(indptr, indices, message):
    with pytest.raises(ValueError, match=message):
        CSR(torch.tensor(indptr, dtype=torch.int64), torch.tensor(indices, dtype=torch.int32), 2)


def test_bad_dtypes():
    with pytest.raises(TypeError, match="indptr must be int64, not torch.int32"):
        CSR(torch.tensor([0, 1]).int(), torch.tensor([0]), 1)
    with pytest.raises(TypeError, match="indices must be int32 or int64, not torch.float32"):
        CSR(torch.tensor([0, 1]), torch.tensor([0.0]), 1)


def test_indices_are_kept_as_int32():
    indices = torch.tensor([2, 0, 1])
    csr = CSR(torch.tensor([0, 1, 3]), indices, 3)
    assert csr.indices.dtype == torch.int32 and csr.indices.tolist() == [2, 0, 1]
    narrow = indices.int()
    assert CSR(torch.tensor([0, 1, 3]), narrow, 3).indices is narrow
    with pytest.raises(ValueError, match="num_src is 2,147,483,648; source ids must fit 31 bits"):
        CSR(torch.tensor([0, 1, 3]), indices, 2**31)


def test_tensors_on_two_devices():
    with pytest.raises(ValueError, match="indptr is on meta, but indices are on cpu"):
        CSR(torch.tensor([0, 1], device="meta"), torch.tensor([0]), 1)


def test_to_a_device_keeps_what_is_known():
    csr = three_nodes()
    assert csr.to("cpu") is csr
    symmetric = CSR.from_edges(torch.tensor([0, 1]), torch.tensor([1, 0]), num_src=2, num_dst=2)
    symmetric.__dict__.update(is_symmetric=True, is_sorted=True, _transpose=symmetric)
    moved = _moved(symmetric)
    assert moved is not symmetric and moved.transpose() is moved and moved.is_symmetric
    assert torch.equal(moved.indices, symmetric.indices)
    assert "_transpose" not in _moved(csr).__dict__  # made anew where it is needed


def _moved(csr: CSR) -> CSR:
    """Move to another device, as far as that is possible on a machine with one."""

    class Elsewhere(torch.Tensor):
        def to(self, device):
            return self.as_subclass(torch.Tensor).clone()

    csr.indptr, csr.indices = (x.as_subclass(Elsewhere) for x in (csr.indptr, csr.indices))
    return csr.to("elsewhere")


def test_select_by_hand():
    csr = three_nodes().select(torch.tensor([2, 0, 1, 2]))
    assert csr.indptr.tolist() == [0, 2, 2, 3, 5]
    assert csr.indices.tolist() == [0, 1, 0, 0, 1]
    assert (csr.num_src, csr.num_dst) == (3, 4)
    assert three_nodes().select(torch.tensor([], dtype=torch.int64)).num_edges == 0
    for rows, error, message in (
        (torch.tensor([0, 3]), ValueError, r"rows\[1\] is 3, outside \[0, 3\)"),
        (torch.tensor([-1]), ValueError, r"rows\[0\] is -1, outside \[0, 3\)"),
        (torch.tensor([1.0]), TypeError, r"rows must be integer, not torch.float32"),
    ):
        with pytest.raises(error, match=message):
            three_nodes().select(rows)


def test_bad_edges():
    one, two = torch.tensor([0]), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="1-D of equal length"):
        CSR.from_edges(one, two, num_src=2, num_dst=2)
    with pytest.raises(ValueError, match=r"dst has ids outside \[0, 1\): from 0 to 1"):
        CSR.from_edges(two, two, num_src=2, num_dst=1)


def shop(**changes) -> dict:
    """Two users, one product; user 1 bought it and the users bought together."""
    arguments = {
        "num_nodes": {"user": 2, "product": 1},
        "edges": {
            ("user", "buys", "product"): CSR(torch.tensor([0, 1]), torch.tensor([1]), 2),
            ("user", "co_buys", "user"): CSR(torch.tensor([0, 1, 2]), torch.tensor([1, 0]), 2),
        },
        "x": {"user": torch.zeros(2, 3), "product": torch.zeros(1, 2)},
        "labels": torch.tensor([[0, 0], [1, 1]]),
    }
    return arguments | changes


def test_heterograph_by_hand():
    graph = HeteroGraph(**shop())
    assert graph.total == 3
    assert graph.node_types == ["user", "product"]
    assert graph.offset("product") == 2
    assert graph.span("user") == slice(0, 2)
    assert graph.node_type_of(torch.tensor([0, 1, 2])).tolist() == [0, 0, 1]
    assert [stream.edge_type for stream in graph.streams] == [
        ("user", "buys", "product"),
        ("product", "rev_buys", "user"),
        ("user", "co_buys", "user"),  # symmetric: its own reverse
    ]
    assert "2 user, 1 product" in repr(graph)
    assert dense(graph.homogeneous).tolist() == [[1, 1, 0], [1, 1, 1], [0, 1, 1]]


def test_homogeneous_against_a_dense_definition():
    counts = {"user": 7, "product": 5, "seller": 3}
    edges = {
        ("user", "buys", "product"): random_csr(5, 7, 20, 0),
        ("seller", "sells", "product"): random_csr(5, 3, 6, 1),
        ("user", "co_buys", "user"): random_csr(7, 7, 15, 2),
    }
    graph = HeteroGraph(counts, edges)
    expected = torch.eye(graph.total)
    for (src, _, dst), csr in edges.items():
        expected[graph.span(dst), graph.span(src)] += dense(csr)
    expected = ((expected + expected.T) > 0).float()
    csr = graph.homogeneous
    assert torch.equal(dense(csr), expected)
    assert csr.transpose() is csr
    fresh = CSR(csr.indptr, csr.indices, csr.num_src)
    assert fresh.is_sorted
    assert fresh.is_symmetric


NAN = float("nan")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_nodes": {}, "edges": {}}, "the graph has no nodes"),
        ({"num_nodes": {"user": 2}}, "names a node type that is not in"),
        ({"num_nodes": {"user": 3, "product": 1}}, "there are 1 product and 3 user nodes"),
        ({"num_nodes": {"user": 2, "product": 1, "seller": 1}}, "'seller' has no edges"),
        (
            {"x": {"user": torch.zeros(2, 3)}},
            r"x\['product'\] must have shape \(1, dim\), got None",
        ),
        (
            {"x": {"user": torch.tensor([[0.0, 1], [2, NAN]]), "product": torch.zeros(1, 2)}},
            r"x\['user'\] is nan at row 1, column 1",
        ),
        (
            {"labels": torch.tensor([[0, 0], [3, 1]])},
            r"labels row 1 is \[3, 1\]: a node id outside",
        ),
        ({"labels": torch.tensor([[0, 2], [1, 1]])}, r"labels row 0 is \[0, 2\]: a value"),
        ({"labels": torch.tensor([[1, 0], [1, 1]])}, "node 1 is labelled more than once"),
        ({"labels": torch.tensor([[0, 0], [1, 0]])}, "all 2 labels are 0 .* confirmed anomalies"),
        ({"labels": torch.zeros(0, 2, dtype=torch.int64)}, "there are no labels"),
        ({"labels": torch.zeros(2, 2)}, r"must be \(num_labels, 2\) int64, got \(2, 2\)"),
    ],
)
def test_bad_graphs(changes, message):
    with pytest.raises(ValueError, match=message):
        HeteroGraph(**shop(**changes))


def test_an_empty_relation_is_refused():
    arguments = shop()
    empty = CSR(torch.tensor([0, 0]), torch.empty(0, dtype=torch.int32), 2)
    arguments["edges"]["user", "views", "product"] = empty
    with pytest.raises(ValueError, match="'views', 'product'\\) has no edges; leave it out"):
        HeteroGraph(**arguments)


def test_check_finite_names_the_position_in_a_later_block():
    x = torch.zeros(70_000, 2)
    x[69_999, 1] = float("inf")
    with pytest.raises(ValueError, match="x is inf at row 69999, column 1"):
        check_finite(x, "x")


@pytest.mark.parametrize("shape", [(), (0,), (1,), (5,), (3, 2)], ids=str)
@pytest.mark.parametrize("dtype", [torch.int32, torch.float32, torch.bfloat16], ids=str)
def test_checksum_looks_at_the_elements_alone(shape, dtype):
    tensor = torch.arange(6)[: math.prod(shape)].reshape(shape).to(dtype)
    every_other = torch.stack([tensor, tensor + 1], -1)[..., 0]  # strides twice as wide
    expected = zlib.crc32(tensor.flatten().view(torch.uint8).numpy())
    assert checksum(every_other) == checksum(tensor) == expected


def test_check_labels_accepts_both_classes():
    check_labels(torch.tensor([[2, 1], [0, 0]]), 3)


@pytest.mark.parametrize(
    "second",
    [("user", "buys", "gift"), ("product", "rev_buys", "user"), ("gift", "rev_buys", "user")],
)
def test_relation_names_that_would_share_weights_are_refused(second):
    one = CSR.from_edges(torch.tensor([0]), torch.tensor([0]), num_src=1, num_dst=1)
    num_nodes = {"user": 1, "product": 1, "gift": 1}
    edges = {("user", "buys", "product"): one, second: one}
    with pytest.raises(ValueError, match="relation names must be unique"):
        HeteroGraph(num_nodes, edges)


def test_labelled_types():
    one = CSR.from_edges(torch.tensor([0, 1]), torch.tensor([0, 0]), num_src=2, num_dst=1)
    edges = {("user", "buys", "product"): one}
    num_nodes = {"user": 2, "product": 1}
    assert HeteroGraph(num_nodes, edges).labelled_types == []
    labels = torch.tensor([[0, 0], [1, 1]])
    assert HeteroGraph(num_nodes, edges, labels=labels).labelled_types == ["user"]


def test_what_a_mask_hides_does_not_come_in():
    hidden = np.ma.array([0, 1], mask=[False, True])
    calls = {
        "indices": lambda: CSR(np.array([0, 1, 2]), hidden, 2),
        "src": lambda: CSR.from_edges(hidden, np.array([0, 1]), num_src=2, num_dst=2),
    }
    for name, call in calls.items():
        with pytest.raises(TypeError, match=f"^{name} is a masked array"):
            call()
    csr = CSR.from_edges(np.ma.array([0, 1]), np.array([0, 1]), num_src=2, num_dst=2)  # hides none
    assert csr.num_edges == 2


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16])
def test_ids_of_few_bits_may_name_nodes_among_more(dtype):
    csr = CSR.from_edges(
        torch.tensor([0, 100], dtype=dtype), torch.tensor([1, 0], dtype=dtype), num_src=70_000,
        num_dst=300,
    )  # fmt: skip
    assert csr.pairs()[0].tolist() == [100, 0]
    with pytest.raises(ValueError, match=r"src has ids outside \[0, 44\): from 0 to 100"):
        ids = torch.tensor([0, 100], dtype=dtype)
        CSR.from_edges(ids, ids[:1].repeat(2), num_src=44, num_dst=1)


def test_there_is_no_negative_number_of_nodes():
    none = torch.empty(0, dtype=torch.int64)
    for sizes in ({"num_src": -1, "num_dst": 2}, {"num_src": 2, "num_dst": -1}):
        with pytest.raises(ValueError, match="is -1; it must be 0 or more"):
            CSR.from_edges(none, none, **sizes)


def test_features_are_a_dict_and_never_differentiated():
    csr = CSR.from_edges(torch.tensor([0]), torch.tensor([1]), num_src=2, num_dst=2)
    relation = {("user", "pays", "user"): csr}
    with pytest.raises(TypeError, match="x must be a dict from node type to features, got Tensor"):
        HeteroGraph({"user": 2}, relation, torch.ones(2, 1))
    graph = HeteroGraph({"user": 2}, relation, {"user": torch.ones(2, 1, requires_grad=True)})
    assert not graph.x["user"].requires_grad
