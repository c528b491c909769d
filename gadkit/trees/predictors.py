"""What learners leave: functions from rows to probabilities, each no more than a few arrays.

A predictor is made of arrays (`arrays`) and can be made of them again (`from_arrays`), so it is
saved without pickling anything, and asks no library how it was fitted. It says of a row the same
to the last bit before and after, and (but for the perceptron) whichever rows come with it.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from torch import Tensor

TINY = 1e-7  # values nearer than this to the ends of a scale are at its ends, as sklearn has it
ROWS = 256  # go down one tree together, so that rows and tree stay in the cache


@dataclass(eq=False)
class Boosted:
    """Boosted trees, stopped where they validated best.

    Attributes:
        booster: xgboost's.
        rounds: how many of its trees are used.
    """

    booster: object
    rounds: int

    def __call__(self, x: Tensor) -> Tensor:
        """Return the probability of each row of x, (n,) float64."""
        # The same to the last bit as of a DMatrix, which takes three times as long to make.
        booster, limit = self._on_all_threads(), (0, self.rounds)
        values = booster.inplace_predict(x.numpy(), iteration_range=limit)
        return torch.from_numpy(values.astype(np.float64))

    def contributions(self, x: Tensor) -> Tensor:
        """Return how each column moves each row's logit, (n, dim + 1); the last is a constant.

        Shapley values of the trees (Lundberg et al., From local explanations to global
        understanding with explainable AI for trees, Nature Machine Intelligence 2020).
        """
        from xgboost import DMatrix

        booster, limit = self._on_all_threads(), (0, self.rounds)
        values = booster.predict(DMatrix(x.numpy()), iteration_range=limit, pred_contribs=True)
        return torch.from_numpy(values)

    def _on_all_threads(self) -> object:
        """Return the booster, which asks as many threads as torch has now; the fit may have had
        fewer."""
        self.booster.set_param({"nthread": torch.get_num_threads()})
        return self.booster

    def arrays(self) -> dict[str, np.ndarray]:
        """Return xgboost's own file (Universal Binary JSON, uint8) and the number of rounds."""
        content = np.frombuffer(bytes(self.booster.save_raw("ubj")), np.uint8)
        return {"ubj": content, "rounds": np.array([self.rounds], np.int64)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], dim: int) -> "Boosted":
        """Make trees of `arrays`, for rows of `dim` columns.

        Raises:
            ValueError: xgboost cannot read them, or they are for other rows.
        """
        from xgboost import Booster
        from xgboost.core import XGBoostError

        content, rounds = arrays["ubj"], arrays["rounds"].item()
        try:
            booster = Booster({"nthread": torch.get_num_threads()}, model_file=bytearray(content))
            trees, columns = booster.num_boosted_rounds(), booster.num_features()
        except XGBoostError as error:
            raise ValueError(f"xgboost cannot read its trees: {str(error)[:200]}") from error
        if columns != dim or not 0 < rounds <= trees:
            raise ValueError(
                f"boosted trees of {columns} columns and {trees} rounds, but {dim} columns and "
                f"{rounds} rounds are needed"
            )
        return cls(booster, rounds)


_OF_FOREST = {
    "ends": np.int64, "feature": np.int32, "threshold": np.float64, "left": np.int32,
    "right": np.int32, "share": np.float64,
}  # fmt: skip


