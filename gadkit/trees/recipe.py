"""The default recipe: a few views of a graph, a few learners, and validation decides.

No single table is best everywhere: on some graphs the neighbors are noise, on others they are all
there is. So boosted trees learn from every view, extra trees from the two where those validate
best, and the committee of those that validate nearly as well as the best one speaks. Nothing is
chosen per data set by hand, and the test part of a split is not looked at.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain

import torch
from torch import Tensor

from gadkit.evaluation.budget import logit, platt, sigmoid
from gadkit.evaluation.metrics import auprc_error, average_precision
from gadkit.evaluation.splits import Detector, Split
from gadkit.graph import HeteroGraph
from gadkit.trees.blocks import LABELLED
from gadkit.trees.learners import FEW, LEARNERS, Boosted, Learner, Predict, Rows, are_few_frauds
from gadkit.trees.side import SMALL, side_by_side
from gadkit.trees.views import Views

SECOND_LOOK = 2  # views that more learners than boosted trees are tried on
GIVEN = "(given)"  # in place of a view
MOST = 1 << 18  # nodes that are all scored for the sake of the labelled ones
BLOCK = 1 << 14  # rows of a table made at a time: with a thousand columns, 64 MB


@dataclass
class Member:
    """One learner's say about one view, or what another detector has said.

    Attributes:
        view: what it saw; `GIVEN` if it is another detector.
        learner: what it is.
        predict: rows to probabilities; ids to probabilities if it is another detector.
        val_auprc: on the validation part.
        slope, bias: logits times slope plus bias are calibrated on the validation part.
    """

    view: str
    learner: str
    predict: Predict
    val_auprc: float
    slope: float
    bias: float

    @property
    def name(self) -> str:
        """Learner and view."""
        return self.learner if self.view == GIVEN else f"{self.learner} on {self.view}"


@dataclass
class Committee:
    """What was learned, and what it says.

    Attributes:
        views: the tables learned from.
        blocks: of each view.
        split: labels learned from and chosen by.
        candidates: all that was fitted.
        members: those of them whose mean logit is the score.
        columns: by view the names of the columns that were learned from, where the views are of
            another graph, which may have more or in another order; None where they are the same.
        progress: whether to show a bar while all nodes are scored.
    """

    views: Views
    blocks: dict[str, tuple[str, ...]]
    split: Split
    candidates: list[Member]
    members: list[Member]
    columns: dict[str, list[str]] | None = None
    progress: bool = False

    is_calibrated = True  # whether the scores are probabilities

    @cached_property
    def scores(self) -> Tensor:
        """Probabilities calibrated on the validation part, (total,) float64, or NaN."""
        from tqdm import tqdm

        scores = torch.full((self.views.graph.total,), torch.nan, dtype=torch.float64)
        spans = [self.views.graph.span(node_type) for node_type in self.views.types]
        nodes = [torch.arange(span.start, span.stop).split(BLOCK) for span in spans]
        total = sum(span.stop - span.start for span in spans)
        with tqdm(total=total, desc="scores", unit="node", disable=not self.progress) as bar:
            for ids in chain.from_iterable(nodes):
                scores[ids] = self.score(ids)
                bar.update(len(ids))
        return scores

    @property
    def has_score(self) -> Tensor:
        """Which nodes are of a type that is scored, (total,) bool; without scoring any."""
        out = torch.zeros(self.views.graph.total, dtype=torch.bool)
        for node_type in self.views.types:
            out[self.views.graph.span(node_type)] = True
        return out

    def ranked(self) -> Tensor:
        """Return the nodes that have a score, (n,) int64 global ids, the most suspicious first."""
        order = self.scores.nan_to_num(-1.0).argsort(descending=True, stable=True)
        return order[self.scores[order] >= 0]

    def score(self, ids: Tensor) -> Tensor:
        """Return the probabilities of some nodes, (n,) float64."""
        total, made = torch.zeros(len(ids), dtype=torch.float64), {}
        for view in dict.fromkeys(member.view for member in self.members):
            table = ids if view == GIVEN else self._table(view, ids, made)
            for member in self.members:
                if member.view == view:
                    total += member.slope * logit(member.predict(table)) + member.bias
        return sigmoid(total / len(self.members))

    def on(self, graph: HeteroGraph) -> "Committee":
        """Return the same learners looking at another graph, without the other detectors.

        Raises:
            ValueError: the committee has no others.
        """
        members = [member for member in self.members if member.view != GIVEN]
        if not members:
            raise ValueError(
                "only other detectors are on the committee, and they cannot be asked again; fit "
                "the recipe without `beside`"
            )
        return replace(self, views=self.views.with_graph(graph), members=members)

    @property
    def blind(self) -> list[Member]:
        """The committee that would have been seated if nobody had looked at labels of neighbors."""
        candidates = [
            member
            for member in self.candidates
            if not {*self.blocks.get(member.view, ())} & {*LABELLED}
        ]
        return _within_error(candidates, self.split)

    @property
    def explained(self) -> Member:
        """The boosted trees on the committee, or else fitted, that validated best."""
        trees = [m for m in self.members if isinstance(m.predict, Boosted)]
        trees = trees or [m for m in self.candidates if isinstance(m.predict, Boosted)]
        return max(trees, key=lambda member: member.val_auprc)

    @property
    def view(self) -> str:
        """What the trees that `contributions` explains have seen."""
        return self.explained.view

    @property
    def names(self) -> list[str]:
        """Names of the columns of `table`."""
        if self.columns is not None:
            return self.columns[self.view]
        return self.views.names(self.blocks[self.view])

    def table(self, ids: Tensor) -> Tensor:
        """Return what the explained trees see of some nodes, (n, dim) float32."""
        return self._table(self.view, ids)

    def _table(self, view: str, ids: Tensor, made: dict | None = None) -> Tensor:
        table = self.views.table(self.blocks[view], ids, self.split.train, made=made)
        return table if self.columns is None else table[:, self._places[view]]

    @cached_property
    def _places(self) -> dict[str, Tensor]:
        """Say by view where in a table of these views the columns stand that were learned from.

        Raises:
            ValueError: one of them cannot be made of these views.
        """
        places = {}
        for view, learned in self.columns.items():
            place_of = {name: k for k, name in enumerate(self.views.names(self.blocks[view]))}
            missing = [name for name in learned if name not in place_of]
            if missing:
                raise ValueError(
                    f"the graph has no {missing[0]!r}, which the detector has learned from, nor "
                    f"{len(missing) - 1} more such columns; make both graphs in the same way"
                )
            places[view] = torch.tensor([place_of[name] for name in learned], dtype=torch.int64)
        return places

    def contributions(self, ids: Tensor) -> Tensor:
        """Return how each column moves the explained trees' logit, (n, dim + 1); last = bias."""
        return self.explained.predict.contributions(self.table(ids))


