"""Arrays of other libraries become tensors in the same memory, or an error that says what to do."""

import array

import numpy as np
import pandas as pd
import pytest
import torch

from gadkit import store
from gadkit.graph import CSR, HeteroGraph
from gadkit.graph.arrays import as_tensor, numbers


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


@pytest.mark.parametrize("wrong", [{1.0, 2.0}, np.float32(1), 3, "x", None, iter([1])])
def test_what_is_no_array_is_named(wrong):
    kind = f"{type(wrong).__module__}.{type(wrong).__qualname__}"
    with pytest.raises(TypeError, match=rf"^h is a {kind}; give a torch tensor or an array that"):
        as_tensor(wrong, "h")


@pytest.mark.parametrize(
    ("dtype", "remedy"),
    [
        ("U1", r"pass rows of numbers, for example .astype\(float\)"),
        ("S3", r"pass rows of numbers, for example .astype\(float\)"),
        ("M8[D]", r"pass seconds: .astype\('datetime64\[s\]'\).astype\('int64'\)"),
        ("m8[ms]", r"pass seconds: / np.timedelta64\(1, 's'\)"),
    ],
)
def test_dtypes_that_are_no_numbers_are_named(dtype, remedy):
    array = np.zeros(3, "i8").astype(dtype)
    with pytest.raises(TypeError, match=rf"^h, a numpy.ndarray, is of .*; {remedy}$"):
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
    "list": COLUMN.tolist(),
    "tuple": tuple(COLUMN),
    "list of tensors": [torch.tensor(number) for number in COLUMN],
    "array of Python": array.array("i", COLUMN.tolist()),
    "memory": memoryview(COLUMN),
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
        (np.array([1, "a"], object), "^src, a numpy.ndarray, holds 'a' at row 1, a str; pass whol"),
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
    with pytest.raises(TypeError, match="^indices is a builtins.set; give a torch tensor"):
        CSR(np.array([0, 1]), {0}, 1)
    with pytest.raises(TypeError, match="^dst is a builtins.generator; give a torch tensor"):
        CSR.from_edges(ring, (node for node in range(4)), num_src=4, num_dst=4)
    with pytest.raises(ValueError, match="^indptr must start at 0"):
        CSR(np.array([1, 1]), ring[:0], 1)
    edges["user", "knows", "user"] = CSR.from_edges(ring, ring, num_src=4, num_dst=4)
    with pytest.raises(TypeError, match=r"^x\['user'\] is a builtins.dict"):
        HeteroGraph({"user": 4}, edges, {"user": dict(enumerate([1.0] * 4))})
    with pytest.raises(TypeError, match="^labels is a builtins.str"):
        HeteroGraph({"user": 4}, edges, None, "0 1")
    with pytest.raises(ValueError, match=r"^x has the node type 'usr', which is not in \['user'\]"):
        HeteroGraph({"user": 4}, edges, {"user": np.ones((4, 1)), "usr": np.ones((4, 1))})
    with pytest.raises(TypeError, match="must be a CSR, got ndarray; make one with CSR.from_e"):
        HeteroGraph({"user": 4}, {("user", "knows", "user"): np.eye(4)})
    with pytest.raises(ValueError, match=r"^x\['user'\] must have shape \(4, dim\), got \(3, 1\)"):
        HeteroGraph({"user": 4}, edges, {"user": np.ones((3, 1), np.float32)})


@pytest.mark.parametrize(
    ("src", "message"),
    [
        (torch.tensor([2.0, 1.0]), r"torch.float32; convert it with .long\(\)$"),
        (torch.tensor([2, 1], dtype=torch.float16), r"torch.float16; convert it with .long\(\)$"),
        (np.array([1.0, 1.5]), "torch.float64, and is 1.5 at row 1; correct it"),
        (np.array([1, np.inf]), "torch.float64, which cannot tell ids beyond .* as inf at row 1"),
        (
            torch.tensor([2.0**24 + 2, 1.0]),
            "torch.float32, which cannot tell ids beyond 16777216 apart, as 16777218 at row 0",
        ),
        (torch.tensor([1, 0]) * 1j, r"torch.complex64; convert it with .real.long\(\)$"),
        (torch.tensor([True, False]), r"torch.bool; of a mask pass where it is true, .nonzero\(\)"),
    ],
)
def test_ids_that_are_no_integers_are_refused(src, message):
    """Floats have lost the ids above 2^24, and would be cut to whole numbers."""
    dst = torch.tensor([0, 1])
    with pytest.raises(TypeError, match=f"^src must be integer, not {message}"):
        CSR.from_edges(src, dst, num_src=2**25, num_dst=3)
    with pytest.raises(TypeError, match=f"^dst must be integer, not {message}"):
        CSR.from_edges(dst, src, num_src=3, num_dst=2**25)


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


