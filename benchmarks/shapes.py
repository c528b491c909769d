"""Graphs to measure on: made from a seed, on the device that they are for.

A key is `destination * num_src + source`: sorting keys puts edges into rows, and rows into order.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from gadkit.graph import CSR

NODES = 1_500_000  # as many as the marketplace that gadkit is designed for
USERS, PRODUCTS, SELLERS = 1_000_000, 480_000, 20_000
RMAT = (0.57, 0.19, 0.19)  # Graph500: chances of three quadrants of the matrix; the rest is 0.05
KEY = 8  # bytes


def make(name: str, *, device: str, scale: float = 1.0, seed: int = 0) -> CSR:
    """Make a graph of `SHAPES`, its transpose and plan included.

    Args:
        name: a key of `SHAPES`.
        device: where to make it; another kind of device draws other numbers.
        scale: factor to its numbers of nodes and of edges; "tiny" stays as it is.
        seed: of the draws.

    Returns:
        The graph; its rows are sorted, and edges may repeat.
    """
    return build(*sizes(name, scale), device=device, seed=seed)


def build(
    draw: Callable[..., Tensor],
    num_dst: int,
    num_src: int,
    num_edges: int,
    *,
    device: str,
    seed: int = 0,
) -> CSR:
    """Make a graph of the edges that `draw` draws; see `make`."""
    generator = torch.Generator(device).manual_seed(seed)
    keys = draw(generator, num_dst, num_src, num_edges).sort().values
    first = torch.arange(num_dst + 1, device=device) * num_src
    indptr = torch.searchsorted(keys, first)
    return CSR(indptr, keys.remainder_(num_src).int(), num_src).prepare()


def sizes(name: str, scale: float) -> tuple[Callable[..., Tensor], int, int, int]:
    """Return how to draw a shape, and its numbers of destinations, sources and edges."""
    draw, *counts = SHAPES[name]
    if name == "tiny":
        return draw, *counts
    return draw, *(max(2, round(scale * count)) for count in counts)


def memory(name: str, scale: float) -> int:
    """Return about how many bytes making a graph takes: a sort holds the keys four times over."""
    return 6 * KEY * sizes(name, scale)[3]


def uniform(generator: torch.Generator, num_dst: int, num_src: int, num_edges: int) -> Tensor:
    """Every pair is as likely as any other: no row is popular, so no cache helps."""
    size, device = (num_edges,), generator.device
    return torch.randint(num_dst * num_src, size, generator=generator, device=device)


def star(generator: torch.Generator, num_dst: int, num_src: int, num_edges: int) -> Tensor:
    """`uniform`, but a tenth of all edges lead to one destination."""
    keys = uniform(generator, num_dst, num_src, num_edges)
    hub = keys[: num_edges // 10]
    hub.remainder_(num_src).add_(num_dst // 2 * num_src)
    return keys


def power_law(generator: torch.Generator, num_dst: int, num_src: int, num_edges: int) -> Tensor:
    """R-MAT (Chakrabarti, Zhan and Faloutsos, SDM 2004): every bit of the two ids picks a quadrant.

    Ids below the next power of two are divided down to the number of nodes, and shuffled, so that
    popular nodes are not neighbors in memory.
    """
    device, bits = generator.device, (max(num_dst, num_src) - 1).bit_length()
    upper, right, lower = RMAT
    dst = torch.zeros(num_edges, dtype=torch.int64, device=device)
    src = torch.zeros_like(dst)
    for _ in range(bits):
        chance = torch.rand(num_edges, generator=generator, device=device)
        below = chance >= upper + right
        dst.mul_(2).add_(below)
        src.mul_(2).add_((chance >= upper) ^ below | (chance >= upper + right + lower))
    ends = []
    for ids, count in ((dst, num_dst), (src, num_src)):
        shuffled = torch.randperm(count, generator=generator, device=device)
        ends.append(shuffled[ids.mul_(count) >> bits])
    return ends[0].mul_(num_src).add_(ends[1])


def skewed(dst_power: float, src_power: float) -> Callable[..., Tensor]:
    """Draw both ends with density falling as a power of the rank; 1 is uniform, more is steeper."""

    def draw(generator: torch.Generator, num_dst: int, num_src: int, num_edges: int) -> Tensor:
        ends = []
        for count, power in ((num_dst, dst_power), (num_src, src_power)):
            device = generator.device
            rank = torch.rand(num_edges, generator=generator, device=device).pow_(power).mul_(count)
            shuffled = torch.randperm(count, generator=generator, device=device)
            ends.append(shuffled[rank.long().clamp_(max=count - 1)])
        return ends[0].mul_(num_src).add_(ends[1])

    return draw


# How to draw, num_dst, num_src, num_edges.
SHAPES = {
    "uniform 10M": (uniform, NODES, NODES, 10_000_000),
    "star": (star, NODES, NODES, 10_000_000),
    "uniform 50M": (uniform, NODES, NODES, 50_000_000),
    "power law": (power_law, 1 << 20, 1 << 20, 16_000_000),
    "R-MAT 3M": (power_law, 1 << 17, 1 << 17, 3_000_000),
    "skewed 36M": (skewed(1.5, 1.5), NODES, NODES, 36_500_000),
    "marketplace buys": (skewed(3, 1.5), PRODUCTS, USERS, 10_000_000),
    "marketplace rev_sells": (skewed(3, 1), SELLERS, PRODUCTS, 1_000_000),
    "Reddit-like": (skewed(1.5, 1.5), 233_000, 233_000, 115_000_000),
    "tiny": (uniform, 2_708, 2_708, 10_556),
}
