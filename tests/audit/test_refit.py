"""Detectors that cheat are found, and so are graphs that say nothing."""

import pytest
import torch
from leaks import make_detector, make_features

from gadkit.audit import canaries, refit
from gadkit.audit.finding import FAILED, PASSED, WARNING
from gadkit.evaluation.bootstrap import bootstrap_interval
from gadkit.evaluation.metrics import roc_auc


def test_a_detector_that_learns_from_test_is_found(bought):
    detector = make_detector(make_features(), reads="test")
    finding = refit.score_canary(*bought, detector)
    assert finding.verdict == FAILED and finding.value > 500


def test_a_choice_by_test_labels_is_found(bought):
    """One bit of the test labels decides, and everything else is as it should be."""
    good = make_detector(make_features())

    def detector(graph, split):
        y = torch.full((graph.total,), torch.nan)
        y[graph.labels[:, 0]] = graph.labels[:, 1].float()
        scores, (ids, _) = good(graph, split), split.test.unbind(1)
        return scores if roc_auc(y[ids], scores[ids]) > 0.5 else -scores

    assert refit.score_canary(*bought, detector).verdict == FAILED
    assert refit.score_canary(*bought, good).verdict == PASSED


def test_a_detector_that_is_not_repeatable_is_told_from_one_that_cheats(bought):
    def detector(graph, split):
        return torch.rand(graph.total, dtype=torch.float64)

    finding = refit.score_canary(*bought, detector)
    assert finding.verdict == WARNING
    assert "differ between two equal runs" in finding.detail


def test_labels_kept_from_before_are_found_by_permuting(bought):
    """A model pre-trained on all labels: no canary sees it, as it reads none now."""
    kept = bought[0].labels[:, 1].double()
    noise = torch.rand(len(kept), generator=torch.Generator().manual_seed(0))

    def detector(graph, split):
        scores = torch.full((graph.total,), torch.nan, dtype=torch.float64)
        scores[: len(kept)] = 0.3 * kept + noise
        return scores

    assert refit.score_canary(*bought, detector).verdict == PASSED
    finding = refit.permuted_labels(*bought, detector, permutations=3)
    assert finding.verdict == FAILED
    assert finding.value.low > 0.5


def test_the_interval_of_permuted_labels_covers_chance():
    """Scores drawn at random, one direction for all cases, scatter far more than cases do."""
    y = torch.tensor([0, 0, 0, 1] * 100)
    covered = 0
    for seed in range(40):
        draw = torch.Generator().manual_seed(seed)
        x = torch.randn(400, 2, generator=draw) + 1.5 * y[:, None]
        scores = [x @ torch.randn(2, generator=draw) for _ in range(5)]
        areas = [roc_auc(y, score) for score in scores]
        error = refit._case_error(y, scores[:1])
        interval = canaries.interval_of_permutations(areas, refit._case_error(y, scores))
        assert interval.high - interval.low > 2 * error
        covered += interval.low <= 0.5 <= interval.high
    assert covered >= 38


def test_the_error_over_cases_is_that_of_the_bootstrap():
    y = torch.tensor([0, 0, 0, 1] * 100)
    scores = torch.randn(400, generator=torch.Generator().manual_seed(3)) + 0.8 * y
    interval = bootstrap_interval(roc_auc, y, scores, level=0.95)
    error = refit._case_error(y, [scores])
    assert (interval.high - interval.low) / (2 * 1.96) == pytest.approx(error, rel=0.1)
    assert refit._case_error(y, [scores, scores]) == pytest.approx(error)
    assert refit._case_error(y, [scores, -scores]) == pytest.approx(0, abs=1e-12)


def test_a_graph_that_says_nothing_is_found(bought):
    graph, split = bought

    def alone(graph, split, ids):
        return graph.x["user"][ids], list("abcd")

    for name in ("rewired edges", "shuffled nodes"):
        finding = refit.control(graph, split, make_detector(alone), name)
        assert (finding.verdict, finding.value) == (WARNING, (0, 0, 0))
    assert refit.control(graph, split, make_detector(alone), "half the edges").verdict == PASSED


def test_noisy_edges_are_found(bought):
    graph, split = bought
    detector = make_detector(make_features())

    def better_with_less(other, split):
        scores = detector(graph, split)
        noise = torch.randn(len(scores), generator=torch.Generator().manual_seed(0))
        return scores + noise if other.edges == graph.edges else scores

    finding = refit.control(graph, split, better_with_less, "half the edges")
    assert finding.verdict == WARNING and finding.value.high < 0