def views_to_try(
    views: Views, num_train: int, *, past_only: bool = False
) -> dict[str, tuple[str, ...]]:
    """Say which views are worth trying.

    Args:
        views: of the graph.
        num_train: number of training labels; with few there are no rates of labels to speak of.
        past_only: whether a node may be described only by what came before it.
    """
    around = ("own", "hops", "structure")
    past = ("history",) if views.has_history else ()
    blocks = {"own features": ("own",)}
    if past_only:
        blocks["its past"] = ("own", "lately")
        blocks["its past with labels"] = ("own", "lately", "late_labels")
    else:
        blocks["neighbors"] = (*around, *past)
    if num_train >= FEW and not past_only:
        labels = ("labels", "label_history") if past else ("labels",)
        blocks["neighbors and labels"] = (*around, *past, *labels)
        blocks["everything"] = (*around, *past, *labels, "bands")
    if not views.names(("own",)):
        del blocks["own features"]
    return blocks


def fit_recipe(
    views: Views,
    split: Split,
    *,
    beside: dict[str, Tensor] | None = None,
    past_only: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> Committee:
    """Fit the default recipe.

    Boosted trees learn from every view, extra trees from the two views where those validate best,
    and with few labels a random forest and a linear model too. The committee is those
    within a standard error of the best validation AUPRC (the rule of Breiman et al., Classification
    and Regression Trees, 1984), and its score the mean of their logits, each calibrated on the
    validation part (Platt, Probabilistic Outputs for Support Vector Machines, 1999).

    With few frauds a standard error is wide, and detectors far below the trees would be within it.
    So other detectors are on the committee only where one of them validates above all trees.

    Args:
        views: of the graph.
        split: labels to learn from and to choose by; `split.test` is not looked at.
        beside: (total,) scores of other detectors that have learned from the same split, by name;
            in [0, 1] for nodes of types with labels. Candidates for the committee like the trees.
        past_only: whether a node may be described only by what came before it.
        seed: of the learners.
        progress: whether to show a bar.

    Raises:
        ValueError: the past is asked for where nodes have no time, or scores are not in [0, 1].
    """
    given = [_given(name, scores, views, split) for name, scores in (beside or {}).items()]
    blocks = views_to_try(views, len(split.train), past_only=past_only)
    few = are_few_frauds(split.train[:, 1])
    more = _more_learners(few or len(split.train) < FEW, past_only)
    with _bar(len(blocks) + min(SECOND_LOOK, len(blocks)) * len(more), progress) as bar:
        candidates = _members(views, split, blocks, ["boosted trees"], seed, bar)
        two = sorted(candidates, key=lambda member: -member.val_auprc)[:SECOND_LOOK]
        two = {member.view: blocks[member.view] for member in two}
        candidates += _members(views, split, two, more, seed, bar)
    best = max(member.val_auprc for member in candidates)
    with_given = not few or any(member.val_auprc > best for member in given)
    members = _within_error(candidates + given if with_given else candidates, split)
    return Committee(views, blocks, split, candidates + given, members, progress=progress)


def _more_learners(few: bool, past_only: bool) -> list[str]:
    """Return what is tried beside boosted trees on the views where those validate best.

    With many labels a random forest takes as long as all others and adds nothing: over 12 splits of
    six graphs the mean AUPRC was 61.47 with it and 61.50 without. With 20 frauds to learn from it
    adds 1.3 on amazon_upu and takes 0.2 on tolokers (ten splits each).
    Of what comes later, trees that are cut at random say more than forests that search for cuts: on
    the first 60 % of the payments of S-FFSD that are labelled, split at three times, by 1.0 to 2.9
    AUPRC in six pairs of six.
    """
    if past_only:
        return ["extra trees", *(["logistic regression"] if few else [])]
    return ["random forest", "extra trees", "logistic regression"] if few else ["extra trees"]


def fit_boosted(views: Views, split: Split, blocks: tuple[str, ...], seed: int = 0) -> Committee:
    """Fit boosted trees alone on the view made of some blocks."""
    return fit_one(views, split, blocks, "boosted trees", seed=seed)


def fit_one(
    views: Views, split: Split, blocks: tuple[str, ...], learner: str, *, seed: int = 0
) -> Committee:
    """Fit one learner on the view made of some blocks.

    Args:
        views: of the graph.
        split: labels to learn from and to choose by.
        blocks: names out of `blocks.BLOCKS`.
        learner: a name out of `LEARNERS`.
        seed: of the learner.
    """
    view = {" + ".join(blocks): tuple(blocks)}
    candidates = _members(views, split, view, [learner], seed, None)
    return Committee(views, view, split, candidates, candidates)


@contextmanager
def _bar(total: int, progress: bool):
    if not progress:
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc="trees", unit="fit") as bar:
        yield bar


