"""Learners: each finds a simple rule, repeats itself, and stops by validation if it says so."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.ensemble._forest import BaseForest

from gadkit.evaluation.metrics import average_precision, roc_auc
from gadkit.trees import learners
from gadkit.trees.learners import FEW_FRAUDS, LEARNERS, Boosted, Rows, are_few_frauds

FORESTS = ("random forest", "extra trees")
STOPPED = ("boosted trees", "perceptron")  # early, by validation


def rows(num: int, seed: int, *, noise: float = 0.3) -> Rows:
    """One in three is above a line through two of four columns."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num, 4, generator=generator)
    rule = x[:, 0] - x[:, 1] + noise * torch.randn(num, generator=generator)
    return Rows(x, (rule > 0.6).long())


@pytest.fixture(autouse=True, scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learners, "TREES", 30)
        yield


@pytest.mark.parametrize("size", [100, 500])
@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_finds_a_rule_with_few_and_with_many_labels(name, size):
    train, test = rows(size, 0), rows(1000, 2)
    assert are_few_frauds(train.y) == (size == 100)
    probability = LEARNERS[name](train, rows(300, 1), 0)(test.x)
    assert probability.shape == (1000,) and probability.dtype == torch.float64
    assert probability.min() >= 0 and probability.max() <= 1
    assert roc_auc(test.y, probability) > 0.93


def rare(num: int, frauds: int, seed: int) -> Rows:
    """Frauds that stand out a little in each of the first two of eight columns."""
    generator = torch.Generator().manual_seed(seed)
    y = (torch.arange(num) < frauds).long()
    x = torch.randn(num, 8, generator=generator)
    x[:, :2] += 2.0 * y[:, None]
    return Rows(x, y)


