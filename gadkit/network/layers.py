"""Parts that both networks are built of: first weights, scaling of features, band-pass filters.

A part holds weights or statistics and says how numbers flow through it; losses, loops and files are
elsewhere.
"""

from collections.abc import Iterator
from math import factorial

import torch
from torch import Tensor, nn

from gadkit.graph import CSR
from gadkit.graph.arrays import column_parts
from gadkit.ops import spmm

MAX_DEVIATIONS = 5.0  # where standardized features are clipped, lest an outlier drown its neighbors
KNOTS = 512  # quantiles kept of every feature


def glorot(*shape: int, generator: torch.Generator) -> nn.Parameter:
    """Return a weight drawn as in Glorot and Bengio (AISTATS 2010), uniform."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(*shape), generator=generator))


class ByName(nn.Module):
    """Weights or modules by node type or relation, in the order given.

    Torch's `ParameterDict` sorts its names and its `ModuleDict` refuses some, such as "type".

    Args:
        items: name to module, or name to parameter.
    """

    def __init__(self, items: dict[str, nn.Module] | dict[str, nn.Parameter]):
        super().__init__()
        self.names, values = list(items), list(items.values())
        parameters = all(isinstance(value, nn.Parameter) for value in values)
        self.held = nn.ParameterList(values) if parameters else nn.ModuleList(values)

    def __getitem__(self, name: str):
        return self.held[self.names.index(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __len__(self) -> int:
        return len(self.names)

    def items(self) -> Iterator[tuple]:
        """Return pairs of name and what is held under it."""
        return zip(self.names, self.held, strict=True)


class Standardize(nn.Module):
    """Scale features to mean 0 and deviation 1, with the statistics of the data it was fitted on.

    Args:
        dim: number of features.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))

    def fit(self, x: Tensor) -> "Standardize":
        """Take the statistics of x, (num_nodes, dim); a constant feature is left at zero."""
        parts = [torch.std_mean(part.double(), 0, correction=0) for part in column_parts(x)]
        deviation, mean = (torch.cat(values) for values in zip(*parts, strict=True))
        self.mean.copy_(mean)
        # Of a constant, rounding leaves a deviation that is tiny beside the mean but not zero;
        # divided by infinity, all that remains of the feature is 0.
        self.deviation.copy_(
            torch.where(deviation > 1e-6 * mean.abs() + 1e-12, deviation, torch.inf)
        )
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return standardized features, (num_nodes, dim), in the dtype of the weights."""
        scaled = (x - self.mean).div_(self.deviation).clamp_(-MAX_DEVIATIONS, MAX_DEVIATIONS)
        return scaled.to(self.mean.dtype)


class QuantileNormal(nn.Module):
    """Map every feature to a normal distribution by its ranks among the data it was fitted on.

    Skewed counts and amounts, of which fraud graphs are full, get the same spread as any other
    feature. Equal values share their middle rank, values between two quantiles are interpolated,
    and values outside all that was seen get the rank of the nearest.

    Args:
        dim: number of features.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("knots", torch.zeros(KNOTS, dim))

    def fit(self, x: Tensor) -> "QuantileNormal":
        """Take the quantiles of x, (num_nodes, dim); a constant feature is left at zero."""
        rows = torch.linspace(0, len(x) - 1, KNOTS, dtype=torch.float64).round().long()
        for column in range(x.shape[1]):
            ascending = x[:, column].to(self.knots.dtype).sort().values
            self.knots[:, column] = ascending[rows.to(x.device)]
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return normal scores, (num_nodes, dim), in the dtype of the weights."""
        rank = torch.empty(x.shape, dtype=self.knots.dtype, device=x.device)
        for column in range(x.shape[1]):
            values = x[:, column].to(self.knots.dtype).contiguous()
            rank[:, column] = _rank(values, self.knots[:, column].contiguous())
        return torch.special.ndtri((rank + 0.5) / KNOTS)


def _rank(x: Tensor, knots: Tensor) -> Tensor:
    """Return where each value lies among ascending knots, from 0 to one less than their number."""
    # With knots 10, 20, 20, 40: the value 20 has 1 knot below it and 3 that are not above it; it
    # equals knots 1 and 2, so its rank is their middle, 1.5. The value 30 has 3 of both, so it lies
    # between knots 2 and 3: rank 2 plus (30 - 20) / (40 - 20), 2.5.
    num_less = torch.searchsorted(knots, x)
    num_not_greater = torch.searchsorted(knots, x, right=True)
    low = knots[(num_less - 1).clamp(min=0)]
    gap = knots[num_less.clamp(max=len(knots) - 1)] - low
    interpolated = num_less - 1 + torch.where(gap > 0, (x - low) / gap, 0.0)
    middle = (num_less + num_not_greater - 1) / 2
    rank = torch.where(num_less == num_not_greater, interpolated, middle)
    return rank.clamp(0, len(knots) - 1)


TRANSFORMS = {"standard": Standardize, "quantile": QuantileNormal}


def beta_wavelets(csr: CSR, x: Tensor, order: int) -> list[Tensor]:
    """Split signals on a graph into frequency bands.

    With L = I - D^-1/2 A D^-1/2 and p + q = order, a band is

        W_pq x = (L/2)^p (I - L/2)^q x / (2 B(p + 1, q + 1))

    (Tang et al., Rethinking Graph Neural Networks for Anomaly Detection, ICML 2022, eq. 6; B is
    Euler's beta function). Anomalies shift energy to high frequencies, which a mean over neighbors
    removes.

    Args:
        csr: `HeteroGraph.homogeneous`: symmetric, with a self-loop per node.
        x: (total, dim) float.
        order: the number of propagations, 1 or more.

    Returns:
        order + 1 tensors (total, dim), from the lowest frequencies (p = 0) to the highest.
    """
    scale = csr.degrees().to(x.dtype).rsqrt()

    # With S = D^-1/2 A D^-1/2: sign 1 gives (I + S) h / 2 = (I - L/2) h, which keeps what neighbors
    # share; sign -1 gives (I - S) h / 2 = (L/2) h, which keeps where they differ.
    def filtered(h: Tensor, sign: int) -> Tensor:
        return (h + sign * spmm(csr, h, scale_dst=scale, scale_src=scale)) / 2

    bands = []
    for p in range(order + 1):
        band = x.contiguous()
        for step in range(order):  # p times L/2, then q = order - p times I - L/2
            band = filtered(band, -1 if step < p else 1)
        # 1 / (2 B(p + 1, q + 1)) in factorials
        bands.append(band * (factorial(order + 1) / (2 * factorial(p) * factorial(order - p))))
    return bands
