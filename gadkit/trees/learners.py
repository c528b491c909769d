"""Learners of a table of columns: boosted trees, forests, a logistic regression and a perceptron.

Libraries do the learning; here are the settings that were chosen once for all data sets. A learner
takes the training and the validation rows and returns a function from rows to probabilities. Only
boosted trees and the perceptron look at the validation rows, to know when to stop.

What the recipe's learners say of a row is the same to the last bit whichever rows come with it, and
on any number of threads: a score that is made again alone must be the score in the list.
"""

import json
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gadkit.evaluation.metrics import average_precision
from gadkit.trees.predictors import Boosted, Forest, Linear, Perceptron, Scale, filled, usual

FEW = 200  # training labels; with fewer, forests and the logistic regression are held less tightly
FEW_FRAUDS = 50  # or labels of the rarer class; with fewer, nothing is stopped early
TREES = 200
QUANTILES = 200

_BOOSTING = {
    "objective": "binary:logistic", "eval_metric": ["logloss", "aucpr"], "tree_method": "hist",
    "eta": 0.05, "max_depth": 5, "reg_lambda": 5,
    "subsample": 0.8,
}  # fmt: skip
_DEPTH_FEW = 3
_LIGHTEST, _LIGHTEST_SHARE = 5.0, 1 / 16  # weight of a leaf, or that share of all where it is less
_COLUMNS, _SHARE = 12, 0.3  # a tree sees that many columns, or that share where it is more
_ROUNDS, _ROUNDS_FEW, _PATIENCE = 2000, 150, 50


class Rows(NamedTuple):
    """Labelled rows of a table: x (n, dim) float32, NaN = means nothing here; y (n,) int64."""

    x: Tensor
    y: Tensor


Predict = Callable[[Tensor], Tensor]  # (n, dim) -> (n,) float64 in [0, 1]
Learner = Callable[[Rows, Rows, int], Predict]  # training rows, validation rows, seed


def seed_of_32_bits(seed: int) -> int:
    """Return a seed for libraries that take no more: itself, or a hash of one that is longer.

    Torch takes 64 bits, and a negative one by its complement; so does the rest of gadkit.
    """
    seed &= 2**64 - 1
    return seed if seed < 2**32 else int(np.random.SeedSequence(seed).generate_state(1)[0])


def are_few_frauds(y: Tensor) -> bool:
    """Say whether the rarer of two classes has fewer than `FEW_FRAUDS` labels.

    However many of the other class there are, the rarer one says how much can be learned of both,
    and how far a validation part, which has no more of it as a rule, can be trusted.

    Args:
        y: (n,) int64 of 0 and 1, of the training rows.
    """
    return int(y.bincount(minlength=2).min()) < FEW_FRAUDS


def boosted_trees(train: Rows, val: Rows, seed: int) -> Boosted:
    """Fit gradient-boosted trees slowly, stopped by AUPRC on the validation rows.

    With few frauds the trees are smaller, and all of a fixed number of them are kept.

    Chen and Guestrin, XGBoost: A Scalable Tree Boosting System, KDD 2016. With few anomalies to
    validate by, the AUPRC takes few values and may be as high as it gets after a few trees; of
    rounds that are level in it, that with the lowest log loss counts as the best.

    A value that is missing in a column where none was in training goes at every split where the
    median of training goes; left alone, it would be taken for a very high one.
    """
    import xgboost

    options = _boosting_options(train, seed)
    rows = xgboost.DMatrix(train.x.numpy(), train.y.numpy())
    if are_few_frauds(train.y):
        booster = xgboost.train(options | {"max_depth": _DEPTH_FEW}, rows, _ROUNDS_FEW)
        return Boosted(_missing_like_median(booster, train.x, options), _ROUNDS_FEW)
    stop = _stop_at_best()
    booster = xgboost.train(
        options,
        rows,
        _ROUNDS,
        evals=[(xgboost.DMatrix(val.x.numpy(), val.y.numpy()), "val")],
        callbacks=[stop],
        verbose_eval=False,
    )
    return Boosted(_missing_like_median(booster, train.x, options), stop.best_round + 1)


def _boosting_options(train: Rows, seed: int) -> dict:
    share = min(1.0, max(_SHARE, _COLUMNS / train.x.shape[1]))
    return _BOOSTING | {
        "colsample_bytree": share,
        "min_child_weight": _lightest(train.y),
        "seed": seed_of_32_bits(seed),
        "nthread": torch.get_num_threads(),
    }


def _lightest(y: Tensor) -> float:
    """Return the least weight of a leaf of boosted trees, in units of the hessian.

    A row weighs p (1 - p) where p is its probability by the trees so far. At first that is the base
    rate, so ten anomalies weigh no more than 10 with however many others, and a leaf of 5 can
    hardly be cut off: with few, the least is a share of what all rows weigh.
    """
    anomalies = int(y.sum())
    return min(_LIGHTEST, _LIGHTEST_SHARE * anomalies * (len(y) - anomalies) / max(1, len(y)))


def _stop_at_best():
    """Return a callback of xgboost's that ends a training `_PATIENCE` rounds after its best."""
    from xgboost.callback import TrainingCallback

    class Stop(TrainingCallback):
        best_round, best = 0, (-1.0, 0.0)

        def after_iteration(self, model, epoch: int, evals_log: dict) -> bool:
            validated = evals_log["val"]
            # Rounded, since a mean of ones is 1 up to the order in which they are added.
            now = round(validated["aucpr"][-1], 9), -validated["logloss"][-1]
            if now > self.best:
                self.best_round, self.best = epoch, now
            return epoch - self.best_round >= _PATIENCE

    return Stop()


