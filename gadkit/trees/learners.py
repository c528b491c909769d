"""What learns from a table of columns: trees, a logistic regression and a perceptron.

Libraries do the learning; here are the settings that were chosen once for all data sets. A learner
takes the training and the validation rows and returns a function from rows to probabilities. Only
boosted trees and the perceptron look at the validation rows, to know when to stop.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gadkit.evaluation.metrics import average_precision

FEW = 200  # training labels; with fewer, trees are kept small and nothing is stopped early
TREES = 200
QUANTILES = 200

_BOOSTING = {
    "objective": "binary:logistic", "eval_metric": "aucpr", "tree_method": "hist",
    "eta": 0.05, "max_depth": 5, "min_child_weight": 5, "reg_lambda": 5,
    "subsample": 0.8,
}  # fmt: skip
_BOOSTING_FEW = {"max_depth": 3, "min_child_weight": 1}
_COLUMNS, _SHARE = 12, 0.3  # a tree sees that many columns, or that share where it is more
_ROUNDS, _ROUNDS_FEW, _PATIENCE = 2000, 150, 50


class Rows(NamedTuple):
    """Labelled rows of a table: x (n, dim) float32, NaN = means nothing here; y (n,) int64."""

    x: Tensor
    y: Tensor


Predict = Callable[[Tensor], Tensor]  # (n, dim) -> (n,) float64 in [0, 1]
Learner = Callable[[Rows, Rows, int], Predict]  # training rows, validation rows, seed


@dataclass
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
        from xgboost import DMatrix

        found = self.booster.predict(DMatrix(x.numpy()), iteration_range=(0, self.rounds))
        return torch.from_numpy(found.astype(np.float64))

    def contributions(self, x: Tensor) -> Tensor:
        """Return how each column moves each row's logit, (n, dim + 1); the last is a constant.

        Shapley values of the trees (Lundberg et al., From local explanations to global
        understanding with explainable AI for trees, Nature Machine Intelligence 2020).
        """
        from xgboost import DMatrix

        limit = (0, self.rounds)
        found = self.booster.predict(DMatrix(x.numpy()), pred_contribs=True, iteration_range=limit)
        return torch.from_numpy(found)


def boosted_trees(train: Rows, val: Rows, seed: int) -> Boosted:
    """Fit gradient-boosted trees slowly, stopped by AUPRC on the validation rows.

    Chen and Guestrin, XGBoost: A Scalable Tree Boosting System, KDD 2016.
    """
    import xgboost

    share = min(1.0, max(_SHARE, _COLUMNS / train.x.shape[1]))
    options = _BOOSTING | {"colsample_bytree": share}
    options |= {"seed": seed, "nthread": torch.get_num_threads()}
    rows = xgboost.DMatrix(train.x.numpy(), train.y.numpy())
    if len(train.y) < FEW:
        booster = xgboost.train(options | _BOOSTING_FEW, rows, _ROUNDS_FEW)
        return Boosted(booster, _ROUNDS_FEW)
    booster = xgboost.train(
        options,
        rows,
        _ROUNDS,
        evals=[(xgboost.DMatrix(val.x.numpy(), val.y.numpy()), "val")],
        early_stopping_rounds=_PATIENCE,
        verbose_eval=False,
    )
    return Boosted(booster, booster.best_iteration + 1)


def random_forest(train: Rows, val: Rows, seed: int) -> Predict:
    """Fit a random forest (Breiman, Random Forests, Machine Learning 2001)."""
    from sklearn.ensemble import RandomForestClassifier

    return _fitted(RandomForestClassifier(**_forest_options(train, seed)), train)


def extra_trees(train: Rows, val: Rows, seed: int) -> Predict:
    """Fit a forest of random cuts (Geurts et al., Extremely randomized trees, 2006)."""
    from sklearn.ensemble import ExtraTreesClassifier

    return _fitted(ExtraTreesClassifier(**_forest_options(train, seed)), train)


def _forest_options(train: Rows, seed: int) -> dict:
    leaf = 2 if len(train.y) < FEW else 3
    threads = torch.get_num_threads()
    return {
        "n_estimators": TREES,
        "min_samples_leaf": leaf,
        "random_state": seed,
        "n_jobs": threads,
    }


def logistic(train: Rows, val: Rows, seed: int) -> Predict:
    """Fit a strongly regularized logistic regression on quantile-normal columns."""
    from sklearn.linear_model import LogisticRegression

    strength = 0.01 if len(train.y) < FEW else 0.003
    model = LogisticRegression(C=strength, max_iter=1000, class_weight="balanced")
    return _fitted(_on_quantiles(train, model, seed), train)


def perceptron(train: Rows, val: Rows, seed: int) -> Predict:
    """Fit a perceptron with one hidden layer on quantile-normal columns.

    The epoch that validated best is kept, by AUPRC; with few labels, the last of 60.
    """
    from sklearn.neural_network import MLPClassifier

    scale = _on_quantiles(train, None, seed)
    x, x_val = (scale.transform(_filled(rows.x)) for rows in (train, val))
    model = MLPClassifier(
        (64,),
        alpha=1e-3,
        learning_rate_init=3e-3,
        batch_size=min(128, len(train.y)),
        random_state=seed,
    )
    best, kept = -1.0, None
    for _ in range(60):
        model.partial_fit(x, train.y.numpy(), classes=[0, 1])
        value = average_precision(val.y, torch.from_numpy(model.predict_proba(x_val)[:, 1]))
        if value > best or len(train.y) < FEW:
            best, kept = (
                value,
                [[part.copy() for part in w] for w in (model.coefs_, model.intercepts_)],
            )
    model.coefs_, model.intercepts_ = kept
    return lambda x: torch.from_numpy(
        model.predict_proba(scale.transform(_filled(x)))[:, 1].astype(np.float64)
    )


def _on_quantiles(train: Rows, model: object | None, seed: int):
    """Scale columns to a normal distribution by their ranks, then hand them to the model."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer, StandardScaler

    count = min(QUANTILES, len(train.y))
    ranks = QuantileTransformer(output_distribution="normal", n_quantiles=count, random_state=seed)
    if model is not None:
        return make_pipeline(ranks, StandardScaler(), model)
    return make_pipeline(ranks, StandardScaler()).fit(_filled(train.x))


def _fitted(model, train: Rows) -> Predict:
    model.fit(_filled(train.x), train.y.numpy())
    if hasattr(model, "n_jobs"):
        model.set_params(n_jobs=1)  # threads would add up the trees in the order they finish
    return lambda x: torch.from_numpy(model.predict_proba(_filled(x))[:, 1].astype(np.float64))


def _filled(x: Tensor) -> np.ndarray:
    """Columns that mean nothing for a node are 0 to learners that cannot leave them out."""
    return x.nan_to_num(nan=0.0).numpy()


LEARNERS: dict[str, Learner] = {
    "boosted trees": boosted_trees,
    "random forest": random_forest,
    "extra trees": extra_trees,
    "logistic regression": logistic,
    "perceptron": perceptron,
}
