"""Others that compute the same, to be timed beside gadkit.

A peer is a function that takes the work and its operation, prepares what is not part of the
operation (formats, indices), and returns a call with the same results as gadkit's. Where it cannot
run it raises `Absent`.
"""

import copy
import importlib
import warnings
from collections.abc import Callable
from pathlib import Path

import memory
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import leaky_relu
from torch.utils.checkpoint import checkpoint
from work import NEGATIVE_SLOPE, Gat, Pairs, Results, Spmm

from gadkit import ops
from gadkit.ops import _cuda

KERNEL = Path(__file__).with_name("warp_per_node.cu")
CHUNK = 2500  # destination rows, as published
Call = Callable[[], Results]


class Absent(Exception):
    """A peer cannot run here; the message says why."""


def installed(name: str):
    """Import a package, or raise `Absent`."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Absent(f"{name} cannot be imported") from error


def need_one_head(work: Spmm | Gat) -> None:
    """Raise `Absent` unless the work is in float32 with one head."""
    if work.config.dtype != torch.float32 or work.config.heads > 1:
        raise Absent("float32 and one head only")


def need_cuda(work: Spmm | Gat) -> None:
    """Raise `Absent` unless the work is on a GPU."""
    if work.csr.device.type != "cuda":
        raise Absent("needs a CUDA device")


def need_memory(work: Gat, num_bytes: int) -> None:
    """Raise `Absent` unless a CPU has the memory: there the process would be killed for it."""
    left = None if work.csr.device.type == "cuda" else memory.left(False)
    if left and num_bytes > left[0]:
        raise Absent(f"about {num_bytes / 1e9:.0f} GB needed, {left[0] / 1e9:.0f} GB left")


def in_float32(work: Spmm | Gat, op: str) -> Call:
    """gadkit again, with the same numbers in float32."""
    twin = copy.copy(work)
    twin.config = work.config._replace(dtype=torch.float32)
    for name, value in vars(work).items():
        if isinstance(value, Tensor):
            wide = value.detach().float()
            setattr(twin, name, wide.requires_grad_(value.requires_grad))
    return twin.call(op)


def no_edge_dropped(work: Gat, op: str) -> Call:
    """gadkit again, with every edge."""
    twin = copy.copy(work)
    twin.config = work.config._replace(drop_edge=0.0)
    return twin.call(op)


def edge_weights(work: Spmm) -> Tensor:
    """Return the values that a sparse matrix has to store, (num_edges,)."""
    src, dst = work.csr.indices.long(), work.csr.dst()
    return (work.scale_dst[dst] * work.scale_src[src]).to(work.x.dtype)


def torch_sparse(work: Spmm, op: str) -> Call:
    """cuSPARSE through torch (MKL on a CPU), row-major, with int32 indices."""
    matrix = sparse_matrix(work, torch.int32)
    return lambda: (matrix @ work.x,)


def torch_sparse_int64(work: Spmm, op: str) -> Call:
    """The same with indices of the dtype that torch gives them by default."""
    matrix = sparse_matrix(work, torch.int64)
    return lambda: (matrix @ work.x,)


def torch_sparse_reduce(work: Spmm, op: str) -> Call:
    """torch's own loop over a sparse matrix, on a CPU; of PyTorch Geometric's making."""
    if work.csr.device.type != "cpu":
        raise Absent("needs a CPU")
    matrix = sparse_matrix(work, torch.int64)
    return lambda: (torch.sparse.mm(matrix, work.x, reduce="sum"),)


def sparse_matrix(work: Spmm, dtype: torch.dtype) -> Tensor:
    """Return the graph and its weights as torch's sparse matrix, with indices of a dtype."""
    csr = work.csr
    parts = csr.indptr.to(dtype), csr.indices.to(dtype), edge_weights(work)
    with warnings.catch_warnings(action="ignore"):  # torch says that its CSR tensors are in beta
        return torch.sparse_csr_tensor(*parts, (csr.num_dst, csr.num_src))


def cupyx_sparse(work: Spmm, op: str) -> Call:
    """cuSPARSE through CuPy; `@` makes the features column-major first, as it is written there."""
    need_cuda(work)
    need_one_head(work)
    cupy, sparse = installed("cupy"), installed("cupyx.scipy.sparse")
    csr = work.csr
    parts = [cupy.from_dlpack(t) for t in (edge_weights(work), csr.indices, csr.indptr.int())]
    # A copy, because it may put its edges into another order in place.
    matrix = sparse.csr_matrix(tuple(parts), shape=(csr.num_dst, csr.num_src), copy=True)
    x = cupy.from_dlpack(work.x)
    return lambda: (torch.from_dlpack(matrix @ x),)


def scores_included(work: Gat, op: str) -> Call:
    """gadkit again, with the scores computed as part of it: what `warp_per_node` also does."""
    need_one_head(work)

    def call():
        score_src, score_dst = work.scores()
        return (work.forward(work.h.detach(), score_src, score_dst),)

    return call


