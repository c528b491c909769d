"""Frauds to expect: by hand, against simulation, and where fraud has another share."""

import pytest
import torch
from scipy.stats import binom

from gadkit.evaluation import budget


def drawn(count, share, seed):
    """Labels, and scores that are calibrated where fraud has a share of a half: logits are normal
    around -1 and 1 with variance 2, so that their difference of log densities is the logit."""
    generator = torch.Generator().manual_seed(seed)
    y = (torch.rand(count, generator=generator) < share).long()
    noise = torch.randn(count, generator=generator, dtype=torch.float64) * 2**0.5
    return (2.0 * y - 1 + noise).sigmoid(), y


def test_calibration_recovers_the_curve_and_says_how_sure_it_is():
    errors = []
    for seed in range(40):
        score, y = drawn(2_000, 0.1, seed)
        calibration = budget.platt(score, y)
        truth = torch.tensor([1.0, torch.tensor(0.1).logit()], dtype=torch.float64)
        away = calibration.weight - truth
        errors.append(float(away @ torch.linalg.solve(calibration.covariance, away)))
    assert sum(errors) / len(errors) == pytest.approx(2, abs=0.8)  # chi-squared, 2 degrees


def test_frauds_of_a_curve_that_is_sure_are_binomial():
    score = torch.full((100,), 0.3)
    sure = budget.Calibration(torch.tensor([1.0, 0.0]).double(), 1e-12 * torch.eye(2).double())
    expected = budget.expected_frauds(score, sure)
    assert expected.value == pytest.approx(30)
    assert expected.low == pytest.approx(binom.ppf(0.025, 100, 0.3), abs=1)
    assert expected.high == pytest.approx(binom.ppf(0.975, 100, 0.3), abs=1)
    together = budget.expected_frauds(score, sure, group=torch.zeros(100).long())
    assert together == (pytest.approx(30), 0, 100)
    assert budget.expected_frauds(score, sure) == expected  # same seed, same numbers


def test_the_interval_holds_what_happens_to_other_accounts():
    held = 0
    for seed in range(100):
        calibration = budget.platt(*drawn(1_000, 0.1, seed))
        score, y = drawn(5_000, 0.1, 1_000 + seed)
        head = score.argsort(descending=True, stable=True)[:50]
        expected = budget.expected_frauds(score[head], calibration)
        held += expected.low <= int(y[head].sum()) <= expected.high
    assert 90 <= held <= 100


def test_another_share_of_fraud_is_found_and_accounted_for():
    score, y = drawn(20_000, 0.2, 0)
    probability = budget.platt(score, y)(drawn(20_000, 0.02, 1)[0])
    elsewhere = budget.share_elsewhere(probability, 0.2)
    assert elsewhere == pytest.approx(0.02, abs=0.006)
    there, truth = drawn(20_000, 0.02, 2)
    mended = budget.with_share(budget.platt(score, y)(there), 0.2, elsewhere)
    assert float(mended.sum()) == pytest.approx(int(truth.sum()), rel=0.3)
    same = budget.platt(score, y)(drawn(20_000, 0.2, 3)[0])
    assert budget.share_elsewhere(same, 0.2) == pytest.approx(0.2, abs=0.01)


def test_share_by_hand():
    half = torch.tensor([0.5], dtype=torch.float64)
    assert float(budget.with_share(half, 0.5, 0.1)) == pytest.approx(0.1)
    assert float(budget.with_share(half, 0.2, 0.2)) == pytest.approx(0.5)


def test_a_few_labels_of_classes_that_come_apart_stay_finite():
    calibration = budget.platt(torch.tensor([0.0, 1.0]), torch.tensor([0, 1]))
    assert calibration.weight.isfinite().all()
    assert budget.expected_frauds(torch.tensor([1.0, 0.0]), calibration).value < 2
