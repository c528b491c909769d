"""What is measured, in the order of what it tells: a list for GPUs and one for CPUs."""

from typing import NamedTuple

import shapes
import torch
from work import BLOCK_BYTES, Config, Gat, Pairs, Spmm, is_sampled

F32, BF16 = torch.float32, torch.bfloat16
ALWAYS = "tiny"  # takes no time worth a budget


class Case(NamedTuple):
    """A graph, the operations on it, and how they are called."""

    shape: str
    work: type
    config: Config = Config()
    also: tuple[str, ...] = ()  # peers of `peers.ASKED`: slow ones, or such that tell little else
    ops: tuple[str, ...] = ()  # all that the work has, if none is named

    def __str__(self) -> str:
        return f"{self.shape}, {self.work.__name__.lower()}, {self.config}"

    def memory_needed(self, scale: float, device: str) -> int:
        """Estimate the bytes: the graph, its nodes' rows, and the results in float64."""
        _, num_dst, num_src, num_edges = shapes.sizes(self.shape, scale)
        # Some eight rows of float32 for a node, or half as many where results are sampled.
        row = 16 if is_sampled(device, num_edges) else 32
        rows = row * (num_dst + num_src) * self.config.heads * self.config.dim
        pairs = 64 * (self.config.pairs or num_edges) if self.work is Pairs else 0
        return shapes.memory(self.shape, scale) + rows + pairs + 8 * BLOCK_BYTES[device]


GPU = [
    Case("uniform 10M", Gat, also=("chunked torch",)),
    Case("uniform 10M", Spmm),
    Case("uniform 10M", Pairs),
    Case("uniform 10M", Gat, Config(dtype=BF16)),
    Case("uniform 10M", Spmm, Config(dtype=BF16)),
    Case("uniform 10M", Gat, Config(drop_edge=0.85)),
    Case("star", Gat),
    Case("star", Spmm),
    Case("star", Gat, Config(dtype=BF16)),
    Case("uniform 50M", Gat, Config(dtype=BF16)),
    Case("uniform 50M", Gat),
    Case("uniform 50M", Spmm),
    Case("marketplace buys", Gat),
    Case("marketplace buys", Gat, Config(dtype=BF16, drop_edge=0.85)),
    Case("marketplace rev_sells", Gat),
    Case("power law", Gat),
    Case("power law", Spmm),
    Case("power law", Gat, Config(dtype=BF16)),
    Case("Reddit-like", Gat, Config(dtype=BF16)),
    Case("Reddit-like", Spmm),
    Case("Reddit-like", Gat),
    Case("uniform 10M", Gat, Config(dim=64), also=("PyG compiled",)),
    Case("uniform 10M", Gat, Config(dim=64, heads=4, dtype=BF16)),
    Case("uniform 10M", Gat, Config(dim=64, heads=4)),
    Case("uniform 10M", Gat, Config(dim=256)),
    Case("uniform 10M", Gat, Config(dim=256, dtype=BF16)),
    Case("uniform 10M", Spmm, Config(dim=64)),
    Case("uniform 10M", Spmm, Config(dim=256)),
    Case("uniform 10M", Pairs, Config(dtype=BF16)),
    Case("uniform 10M", Gat, Config(heads=4, dtype=BF16)),
    Case("tiny", Gat),
    Case("tiny", Spmm),
    Case("tiny", Pairs),
]

SPARSE = ("torch.sparse int64", "torch.sparse.mm reduce")
STEP = ("gat inference", "gat forward + backward")
DOTS = ("edge_dot", "edge_dot forward + backward")
DROPPED = {"config": Config(drop_edge=0.85), "also": ("gadkit, no edge dropped",), "ops": STEP[1:]}
TWO_MILLION = Config(pairs=2_000_000)

CPU = [
    Case("R-MAT 3M", Spmm, also=SPARSE),
    Case("R-MAT 3M", Gat, ops=STEP),
    Case("R-MAT 3M", Gat, **DROPPED),
    Case("R-MAT 3M", Pairs, TWO_MILLION, ops=DOTS),
    Case("R-MAT 3M", Spmm, Config(dtype=BF16), also=("gadkit in float32",)),
    Case("R-MAT 3M", Gat, Config(dim=32, heads=4), ops=STEP[1:]),
    Case("R-MAT 3M", Gat, Config(dtype=BF16), also=("gadkit in float32",), ops=STEP),
    Case("tiny", Spmm, also=SPARSE),
    Case("tiny", Gat, ops=STEP),
    Case("tiny", Pairs, ops=DOTS),
    Case("skewed 36M", Spmm, also=SPARSE),
    Case("skewed 36M", Gat, ops=STEP[1:]),
    Case("skewed 36M", Gat, **DROPPED),
    Case("skewed 36M", Pairs, TWO_MILLION, ops=DOTS),
]
CASES = {"cuda": GPU, "cpu": CPU}
