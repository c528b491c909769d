"""Checks that change something and run again: what must not matter is turned over, and must not.

A detector that never reads the test labels gives the same scores whatever they are. One that learns
from shuffled labels finds nothing. Features of the past do not change when the future is taken
away. None of these needs to know how features and scores are made.

Sources: M. Ojala and G. Garriga, Permutation tests for studying classifier performance, JMLR 11,
2010; E. DeLong et al., Comparing the areas under two or more correlated ROC curves, Biometrics 44,
1988 (the error of an area over cases).
"""

import copy
import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from gadkit.audit import controls
from gadkit.audit.data import (
    CHANCE,
    CONCORDANCE_MARGIN,
    DECODED_MAY_REACH,
    ENOUGH,
    FAILED,
    LEVEL,
    PASSED,
    SHOWN,
    SHUFFLED_MAY_REACH,
    WARNING,
    Finding,
    ranks,
    skipped,
)
from gadkit.evaluation.bootstrap import paired_interval
from gadkit.evaluation.metrics import Interval, average_precision, roc_auc
from gadkit.evaluation.splits import Split
from gadkit.graph import HeteroGraph

# (graph, split, ids) -> (len(ids), dim) table, and the name of each column. A name may start with
# the block that the column belongs to, as "hops: mean of price". NaN is a missing value.
Features = Callable[[HeteroGraph, Split, Tensor], tuple[Tensor, list[str]]]
# (graph, split) -> (total,) scores, higher = more suspicious; NaN for nodes it does not score.
Detector = Callable[[HeteroGraph, Split], Tensor]

DECODED_ROWS = 6_000  # rows that trees try to read labels off; enough to see a leak
DECODED_OTHERS = 60  # columns beside the label columns, by which trees may know a group

CONTROLS = {  # what to do, what to say if it loses, and if it does not
    "rewired edges": (
        controls.rewired,
        "Who is connected with whom matters, not only how often.",
        "Random edges with the same degrees do as well: what the graph tells is degrees at most.",
    ),
    "half the edges": (
        controls.thinned,
        "Dropping half of the edges does not help.",
        "Dropping half of the edges helps: much of the graph is noise to this detector.",
    ),
    "shuffled nodes": (
        controls.shuffled,
        "The structure belongs to these nodes.",
        "The structure does as well on nodes it does not belong to: it is not used, or no help.",
    ),
}


class Tables(NamedTuple):
    """The table of the training nodes, as it is and with their labels permuted.

    Attributes:
        names: of the columns.
        real: (n, dim) float32.
        y: (permutations, n) int64; the permuted labels.
        permuted: (permutations, n, dim) float32; what the features became.
    """

    names: list[str]
    real: Tensor
    y: Tensor
    permuted: Tensor


def feature_canary(graph: HeteroGraph, split: Split, features: Features) -> Finding:
    """Turn every test label over: no row of the table may change by a bit."""
    check = "test labels in features"
    ids = torch.cat([part[:, 0] for part in split]).unique()
    before, names = features(graph, split, ids)
    after, _ = features(*_relabelled(graph, split, test=1 - split.test[:, 1]), ids)
    changed = _differs(before, after)
    rows = int(changed.any(1).sum())
    return Finding(
        check,
        FAILED if rows else PASSED,
        "rows changed",
        rows,
        0,
        f"{rows:,} of {len(ids):,} rows depend on the labels of test nodes."
        if rows
        else f"All {len(ids):,} rows are the same to the last bit, whatever the test labels.",
        "Make label features from split.train alone; delete or recompute any table or embedding "
        "made with all labels."
        if rows
        else "",
        _by_column(names, changed),
    )


def _by_column(names: Sequence[str], changed: Tensor) -> dict[str, str]:
    counts = changed.sum(0)
    order = counts.argsort(descending=True, stable=True)[:SHOWN].tolist()
    return {names[i]: f"{int(counts[i]):,} rows" for i in order if counts[i]}


def _differs(before: Tensor, after: Tensor) -> Tensor:
    return (before != after) & ~(before.isnan() & after.isnan())


def _relabelled(graph: HeteroGraph, split: Split, **values: Tensor) -> tuple[HeteroGraph, Split]:
    """Give parts of the split other labels, in the graph as well; the edges stay the same objects.

    The copy shares what the graph has computed of its edges, which does not depend on labels.
    """
    label = torch.full((graph.total,), -1)
    label[graph.labels[:, 0]] = graph.labels[:, 1]
    parts = split._asdict()
    for name, y in values.items():
        ids = parts[name][:, 0]
        parts[name] = torch.stack([ids, y], 1)
        label[ids] = y
    other = copy.copy(graph)
    other.__dict__.pop("fingerprint", None)
    other.labels = torch.stack([graph.labels[:, 0], label[graph.labels[:, 0]]], 1)
    return other, Split(**parts)


