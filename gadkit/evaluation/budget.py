"""How many frauds to expect among the first accounts of a list, and how sure that is.

Scores are calibrated on labelled nodes that no detector has learned from: a logistic curve of their
logits (Platt, Probabilistic Outputs for Support Vector Machines, 1999). What few labels leave open
of that curve, and chance in each account, make the interval (Gelman et al., Bayesian Data Analysis,
3rd ed. 2013, chapters 4 and 16: normal approximation of a logistic regression, and simulation of
what it predicts).
"""

from typing import NamedTuple

import torch
from scipy.special import expit
from torch import Tensor
from torch.nn.functional import softplus

from gadkit.evaluation.metrics import Interval

EDGE = 1e-4  # probabilities are kept this far from 0 and 1, where logits have no end
LEAST_SLOPE = 1e-3  # a score that says nothing still ranks
LEVEL = 0.95
DRAWS = 4_000


class Calibration(NamedTuple):
    """A logistic curve from the logit of a score to the probability of fraud.

    Attributes:
        weight: (2,) float64 slope and bias.
        covariance: (2, 2) float64, how sure they are.
    """

    weight: Tensor
    covariance: Tensor

    def __call__(self, score: Tensor) -> Tensor:
        """Return the probabilities of scores in [0, 1], both (n,) float64."""
        return sigmoid(_curve(self.weight, score)[0])

    def drawn(self, score: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Return probabilities by curves that the labels leave possible, (draws, n) float64."""
        normal = torch.randn(draws, 2, dtype=torch.float64, generator=generator)
        weights = self.weight + normal @ torch.linalg.cholesky(self.covariance).T
        return sigmoid(_curve(weights, score))


def _curve(weight: Tensor, score: Tensor) -> Tensor:
    """Return slope times logit plus bias, (number of weights, n)."""
    slope, bias = weight.reshape(-1, 2).T
    return slope.clamp(min=LEAST_SLOPE)[:, None] * logit(score) + bias[:, None]


def sigmoid(logits: Tensor) -> Tensor:
    """Take the sigmoid of each logit by itself.

    torch.sigmoid rounds the last elements of a tensor, which do not fill a vector, otherwise than
    the others: a node's score would depend on which nodes it is asked for with.
    """
    return torch.from_numpy(expit(logits.numpy()))


def logit(probability: Tensor) -> Tensor:
    """Return the logits of probabilities, float64, those within `EDGE` of 0 and 1 moved there."""
    return probability.double().clamp(EDGE, 1 - EDGE).logit()


def platt(score: Tensor, y_true: Tensor) -> Calibration:
    """Fit slope and bias of the logits by Newton's method with halved steps.

    A weak pull, a standard normal around slope 1 and bias 0, keeps both finite where the classes
    come apart and near the score as it is where labels are few.

    Args:
        score: (n,) in [0, 1].
        y_true: (n,) in {0, 1}, 1 = fraud.
    """
    x = torch.stack([logit(score), torch.ones(len(score), dtype=torch.float64)], 1)
    y, start = y_true.double(), torch.tensor([1.0, 0.0], dtype=torch.float64)

    def loss(weight: Tensor) -> Tensor:
        z = x @ weight
        return (softplus(z) - y * z).sum() + (weight - start).square().sum() / 2

    def curvature(p: Tensor) -> Tensor:
        return x.T @ (x * (p * (1 - p))[:, None]) + torch.eye(2, dtype=torch.float64)

    weight = start
    for _ in range(50):
        p = (x @ weight).sigmoid()
        step = torch.linalg.solve(curvature(p), x.T @ (p - y) + weight - start)
        while loss(weight - step) > loss(weight):
            step = step / 2
        weight = weight - step
    return Calibration(weight, torch.linalg.inv(curvature((x @ weight).sigmoid())))


def expected_frauds(
    score: Tensor,
    calibration: Calibration,
    *,
    group: Tensor | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Say how many of some accounts to expect to be frauds.

    The number is the sum of their probabilities. The interval is that of `DRAWS` simulated
    outcomes, each by another curve that the labels leave possible. Accounts of one group stand or
    fall together in them, as rings do, which makes it wider than if each had its own luck.

    Args:
        score: (n,) in [0, 1].
        calibration: of `platt`.
        group: (n,) int64, equal for accounts that are joined; all stand alone if None.
        level: share of the outcomes within the interval.
        seed: of the simulation.
    """
    generator = torch.Generator().manual_seed(seed)
    group = torch.arange(len(score)) if group is None else group.unique(return_inverse=True)[1]
    probability = calibration.drawn(score, DRAWS, generator)
    luck = torch.rand(DRAWS, len(score), dtype=torch.float64, generator=generator)[:, group]
    counts = (luck < probability).sum(1).double()
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = (
        float(torch.quantile(counts, end, interpolation=side))
        for end, side in zip(ends, ("lower", "higher"), strict=True)
    )
    return Interval(float(calibration(score).sum()), low, high)


def share_elsewhere(probability: Tensor, share: float, *, steps: int = 1_000) -> float:
    """Estimate how frequent fraud is among other accounts than those that were labelled.

    By expectation and maximization (Saerens, Latinne and Decaestecker, Adjusting the Outputs of a
    Classifier to New a Priori Probabilities, Neural Computation 2002). It holds if frauds look
    alike in both, and so do the others: where labels were given by what accounts turned out to be,
    and not by what they looked like. Then the probabilities as they are hold for the labelled only.

    Args:
        probability: (n,) calibrated on labelled accounts, of the others.
        share: of frauds among the labelled accounts.
        steps: of the iteration, at most.
    """
    estimate = share
    for _ in range(steps):
        previous, estimate = estimate, float(with_share(probability, share, estimate).mean())
        if abs(estimate - previous) < 1e-9:
            break
    return estimate


def with_share(probability: Tensor, share: float, other: float) -> Tensor:
    """Return what probabilities are where fraud has another share, all else equal (Bayes)."""
    fraud, rest = probability * other / share, (1 - probability) * (1 - other) / (1 - share)
    return fraud / (fraud + rest)