def _missing_like_median(booster, x: Tensor, options: dict):
    """Send missing values where the median goes, at splits by columns that had none in x."""
    from xgboost import Booster

    complete = ~x.isnan().any(0).numpy()
    median = np.median(x.numpy()[:, complete], axis=0) if len(x) else np.zeros(complete.sum())
    typical = np.zeros(len(complete), np.float32)
    typical[complete] = median
    model = json.loads(booster.save_raw("json"))
    for tree in model["learner"]["gradient_booster"]["model"]["trees"]:
        column = np.array(tree["split_indices"])
        goes_left = typical[column] < np.array(tree["split_conditions"], np.float32)
        is_split = (np.array(tree["left_children"]) >= 0) & complete[column]
        default = np.where(is_split, goes_left, np.array(tree["default_left"], bool))
        tree["default_left"] = default.astype(int).tolist()
    changed = Booster({"nthread": options["nthread"]})
    changed.load_model(bytearray(json.dumps(model), "utf-8"))
    return changed


def random_forest(train: Rows, val: Rows, seed: int, *, trees: int | None = None) -> Forest:
    """Fit a random forest (Breiman, Random Forests, Machine Learning 2001), else of `TREES`."""
    from sklearn.ensemble import RandomForestClassifier

    options = _forest_options(train, seed) | ({"n_estimators": trees} if trees else {})
    return _fit_forest(RandomForestClassifier(**options), train)


def extra_trees(train: Rows, val: Rows, seed: int) -> Forest:
    """Fit a forest of random cuts (Geurts et al., Extremely randomized trees, 2006)."""
    from sklearn.ensemble import ExtraTreesClassifier

    return _fit_forest(ExtraTreesClassifier(**_forest_options(train, seed)), train)


def _forest_options(train: Rows, seed: int) -> dict:
    leaf = 2 if len(train.y) < FEW else 3
    threads = torch.get_num_threads()
    return {
        "n_estimators": TREES,
        "min_samples_leaf": leaf,
        "random_state": seed_of_32_bits(seed),
        "n_jobs": threads,
    }


def _fit_forest(forest, train: Rows) -> Forest:
    """Fit a forest of sklearn's.

    It does not predict itself: it would share out the trees among the threads and add up their
    votes in the order in which they finish, so the last bits of a sum change from call to call.

    Its threads set the filters of warnings, which are one list for all: two that meet may leave it
    empty, so that later warnings are shown or not by chance.
    """
    with warnings.catch_warnings():
        forest.fit(filled(train.x), train.y.numpy())
    trees = [estimator.tree_ for estimator in forest.estimators_]
    return Forest.of_trees(trees, usual(train.x))


def logistic(train: Rows, val: Rows, seed: int, *, scale: Scale | None = None) -> Linear:
    """Fit a strongly regularized logistic regression on quantile-normal columns.

    They are ranks among the training rows, or by a scale that was fitted on more rows.
    """
    from sklearn.linear_model import LogisticRegression

    strength = 0.01 if len(train.y) < FEW else 0.003
    scale = scale or quantile_scale(train.x, seed)
    model = LogisticRegression(C=strength, max_iter=1000, class_weight="balanced")
    model.fit(scale.transform(train.x), train.y.numpy())
    return Linear(scale, model.coef_[0].astype(np.float64), float(model.intercept_[0]))


def perceptron(train: Rows, val: Rows, seed: int) -> Perceptron:
    """Fit a perceptron with one hidden layer on quantile-normal columns.

    The epoch that validated best is kept, by AUPRC; with few frauds, the last of 60.
    """
    from sklearn.neural_network import MLPClassifier

    scale = quantile_scale(train.x, seed)
    x, x_val = (scale.transform(rows.x) for rows in (train, val))
    model = MLPClassifier(
        (64,),
        alpha=1e-3,
        learning_rate_init=3e-3,
        batch_size=min(128, len(train.y)),
        random_state=seed_of_32_bits(seed),
    )
    best, layers, to_the_end = -1.0, None, are_few_frauds(train.y)
    for _ in range(60):
        model.partial_fit(x, train.y.numpy(), classes=[0, 1])
        value = average_precision(val.y, torch.from_numpy(model.predict_proba(x_val)[:, 1]))
        if value > best or to_the_end:
            best = value
            (weight_in, weight_out), (bias_in, bias_out) = model.coefs_, model.intercepts_
            layers = [array.copy() for array in (weight_in, bias_in, weight_out, bias_out)]
    return Perceptron(scale, *layers)


def quantile_scale(rows: Tensor, seed: int) -> Scale:
    """Fit a scale that turns columns into a normal distribution by their ranks among some rows."""
    from sklearn.preprocessing import QuantileTransformer, StandardScaler

    count, x = min(QUANTILES, len(rows)), filled(rows)
    options = {"n_quantiles": count, "random_state": seed_of_32_bits(seed)}
    ranks = QuantileTransformer(output_distribution="normal", **options)
    normal = ranks.fit_transform(x)
    return Scale.of_pipeline(ranks, StandardScaler().fit(normal), usual(rows))


LEARNERS: dict[str, Learner] = {
    "boosted trees": boosted_trees,
    "random forest": random_forest,
    "extra trees": extra_trees,
    "logistic regression": logistic,
    "perceptron": perceptron,
}
