"""Arrays of other libraries become tensors in the same memory, or an error that says what to do."""

import numpy as np
import pandas as pd
import pytest
import torch

from gadkit.graph import CSR, HeteroGraph
from gadkit.graph.arrays import as_tensor


class Foreign:
    """An array that speaks DLPack and nothing else, like one of a library that is not installed."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


def test_tensors_pass_untouched():
    x = torch.ones(3, requires_grad=True)
    assert as_tensor(x, "x") is x


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4", "i8", "?"])
def test_memory_is_shared(dtype):
    array = np.zeros((2, 3), dtype)
    for x in (as_tensor(array, "x"), as_tensor(Foreign(array), "x")):
        assert x.data_ptr() == array.ctypes.data and x.shape == (2, 3)
        assert torch.equal(x, torch.from_numpy(array)) and x.dtype == torch.from_numpy(array).dtype
    array[1, 2] = 1
    assert x[1, 2] == 1
    x[0, 0] = 1
    assert array[0, 0] == 1


def test_strides_are_kept():
    array = np.arange(12.0).reshape(3, 4)
    for part in (array.T, array[:, ::2], array[1:], np.asfortranarray(array)):
        x = as_tensor(part, "x")
        assert x.data_ptr() == part.ctypes.data and x.tolist() == part.tolist()
        assert [8 * stride for stride in x.stride()] == list(part.strides)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_arrays_may_be_empty(shape):
    assert as_tensor(np.empty(shape, np.float32), "x").shape == shape


def test_the_tensor_keeps_the_array_alive():
    x = as_tensor(np.arange(100_000.0), "x")
    np.zeros(100_000)  # would take the place of memory that was freed
    assert x.sum() == 100_000 * 99_999 / 2


def test_memory_that_is_read_only_is_shared_too(tmp_path):
    array = np.arange(4.0)
    array.setflags(write=False)
    assert as_tensor(array, "x").data_ptr() == array.ctypes.data
    np.save(tmp_path / "x.npy", array)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    x = as_tensor(mapped, "x")
    assert x.data_ptr() == mapped.ctypes.data and x.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("wrong", [[1.0, 2.0], np.float32(1), 3, "x", None])
def test_what_is_no_array_is_named(wrong):
    kind = f"{type(wrong).__module__}.{type(wrong).__qualname__}"
    with pytest.raises(TypeError, match=rf"^h is a {kind}; give a torch tensor or an array that"):
        as_tensor(wrong, "h")


@pytest.mark.parametrize("dtype", ["U1", "M8[s]", "S3"])
def test_dtypes_that_are_no_numbers_are_named(dtype):
    array = np.zeros(3, "i8").astype(dtype)
    with pytest.raises(TypeError, match=r"^h, a numpy.ndarray, is of .*; pass rows of numbers"):
        as_tensor(array, "h")


NUMBERS = np.array([[0, 1], [2, 1], [5, 3]])
LAYOUTS = {
    "another byte order": NUMBERS.astype(">i8"),
    "floats of another byte order": NUMBERS.astype(">f4"),
    "rows that run backwards": NUMBERS[::-1].copy()[::-1],
    "columns that run backwards": NUMBERS[:, ::-1].copy()[:, ::-1],
    "long doubles": NUMBERS.astype(np.longdouble),
    "objects": NUMBERS.astype(object),
    "a table": pd.DataFrame(NUMBERS, index=[7, 8, 9], columns=["a", "b"]),
    "a nullable table": pd.DataFrame(NUMBERS).convert_dtypes(),
    "a mask that hides nothing": np.ma.masked_array(NUMBERS, np.zeros((3, 2), bool)),
    "every second row": np.repeat(NUMBERS, 2, axis=0)[::2],
    "the order of Fortran": np.asfortranarray(NUMBERS),
}


@pytest.mark.parametrize("array", LAYOUTS.values(), ids=LAYOUTS)
def test_numbers_are_taken_however_they_lie(array):
    """What torch cannot look at where it is, it gets a copy of."""
    assert as_tensor(array, "x").tolist() == NUMBERS.tolist()


COLUMN = np.array([2, 0, 1])
COLUMNS = {
    "Series": pd.Series(COLUMN, index=[9, 8, 7]),
    "Int64": pd.Series(COLUMN, dtype="Int64"),
    "categories": pd.Series(COLUMN).astype("category"),
    "Index": pd.Index(COLUMN),
    "array of pandas": pd.array(COLUMN),
    "objects": COLUMN.astype(object),
    "backwards": COLUMN[::-1].copy()[::-1],
    "big-endian": COLUMN.astype(">i4"),
}


@pytest.mark.parametrize("ids", COLUMNS.values(), ids=COLUMNS)
def test_ids_are_taken_however_they_lie(ids):
    dst = np.array([0, 1, 0])
    csr = CSR.from_edges(ids, dst, num_src=3, num_dst=2)
    assert (csr.indptr.tolist(), csr.indices.tolist()) == ([0, 2, 3], [1, 2, 0])
    assert csr.contains(ids, dst).all()
    assert CSR(np.array([0, 1, 2, 3]), COLUMN, 3).select(ids).indices.tolist() == [1, 2, 0]


def test_ids_as_objects_keep_their_last_digit():
    ids = np.array([2**53 + 1, 2**62 + 1], object)
    assert as_tensor(ids, "ids").tolist() == ids.tolist()
    with pytest.raises(ValueError, match="^ids, a numpy.ndarray, holds an integer beyond 64 bits"):
        as_tensor(np.array([2**70], object), "ids")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            pd.Series([1, None], dtype="Int64"),
            "^src must be integer, but is missing at row 1; fill it, or",
        ),
        (pd.Series(["a", "b"]), "^src, a pandas.Series, .*numbers"),
        (np.ma.masked_array([1, 2], [0, 1]), "^src is a masked array, and a mask cannot be kept"),
        (np.ma.masked_array([1, 2], [0, 1])[::-1], "^src is a masked array, and a mask cannot be"),
        (pd.Series([1.0, 2.0]), "^src must be integer, not torch.float64"),
        (
            pd.Series([1, np.nan]),
            "^src must be integer, but is missing at row 1; fill it, or leave",
        ),
        (np.array([1, "a"], object), "^src, a numpy.ndarray, holds 'a' at row 1, a str; pass numb"),
    ],
)
def test_columns_that_are_no_ids_are_named(column, message):
    with pytest.raises(TypeError, match=message):
        CSR.from_edges(column, np.array([0, 1]), num_src=3, num_dst=2)


def test_integers_become_features_and_labels_of_the_types_that_are_used():
    ring = np.arange(4)
    edges = {("user", "knows", "user"): CSR.from_edges(ring, ring, num_src=4, num_dst=4)}
    labels = np.array([[1, 1], [3, 0]], np.uint8)
    graph = HeteroGraph({"user": 4}, edges, {"user": ring[:, None].astype(np.uint8)}, labels)
    assert graph.x["user"].dtype == torch.float32 and graph.labels.dtype == torch.int64
    assert graph.x["user"].tolist() == [[0], [1], [2], [3]]
    with pytest.raises(TypeError, match=r"^x\['user'\] must hold real numbers, not torch.complex"):
        HeteroGraph({"user": 4}, edges, {"user": ring[:, None] * 1j})


def test_graphs_are_made_of_arrays():
    src, dst = np.array([0, 1, 2, 0]), np.array([1, 1, 0, 0], np.int32)
    csr = CSR.from_edges(src, dst, num_src=3, num_dst=2)
    same = CSR.from_edges(torch.tensor(src), torch.tensor(dst), num_src=3, num_dst=2)
    assert torch.equal(csr.indptr, same.indptr) and torch.equal(csr.indices, same.indices)

    indptr, indices = np.array([0, 2, 4]), np.array([0, 2, 0, 1], np.int32)
    csr = CSR(indptr, Foreign(indices), 3)
    assert torch.equal(csr.indptr, same.indptr) and torch.equal(csr.indices, same.indices)
    assert csr.indptr.data_ptr() == indptr.ctypes.data
    assert csr.indices.data_ptr() == indices.ctypes.data
    assert torch.equal(csr.prepare().transpose().indices, same.transpose().indices)


def test_features_and_labels_may_be_arrays():
    ring = np.arange(4)
    edges = {("user", "knows", "user"): CSR.from_edges(ring, ring, num_src=4, num_dst=4)}
    x, labels = np.ones((4, 2), np.float32), np.array([[1, 1], [3, 0]])
    graph = HeteroGraph({"user": 4}, edges, {"user": x}, labels)
    assert graph.x["user"].data_ptr() == x.ctypes.data
    assert graph.labels.data_ptr() == labels.ctypes.data and graph.labels.tolist() == [
        [1, 1],
        [3, 0],
    ]
    x[0, 0] = 5
    assert graph.x["user"][0, 0] == 5


def test_parts_of_a_graph_that_are_no_arrays_are_named():
    ring, edges = np.arange(4), {}
    with pytest.raises(TypeError, match="^indices is a builtins.list; give a torch tensor"):
        CSR(np.array([0, 1]), [0], 1)
    with pytest.raises(TypeError, match="^dst is a builtins.list; give a torch tensor"):
        CSR.from_edges(ring, [0, 1, 2, 3], num_src=4, num_dst=4)
    with pytest.raises(ValueError, match="^indptr must start at 0"):
        CSR(np.array([1, 1]), ring[:0], 1)
    edges["user", "knows", "user"] = CSR.from_edges(ring, ring, num_src=4, num_dst=4)
    with pytest.raises(TypeError, match=r"^x\['user'\] is a builtins.list"):
        HeteroGraph({"user": 4}, edges, {"user": [[1.0]] * 4})
    with pytest.raises(TypeError, match="^labels is a builtins.list"):
        HeteroGraph({"user": 4}, edges, None, [[0, 1]])
    with pytest.raises(ValueError, match=r"^x\['user'\] must have shape \(4, dim\), got \(3, 1\)"):
        HeteroGraph({"user": 4}, edges, {"user": np.ones((3, 1), np.float32)})


@pytest.mark.parametrize(
    ("src", "dst", "name"),
    [
        (
            torch.tensor([2.0**24 + 1, 1.0]),
            torch.tensor([0, 1]),
            "src must be integer, not torch.fl",
        ),
        (np.array([1.5, 0.25]), np.array([0, 1]), "src must be integer, not torch.float64"),
        (torch.tensor([1, 0]), torch.tensor([0.0, 1.0]), "dst must be integer, not torch.float32"),
        (torch.tensor([True, False]), torch.tensor([0, 1]), "src must be integer, not torch.bool"),
        (torch.tensor([1, 0]), torch.ones(2).half(), "dst must be integer, not torch.float16"),
    ],
)
def test_ids_that_are_no_integers_are_refused(src, dst, name):
    """Floats have lost the ids above 2^24, and would be cut to whole numbers."""
    with pytest.raises(TypeError, match=rf"^{name}.*; convert it with .long\(\)$"):
        CSR.from_edges(src, dst, num_src=2**25, num_dst=3)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_ids_may_be_integers_of_any_size(dtype):
    src, dst = np.array([2, 0, 1], dtype), np.array([0, 1, 0], dtype)
    csr = CSR.from_edges(src, dst, num_src=3, num_dst=np.int32(2))
    assert (csr.indptr.tolist(), csr.indices.tolist()) == ([0, 2, 3], [1, 2, 0])
    assert csr.indices.dtype == torch.int32


def test_numbers_of_nodes_are_whole():
    ids = torch.tensor([0])
    with pytest.raises(TypeError, match=r"^num_src must be a whole number, not 3.7; convert"):
        CSR.from_edges(ids, ids, num_src=3.7, num_dst=1)
    with pytest.raises(TypeError, match=r"^num_dst must be a whole number, not 1.0"):
        CSR.from_edges(ids, ids, num_src=1, num_dst=1.0)
    with pytest.raises(TypeError, match=r"^num_src must be a whole number, not 1.5"):
        CSR(torch.tensor([0, 1]), ids, 1.5)
    edges = {("user", "knows", "user"): CSR.from_edges(ids, ids, num_src=1, num_dst=1)}
    with pytest.raises(
        TypeError, match=r"^the number of user nodes must be a whole number, not 1."
    ):
        HeteroGraph({"user": 1.0}, edges)
    assert (
        HeteroGraph({"user": np.int64(1)}, edges).fingerprint
        == HeteroGraph({"user": 1}, edges).fingerprint
    )