def _shuffled(y: Tensor, generator: torch.Generator) -> Tensor:
    return y[torch.randperm(len(y), generator=generator)]


def permuted_tables(
    graph: HeteroGraph,
    split: Split,
    features: Features,
    *,
    permutations: int = 5,
    seed: int = 0,
) -> Tables:
    """Make the table of the training nodes again with their labels permuted, several times."""
    ids, y = split.train.unbind(1)
    real, names = features(graph, split, ids)
    generator = torch.Generator().manual_seed(seed)
    ys = [_shuffled(y, generator) for _ in range(permutations)]
    tables = [features(*_relabelled(graph, split, train=one), ids)[0] for one in ys]
    return Tables(list(names), real, torch.stack(ys), torch.stack(tables))


def own_label(tables: Tables) -> Finding:
    """Ask whether a node's row moves with its own label.

    The same node is compared with itself under other labels of all nodes: where its own label was
    1, is a column higher (or lower) than where it was 0? What the structure gives a node cancels.
    A rate propagated over neighbors moves with the label it should not know; one that leaves out
    the node's own fold does not.
    """
    check = "own label in features"
    moved = torch.stack([_differs(tables.real, one) for one in tables.permuted]).any(0)
    columns = moved.any(0).nonzero().flatten()
    if len(columns) == 0:
        return Finding(check, PASSED, detail="No column depends on the training labels.")
    wins, pairs, nodes = _concordance(tables.y, tables.permuted[:, :, columns])
    rate = torch.where(pairs > 0, wins / pairs.clamp(min=1), CHANCE)
    order = torch.where(nodes >= ENOUGH, (rate - CHANCE).abs(), 0)
    order = order.argsort(descending=True, stable=True)[:SHOWN].tolist()
    worst = order[0]
    at = NormalDist().inv_cdf(1 - (1 - LEVEL) / 2 / len(columns))  # of the worst of so many
    spread = at * 0.5 / math.sqrt(max(1, int(nodes[worst])))
    value = float(rate[worst])
    interval = Interval(value, max(0.0, value - spread), min(1.0, value + spread))
    distance = abs(value - CHANCE)
    leaks = distance > max(spread, CONCORDANCE_MARGIN)
    name = tables.names[int(columns[worst])]
    return Finding(
        check,
        FAILED if leaks else PASSED,
        "how often the row moves with its own label",
        interval,
        CHANCE,
        f"{len(columns):,} columns are made of training labels; {name!r} follows its own most.",
        "Make label features out of fold, from train only, and never average them over neighbors: "
        "that brings the own label back."
        if leaks
        else "",
        {
            tables.names[int(columns[i])]: f"{float(rate[i]):.3f}"
            for i in order
            if nodes[i] >= ENOUGH
        },
    )


