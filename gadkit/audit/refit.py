"""Checks of a detector: it is fitted again on other labels, or on a graph that says less.

A detector that never reads the test labels gives the same scores whatever they are, and one that
learns from shuffled labels finds nothing. What it gains over a graph without real structure is
what the edges are worth to it.

Sources: M. Ojala and G. Garriga, Permutation tests for studying classifier performance, JMLR 11,
2010; E. DeLong et al., Comparing the areas under two or more correlated ROC curves, Biometrics 44,
1988 (the error of an area over cases).
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gadkit.audit import controls
from gadkit.audit.canaries import differs, interval_of_permutations, relabelled, shuffled
from gadkit.audit.finding import (
    CHANCE,
    FAILED,
    LEVEL,
    PASSED,
    SHUFFLED_MAY_REACH,
    WARNING,
    Finding,
)
from gadkit.audit.table import ranks
from gadkit.evaluation.bootstrap import paired_interval
from gadkit.evaluation.metrics import average_precision, roc_auc
from gadkit.evaluation.splits import Detector, Split
from gadkit.graph import HeteroGraph


class Control(NamedTuple):
    """A graph to compare with.

    Attributes:
        change: makes it of the real graph, given `own_dims` and `seed`.
        beaten: what to say if the real graph is better.
        unbeaten: what to say if it is not.
    """

    change: Callable[..., HeteroGraph]
    beaten: str
    unbeaten: str


CONTROLS = {
    "rewired edges": Control(
        controls.rewired,
        "Who is connected with whom matters, not only how often.",
        "Random edges with the same degrees do as well: what the graph tells is degrees at most.",
    ),
    "half the edges": Control(
        controls.thinned,
        "Dropping half of the edges does not help.",
        "Dropping half of the edges helps: much of the graph is noise to this detector.",
    ),
    "shuffled nodes": Control(
        controls.shuffled,
        "The structure belongs to these nodes.",
        "The structure does as well on nodes it does not belong to: it is not used, or no help.",
    ),
}


def fit_scores(detector: Detector, graph: HeteroGraph, split: Split) -> Tensor:
    """Run a detector and check what it gives.

    Returns:
        (total,) float64.

    Raises:
        ValueError: there is not one score a node, or a test node has none that is finite.
    """
    scores = torch.as_tensor(detector(graph, split)).detach().cpu().double()
    if scores.shape != (graph.total,):
        raise ValueError(
            f"the detector gives scores of shape {tuple(scores.shape)}, but there are "
            f"{graph.total:,} nodes; give one for each, NaN where it has none"
        )
    tested = split.test[:, 0]
    bad = ~scores[tested].isfinite()
    if bad.any():
        raise ValueError(
            f"the detector leaves {int(bad.sum()):,} test nodes without a finite score; first "
            f"node {int(tested[bad][0])}"
        )
    return scores


def score_canary(
    graph: HeteroGraph, split: Split, detector: Detector, scores: Tensor | None = None
) -> Finding:
    """Turn every test label over and fit again: no score may change by a bit.

    Args:
        graph, split, detector: as in `audit`.
        scores: what the detector gives, if that is known already.
    """
    before = fit_scores(detector, graph, split) if scores is None else scores
    after = fit_scores(detector, *relabelled(graph, split, test=1 - split.test[:, 1]))
    changed = int(differs(before, after).sum())
    verdict, remedy = PASSED, ""
    detail = f"All {int(before.isfinite().sum()):,} scores are the same to the last bit."
    if changed:
        unequal = int(differs(before, fit_scores(detector, graph, split)).sum())
        if unequal:
            verdict = WARNING
            detail = f"{unequal:,} scores differ between two equal runs, so the check cannot "
            detail += "decide."
            remedy = "Make the detector repeatable first: fix its seeds and number of threads."
        else:
            verdict = FAILED
            detail = f"{changed:,} of {graph.total:,} scores depend on the labels of test nodes."
            remedy = (
                "Look for what reads graph.labels or split.test: label features, early stopping, a "
                "threshold, a choice among models."
            )
    return Finding(
        check="test labels in scores",
        verdict=verdict,
        measure="scores changed",
        value=changed,
        expected=0,
        detail=detail,
        remedy=remedy,
    )


def permuted_labels(
    graph: HeteroGraph,
    split: Split,
    detector: Detector,
    *,
    permutations: int = 5,
    seed: int = 0,
) -> Finding:
    """Permute the labels of train and val and fit again: nothing is left to be found in test.

    The interval is over permutations (one fit each) and cases. A learner of shuffled labels takes a
    direction at random, so its areas scatter more than the cases alone would let them.

    Args:
        graph, split, detector: as in `audit`.
        permutations: at least 2.
        seed: of the permutations.
    """
    generator = torch.Generator().manual_seed(seed)
    ids, y_true = split.test.unbind(1)
    scores = []
    for _ in range(permutations):
        y = {name: shuffled(getattr(split, name)[:, 1], generator) for name in ("train", "val")}
        scores.append(fit_scores(detector, *relabelled(graph, split, **y))[ids])
    areas = [roc_auc(y_true, score) for score in scores]
    area = interval_of_permutations(areas, _case_error(y_true, scores))
    verdict, remedy = PASSED, ""
    detail = "With labels that mean nothing the detector finds nothing."
    if area.low > CHANCE and area.value > SHUFFLED_MAY_REACH:
        verdict = FAILED
        detail = "With labels that mean nothing the detector still finds the frauds of test."
        remedy = (
            "Something besides the training labels tells the detector what is fraud: features made "
            "with all labels, a model pre-trained on them, or test nodes among those it learns "
            "from."
        )
    return Finding(
        check="permuted labels",
        verdict=verdict,
        measure="AUROC after learning from permuted labels",
        value=area,
        expected=CHANCE,
        detail=detail,
        remedy=remedy,
        evidence={
            f"permutation {number}": f"{area:.3f}" for number, area in enumerate(areas, start=1)
        },
    )


def _case_error(y_true: Tensor, scores: Sequence[Tensor]) -> float:
    """Standard error of the mean area of several scores, over cases (DeLong's components)."""
    # The component of a fraud is the share of normal nodes ranked below it: its rank among all,
    # less its rank among the frauds. That of a normal node is the share of frauds below it. The
    # area is the mean of the first, and 1 less the mean of the second; its variance over cases is
    # the sum of the variances of both means.
    fraud, normal = y_true == 1, y_true == 0
    below = torch.zeros(len(y_true), dtype=torch.float64)
    for score in scores:
        rank = ranks(score)
        below[fraud] += (rank[fraud] - ranks(score[fraud])) / (len(scores) * normal.sum())
        below[normal] += (rank[normal] - ranks(score[normal])) / (len(scores) * fraud.sum())
    return math.sqrt(sum(float(below[c].var()) / int(c.sum()) for c in (fraud, normal)))


def control(
    graph: HeteroGraph,
    split: Split,
    detector: Detector,
    name: str,
    *,
    scores: Tensor | None = None,
    own_dims: dict[str, int] | None = None,
    seed: int = 0,
) -> Finding:
    """Compare the detector with itself on a graph whose edges say less.

    Args:
        graph, split, detector, own_dims: as in `audit`.
        name: of the control, a key of `CONTROLS`.
        scores: what the detector gives on the graph as it is, if that is known already.
        seed: of the control.
    """
    change, detail, unbeaten = CONTROLS[name]
    ids, y_true = split.test.unbind(1)
    real = (fit_scores(detector, graph, split) if scores is None else scores)[ids]
    changed = fit_scores(detector, change(graph, own_dims=own_dims, seed=seed), split)[ids]
    gain = paired_interval(average_precision, y_true, real, changed, level=LEVEL)
    gain_area = paired_interval(roc_auc, y_true, real, changed, level=LEVEL)
    # With half of the edges, a detector as good as before is no surprise; a better one is.
    is_doubtful = gain.high < 0 if name == "half the edges" else gain.low <= 0
    verdict, remedy = PASSED, ""
    if is_doubtful:
        verdict, detail = WARNING, unbeaten
        remedy = "Report the detector beside one without the graph, and claim nothing of the edges."
    return Finding(
        check=name,
        verdict=verdict,
        measure="AUPRC gained over the control",
        value=gain,
        expected=0,
        detail=detail,
        remedy=remedy,
        evidence={
            "AUPRC, as it is": f"{average_precision(y_true, real):.3f}",
            "AUPRC, control": f"{average_precision(y_true, changed):.3f}",
            "AUROC gained": f"{gain_area:+.3f}",
        },
    )