@pytest.mark.parametrize(("size", "frauds"), [(500, 10), (500, 5), (2000, 12), (60, 3), (300, 290)])
@pytest.mark.parametrize("name", LEARNERS)
def test_a_handful_of_frauds_teaches_every_learner(name, size, frauds):
    train, val = rare(size, frauds, 0), rare(size // 2, max(1, frauds // 2), 1)
    test = rare(2000, 200, 2)
    probability = LEARNERS[name](train, val, 0)(test.x)
    assert roc_auc(test.y, probability) > 0.75
    assert len(probability.unique()) > 50


def test_the_rarer_class_says_whether_frauds_are_few():
    def labels(normal: int, frauds: int) -> torch.Tensor:
        return (torch.arange(normal + frauds) < frauds).long()

    assert are_few_frauds(labels(5000, FEW_FRAUDS - 1)) and are_few_frauds(
        labels(FEW_FRAUDS - 1, 5000)
    )
    assert not are_few_frauds(labels(FEW_FRAUDS, FEW_FRAUDS)) and not are_few_frauds(
        labels(5000, FEW_FRAUDS)
    )
    assert are_few_frauds(labels(300, 0)) and are_few_frauds(labels(0, 300))


def test_the_least_leaf_is_a_share_of_what_few_frauds_weigh():
    def lightest(normal: int, frauds: int) -> float:
        return learners._lightest((torch.arange(normal + frauds) < frauds).long())

    assert lightest(80, 20) == 1.0  # 100 rows of 0.2 * 0.8 weigh 16
    assert lightest(490, 10) == pytest.approx(500 * 0.02 * 0.98 / 16)
    assert lightest(490, 10) == lightest(10, 490)
    assert lightest(900, 100) == lightest(10**6, 10**5) == lightest(160, 160) == 5.0
    assert lightest(400, 100) == 5.0 > lightest(401, 99) > lightest(10, 0) == 0.0


@pytest.mark.parametrize("name", LEARNERS)
def test_the_same_seed_gives_the_same_bits(name):
    train, val, x = rows(300, 0), rows(100, 1), rows(200, 2).x
    state = torch.get_rng_state()
    one, again, other = (LEARNERS[name](train, val, seed)(x) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one, other) == (name == "logistic regression")  # which draws nothing


@pytest.mark.parametrize("name", FORESTS)
def test_a_forest_leaves_the_filters_of_warnings_alone(name, monkeypatch):
    fit = BaseForest.fit

    def fit_and_reset(forest, x, y):
        fit(forest, x, y)
        warnings.resetwarnings()  # as two of its threads may do that meet

    before = list(warnings.filters)
    monkeypatch.setattr(BaseForest, "fit", fit_and_reset)
    LEARNERS[name](rows(100, 0), rows(100, 1), 0)
    assert before and warnings.filters == before


@pytest.mark.parametrize("name", LEARNERS)
def test_a_seed_may_have_64_bits(name):
    train, val = rows(150, 0), rows(150, 1)
    for seed in (-1, 2**32 + 5, 2**64 - 1):
        assert LEARNERS[name](train, val, seed)(val.x).isfinite().all()
    assert learners.seed_of_32_bits(7) == 7
    assert learners.seed_of_32_bits(2**32 + 5) not in (5, learners.seed_of_32_bits(2**33 + 5))
    assert learners.seed_of_32_bits(-1) == learners.seed_of_32_bits(2**64 - 1) < 2**32


@pytest.mark.parametrize("name", ["boosted trees", *FORESTS])
def test_trees_do_not_depend_on_the_number_of_threads(name, with_threads, monkeypatch):
    monkeypatch.setattr(learners, "_ROUNDS", 20)
    train, val, x = rows(400, 0), rows(100, 1), rows(200, 2).x
    one, two = (with_threads(n, lambda: LEARNERS[name](train, val, 1)(x)) for n in (1, 2))
    assert torch.equal(one, two)


@pytest.mark.parametrize("name", FORESTS)
def test_forests_add_up_their_trees_in_one_order(name, with_threads):
    predict, x = LEARNERS[name](rows(300, 0), rows(100, 1), 0), rows(4000, 2).x
    expected = with_threads(1, lambda: predict(x))
    for _ in range(3):
        assert torch.equal(with_threads(4, lambda: predict(x)), expected)


@pytest.mark.parametrize("size", [100, 300])
@pytest.mark.parametrize("name", ["boosted trees", *FORESTS, "logistic regression"])
def test_a_row_gets_the_same_bits_whichever_rows_come_with_it(name, size):
    predict, x = LEARNERS[name](rows(size, 0), rows(100, 1), 0), rows(2000, 2).x
    assert torch.equal(torch.cat([predict(block) for block in x.split(33)]), predict(x))


@pytest.mark.parametrize("name", LEARNERS)
def test_who_looks_at_the_validation_rows(name):
    train, val, x = rows(300, 0), rows(60, 1), rows(200, 2).x
    assert not are_few_frauds(train.y)
    other = Rows(rows(60, 3).x, rows(60, 4).y)
    one, two = (LEARNERS[name](train, given, 0)(x) for given in (val, other))
    assert torch.equal(one, two) == (name not in STOPPED)
    few = Rows(train.x[:90], train.y[:90])
    assert are_few_frauds(few.y)
    one, two = (LEARNERS[name](few, given, 0)(x) for given in (val, other))
    assert torch.equal(one, two)


def test_boosted_trees_stop_where_they_validated_best():
    train, val = rows(400, 0, noise=2.0), rows(200, 1, noise=2.0)
    found = learners.boosted_trees(train, val, 0)
    assert isinstance(found, Boosted)
    assert 0 < found.rounds < found.booster.num_boosted_rounds() < learners._ROUNDS
    assert found.rounds + learners._PATIENCE == found.booster.num_boosted_rounds()
    few = learners.boosted_trees(rows(100, 0), val, 0)
    assert few.rounds == few.booster.num_boosted_rounds() == learners._ROUNDS_FEW


def test_the_perceptron_keeps_the_epoch_that_validated_best():
    train, val = rows(400, 0, noise=2.0), rows(200, 1, noise=2.0)
    best = average_precision(val.y, learners.perceptron(train, val, 0)(val.x))
    others = [
        average_precision(val.y, learners.perceptron(train, rows(200, s), 0)(val.x)) for s in (5, 6)
    ]
    assert best >= max(others)


def test_contributions_add_up_to_the_logit():
    train, val, test = rows(400, 0), rows(200, 1), rows(50, 2)
    found = learners.boosted_trees(train, val, 0)
    contributions = found.contributions(test.x)
    assert contributions.shape == (50, 5)
    logit = found(test.x).logit()
    torch.testing.assert_close(contributions.sum(1).double(), logit, rtol=1e-4, atol=1e-4)
    size = contributions[:, :4].abs().mean(0)
    assert size[:2].min() > 3 * size[2:].max()  # the rule is about the first two columns
    assert contributions[:, 4].unique().numel() == 1


@pytest.mark.parametrize("name", LEARNERS)
def test_columns_that_mean_nothing_for_some_rows(name):
    """NaN in every fourth row, and a column without any value in training."""

    def with_gaps(part: Rows) -> Rows:
        x = torch.cat([part.x, part.x[:, :1]], 1)
        x[::4, 2] = torch.nan
        x[:, 4] = torch.nan
        return Rows(x, part.y)

    train, val, test = (with_gaps(rows(num, seed)) for num, seed in ((400, 0), (200, 1), (400, 2)))
    probability = LEARNERS[name](train, val, 0)(test.x)
    assert probability.isfinite().all()
    assert roc_auc(test.y, probability) > 0.93
    assert train.x.isnan().any()  # the table is left as it was


def test_boosted_trees_go_on_where_few_anomalies_validate_perfectly():
    """Twelve anomalies that a few trees find: the ranking is not better for it, the scores are."""
    generator = torch.Generator().manual_seed(1)

    def part(num, rate):
        y = (torch.rand(num, generator=generator) < rate).long()
        x = torch.randn(num, 8, generator=generator)
        x[:, :2] += 6.0 * y[:, None]
        return Rows(x, y)

    train, val, test = part(2000, 0.03), part(600, 0.02), part(5000, 0.03)
    found = learners.boosted_trees(train, val, 0)
    early = Boosted(found.booster, 1)
    assert average_precision(val.y, found(val.x)) == pytest.approx(1.0)
    assert found.rounds > 50
    assert len(found(test.x).unique()) > 10 * len(early(test.x).unique())


def test_rounds_that_are_level_are_told_apart_by_log_loss():
    stop = learners._stop_at_best()
    seen = {"aucpr": [], "logloss": []}
    for epoch, (value, loss) in enumerate([(0.5, 0.6), (0.9, 0.5), (0.9, 0.4), (0.8, 0.1)]):
        seen["aucpr"].append(value)
        seen["logloss"].append(loss)
        assert not stop.after_iteration(None, epoch, {"val": seen})
    assert stop.best_round == 2
    assert stop.after_iteration(None, 2 + learners._PATIENCE, {"val": seen})


@pytest.mark.parametrize("size", [150, 400])
def test_a_value_that_is_missing_where_none_was_goes_where_the_median_goes(size):
    train, val = rows(size, 0), rows(200, 1)
    found, x = learners.boosted_trees(train, val, 0), rows(50, 2).x
    filled, missing = x.clone(), x.clone()
    filled[:, 0], missing[:, 0] = train.x[:, 0].double().quantile(0.5).float(), torch.nan
    assert torch.equal(found(missing), found(filled))
    high = x.clone()
    high[:, 0] = 6.0
    assert (found(missing) - found(high)).abs().max() > 0.1
    logits = found.contributions(missing).sum(1).double()
    torch.testing.assert_close(logits, found(missing).logit(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [150, 400])
@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_reads_what_is_first_missing_when_scoring_as_the_median(name, size):
    """Amounts of about 25,000, of which 0 would be a very low one."""

    def shifted(part: Rows) -> Rows:
        return Rows(
            part.x * torch.tensor([100.0, 1, 1, 1]) + torch.tensor([25_000.0, 0, 0, 0]), part.y
        )

    train, val = shifted(rows(size, 0)), shifted(rows(200, 1))
    predict, x = LEARNERS[name](train, val, 0), shifted(rows(50, 2)).x
    typical, missing, low = x.clone(), x.clone(), x.clone()
    typical[:, 0], missing[:, 0], low[:, 0] = float(np.median(train.x[:, 0])), torch.nan, 0.0
    assert torch.equal(predict(missing), predict(typical))
    assert (predict(missing) - predict(low)).abs().max() > 0.05


def test_trees_know_a_missing_value_from_a_zero():
    x = torch.randn(150, 1, generator=torch.Generator().manual_seed(0)).abs()
    y = (torch.arange(150) % 3 == 0).long()
    x[y == 1] = torch.nan
    found = learners.boosted_trees(Rows(x, y), Rows(x, y), 0)
    missing, zero = found(torch.tensor([[torch.nan], [0.0]])).tolist()
    assert missing > 0.9 and zero < 0.1
