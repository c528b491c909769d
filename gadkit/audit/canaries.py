"""Checks of how features are made: other labels or no future, and the table is made again.

Features of the past do not change when the future is taken away, nor any features with the labels
of test. None of these checks needs to know how the features are made.

Source: M. Ojala and G. Garriga, Permutation tests for studying classifier performance, JMLR 11,
2010.
"""

import copy
import math
from collections.abc import Sequence
from functools import partial
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from gadkit.audit import controls
from gadkit.audit.finding import (
    CHANCE,
    ENOUGH,
    FAILED,
    LEVEL,
    PASSED,
    QUANTILE,
    SHOWN,
    Features,
    Finding,
    skipped,
)
from gadkit.evaluation.metrics import Interval, roc_auc
from gadkit.evaluation.splits import Split
from gadkit.graph import HeteroGraph

CONCORDANCE_MARGIN = 0.1  # around 0.5
# Out-of-fold rates tell a little of the labels of a small group (0.57 at worst in trials); rates
# that leave out only the own label tell nearly all (0.8 and more).
DECODED_MAY_REACH = 0.6
DECODED_ROWS = 6_000  # rows that trees try to read labels off; enough to see a leak
DECODED_OTHERS = 60  # columns beside the label columns, by which trees may know a group


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

    @property
    def moved(self) -> Tensor:
        """Whether each column depends on the training labels, (dim,) bool."""
        changed = torch.stack([differs(self.real, table) for table in self.permuted])
        return changed.any(0).any(0)


# Other labels.


def relabelled(graph: HeteroGraph, split: Split, **labels: Tensor) -> tuple[HeteroGraph, Split]:
    """Give parts of the split other labels, in the graph as well; the edges stay the same objects.

    The copy shares what the graph has computed of its edges, which does not depend on labels.

    Args:
        graph: with labels.
        split: of its labelled nodes.
        labels: by part, such as test: (n,) int64 in the order of that part.
    """
    label = graph.label_of_nodes()
    parts = split._asdict()
    for name, y in labels.items():
        ids = parts[name][:, 0]
        parts[name] = torch.stack([ids, y], 1)
        label[ids] = y
    altered = copy.copy(graph)
    altered.__dict__.pop("fingerprint", None)  # cached, and of the labels too
    altered.labels = torch.stack([graph.labels[:, 0], label[graph.labels[:, 0]]], 1)
    return altered, Split(**parts)


def shuffled(values: Tensor, generator: torch.Generator) -> Tensor:
    """Return the rows of a tensor in random order."""
    return values[torch.randperm(len(values), generator=generator)]


def differs(before: Tensor, after: Tensor) -> Tensor:
    """Mark the entries that changed; a missing value that stays missing has not."""
    return (before != after) & ~(before.isnan() & after.isnan())


# Labels of test.


def feature_canary(graph: HeteroGraph, split: Split, features: Features) -> Finding:
    """Turn every test label over: no row of the table may change by a bit."""
    ids = torch.cat([part[:, 0] for part in split]).unique()
    before, names = features(graph, split, ids)
    after, _ = features(*relabelled(graph, split, test=1 - split.test[:, 1]), ids)
    changed = differs(before, after)
    rows = int(changed.any(1).sum())
    verdict, remedy = PASSED, ""
    detail = f"All {len(ids):,} rows are the same to the last bit, whatever the test labels."
    if rows:
        verdict = FAILED
        detail = f"{rows:,} of {len(ids):,} rows depend on the labels of test nodes."
        remedy = (
            "Make label features from split.train alone; delete or recompute any table or "
            "embedding made with all labels."
        )
    return Finding(
        check="test labels in features",
        verdict=verdict,
        measure="rows changed",
        value=rows,
        expected=0,
        detail=detail,
        remedy=remedy,
        evidence=_rows_by_column(names, changed),
    )


def _rows_by_column(names: Sequence[str], changed: Tensor) -> dict[str, str]:
    counts = changed.sum(0)
    order = counts.argsort(descending=True, stable=True)[:SHOWN].tolist()
    return {names[i]: f"{int(counts[i]):,} rows" for i in order if counts[i]}


# Labels of train.


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
    permuted = [shuffled(y, generator) for _ in range(permutations)]
    tables = [features(*relabelled(graph, split, train=y), ids)[0] for y in permuted]
    return Tables(list(names), real, torch.stack(permuted), torch.stack(tables))


