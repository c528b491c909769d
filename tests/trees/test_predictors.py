"""Predictors of arrays say what the libraries say that fitted them, to the last bit."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from gadkit.trees import learners
from gadkit.trees.learners import LEARNERS, Rows
from gadkit.trees.predictors import PREDICTORS, Forest, Linear, Scale, filled


@pytest.fixture(autouse=True, scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learners, "TREES", 15)
        patch.setattr(learners, "_ROUNDS", 40)
        yield


def rows(num: int, seed: int) -> Rows:
    """Columns as tables have them: normal, few values, mostly zero, constant, heavy, and NaN."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num, 7)).astype(np.float32)
    x[:, 1] = rng.integers(4, size=num)
    x[:, 2] *= rng.random(num) < 0.1
    x[:, 3] = 2.5
    x[:, 4] = np.exp(4 * x[:, 4])
    x[rng.random(num) < 0.2, 5] = np.nan
    y = (x[:, 0] + x[:, 1] / 2 + rng.normal(size=num) > 1.5).astype(np.int64)
    return Rows(torch.from_numpy(x), torch.from_numpy(y))


@pytest.fixture(scope="module")
def train() -> Rows:
    return rows(700, 0)


@pytest.fixture(scope="module")
def unseen() -> torch.Tensor:
    """More rows, some of them far outside of what was seen."""
    x = rows(2000, 1).x
    x[::50] *= 30
    return x


@pytest.mark.parametrize("kind", [RandomForestClassifier, ExtraTreesClassifier])
def test_a_forest_votes_as_the_trees_of_sklearn_do(kind, train, unseen):
    model = kind(12, min_samples_leaf=3, random_state=0).fit(filled(train.x), train.y.numpy())
    forest = Forest.of_trees([estimator.tree_ for estimator in model.estimators_])
    votes = np.zeros(len(unseen))
    for estimator in model.estimators_:
        votes += estimator.predict_proba(filled(unseen))[:, 1]
    assert np.array_equal(forest(unseen).numpy(), votes / 12)
    assert len(np.unique(votes)) > 50 and len(forest.ends) == 12


def test_a_scale_is_that_of_sklearn(train, unseen):
    ranks = QuantileTransformer(output_distribution="normal", n_quantiles=200, random_state=0)
    pipeline = make_pipeline(ranks, StandardScaler()).fit(filled(train.x))
    scale = Scale.of_pipeline(*(step for _, step in pipeline.steps))
    for x in (train.x, unseen):
        assert np.array_equal(scale.transform(x), pipeline.transform(filled(x)))
    ends = train.x.nan_to_num(nan=0.0).aminmax(dim=0)
    assert np.array_equal(
        scale.transform(torch.stack(ends)), pipeline.transform(filled(torch.stack(ends)))
    )


def test_a_linear_model_says_what_sklearn_says(train, unseen):
    linear = LEARNERS["logistic regression"](train, train, 0)
    model = LogisticRegression()
    model.coef_, model.intercept_ = linear.weight[None], np.array([linear.bias])
    model.classes_ = np.array([0, 1])
    expected = model.predict_proba(linear.scale.transform(unseen).astype(np.float64))[:, 1]
    np.testing.assert_allclose(linear(unseen).numpy(), expected, rtol=1e-12)


def test_a_perceptron_says_what_sklearn_says(train, unseen):
    perceptron = LEARNERS["perceptron"](train, train, 0)
    x = perceptron.scale.transform(train.x)
    model = MLPClassifier((64,)).partial_fit(x, train.y.numpy(), classes=[0, 1])
    model.coefs_ = [perceptron.weight_in, perceptron.weight_out]
    model.intercepts_ = [perceptron.bias_in, perceptron.bias_out]
    expected = model.predict_proba(perceptron.scale.transform(unseen))[:, 1]
    assert np.array_equal(perceptron(unseen).numpy(), expected.astype(np.float64))


@pytest.mark.parametrize("name", LEARNERS)
def test_a_predictor_made_of_its_arrays_says_the_same(name, train, unseen):
    predict = LEARNERS[name](train, rows(200, 2), 0)
    arrays = {key: np.array(value) for key, value in predict.arrays().items()}
    assert all(array.dtype.kind in "iuf" for array in arrays.values())  # nothing to pickle
    again = PREDICTORS[type(predict).__name__].from_arrays(arrays, 7)
    assert torch.equal(again(unseen), predict(unseen))
    assert again(unseen).dtype == torch.float64
    with pytest.raises(ValueError, match="columns|column"):
        PREDICTORS[type(predict).__name__].from_arrays(arrays, 4)


def test_the_contributions_of_trees_made_again_are_the_same(train, unseen):
    predict = LEARNERS["boosted trees"](train, rows(200, 2), 0)
    again = type(predict).from_arrays(predict.arrays(), 7)
    assert torch.equal(again.contributions(unseen[:9]), predict.contributions(unseen[:9]))


def test_boosted_trees_that_are_none_are_refused(train):
    arrays = LEARNERS["boosted trees"](train, rows(200, 2), 0).arrays()
    with pytest.raises(ValueError, match="xgboost cannot read its trees"):
        PREDICTORS["Boosted"].from_arrays(arrays | {"ubj": arrays["ubj"][:50]}, 7)
    with pytest.raises(ValueError, match="99 rounds are needed"):
        PREDICTORS["Boosted"].from_arrays(arrays | {"rounds": np.array([99])}, 7)


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("left", 0, 0, "does not come after its parent"),  # it would go round for ever
        ("right", 0, 10_000, "does not come after its parent"),  # and here leave the arrays
        ("feature", 0, 7, "not one of 7"),
        ("feature", 0, -1, "not one of 7"),
        ("ends", 3, 0, "do not follow one another"),
    ],
)
def test_a_forest_that_leads_astray_is_refused(train, name, place, value, message):
    arrays = LEARNERS["random forest"](train, train, 0).arrays()
    arrays[name] = arrays[name].copy()
    arrays[name][place] = value
    with pytest.raises(ValueError, match=message):
        Forest.from_arrays(arrays, 7)


def test_a_forest_of_other_numbers_is_refused(train):
    arrays = LEARNERS["random forest"](train, train, 0).arrays()
    with pytest.raises(ValueError, match="left of a forest is .* float64"):
        Forest.from_arrays(arrays | {"left": arrays["left"].astype(float)}, 7)
    with pytest.raises(ValueError, match="share of a forest is"):
        Forest.from_arrays(arrays | {"share": arrays["share"][1:]}, 7)


def test_rows_with_few_labels_have_their_own_quantiles(unseen):
    few = rows(60, 3)
    linear = LEARNERS["logistic regression"](few, few, 0)
    assert isinstance(linear, Linear) and linear.scale.quantiles.shape == (60, 7)
    assert ((linear(unseen) > 0) & (linear(unseen) < 1)).all()
