"""Frauds to expect: by hand, against simulation, and where fraud has another share."""

import numpy as np
import pandas as pd
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


def test_calibration_recovers_the_curve():
    slope, bias = budget.platt(*drawn(40_000, 0.1, 0))
    assert slope == pytest.approx(1, abs=0.05)
    assert bias == pytest.approx(float(torch.tensor(0.1).logit()), abs=0.1)


def test_frauds_to_expect_by_hand():
    held_out = torch.tensor([[0.9, 1], [0.8, 1], [0.7, 0], [0.2, 1], [0.1, 0]])
    score, probability = torch.tensor([0.95, 0.75]), torch.tensor([0.75, 0.25])
    expected = budget.expected_frauds(score, probability, held_out)
    # Above 0.75 two of two are frauds, the curve counts for two more, one of them a fraud, and half
    # an account of each class is added: a beta distribution of (3.5, 1.5), and two draws from it.
    assert expected.value == pytest.approx(2 * 3.5 / 5)
    assert (expected.low, expected.high) == (0, 2)  # none has a chance of 1/8
    nothing = budget.expected_frauds(score, probability, held_out[:0], level=0.3)
    assert nothing.value == pytest.approx(1)
    many = torch.tensor([[0.9, 1.0], [0.8, 0.0]]).repeat(5_000, 1)
    sure = budget.expected_frauds(torch.full((100,), 0.8), torch.full((100,), 0.5), many)
    assert sure.low == pytest.approx(binom.ppf(0.025, 100, 0.5), abs=1)
    assert sure.high == pytest.approx(binom.ppf(0.975, 100, 0.5), abs=1)


def test_seven_frauds_are_no_proof_of_fifty():
    held_out = torch.tensor([[0.9, 1.0]] * 7 + [[0.1, 0.0]] * 170)
    expected = budget.expected_frauds(torch.full((50,), 0.9), torch.full((50,), 0.999), held_out)
    assert expected.high == 50
    assert expected.low < 45 < expected.value


@pytest.mark.parametrize("bent", [False, True])
def test_the_interval_holds_what_happens_to_other_accounts(bent):
    """Also where no logistic curve fits: those on top are no surer than those below."""
    inside = 0
    for seed in range(100):
        held_score, held_y = drawn(1_000, 0.1, seed)
        score, y = drawn(5_000, 0.1, 1_000 + seed)
        if bent:
            held_score, score = held_score.clamp(max=0.7), score.clamp(max=0.7)
        head = score.argsort(descending=True, stable=True)[:50]
        probability = budget.platt(held_score, held_y)(score[head])
        held_out = torch.stack([held_score, held_y.double()], 1)
        expected = budget.expected_frauds(score[head], probability, held_out)
        inside += expected.low <= int(y[head].sum()) <= expected.high
    assert 90 <= inside <= 100


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
    assert all(abs(number) < 10 for number in calibration)


def test_scores_may_be_tables_arrays_and_lists_from_0_to_1():
    score, y = np.array([0.9, 0.2, 0.6, 0.1]), np.array([1, 0, 0, 0])
    want = budget.platt(torch.tensor(score), torch.tensor(y))
    for convert in (np.ndarray.tolist, pd.Series, lambda column: column.astype(object)):
        calibration = budget.platt(convert(score), convert(y))
        assert calibration == want
        assert calibration(convert(score)).tolist() == want(torch.tensor(score)).tolist()
        assert budget.share_elsewhere(convert(score), 0.3) == budget.share_elsewhere(score, 0.3)
        held_out = pd.DataFrame({"score": score, "y": y})
        expected = budget.expected_frauds(convert(score), convert(score), held_out)
        assert expected == budget.expected_frauds(score, score, np.stack([score, y], 1))
    with pytest.raises(
        ValueError, match="^score is -3.0 at position 1; it must lie in .0, 1.: take"
    ):
        budget.platt([0.5, -3.0], [1, 0])
    with pytest.raises(ValueError, match="^y_true is nan at position 0"):
        budget.platt([0.5, 0.3], [np.nan, 0])
    with pytest.raises(ValueError, match="^there are 1 scores, but 2 labels"):
        budget.platt([0.5], [1, 0])
    with pytest.raises(
        ValueError, match=r"^held_out must be \(m, 2\) rows .* got \(2,\) with 1 NaN"
    ):
        budget.expected_frauds(score, score, [0.5, np.nan])


def test_the_curve_does_not_follow_the_number_of_threads(with_threads):
    score, y = drawn(40_000, 0.1, 0)
    expected, *others = (with_threads(count, lambda: budget.platt(score, y)) for count in (1, 2, 3))
    assert others == [expected, expected]