def warp_per_node(work: Gat, op: str) -> Call:
    """The published inference kernel, written anew: see warp_per_node.cu."""
    need_cuda(work)
    need_one_head(work)
    csr, warps = work.csr, 4  # of a block
    h, h_dst = work.h.detach(), work.h_dst.detach()
    sizes = np.int64(csr.num_dst), np.int32(work.config.dim), np.float32(NEGATIVE_SLOPE)

    def call():
        out = torch.empty_like(h_dst)
        arrays = csr.indptr, csr.indices, h, h_dst, work.a_src, work.a_dst, out
        blocks = -(-csr.num_dst // warps)
        _cuda.launch(KERNEL, "warp_per_node", blocks, 32 * warps, *arrays, *sizes)
        return (out,)

    return call


def pyg(work: Gat, op: str, *, compiled: bool = False) -> Call:
    """What GATConv of PyTorch Geometric computes from projected features and scores."""
    nn = installed("torch_geometric.nn")
    csr, config = work.csr, work.config
    rows = 2 if op == "gat inference" else 4  # of an edge, as measured with 3 million edges
    need_memory(work, rows * csr.num_edges * config.heads * config.dim * config.dtype.itemsize)
    options = {"negative_slope": NEGATIVE_SLOPE, "add_self_loops": False, "bias": False}
    conv = nn.GATConv(config.dim, config.dim, config.heads, **options).to(csr.device)
    edge_index = torch.stack([csr.indices.long(), csr.dst()])
    size = csr.num_src, csr.num_dst

    def forward(h, score_src, score_dst):
        scores = score_src, score_dst
        alpha = conv.edge_updater(edge_index, alpha=scores, edge_attr=None, size=size)
        # Else a message per edge would be in float32, of twice the size.
        alpha = alpha.to(h.dtype)
        return conv.propagate(edge_index, x=(h, None), alpha=alpha, size=size)

    if compiled:
        forward = torch.compile(forward)
    if op == "gat inference":
        detached = [tensor.detach() for tensor in work.leaves]
        return lambda: (forward(*detached),)
    return lambda: work.forward_backward(forward)


def pyg_compiled(work: Gat, op: str) -> Call:
    """The same through torch.compile."""
    return pyg(work, op, compiled=True)


def chunked(work: Gat, op: str) -> Call:
    """The published training path: plain torch on some rows at a time, with checkpoints."""
    csr = work.csr
    rows = [*range(0, csr.num_dst, CHUNK), csr.num_dst]
    edges = csr.indptr[torch.tensor(rows, device=csr.device)].tolist()
    src, dst = csr.indices.long(), csr.dst()
    pieces = [
        (slice(*ends), src[slice(*span)], dst[slice(*span)] - ends[0])
        for ends, span in zip(
            zip(rows, rows[1:], strict=False), zip(edges, edges[1:], strict=False), strict=True
        )
    ]

    def forward(h, score_src, score_dst):
        outs = [
            checkpoint(
                attend,
                h,
                score_src,
                score_dst[part],
                src,
                dst,
                use_reentrant=False,
                preserve_rng_state=False,
            )
            for part, src, dst in pieces
        ]
        return torch.cat(outs)

    return lambda: work.forward_backward(forward)


def attend(h: Tensor, score_src: Tensor, score_dst: Tensor, src: Tensor, dst: Tensor) -> Tensor:
    """Gather, softmax by scatter, scatter."""
    logits = score_src.index_select(0, src) + score_dst.index_select(0, dst)
    logits = leaky_relu(logits, NEGATIVE_SLOPE)
    index = dst[:, None].expand_as(logits)
    lowest = torch.full_like(score_dst, -torch.inf).detach()
    top = lowest.scatter_reduce(0, index, logits.detach(), "amax")
    weight = (logits - top.index_select(0, dst)).exp()
    mass = torch.zeros_like(score_dst).index_add(0, dst, weight)
    alpha = (weight / mass.index_select(0, dst)).to(h.dtype)
    rows = alpha[..., None] * h.index_select(0, src)
    return h.new_zeros(len(score_dst), *h.shape[1:]).index_add(0, dst, rows)


def plain_torch(work: Pairs, op: str) -> Call:
    """The definition, in the dtype of the features."""
    return work.both(ops.edge_dot_reference, op)


# By operation and by what they are called in the results.
PEERS = {
    "spmm": {
        "torch.sparse": torch_sparse,
        "torch.sparse int64": torch_sparse_int64,
        "torch.sparse.mm reduce": torch_sparse_reduce,
        "cupyx": cupyx_sparse,
        "gadkit in float32": in_float32,
    },
    "gat inference": {
        "gadkit with scores": scores_included,
        "warp per node": warp_per_node,
        "PyG": pyg,
        "gadkit in float32": in_float32,
    },
    "gat training forward": {},
    "gat backward": {},
    "gat forward + backward": {
        "PyG": pyg,
        "PyG compiled": pyg_compiled,
        "chunked torch": chunked,
        "gadkit in float32": in_float32,
        "gadkit, no edge dropped": no_edge_dropped,
    },
    "edge_dot": {"plain torch": plain_torch},
    "edge_dot backward": {"plain torch": plain_torch},
    "edge_dot forward + backward": {"plain torch": plain_torch},
}
# Only where a case asks for them: some take long, to compile or to run.
ASKED = {
    "PyG compiled",
    "chunked torch",
    "torch.sparse int64",
    "torch.sparse.mm reduce",
    "gadkit in float32",
    "gadkit, no edge dropped",
}
OTHER_RESULT = {"gadkit, no edge dropped"}  # they compute something else, for its time alone