def _members(
    views: Views, split: Split, blocks: dict, learners: list[str], seed: int, bar
) -> list[Member]:
    """Fit every learner on every view, side by side where the tables are small."""
    width = {view: len(views.names(names)) for view, names in blocks.items()}
    order = sorted(blocks, key=width.__getitem__, reverse=True)  # the widest take longest
    are_small = len(split.train) * max(width.values(), default=0) <= SMALL
    fits = (fit for view in order for fit in _fits(views, split, view, blocks, learners, seed))
    members = {}
    for _, member in side_by_side(fits, are_small=are_small):
        members[member.view, member.learner] = member
        if bar:
            bar.update()
    return [members[view, name] for view in blocks for name in learners]


def _fits(
    views: Views, split: Split, view: str, blocks: dict, learners: list[str], seed: int
) -> Iterator[Callable[[], Member]]:
    """Yield what fits each learner on a view, whose table is made once."""
    train, val = (
        Rows(views.table(blocks[view], part[:, 0], split.train), part[:, 1])
        for part in (split.train, split.val)
    )
    for name in learners:
        yield partial(_member, view, name, LEARNERS[name], train, val, seed)


def _within_error(candidates: list[Member], split: Split) -> list[Member]:
    """Return the candidates that validate within a standard error of the best."""
    if not candidates:
        return []
    best = max(member.val_auprc for member in candidates)
    error = auprc_error(best, int(split.val[:, 1].sum()))
    return [member for member in candidates if member.val_auprc >= best - error]