def own_label(tables: Tables) -> Finding:
    """Ask whether a node's row moves with its own label.

    The same node is compared with itself under other labels of all nodes: where its own label was
    1, is a column higher (or lower) than where it was 0? What the structure gives a node cancels.
    A rate propagated over neighbors moves with the label it should not know; one that leaves out
    the node's own fold does not.
    """
    check = "own label in features"
    columns = tables.moved.nonzero().flatten()
    if len(columns) == 0:
        return Finding(
            check=check, verdict=PASSED, detail="No column depends on the training labels."
        )
    wins, pairs, nodes = _concordance(tables.y, tables.permuted[:, :, columns])
    rate = torch.where(pairs > 0, wins / pairs.clamp(min=1), CHANCE)
    order = torch.where(nodes >= ENOUGH, (rate - CHANCE).abs(), 0)
    order = order.argsort(descending=True, stable=True)[:SHOWN].tolist()
    worst = float(rate[order[0]])
    name = [tables.names[i] for i in columns.tolist()]
    # The highest of many columns is high by chance already: each may err as often as LEVEL allows
    # all of them together (Bonferroni).
    quantile = NormalDist().inv_cdf(1 - (1 - LEVEL) / 2 / len(columns))
    spread = quantile * 0.5 / math.sqrt(max(1, int(nodes[order[0]])))
    verdict, remedy = PASSED, ""
    if abs(worst - CHANCE) > max(spread, CONCORDANCE_MARGIN):
        verdict = FAILED
        remedy = (
            "Make label features out of fold, from train only, and never average them over "
            "neighbors: that brings the own label back."
        )
    return Finding(
        check=check,
        verdict=verdict,
        measure="how often the row moves with its own label",
        value=Interval(worst, max(0.0, worst - spread), min(1.0, worst + spread)),
        expected=CHANCE,
        detail=f"{len(columns):,} columns are made of training labels; {name[order[0]]!r} follows "
        "its own most.",
        remedy=remedy,
        evidence={name[i]: f"{float(rate[i]):.3f}" for i in order if nodes[i] >= ENOUGH},
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
    pairs, has_pair = torch.zeros_like(wins), torch.zeros(table.shape[1:], dtype=torch.bool)
    for a in range(len(y)):
        for b in range(a):
            # Nodes whose label differs between the permutations a and b. `step` is 1 where the
            # value rose with the label, -1 where it fell, 0 where it stayed or is missing.
            chosen = (y[a] != y[b]).nonzero().flatten()
            sign = (y[a] - y[b])[chosen, None]
            step = (table[a][chosen] - table[b][chosen]).nan_to_num(0).sign() * sign
            wins += (step > 0).double().sum(0)
            pairs += (step != 0).double().sum(0)
            has_pair[chosen] |= step != 0
    return wins, pairs, has_pair.double().sum(0)


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
        return Finding(
            check=check, verdict=PASSED, detail="No column depends on the training labels."
        )
    areas = _held_out_areas(tables, _with_company(chosen, len(tables.names), seed), folds, seed)
    area = max(map(interval_of_permutations, areas), key=lambda interval: interval.value)
    verdict, remedy = PASSED, ""
    if area.value > DECODED_MAY_REACH and area.low > CHANCE:
        verdict = FAILED
        remedy = (
            "Leave out the labels of a whole fold, not only the node's own: a tree subtracts the "
            "rest of the group. Fewer counts and totals beside the rates help as well."
        )
    return Finding(
        check=check,
        verdict=verdict,
        measure="AUROC of trees for the permuted label of rows held out",
        value=area,
        expected=CHANCE,
        detail=f"{len(chosen):,} columns are made of training labels, or stand beside such.",
        remedy=remedy,
        evidence={
            f"permutation {number}": " and ".join(f"{area:.3f}" for area in by_columns)
            for number, by_columns in enumerate(zip(*areas, strict=True), start=1)
        },
    )


def _label_blocks(tables: Tables) -> Tensor:
    """Columns that change with the labels, and those of the same block."""
    block = [name.split(":")[0] if ":" in name else name for name in tables.names]
    blocks = {block[i] for i in tables.moved.nonzero().flatten().tolist()}
    return torch.tensor([i for i, name in enumerate(block) if name in blocks], dtype=torch.int64)


def _with_company(chosen: Tensor, dim: int, seed: int) -> list[Tensor]:
    """The chosen columns alone, and in the company of some others, if there are others."""
    others = torch.ones(dim, dtype=torch.bool).index_fill(0, chosen, False).nonzero().flatten()
    if len(others) == 0:
        return [chosen]
    others = shuffled(others, torch.Generator().manual_seed(seed))
    return [chosen, torch.cat([chosen, others[:DECODED_OTHERS]])]


def _held_out_areas(
    tables: Tables, companies: Sequence[Tensor], folds: int, seed: int
) -> list[list[float]]:
    """Return `_held_out_area` of some sets of columns, by set and permutation."""
    from gadkit.trees.side import side_by_side

    permutations = [*enumerate(zip(tables.y, tables.permuted, strict=True))]
    fits = [
        partial(_held_out_area, table, columns, y, folds, seed + number)
        for columns in companies
        for number, (y, table) in permutations
    ]
    areas = dict(side_by_side(fits))
    count = len(permutations)
    return [[areas[k * count + number] for number in range(count)] for k in range(len(companies))]


def _held_out_area(table: Tensor, columns: Tensor, y: Tensor, folds: int, seed: int) -> float:
    """AUROC of boosted trees for y, (n,), on the rows of a table that each fold left out.

    The trees see some columns of the table, (n, dim). They are deep, to find groups of a few rows.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from xgboost import XGBClassifier

    from gadkit.trees.learners import seed_of_32_bits

    table = table[:, columns]
    if len(y) > DECODED_ROWS:
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randperm(len(y), generator=generator)[:DECODED_ROWS]
        table, y = table[rows], y[rows]
    trees = XGBClassifier(
        n_estimators=50,
        max_depth=8,
        learning_rate=0.2,
        colsample_bytree=0.7,
        n_jobs=1,
        random_state=seed_of_32_bits(seed),
    )
    cv = StratifiedKFold(folds, shuffle=True, random_state=seed_of_32_bits(seed))
    proba = cross_val_predict(trees, table.numpy(), y.numpy(), cv=cv, method="predict_proba")
    return roc_auc(y, torch.from_numpy(proba[:, 1]))


def interval_of_permutations(areas: Sequence[float], case_error: float = 0.0) -> Interval:
    """Return the mean of AUROCs, one a permutation, with Student's interval, of `LEVEL`.

    Args:
        areas: at least two.
        case_error: standard error over cases, by which the interval is widened.
    """
    from scipy.stats import t

    area = torch.tensor(areas, dtype=torch.float64)
    error = float(area.std()) / math.sqrt(len(area))
    between = float(t.ppf((1 + LEVEL) / 2, len(area) - 1)) * error
    width = math.hypot(between, QUANTILE * case_error)
    mean = float(area.mean())
    return Interval(mean, max(0.0, mean - width), min(1.0, mean + width))


# Later events.


def future(graph: HeteroGraph, split: Split, features: Features, time: Tensor | None) -> Finding:
    """Take later events away: rows of earlier nodes must stay as they are.

    The cuts are where validation and test begin, and the middle of test; each takes away all edges,
    values and labels of what happened from then on. Rounding is forgiven.

    Args:
        graph, split, features: as in `audit`.
        time: (total,) float64, NaN where a node has none; None if the nodes have no times.
    """
    check = "future in features"
    if time is None:
        return skipped(check, "the nodes have no times")
    train, val, test = (time[part[:, 0]] for part in split)
    if any(part.isnan().any() for part in (train, val, test)):
        return skipped(check, "some labelled nodes have no time")
    if train.max() > test.min():
        return skipped(check, "the split is not temporal: the future is in train as well")
    cuts = [float(cut) for cut in (val.min(), test.min(), test.median())]
    changed, names = _changed_by_later(graph, split, features, time, cuts)
    rows = int(changed.any(1).sum())
    verdict, remedy = PASSED, ""
    detail = "No row of an earlier node changes when later events are taken away."
    if rows:
        verdict = FAILED
        detail = f"{rows:,} of {len(changed):,} rows know of later events: "
        detail += f"{int(changed.any(0).sum()):,} of {len(names):,} columns."
        remedy = (
            "Make statistics from strictly earlier events, as the block 'history' does; degrees, "
            "means and embeddings of the whole graph do not exist yet when a case is judged."
        )
    return Finding(
        check=check,
        verdict=verdict,
        measure="rows changed",
        value=rows,
        expected=0,
        detail=detail,
        remedy=remedy,
        evidence=_rows_by_column(names, changed),
    )


def _changed_by_later(
    graph: HeteroGraph, split: Split, features: Features, time: Tensor, cuts: Sequence[float]
) -> tuple[Tensor, list[str]]:
    """Mark what changes before a cut once everything from the cut on is taken away.

    Returns:
        (labelled nodes, dim) bool, in the order train, val, test; and the names of the columns.
    """
    ids = torch.cat([part[:, 0] for part in split])
    before, names = features(graph, split, ids)
    scale = before.nan_to_num(0).abs().amax(0).clamp(min=1e-12)
    changed = torch.zeros_like(before, dtype=torch.bool)
    for cut in cuts:
        rows = time[ids] < cut
        after, _ = features(*_until(graph, split, time, cut), ids[rows])
        is_rounding = (before[rows] - after).abs() <= 1e-5 * scale
        changed[rows] |= differs(before[rows], after) & ~is_rounding
    return changed, names


def _until(graph: HeteroGraph, split: Split, time: Tensor, cut: float) -> tuple[HeteroGraph, Split]:
    """Graph and split without what happened from `cut` on; later nodes get the other label."""
    later = time >= cut
    parts = (torch.stack([p[:, 0], p[:, 1] ^ later[p[:, 0]].long()], 1) for p in split)
    return controls.without_later(graph, later), Split(*parts)