CROOKED = {
    "torch.sparse_coo tensor; pass it .to_dense": torch.Tensor.to_sparse,
    "torch.sparse_csr tensor; pass it .to_dense": torch.Tensor.to_sparse_csr,
    "nested tensor; pass what torch.nested": lambda x: torch.nested.nested_tensor([x[0], x[1, :2]]),
    "quantized tensor; pass what .dequantize": lambda x: torch.quantize_per_tensor(
        x, 1, 0, torch.quint8
    ),
    "masked tensor, and a mask": lambda x: torch.masked.masked_tensor(x, x > 0),
}


@pytest.mark.filterwarnings("ignore")  # of torch, that most of these are new
@pytest.mark.parametrize(("said", "make"), CROOKED.items(), ids=CROOKED)
def test_tensors_that_are_no_block_of_numbers_are_named(said, make):
    x = make(torch.eye(3))
    for convert in (as_tensor, lambda x, name: numbers(x, name, if_missing="fill it")):
        with pytest.raises(TypeError, match=f"^h is a {said}"):
            convert(x, "h")
    ring = torch.arange(3)
    edges = {("user", "knows", "user"): CSR.from_edges(ring, ring, num_src=3, num_dst=3)}
    with pytest.raises(TypeError, match=rf"^x\['user'\] is a {said}"):
        HeteroGraph({"user": 3}, edges, {"user": x})


def test_one_axis_is_not_another():
    """A column of a table has two axes, and a number none."""
    indptr, column = np.array([0, 1, 3]), np.array([[2], [0], [1]])
    for indices in (column, torch.tensor(column), pd.DataFrame(column), np.array(1)):
        with pytest.raises(ValueError, match=r"^indices must be 1-D, one source an edge, not \("):
            CSR(indptr, indices, 3)
    csr = CSR(indptr, column.ravel(), 3).transpose()
    with pytest.raises(ValueError, match=r"^src and dst must be of one shape, got \(\) and \(2,\)"):
        csr.contains(np.array(1), np.array([0, 1]))


def test_an_empty_list_holds_no_ids():
    csr = CSR.from_edges([], [], num_src=2, num_dst=3)
    assert csr.indptr.tolist() == [0, 0, 0, 0] and csr.num_edges == 0


def test_ids_beyond_63_bits_are_refused_and_do_not_wrap():
    ids = np.array([2**63, 0], np.uint64)
    for src in (ids, torch.tensor(ids), ids.astype(object), pd.Series(ids)):
        with pytest.raises(ValueError, match=r"^src.* (2\^63 or more|beyond 64 bits|does not fit)"):
            CSR.from_edges(src, np.array([0, 1]), num_src=3, num_dst=2)


@pytest.mark.parametrize("dtype", ["f2", "f8", "g", "i8", "?", "bfloat16", "float8_e5m2"])
def test_features_become_float32_whatever_they_are(dtype, tmp_path):
    """What is saved is what `load_graph` reads."""
    ring = np.arange(3)
    edges = {("user", "knows", "user"): CSR.from_edges(ring, ring, num_src=3, num_dst=3)}
    x = np.array([[0, 1], [1, 1], [0, 0]])
    given = torch.tensor(x).to(getattr(torch, dtype)) if "float" in dtype else x.astype(dtype)
    graph = HeteroGraph({"user": 3}, edges, {"user": given})
    assert graph.x["user"].dtype == torch.float32 and graph.x["user"].tolist() == x.tolist()
    store.save_graph(tmp_path, graph)
    assert store.load_graph(tmp_path).fingerprint == graph.fingerprint


def test_features_that_float32_cannot_hold_are_refused():
    ring = np.arange(60)
    edges = {("user", "knows", "user"): CSR.from_edges(ring, ring, num_src=60, num_dst=60)}

    def graph_with(column):
        return HeteroGraph({"user": 60}, edges, {"user": np.stack([ring, column], 1)})

    minute = 1.7e9 + ring  # seconds since 1970, of which float32 counts every 128th
    with pytest.raises(
        ValueError, match=r"column 1: of 60 different values .* keeps 1 apart; take"
    ):
        graph_with(minute)
    with pytest.raises(ValueError, match=r"column 1: of 60 .*; take the difference from the small"):
        graph_with(minute.astype(np.int64))
    assert graph_with(minute - minute.min()).x["user"][:, 1].tolist() == ring.tolist()
    assert graph_with(1.7e9 + ring * 86_400).x["user"][:, 1].unique().numel() == 60
    assert (
        graph_with(0.1 + ring * 1e-17).x["user"][:, 1].unique().numel() == 1
    )  # rounding, not data
    with pytest.raises(ValueError, match=r"^x\['user'\] goes up to 1e\+300, beyond float32; take"):
        graph_with(np.full(60, 1e300))


def test_labels_are_real():
    ring = np.arange(3)
    edges = {("user", "knows", "user"): CSR.from_edges(ring, ring, num_src=3, num_dst=3)}
    with pytest.raises(
        ValueError, match=r"^labels must be \(num_labels, 2\) int64, got .* torch.c"
    ):
        HeteroGraph({"user": 3}, edges, None, np.array([[0, 1], [1, 0]]) * (1 + 1j))