@dataclass(eq=False)
class Forest:
    """A forest of trees, which vote with the share of anomalies in the leaf that a row falls into.

    Nodes of all trees stand one after the other, a tree's root first and children after parents.

    Attributes:
        ends: (num_trees,) int64, one past the last node of each tree.
        feature: (num_nodes,) int32, the column that is asked about; -1 in leaves.
        threshold: (num_nodes,) float64; a value that is not above it goes left.
        left, right: (num_nodes,) int32, the children; -1 in leaves.
        share: (num_nodes,) float64, of anomalies.
        fill: (dim,) float32, what a missing value of each column is read as, see `usual`.
    """

    ends: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    share: np.ndarray
    fill: np.ndarray | float = 0.0  # as it was before there was a choice

    @classmethod
    def of_trees(cls, trees: list, fill: np.ndarray | float = 0.0) -> "Forest":
        """Put the fitted trees of sklearn, of the classes 0 and 1, one after the other."""
        counts = [tree.node_count for tree in trees]
        ends = np.cumsum(counts, dtype=np.int64)
        first = np.repeat(ends - counts, counts)
        left, right, feature, threshold = (
            np.concatenate([getattr(tree, name) for tree in trees])
            for name in ("children_left", "children_right", "feature", "threshold")
        )
        is_leaf = left < 0
        left, right = (np.where(is_leaf, -1, side + first) for side in (left, right))
        share = np.concatenate([tree.value[:, 0, 1] for tree in trees])
        return cls(
            ends, np.where(is_leaf, -1, feature).astype(np.int32), threshold.astype(np.float64),
            left.astype(np.int32), right.astype(np.int32), share.astype(np.float64), fill,
        )  # fmt: skip

    def __call__(self, x: Tensor) -> Tensor:
        """Return the mean vote on each row of x, (n,) float64; each thread has rows of its own."""
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(threads) as pool:
            votes = [*pool.map(self._mean_vote, np.array_split(filled(x, self.fill), threads))]
        return torch.from_numpy(np.concatenate(votes))

    def _mean_vote(self, x: np.ndarray) -> np.ndarray:
        votes = np.zeros(len(x))
        _add_votes(
            x, self.ends, self.feature, self.threshold, self.left, self.right, self.share, votes
        )
        return votes / len(self.ends)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the attributes by name."""
        return vars(self) | {"fill": np.asarray(self.fill, np.float32)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], dim: int) -> "Forest":
        """Make a forest of `arrays`, for rows of `dim` columns.

        Raises:
            ValueError: following them could leave the arrays, or never end.
        """
        forest = cls(**arrays)
        count, node = len(forest.feature), np.arange(len(forest.feature))
        for name, dtype in _OF_FOREST.items():
            array, length = arrays[name], len(forest.ends) if name == "ends" else count
            if array.dtype != dtype or array.shape != (length,):
                raise ValueError(f"{name} of a forest is {array.shape} {array.dtype}")
        ends, is_leaf = forest.ends, forest.left < 0
        if len(ends) == 0 or ends[0] < 1 or (np.diff(ends) < 1).any() or ends[-1] != count:
            raise ValueError("the trees of a forest do not follow one another")
        end = ends[np.searchsorted(ends, node, side="right")]
        for side in (forest.left, forest.right):
            if not (is_leaf | ((side > node) & (side < end))).all():
                raise ValueError("a child in a forest does not come after its parent in its tree")
        if not (is_leaf | ((forest.feature >= 0) & (forest.feature < dim))).all():
            raise ValueError(f"a forest asks about a column that is not one of {dim}")
        _check_fill(forest.fill, dim)
        return forest


@njit(cache=True, nogil=True)
def _add_votes(x, ends, feature, threshold, left, right, share, votes):
    """Add the votes of all trees, in their order, to `votes` (num_rows,) float64.

    Args:
        x: (num_rows, dim) float32.
        ends, feature, threshold, left, right, share: as in `Forest`.
        votes: is written to.
    """
    # The rows go down the trees in companies of `ROWS`: the first company through all trees, then
    # the next. Each row meets the trees in the same order, so that its sum rounds in the same way.
    for begin in range(0, len(x), ROWS):
        root = 0
        for tree in range(len(ends)):
            for row in range(begin, min(begin + ROWS, len(x))):
                node = root
                while left[node] >= 0:
                    is_low = x[row, feature[node]] <= threshold[node]
                    node = left[node] if is_low else right[node]
                votes[row] += share[node]
            root = ends[tree]


@dataclass(eq=False)
class Scale:
    """A scale that turns columns into a normal distribution by their ranks in training.

    Attributes:
        quantiles: (num_quantiles, dim) of the training rows.
        references: (num_quantiles,) their ranks, from 0 to 1.
        mean, deviation: (dim,) of the normal values of the training rows, taken out again.
        fill: (dim,) float32, what a missing value of each column is read as, see `usual`.
    """

    quantiles: np.ndarray
    references: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    fill: np.ndarray | float = 0.0  # as it was before there was a choice

    @classmethod
    def of_pipeline(cls, ranks, standard, fill: np.ndarray | float = 0.0) -> "Scale":
        """Take what sklearn's QuantileTransformer and StandardScaler have fitted."""
        return cls(ranks.quantiles_, ranks.references_, standard.mean_, standard.scale_, fill)

    def transform(self, x: Tensor) -> np.ndarray:
        """Return the rows on the scale, (n, dim) float32."""
        columns = filled(x, self.fill).copy()
        for k in range(columns.shape[1]):
            columns[:, k] = _normal_by_rank(columns[:, k], self.quantiles[:, k], self.references)
        columns -= self.mean.astype(columns.dtype)
        columns /= self.deviation.astype(columns.dtype)
        return columns

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the attributes by name."""
        return vars(self) | {"fill": np.asarray(self.fill, np.float32)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], dim: int) -> "Scale":
        """Make a scale of `arrays`, for rows of `dim` columns.

        Raises:
            ValueError: they are for other rows.
        """
        scale = cls(**arrays)
        if scale.quantiles.shape[1:] != (dim,):
            raise ValueError(
                f"a scale of quantiles {scale.quantiles.shape}, but {dim} columns are needed"
            )
        _check_fill(scale.fill, dim)
        return scale


def _normal_by_rank(column: np.ndarray, quantiles: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Turn values into those of a normal distribution that have the same rank.

    A value that many share has several ranks; the mean of the first and the last is taken.
    """
    from scipy.special import ndtri

    is_low, is_high = column - TINY < quantiles[0], column + TINY > quantiles[-1]
    upward = np.interp(column, quantiles, ranks)
    downward = np.interp(-column, -quantiles[::-1], -ranks[::-1])
    rank = (0.5 * (upward - downward)).astype(column.dtype)
    rank[is_high], rank[is_low] = 1, 0
    low, high = ndtri(TINY - np.spacing(1)), ndtri(1 - (TINY - np.spacing(1)))
    return np.clip(ndtri(rank).astype(np.float64), low, high)


