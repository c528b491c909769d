"""How many frauds to expect among the first accounts of a list, and how sure that is.

Scores become probabilities on labelled nodes that no detector has learned from, by a logistic curve
of their logits (Platt, Probabilistic Outputs for Support Vector Machines, 1999). A curve with two
numbers may be off at the very top, where a list is read: so the frauds to expect are also judged by
those of the labelled nodes that would stand among the first (`expected_frauds`).
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from gadkit.evaluation.metrics import Interval
from gadkit.graph.arrays import Array, numbers

EDGE = 1e-4  # probabilities are kept this far from 0 and 1, where logits have no end
LEAST_SLOPE = 1e-3  # a score that says nothing still ranks
LEVEL = 0.95
PRIOR = 2.0  # labelled accounts that the curve counts for beside those at the top
OPEN = 0.5  # of an account, of each class, counted on top: a few frauds are no proof of many


class Calibration(NamedTuple):
    """A logistic curve from the logit of a score to the probability of fraud."""

    slope: float
    bias: float

    def __call__(self, score: Array) -> Tensor:
        """Return the probabilities of scores in [0, 1], both (n,) float64; NaN of NaN."""
        score = numbers(score, "score", if_missing="write NaN").detach()
        return sigmoid(self.slope * logit(score) + self.bias)


def sigmoid(logits: Tensor) -> Tensor:
    """Take the sigmoid of each logit by itself.

    torch.sigmoid rounds the last elements of a tensor, which do not fill a vector, otherwise than
    the others: a node's score would depend on which nodes it is asked for with.
    """
    return torch.from_numpy(expit(logits.numpy()))


def logit(probability: Tensor) -> Tensor:
    """Return the logits of probabilities, float64, those within `EDGE` of 0 and 1 moved there."""
    return probability.double().clamp(EDGE, 1 - EDGE).logit()


def _checked(values: Array, name: str) -> Tensor:
    """Return numbers from 0 to 1 as float64, (n,).

    Raises:
        TypeError: they are no numbers.
        ValueError: one is outside of [0, 1] or missing, or there is more than one axis.
    """
    values = numbers(values, name, if_missing="leave it out").detach().cpu().double()
    if values.dim() != 1:
        raise ValueError(f"{name} must be (n,), got {tuple(values.shape)}; .flatten() it")
    outside = (~((values >= 0) & (values <= 1))).nonzero().flatten()  # NaN too
    if len(outside):
        raise ValueError(
            f"{name} is {float(values[outside[0]])} at position {int(outside[0])}; it must lie in "
            "[0, 1]: take the sigmoid of logits, and leave out what has none"
        )
    return values


def platt(score: Array, y_true: Array) -> Calibration:
    """Fit slope and bias of the logits by Newton's method with halved steps.

    A weak pull to slope 1 and bias 0 keeps both finite where the classes come apart, and near the
    score as it is where labels are few.

    Args:
        score: (n,) in [0, 1].
        y_true: (n,) in {0, 1}, 1 = fraud.

    Raises:
        TypeError, ValueError: they are no numbers in [0, 1], or not as many of each.
    """
    score, y_true = _checked(score, "score"), _checked(y_true, "y_true")
    if len(score) != len(y_true):
        raise ValueError(f"there are {len(score):,} scores, but {len(y_true):,} labels")
    # In NumPy, on one thread: torch's sums and products follow the number of threads.
    x = np.stack([logit(score).double().numpy(), np.ones(len(score))])
    y, start = y_true.double().numpy(), np.array([1.0, 0.0])

    def logits(weight: np.ndarray) -> np.ndarray:
        return weight[0] * x[0] + weight[1]

    def loss(weight: np.ndarray) -> float:
        z = logits(weight)
        return (np.logaddexp(0, z) - y * z).sum() + np.square(weight - start).sum() / 2

    weight = start
    for _ in range(50):
        p = expit(logits(weight))
        gradient = (x * (p - y)).sum(1) + weight - start
        curve = (x[:, None] * x * (p * (1 - p))).sum(2) + np.eye(2)
        step = np.linalg.solve(curve, gradient)
        while loss(weight - step) > loss(weight):
            step = step / 2
        weight = weight - step
    return Calibration(max(float(weight[0]), LEAST_SLOPE), float(weight[1]))


def expected_frauds(
    score: Array, probability: Array, held_out: Array, *, level: float = LEVEL
) -> Interval:
    """Say how many frauds to expect among accounts at the head of a list.

    The labelled accounts whose score is at least that of the last of them say how many are frauds
    there; the mean probability counts as `PRIOR` more such accounts, and half an account of each
    class is added (the prior of Jeffreys), so that a curve that is sure of itself does not make the
    number certain. What is left open is a beta distribution, and the number of frauds beta-binomial
    (Gelman et al., Bayesian Data Analysis, 3rd ed. 2013, chapters 2 and 5).

    Args:
        score: (n,) of the accounts.
        probability: (n,) theirs, by `platt`.
        held_out: (m, 2) rows [score, 1 = fraud] of labelled accounts that nothing was learned from.
        level: share of the outcomes within the interval.

    Raises:
        TypeError, ValueError: a score or a probability is no number in [0, 1].
    """
    from scipy.stats import betabinom

    score, probability = _checked(score, "score"), _checked(probability, "probability")
    held_out = numbers(held_out, "held_out", if_missing="leave its row out").double()
    if held_out.dim() != 2 or held_out.shape[1] != 2 or held_out.isnan().any():
        raise ValueError(
            f"held_out must be (m, 2) rows [score, 1 = fraud], got {tuple(held_out.shape)} with "
            f"{int(held_out.isnan().sum())} NaN; leave out accounts without a score or a label"
        )
    above = held_out[held_out[:, 0] >= score.min().double(), 1]
    mean, frauds = float(probability.mean()), float(above.sum())
    alpha, beta = PRIOR * mean + frauds, PRIOR * (1 - mean) + len(above) - frauds
    number = betabinom(len(score), alpha + OPEN, beta + OPEN)
    low, high = number.ppf([(1 - level) / 2, (1 + level) / 2])
    return Interval(float(number.mean()), float(low), float(high))


def share_elsewhere(probability: Array, share: float, *, steps: int = 1_000) -> float:
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
    estimate, probability = share, _checked(probability, "probability")
    for _ in range(steps):
        previous, estimate = estimate, float(with_share(probability, share, estimate).mean())
        if abs(estimate - previous) < 1e-9:
            break
    return estimate


def with_share(probability: Tensor, share: float, other: float) -> Tensor:
    """Return what probabilities are where fraud has another share, all else equal (Bayes)."""
    fraud, rest = probability * other / share, (1 - probability) * (1 - other) / (1 - share)
    return fraud / (fraud + rest)