def _concordance(y: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compare each node with itself under other labels.

    Args:
        y: (permutations, n).
        table: (permutations, n, dim).

    Returns:
        (dim,) float64 each: pairs in which the value is higher where the label is 1, pairs in which
        it differs, and nodes with such a pair.
    """
    wins = torch.zeros(table.shape[2], dtype=torch.float64)
    pairs, seen = torch.zeros_like(wins), torch.zeros(table.shape[1:], dtype=torch.bool)
    for a in range(len(y)):
        for b in range(a):
            chosen = (y[a] != y[b]).nonzero().flatten()
            sign = (y[a] - y[b])[chosen, None]
            step = (table[a][chosen] - table[b][chosen]).nan_to_num(0).sign() * sign
            wins += (step > 0).double().sum(0)
            pairs += (step != 0).double().sum(0)
            seen[chosen] |= step != 0
    return wins, pairs, seen.double().sum(0)


def decoded_label(tables: Tables, *, folds: int = 3, seed: int = 0) -> Finding:
    """Ask whether trees can work a row's own permuted label out of the table.

    A rate that leaves out only the node's own label is smaller for the frauds of a group, since the
    total of the group is the same for all: deep trees find the group and read the label off. The
    labels are permuted, so there is nothing else to learn; trees are judged on rows held out.

    Args:
        tables: from `permuted_tables`.
        folds: of the cross-validation.
        seed: of the folds and the trees.
    """
    check = "label decoded from features"
    chosen = _label_blocks(tables)
    if len(chosen) == 0:
        return Finding(check, PASSED, detail="No column depends on the training labels.")
    other = torch.ones(len(tables.names), dtype=torch.bool).index_fill(0, chosen, False)
    other = _shuffled(other.nonzero().flatten(), torch.Generator().manual_seed(seed))
    columns = [chosen, torch.cat([chosen, other[:DECODED_OTHERS]])] if len(other) else [chosen]
    areas = [
        [
            _held_out_area(table[:, some], y, folds, seed + number)
            for number, (y, table) in enumerate(zip(tables.y, tables.permuted, strict=True))
        ]
        for some in columns  # the label columns alone, and in the company of some others
    ]
    found = max(map(_of_permutations, areas), key=lambda interval: interval.value)
    leaks = found.value > DECODED_MAY_REACH and found.low > CHANCE
    return Finding(
        check,
        FAILED if leaks else PASSED,
        "AUROC of trees for the permuted label of rows held out",
        found,
        CHANCE,
        f"{len(chosen):,} columns are made of training labels, or stand beside such.",
        "Leave out the labels of a whole fold, not only the node's own: a tree subtracts the rest "
        "of the group. Fewer counts and totals beside the rates help as well."
        if leaks
        else "",
        {
            f"permutation {k + 1}": " and ".join(f"{area:.3f}" for area in of_table)
            for k, of_table in enumerate(zip(*areas, strict=True))
        },
    )


def _label_blocks(tables: Tables) -> Tensor:
    """Columns that change with the labels, and those of the same block."""
    moved = torch.stack([_differs(tables.real, one) for one in tables.permuted]).any(0).any(0)
    block = [name.split(":")[0] if ":" in name else name for name in tables.names]
    blocks = {block[i] for i in moved.nonzero().flatten().tolist()}
    return torch.tensor([i for i, name in enumerate(block) if name in blocks], dtype=torch.int64)


def _held_out_area(table: Tensor, y: Tensor, folds: int, seed: int) -> float:
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from xgboost import XGBClassifier

    if len(y) > DECODED_ROWS:
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(y), generator=generator)[:DECODED_ROWS]
        table, y = table[chosen], y[chosen]
    trees = XGBClassifier(
        n_estimators=50,
        max_depth=8,
        learning_rate=0.2,
        colsample_bytree=0.7,
        n_jobs=1,
        random_state=seed,
    )
    cv = StratifiedKFold(folds, shuffle=True, random_state=seed)
    found = cross_val_predict(trees, table.numpy(), y.numpy(), cv=cv, method="predict_proba")
    return roc_auc(y, torch.from_numpy(found[:, 1]))


def _of_permutations(values: Sequence[float], case_error: float = 0.0) -> Interval:
    """Mean over permutations with Student's interval, widened by the standard error of cases."""
    from scipy.stats import t

    values = torch.tensor(values, dtype=torch.float64)
    between = float(values.std()) / math.sqrt(len(values))
    of_permutations = float(t.ppf((1 + LEVEL) / 2, len(values) - 1)) * between
    width = math.hypot(of_permutations, NormalDist().inv_cdf((1 + LEVEL) / 2) * case_error)
    mean = float(values.mean())
    return Interval(mean, max(0.0, mean - width), min(1.0, mean + width))


def future(graph: HeteroGraph, split: Split, features: Features, time: Tensor | None) -> Finding:
    """Take later events away: rows of earlier nodes must stay as they are.

    The cuts are where validation and test begin, and the middle of test; each takes away all edges,
    values and labels of what happened from then on. Rounding is forgiven.
    """
    check = "future in features"
    if time is None:
        return skipped(check, "the nodes have no times")
    when = [time[part[:, 0]] for part in split]
    if any(one.isnan().any() for one in when):
        return skipped(check, "some labelled nodes have no time")
    if when[0].max() > when[2].min():
        return skipped(check, "the split is not temporal: the future is in train as well")
    ids, at = torch.cat([part[:, 0] for part in split]), torch.cat(when)
    before, names = features(graph, split, ids)
    scale = before.nan_to_num(0).abs().amax(0).clamp(min=1e-12)
    changed = torch.zeros_like(before, dtype=torch.bool)
    for cut in (when[1].min(), when[2].min(), when[2].median()):
        rows = at < cut
        other = _without(graph, split, time, float(cut))
        after, _ = features(*other, ids[rows])
        moved = _differs(before[rows], after)
        moved &= ~((before[rows] - after).abs() <= 1e-5 * scale)
        changed[rows] |= moved
    rows = int(changed.any(1).sum())
    return Finding(
        check,
        FAILED if rows else PASSED,
        "rows changed",
        rows,
        0,
        f"{rows:,} of {len(ids):,} rows know of later events: {int(changed.any(0).sum()):,} of "
        f"{len(names):,} columns."
        if rows
        else "No row of an earlier node changes when later events are taken away.",
        "Make statistics from strictly earlier events, as the block 'history' does; degrees, means "
        "and embeddings of the whole graph do not exist yet when a case is judged."
        if rows
        else "",
        _by_column(names, changed),
    )


def _without(
    graph: HeteroGraph, split: Split, time: Tensor, cut: float
) -> tuple[HeteroGraph, Split]:
    later = time >= cut
    parts = (torch.stack([p[:, 0], p[:, 1] ^ later[p[:, 0]].long()], 1) for p in split)
    return controls.without_later(graph, later), Split(*parts)


# Detector.


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
    check = "test labels in scores"
    before = fit_scores(detector, graph, split) if scores is None else scores
    after = fit_scores(detector, *_relabelled(graph, split, test=1 - split.test[:, 1]))
    changed = int(_differs(before, after).sum())
    verdict, detail, remedy = (
        PASSED,
        f"All {graph.total:,} scores are the same to the last bit.",
        "",
    )
    if changed:
        again = int(_differs(before, fit_scores(detector, graph, split)).sum())
        verdict = WARNING if again else FAILED
        detail = f"{changed:,} of {graph.total:,} scores depend on the labels of test nodes."
        remedy = (
            "Look for what reads graph.labels or split.test: label features, early stopping, a "
            "threshold, a choice among models."
        )
        if again:
            detail = f"{again:,} scores differ between two equal runs, so the check cannot decide."
            remedy = "Make the detector repeatable first: fix its seeds and number of threads."
    return Finding(check, verdict, "scores changed", changed, 0, detail, remedy)


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
    """
    check = "permuted labels"
    generator = torch.Generator().manual_seed(seed)
    ids, y_true = split.test.unbind(1)
    scores = []
    for _ in range(permutations):
        y = {name: _shuffled(getattr(split, name)[:, 1], generator) for name in ("train", "val")}
        scores.append(fit_scores(detector, *_relabelled(graph, split, **y))[ids])
    areas = [roc_auc(y_true, one) for one in scores]
    found = _of_permutations(areas, _case_error(y_true, scores))
    leaks = found.low > CHANCE and found.value > SHUFFLED_MAY_REACH
    return Finding(
        check,
        FAILED if leaks else PASSED,
        "AUROC after learning from permuted labels",
        found,
        CHANCE,
        f"With labels that mean nothing the detector "
        f"{'still finds the frauds of test' if leaks else 'finds nothing'}.",
        "Something besides the training labels tells the detector what is fraud: features made "
        "with all labels, a model pre-trained on them, or test nodes among those it learns from."
        if leaks
        else "",
        {f"permutation {k + 1}": f"{area:.3f}" for k, area in enumerate(areas)},
    )


def _case_error(y_true: Tensor, scores: Sequence[Tensor]) -> float:
    """Standard error of the mean area of several scores, over cases (DeLong's components)."""
    fraud, normal = y_true == 1, y_true == 0
    above = torch.zeros(len(y_true), dtype=torch.float64)
    for one in scores:
        rank = ranks(one)
        above[fraud] += (rank[fraud] - ranks(one[fraud])) / (len(scores) * normal.sum())
        above[normal] += (rank[normal] - ranks(one[normal])) / (len(scores) * fraud.sum())
    return math.sqrt(sum(float(above[c].var()) / int(c.sum()) for c in (fraud, normal)))


def control(
    graph: HeteroGraph,
    split: Split,
    detector: Detector,
    name: str,
    *,
    scores: Tensor | None = None,
    own: dict[str, int] | None = None,
    seed: int = 0,
) -> Finding:
    """Compare the detector with itself on a graph whose edges say less.

    Args:
        graph, split, detector, own: as in `audit`.
        name: "rewired edges", "half the edges" or "shuffled nodes".
        scores: what the detector gives on the graph as it is, if that is known already.
        seed: of the control.
    """
    make, beaten, lost = CONTROLS[name]
    real = fit_scores(detector, graph, split) if scores is None else scores
    other = fit_scores(detector, make(graph, own=own, seed=seed), split)
    ids, y_true = split.test.unbind(1)
    gain, gain_area = (
        paired_interval(metric, y_true, real[ids], other[ids], level=LEVEL)
        for metric in (average_precision, roc_auc)
    )
    worse = gain.high < 0
    doubtful = worse if name == "half the edges" else gain.low <= 0
    before, after = (average_precision(y_true, one[ids]) for one in (real, other))
    return Finding(
        name,
        WARNING if doubtful else PASSED,
        "AUPRC gained over the control",
        gain,
        0,
        lost if doubtful else beaten,
        "Report the detector beside one without the graph, and claim nothing of the edges."
        if doubtful
        else "",
        {
            "AUPRC, as it is": f"{before:.3f}",
            "AUPRC, control": f"{after:.3f}",
            "AUROC gained": f"{gain_area:+.3f}",
        },
    )