@dataclass(eq=False)
class Linear:
    """A linear model of scaled columns.

    Attributes:
        scale: of the columns.
        weight: (dim,) float64.
        bias: its logit where all columns are 0.
    """

    scale: Scale
    weight: np.ndarray
    bias: float

    def __call__(self, x: Tensor) -> Tensor:
        """Return the probability of each row of x, (n,) float64."""
        return self.of_scaled(self.scale.transform(x))

    def of_scaled(self, columns: np.ndarray) -> Tensor:
        """Return the probability of each row of columns on the scale, (n,) float64."""
        from scipy.special import expit

        # Row by row: a product of matrices rounds a row by where in the matrix it is.
        columns = np.ascontiguousarray(columns, dtype=np.float64)
        return torch.from_numpy(expit(np.einsum("rc,c->r", columns, self.weight) + self.bias))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of the scale, the weights and the bias."""
        return self.scale.arrays() | {"weight": self.weight, "bias": np.array([self.bias])}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], dim: int) -> "Linear":
        """Make a model of `arrays`, for rows of `dim` columns.

        Raises:
            ValueError: they are for other rows.
        """
        arrays = dict(arrays)
        weight, bias = arrays.pop("weight"), arrays.pop("bias").item()
        if weight.shape != (dim,):
            raise ValueError(f"a linear model of {len(weight)} columns, but {dim} are needed")
        return cls(Scale.from_arrays(arrays, dim), weight, bias)


@dataclass(eq=False)
class Perceptron:
    """A perceptron with one hidden layer of rectified units, on scaled columns.

    Attributes:
        scale: of the columns.
        weight_in, bias_in: (dim, hidden) and (hidden,).
        weight_out, bias_out: (hidden, 1) and (1,).
    """

    scale: Scale
    weight_in: np.ndarray
    bias_in: np.ndarray
    weight_out: np.ndarray
    bias_out: np.ndarray

    def __call__(self, x: Tensor) -> Tensor:
        """Return the probability of each row of x, (n,) float64."""
        from scipy.special import expit

        hidden = np.maximum(self.scale.transform(x) @ self.weight_in + self.bias_in, 0)
        logit = hidden @ self.weight_out + self.bias_out
        return torch.from_numpy(expit(logit)[:, 0].astype(np.float64))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of the scale and of the layers."""
        layers = {name: array for name, array in vars(self).items() if name != "scale"}
        return self.scale.arrays() | layers

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], dim: int) -> "Perceptron":
        """Make a perceptron of `arrays`, for rows of `dim` columns.

        Raises:
            ValueError: they are for other rows.
        """
        arrays = dict(arrays)
        names = ("weight_in", "bias_in", "weight_out", "bias_out")
        layers = {name: arrays.pop(name) for name in names}
        if len(layers["weight_in"]) != dim:
            raise ValueError(
                f"a perceptron of {len(layers['weight_in'])} columns, but {dim} are needed"
            )
        return cls(Scale.from_arrays(arrays, dim), **layers)


def usual(x: Tensor) -> np.ndarray:
    """Return what a missing value is read as by learners that cannot leave it out, (dim,) float32.

    It is 0 in a column that lacks values in training, where 0 is learned to mean so; in others the
    median of training, so that what is first missing when scoring is neither low nor high.

    Args:
        x: (num_rows, dim) float32, the rows of training.
    """
    if len(x) == 0:
        return np.zeros(x.shape[1], np.float32)
    return np.where(x.isnan().any(0), np.float32(0), np.median(filled(x), axis=0))


def filled(x: Tensor, fill: np.ndarray | float = 0.0) -> np.ndarray:
    """Columns that mean nothing for a node are `fill` to learners that cannot leave them out."""
    values = torch.where(x.isnan(), torch.as_tensor(fill, dtype=x.dtype), x)
    return values.nan_to_num(nan=0.0).contiguous().numpy()


def _check_fill(fill: np.ndarray | float, dim: int) -> None:
    if np.shape(fill) not in ((), (dim,)):
        raise ValueError(f"fill has shape {np.shape(fill)}, but there are {dim} columns")


PREDICTORS = {kind.__name__: kind for kind in (Boosted, Forest, Linear, Perceptron)}
