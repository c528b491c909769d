"""What is measured: inputs of the operations, the calls, and their results in float64.

On a CPU the results of a large graph in float64 would take longer than all that is measured there,
so they are computed for some nodes drawn at random: see `is_sampled`.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gadkit import ops
from gadkit.graph import CSR
from gadkit.ops import timing
from gadkit.ops.gat import coins, keep_mask

NEGATIVE_SLOPE = 0.2
SEED = 1  # of DropEdge
BLOCK_BYTES = {"cuda": 1 << 31, "cpu": 1 << 26}  # of a temporary of the float64 results
SAMPLED, SAMPLE = 4_000_000, 200  # edges of a graph above which, and nodes for which, on a CPU
SAMPLED_EDGES = 250_000  # that their attention may take

Results = tuple[Tensor, ...]


class Rows(NamedTuple):
    """Some rows of a result: which, and what they hold."""

    ids: Tensor
    values: Tensor


Exact = dict[str, tuple[Tensor | Rows, ...]]  # by operation, for each tensor that it returns


class Config(NamedTuple):
    """How an operation is called."""

    dim: int = 128
    heads: int = 1
    dtype: torch.dtype = torch.float32
    drop_edge: float = 0.0
    pairs: int = 0  # of `Pairs`; as many as there are edges if 0

    def __str__(self) -> str:
        heads = f"{self.heads} head{'s' if self.heads > 1 else ''}"
        words = [f"dim {self.dim}", heads, str(self.dtype).removeprefix("torch.")]
        return ", ".join(words + ([f"{self.drop_edge:.0%} dropped"] if self.drop_edge else []))


class Spmm:
    """A GCN propagation, with both scales."""

    ops = ("spmm",)

    def __init__(self, csr: CSR, config: Config, generator: torch.Generator):
        self.csr, self.config = csr, config
        self.x = randn(csr.num_src, config.dim, generator=generator).to(config.dtype)
        self.scale_dst = csr.degrees().clamp(min=1).float().rsqrt()
        self.scale_src = csr.transpose().degrees().clamp(min=1).float().rsqrt()

    @property
    def inputs(self) -> Results:
        return self.x, self.scale_dst, self.scale_src

    def call(self, op: str) -> Callable[[], Results]:
        scales = {"scale_dst": self.scale_dst, "scale_src": self.scale_src}
        return lambda: (ops.spmm(self.csr, self.x, **scales),)

    def exact(self) -> Exact:
        if is_sampled(self.csr.device.type, self.csr.num_edges):
            return self.exact_sample()
        x, scale_src = self.x.double(), self.scale_src.double()
        out = x.new_empty(self.csr.num_dst, self.config.dim)
        for rows, part in row_blocks(self.csr, self.config.dim):
            scale_dst = self.scale_dst[rows].double()
            out[rows] = ops.spmm_reference(part, x, scale_dst=scale_dst, scale_src=scale_src)
        return {"spmm": (out,)}

    def exact_sample(self) -> Exact:
        rows = some_nodes(self.csr.num_dst)
        part, sources = alone(self.csr.select(rows))
        scales = {"scale_dst": self.scale_dst[rows], "scale_src": self.scale_src[sources]}
        scales = {name: scale.double() for name, scale in scales.items()}
        return {"spmm": (Rows(rows, ops.spmm_reference(part, self.x[sources].double(), **scales)),)}

    def traffic(self, op: str) -> int:
        return timing.traffic(self.csr, self.config.dim, itemsize=self.config.dtype.itemsize)[op]


class Gat:
    """Attention with given scores; also features of the destinations, which others need."""

    ops = ("gat inference", "gat training forward", "gat backward", "gat forward + backward")

    def __init__(self, csr: CSR, config: Config, generator: torch.Generator):
        self.csr, self.config = csr, config
        row = config.heads, config.dim
        self.h = randn(csr.num_src, *row, generator=generator).to(config.dtype)
        square = csr.num_src == csr.num_dst
        self.h_dst = self.h if square else randn(csr.num_dst, *row, generator=generator)
        # Divided so that scores are about 1, and no logit decides a row alone.
        self.a_src = randn(*row, generator=generator) / config.dim**0.5
        self.a_dst = randn(*row, generator=generator) / config.dim**0.5
        self.score_src, self.score_dst = self.scores()
        self.g = randn(csr.num_dst, *row, generator=generator).to(config.dtype)
        for tensor in self.leaves:
            tensor.requires_grad_()

    @property
    def leaves(self) -> Results:
        return self.h, self.score_src, self.score_dst

    @property
    def inputs(self) -> Results:
        return *self.leaves, self.g

    def scores(self) -> tuple[Tensor, Tensor]:
        """Return the halves of the logits, (num_nodes, heads) float32."""
        pairs = (self.h, self.a_src), (self.h_dst, self.a_dst)
        return tuple(
            torch.einsum("nhd,hd->nh", h.detach().float(), a).contiguous() for h, a in pairs
        )

    def forward(self, h: Tensor, score_src: Tensor, score_dst: Tensor) -> Tensor:
        drop = {"drop_edge": self.config.drop_edge, "seed": SEED}
        return ops.gat_aggregate(
            self.csr, h, score_src, score_dst, negative_slope=NEGATIVE_SLOPE, **drop
        )

    def gradients(self, out: Tensor, retain_graph: bool = False) -> Results:
        return torch.autograd.grad(out, self.leaves, self.g, retain_graph=retain_graph)

    def forward_backward(self, forward: Callable[..., Tensor]) -> Results:
        out = forward(*self.leaves)
        return out.detach(), *self.gradients(out)

    def call(self, op: str) -> Callable[[], Results]:
        if op == "gat inference":
            detached = [tensor.detach() for tensor in self.leaves]
            return lambda: (self.forward(*detached),)
        if op == "gat training forward":
            return lambda: (self.forward(*self.leaves),)
        if op == "gat backward":
            out = self.forward(*self.leaves)
            return lambda: self.gradients(out, retain_graph=True)
        return lambda: self.forward_backward(self.forward)

    def exact(self) -> Exact:
        csr = self.csr
        if is_sampled(csr.device.type, csr.num_edges):
            return self.exact_sample()
        if self.config.drop_edge:  # of edges of the whole graph, since their ids decide
            csr = kept(csr, keep_mask(csr, self.config.drop_edge, SEED))
        h, score_src = (x.detach().double().requires_grad_() for x in self.leaves[:2])
        out = h.new_empty(csr.num_dst, *h.shape[1:])
        d_h, d_src = torch.zeros_like(h), torch.zeros_like(score_src)
        d_dst = score_src.new_zeros(csr.num_dst, self.config.heads)
        for rows, part in row_blocks(csr, self.config.heads * self.config.dim):
            score_dst = self.score_dst[rows].detach().double().requires_grad_()
            leaves = h, score_src, score_dst
            made = ops.gat_aggregate_reference(part, *leaves, negative_slope=NEGATIVE_SLOPE)
            gradients = torch.autograd.grad(made, leaves, self.g[rows].double())
            out[rows] = made.detach()
            d_h += gradients[0]
            d_src += gradients[1]
            d_dst[rows] = gradients[2]
        return self.by_op((out.detach(),), (d_h.detach(), d_src.detach(), d_dst.detach()))

    def exact_sample(self) -> Exact:
        """Return the gradients of some sources, and the results of all their destinations.

        Sources with popular destinations come last, lest they take all the memory.
        """
        sample = some_nodes(self.csr.num_src)
        edges = self.csr.transpose().select(sample)
        degrees = self.csr.degrees()[edges.indices.long()]
        sizes = degrees.new_zeros(len(sample)).index_add_(0, edges.dst(), degrees)
        order = sizes.argsort(stable=True)
        sample = sample[order[sizes[order].cumsum(0) <= SAMPLED_EDGES]].sort().values
        rows = self.csr.transpose().select(sample).indices.long().unique()
        part = self.csr.select(rows)
        if self.config.drop_edge:
            ends = part.indices.long(), rows[part.dst()]
            part = kept(part, coins(*ends, self.config.drop_edge, SEED))
        part, sources = alone(part)
        sample = sample[torch.isin(sample, sources)]  # the others have lost all their edges
        places = torch.searchsorted(sources, sample)
        chosen = self.h[sources], self.score_src[sources], self.score_dst[rows]
        leaves = [tensor.detach().double().requires_grad_() for tensor in chosen]
        out = ops.gat_aggregate_reference(part, *leaves, negative_slope=NEGATIVE_SLOPE)
        d_h, d_src, d_dst = torch.autograd.grad(out, leaves, self.g[rows].double())
        of_sources = (Rows(sample, gradient[places]) for gradient in (d_h, d_src))
        return self.by_op((Rows(rows, out.detach()),), (*of_sources, Rows(rows, d_dst)))

    def by_op(self, forward: tuple, backward: tuple) -> Exact:
        """Name what the passes make after the operations."""
        return dict(zip(self.ops, (forward, forward, backward, forward + backward), strict=True))

    def traffic(self, op: str) -> int:
        config = self.config
        moved = timing.traffic(
            self.csr,
            config.dim,
            heads=config.heads,
            itemsize=config.dtype.itemsize,
            kept=1 - config.drop_edge,
        )
        if op == "gat forward + backward":
            return moved["gat_forward"] + moved["gat_backward"]
        return moved[op.replace("training ", "").replace(" ", "_")]


class Pairs:
    """Random pairs of nodes, by default as many as the graph has edges."""

    ops = ("edge_dot", "edge_dot backward", "edge_dot forward + backward")

    def __init__(self, csr: CSR, config: Config, generator: torch.Generator):
        self.csr, self.config = csr, config
        sizes = csr.num_src, csr.num_dst
        drawn = {"generator": generator, "device": generator.device}
        self.num_pairs = config.pairs or csr.num_edges
        self.ids = tuple(torch.randint(size, (self.num_pairs,), **drawn) for size in sizes)
        self.z = tuple(
            randn(size, config.dim, generator=generator).to(config.dtype).requires_grad_()
            for size in sizes
        )
        self.g = randn(self.num_pairs, generator=generator).to(config.dtype)

    @property
    def inputs(self) -> Results:
        return *self.z, *self.ids, self.g

    def both(self, dot: Callable[..., Tensor], op: str) -> Callable[[], Results]:
        """Return the forward pass of a definition of `edge_dot`, the backward pass, or both."""
        if op == "edge_dot":
            detached = [z.detach() for z in self.z]
            return lambda: (dot(*detached, *self.ids),)
        if op == "edge_dot backward":
            out = dot(*self.z, *self.ids)
            return lambda: torch.autograd.grad(out, self.z, self.g, retain_graph=True)

        def step() -> Results:
            out = dot(*self.z, *self.ids)
            return out.detach(), *torch.autograd.grad(out, self.z, self.g)

        return step

    def call(self, op: str) -> Callable[[], Results]:
        return self.both(ops.edge_dot, op)

    def exact(self) -> Exact:
        if is_sampled(self.csr.device.type, self.csr.num_edges):
            return self.exact_sample()
        z_src, z_dst = (z.detach().double() for z in self.z)
        gradients = torch.zeros_like(z_src), torch.zeros_like(z_dst)
        out = z_src.new_empty(self.num_pairs)
        block = block_edges(self.csr, self.config.dim)
        for first in range(0, len(out), block):
            part = slice(first, first + block)
            src, dst = (ids[part] for ids in self.ids)
            out[part] = ops.edge_dot_reference(z_src, z_dst, src, dst)
            g = self.g[part, None].double()
            gradients[0].index_add_(0, src, g * z_dst[dst])
            gradients[1].index_add_(0, dst, g * z_src[src])
        return self.by_op(out, gradients)

    def exact_sample(self) -> Exact:
        """Return the gradients of some nodes at either end, and the dot products of the first."""
        gradients = []
        for end, other in ((0, 1), (1, 0)):
            nodes = some_nodes(len(self.z[end]))
            pairs = torch.isin(self.ids[end], nodes).nonzero()[:, 0]
            far = self.z[other].detach()[self.ids[other][pairs]].double()
            places = torch.searchsorted(nodes, self.ids[end][pairs])
            sums = far.new_zeros(len(nodes), far.shape[1])
            sums.index_add_(0, places, self.g[pairs, None].double() * far)
            gradients.append(Rows(nodes, sums))
            if end == 0:
                near = self.z[end].detach()[self.ids[end][pairs]].double()
                out = Rows(pairs, (near * far).sum(1))
        return self.by_op(out, tuple(gradients))

    def by_op(self, out: Tensor | Rows, gradients: tuple) -> Exact:
        """Name what the passes make after the operations."""
        return dict(zip(self.ops, ((out,), gradients, (out, *gradients)), strict=True))

    def traffic(self, op: str) -> int:
        moved = timing.traffic(
            self.csr,
            self.config.dim,
            itemsize=self.config.dtype.itemsize,
            num_pairs=self.num_pairs,
        )
        if op == "edge_dot forward + backward":
            return moved["edge_dot"] + moved["edge_dot_backward"]
        return moved[op.replace(" ", "_")]


def randn(*size: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*size, generator=generator, device=generator.device)


def is_sampled(device: str, num_edges: int) -> bool:
    """Tell whether results in float64 are computed for some nodes of a graph alone."""
    return device == "cpu" and num_edges > SAMPLED


def some_nodes(count: int) -> Tensor:
    """Draw `SAMPLE` nodes of `count`, ascending, the same in every run."""
    generator = torch.Generator().manual_seed(0)
    return torch.randperm(count, generator=generator)[:SAMPLE].sort().values


def alone(csr: CSR) -> tuple[CSR, Tensor]:
    """Return a graph of the sources that have edges, and which they are, ascending."""
    sources, indices = csr.indices.long().unique(return_inverse=True)
    return CSR(csr.indptr, indices.int(), len(sources)), sources


def block_edges(csr: CSR, columns: int) -> int:
    """Return how many edges a float64 result takes at a time."""
    return max(1, BLOCK_BYTES[csr.device.type] // (8 * columns))


def row_blocks(csr: CSR, columns: int) -> Iterator[tuple[slice, CSR]]:
    """Yield whole rows of a graph, few enough for a temporary with a float64 row per edge.

    Yields:
        Which rows, and they as a graph of their own.
    """
    block = block_edges(csr, columns)
    targets = torch.arange(0, csr.num_edges + 1, block, device=csr.device)
    cuts = torch.searchsorted(csr.indptr, targets).tolist()
    cuts = sorted({0, *cuts, csr.num_dst})
    for first, last in zip(cuts, cuts[1:], strict=False):
        indptr = csr.indptr[first : last + 1]
        edges = slice(int(indptr[0]), int(indptr[-1]))
        part = CSR(indptr - indptr[0], csr.indices[edges], csr.num_src)
        yield slice(first, last), part


def kept(csr: CSR, keep: Tensor) -> CSR:
    """Return the graph of some edges, given as (num_edges,) bool."""
    before = torch.cat([csr.indptr.new_zeros(1), keep.cumsum(0)])
    return CSR(before[csr.indptr], csr.indices[keep], csr.num_src)


def relative_error(made: Results, exact: tuple[Tensor | Rows, ...]) -> float:
    """Return the largest difference over the largest number, of the worst of several tensors."""
    errors = []
    for ours, right in zip(made, exact, strict=True):
        if isinstance(right, Rows):
            ours, right = ours.detach()[right.ids], right.values
        errors.append(float((ours.detach().double() - right).abs().max() / right.abs().max()))
    return float("nan") if any(error != error for error in errors) else max(errors)