def _given(name: str, scores: Tensor, views: Views, split: Split) -> Member:
    if scores.shape != (views.graph.total,):
        raise ValueError(
            f"the scores of {name!r} must be ({views.graph.total},), one a node, by global id; got "
            f"{tuple(scores.shape)}"
        )
    scores = scores.double()
    for node_type in views.types:
        span = views.graph.span(node_type)
        bad = ~((scores[span] >= 0) & (scores[span] <= 1))
        if bad.any():
            node = span.start + int(bad.nonzero()[0])
            raise ValueError(
                f"the scores of {name!r} must be in [0, 1], but {int(bad.sum()):,} of a "
                f"{node_type} are not; node {node} has {float(scores[node])}. Of logits take the "
                "sigmoid"
            )
    return _judged(GIVEN, name, scores.__getitem__, scores[split.val[:, 0]], split.val[:, 1])


def _member(view: str, name: str, learner: Learner, train: Rows, val: Rows, seed: int) -> Member:
    predict = learner(train, val, seed)
    return _judged(view, name, predict, predict(val.x), val.y)


def _judged(view: str, name: str, predict: Predict, on_val: Tensor, y_true: Tensor) -> Member:
    value = average_precision(y_true, on_val)
    return Member(view, name, predict, value, *platt(on_val, y_true))


def recipe_detector(views: Views, *, past_only: bool = False, seed: int = 0) -> Detector:
    """Return the default recipe as a detector; another graph is seen through the same views."""

    def detect(graph: HeteroGraph, split: Split) -> Tensor:
        tables = views if graph is views.graph else views.with_graph(graph)
        return fit_recipe(tables, split, past_only=past_only, seed=seed).scores

    return detect


def table_detector(
    views: Views, blocks: tuple[str, ...], learner: str, *, seed: int = 0
) -> Detector:
    """Return one learner on one view as a detector.

    Of a graph with more than `MOST` nodes, only those of the split get a score, and the rest NaN.
    """

    def detect(graph: HeteroGraph, split: Split) -> Tensor:
        tables = views if graph is views.graph else views.with_graph(graph)
        fitted = fit_one(tables, split, blocks, learner, seed=seed)
        if graph.total <= MOST:
            return fitted.scores
        scores = torch.full((graph.total,), torch.nan, dtype=torch.float64)
        for ids in torch.cat([part[:, 0] for part in split]).split(BLOCK):
            scores[ids] = fitted.score(ids)
        return scores

    return detect
