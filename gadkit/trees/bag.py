"""Rank by a few confirmed frauds against the rest, which nobody has looked at.

Who has no label is no proven normal, and with one fraud there is nothing to validate with. So a bag
of learners is taught: each that the confirmed frauds are 1 and that another random draw of the rest
is 0. A node is scored by those that were not taught about it, so that a fraud among the drawn is
not pushed down (Mordelet and Vert, A bagging SVM to learn from positive and unlabeled examples,
Pattern Recognition Letters 2014). That finds accounts that look alike. Beside it stands how near a
node is to the confirmed frauds, over every relation. The two lists are joined by their ranks
(Cormack et al., Reciprocal rank fusion, SIGIR 2009).

The order needs no rate of fraud and no normal account; for the same reason a score here is no
probability, and no AUROC, AUPRC or precision can be known. With five frauds or more, each is also
placed by learners that were not taught about it: how many of them come first is the recall of which
Lee and Liu (Learning with positive and unlabeled examples, ICML 2003) make their measure.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from gadkit.evaluation.budget import logit, sigmoid
from gadkit.evaluation.splits import ENOUGH, Split
from gadkit.ops.threads import same_bits
from gadkit.trees.learners import Learner, Rows, logistic, quantile_scale, random_forest
from gadkit.trees.predictors import Linear
from gadkit.trees.recipe import BLOCK, Committee, Member, _bar, views_to_try
from gadkit.trees.views import Views

DRAWS = 10  # of the rest
FOLDS = 5  # of the confirmed frauds, each kept from a part of the learners
MOST = 1000  # nodes taken as normal in a draw
BAGGED = {  # neither needs nodes to validate with
    "random forest": partial(random_forest, trees=40),  # as many draws times that
    "logistic regression": logistic,
}
FUSION = 60  # of Cormack et al.: the higher, the less the first ranks of a list count
SHOWN = 50  # of the list, in which hidden frauds are counted
_LEAST = 0.1  # deviation of logits; learners that say nearly the same of all are not blown up

BOTH, ALIKE, NEAR = "both", "looks alike", "is near"
_LISTS = {
    BOTH: "how much alike and how near to them an account is",
    ALIKE: "how much alike to them an account is",
    NEAR: "how near to them an account is",
}


@dataclass(kw_only=True)
class Bag(Committee):
    """What learners say that were taught different draws; a `Committee` of equal members.

    Its `split.train` holds the labels there are, and nobody who was drawn; val and test are empty.

    Attributes:
        draw_of_member: the number of the draw that each member was taught.
        draw: (total,) int64 number of the draw in which a node was taken as normal; -1 if none.
        fold: (total,) int64 fold of a confirmed fraud, -1 for others.
        num_folds: 1 if no fraud is kept from any learner.
        is_rest: (total,) bool, the nodes of no label, among whom places are counted; cleared ones
            where all are labelled.
        near: (total,) float64 nearness to the confirmed frauds, of a fraud to the others.
    """

    draw_of_member: list[int]
    draw: Tensor
    fold: Tensor
    num_folds: int
    is_rest: Tensor
    near: Tensor

    is_calibrated = False

    def score(self, ids: Tensor) -> Tensor:
        """Return how much alike to the frauds nodes look, (n,) float64 in (0, 1).

        It is the mean over the members that were not taught about the node, or over all members if
        every one was.
        """
        ((view, _),) = self.blocks.items()
        table = self._table(view, ids)
        total = torch.zeros(2, len(ids), dtype=torch.float64)
        count = torch.zeros(len(ids), dtype=torch.float64)
        predict = _Once(table)
        for member, number in zip(self.members, self.draw_of_member, strict=True):
            voice = member.slope * logit(predict(member)) + member.bias
            is_strange = ~self._is_taught(number, ids)
            total += torch.stack([voice * is_strange, voice])
            count += is_strange
        strangers, everybody = total[0] / count.clamp(min=1), total[1] / len(self.members)
        return sigmoid(torch.where(count > 0, strangers, everybody))

    def _is_taught(self, number: int, ids: Tensor) -> Tensor:
        fold = self.fold[ids]
        is_hidden = (fold == number % self.num_folds) & (self.num_folds > 1)
        return (self.draw[ids] == number) | ((fold >= 0) & ~is_hidden)

    @cached_property
    def ids(self) -> Tensor:
        """Nodes of the types that are ranked, (n,) int64."""
        spans = (self.views.graph.span(node_type) for node_type in self.views.types)
        return torch.cat([torch.arange(span.start, span.stop) for span in spans])

    @cached_property
    def _places_by_list(self) -> dict[str, Tensor]:
        """Say how many of the rest come before each of `ids`, plus 1, in each list."""
        is_rest = self.is_rest[self.ids]
        alike = torch.cat([self.score(ids) for ids in self.ids.split(BLOCK)])
        near = self.near[self.ids]
        places = {ALIKE: _places(alike, is_rest), NEAR: _places(near, is_rest)}
        joined = sum(1 / (FUSION + place) for place in places.values())
        return {BOTH: _places(joined, is_rest)} | places

    @property
    def _first(self) -> int:
        return min(SHOWN, max(1, int(self.is_rest.sum()) // 20))

    @cached_property
    def chosen(self) -> str:
        """The list that puts hidden frauds first: both joined, unless one alone is clearly better.

        Clearly is by more than a standard error, over the frauds, of how much more each counts by
        1 / (`FUSION` + place). It is both where no fraud comes first at all, or where there are
        less than `ENOUGH`.
        """
        hidden = self.fold[self.ids] >= 0
        if self.num_folds == 1 or int(hidden.sum()) < ENOUGH:
            return BOTH
        worth = {name: 1 / (FUSION + place[hidden]) for name, place in self._places_by_list.items()}

        def gain(name: str) -> float:
            difference = worth[name] - worth[BOTH]
            return float(difference.mean() - difference.std() / len(difference) ** 0.5)

        best = max((ALIKE, NEAR), key=gain)
        is_first = self._places_by_list[best][hidden] <= self._first
        return best if gain(best) > 0 and is_first.any() else BOTH

    @cached_property
    def scores(self) -> Tensor:
        """Scores of every node, (total,) float64 in (0, 1], NaN for types that are not ranked.

        1 / (1 + k / `FUSION`), where k is the number of the rest that come before. No probability.
        """
        place = self._places_by_list[self.chosen]
        scores = torch.full((self.views.graph.total,), torch.nan, dtype=torch.float64)
        scores[self.ids] = 1 / (1 + (place - 1) / FUSION)
        return scores

    @cached_property
    def hidden_places(self) -> Tensor:
        """Where hidden frauds come among the rest, (num_frauds,) float64 from 1; or none."""
        place = self._places_by_list[self.chosen][self.fold[self.ids] >= 0]
        return place if self.num_folds > 1 else place[:0]

    def said(self) -> list[str]:
        """Say in lines what was learned from, and how good the list is as far as anybody knows."""
        frauds, rest = int(self.split.train[:, 1].sum()), int(self.is_rest.sum())
        cleared = len(self.split.train) - frauds
        unseen = len(self.ids) - frauds - cleared
        lines = [
            f"{_counted(frauds, 'confirmed fraud')} and {_counted(cleared, 'cleared account')} "
            f"against {unseen:,} that nobody has looked at, ranked by {_LISTS[self.chosen]}"
        ]
        if not len(self.hidden_places):
            return [*lines, "how good the list is cannot be measured: there are too few labels"]
        from scipy.stats import binomtest

        first = self._first
        hits = int((self.hidden_places <= first).sum())
        interval = binomtest(hits, frauds).proportion_ci(method="wilson")
        return [
            *lines,
            f"of the confirmed frauds, each hidden from the learners that place it, {hits:,} of "
            f"{frauds:,} come before all but {first:,} of {rest:,} others: recall "
            f"{hits / frauds:.2f} [{interval.low:.2f}, {interval.high:.2f}], by chance "
            f"{first / rest:.3f}; no precision can be known without accounts cleared as normal",
        ]


def fit_bag(views: Views, labels: Tensor, *, seed: int = 0, progress: bool = False) -> Bag:
    """Rank by confirmed frauds, and cleared accounts if there are any, against all others.

    Args:
        views: of the graph.
        labels: (num_labels, 2) int64 rows [global id, 1 = anomaly]; at least one is an anomaly.
        seed: of the draws and the learners.
        progress: whether to show a bar.

    Raises:
        ValueError: all nodes of the labelled types are confirmed frauds.
    """
    deal = _Deal(views, labels, seed)
    view, blocks = list(views_to_try(views, 0).items())[-1]
    members, draw_of_member = [], []
    scale = quantile_scale(views.table(blocks, deal.sample), seed)
    learners = {
        name: partial(learner, scale=scale) if learner is logistic else learner
        for name, learner in BAGGED.items()
    }
    with _bar(deal.num_draws, progress) as bar:
        for number, (rows, strangers) in enumerate(deal.taught(views, blocks)):
            members += [
                _member(view, name, learner, rows, strangers, seed + number)
                for name, learner in learners.items()
            ]
            draw_of_member += [number] * len(learners)
            if bar:
                bar.update()
    split = Split(labels, labels[:0], labels[:0])
    near = _nearness(views, deal.frauds)
    return Bag(
        views, {view: blocks}, split, members, members, draw_of_member=draw_of_member,
        draw=deal.draw, fold=deal.fold, num_folds=deal.num_folds, is_rest=deal.is_rest, near=near,
    )  # fmt: skip


class _Deal:
    """Who is taught to which learners.

    The rest, nobody of whom is labelled, is dealt into draws. Cleared accounts are taught in every
    draw, but dealt like the rest where they are many or where there are no others.

    Attributes:
        frauds: (num_frauds,) int64, in random order; fold k holds every `num_folds`-th.
        is_rest: (total,) bool, among whom places are counted.
        num_draws, draw, fold, num_folds: see `Bag`.
    """

    def __init__(self, views: Views, labels: Tensor, seed: int):
        generator = torch.Generator().manual_seed(seed)
        total = views.graph.total
        self.draw, self.fold = torch.full((total,), -1), torch.full((total,), -1)
        frauds, cleared = (labels[labels[:, 1] == value, 0] for value in (1, 0))
        nodes = torch.cat([torch.arange(total)[views.graph.span(name)] for name in views.types])
        unlabelled = nodes[~torch.isin(nodes, labels[:, 0])]
        everywhere = len(unlabelled) > 0 and len(cleared) <= MOST
        self.cleared = cleared if everywhere else cleared[:0]
        rest = unlabelled if len(unlabelled) else cleared
        if not len(rest):
            raise ValueError(f"all {len(frauds):,} nodes are confirmed frauds: nobody is left")
        self.is_rest = torch.zeros(total, dtype=torch.bool)
        self.is_rest[rest] = True
        self.num_draws = max(1, min(DRAWS, len(rest) // 2))
        for dealt in (unlabelled, cleared[len(self.cleared) :]):
            shuffled = dealt[torch.randperm(len(dealt), generator=generator)]
            shuffled = shuffled[: self.num_draws * max(MOST, len(frauds))]
            self.draw[shuffled] = torch.arange(len(shuffled)) % self.num_draws
        is_enough = len(frauds) >= ENOUGH and self.num_draws >= FOLDS
        self.num_folds = FOLDS if is_enough else 1
        self.frauds = frauds[torch.randperm(len(frauds), generator=generator)]
        self.fold[self.frauds] = torch.arange(len(frauds)) % self.num_folds

    @property
    def sample(self) -> Tensor:
        """Nodes by which columns are scaled: of the frauds and of the rest, (n,) int64.

        No label is used: where a value stands among others is the same for all draws, and is so
        worked out once.
        """
        dealt = (self.draw >= 0).nonzero().flatten()
        return torch.cat([_spaced(self.frauds, MOST), _spaced(dealt, MOST)])

    def taught(self, views: Views, blocks: tuple[str, ...]) -> Iterator[tuple[Rows, Tensor]]:
        """Yield by draw what its members are taught, and rows of the rest that they are not."""
        always = views.table(blocks, torch.cat([self.frauds, self.cleared]))
        frauds, cleared = always.split([len(self.frauds), len(self.cleared)])
        first = drawn = self._drawn(views, blocks, 0)
        for number in range(self.num_draws):
            is_last = number == self.num_draws - 1
            following = first if is_last else self._drawn(views, blocks, number + 1)
            fold = self.fold[self.frauds]
            confirmed = frauds[(self.num_folds == 1) | (fold != number % self.num_folds)]
            x = torch.cat([confirmed, cleared, drawn])
            yield Rows(x, (torch.arange(len(x)) < len(confirmed)).long()), following
            drawn = following

    def _drawn(self, views: Views, blocks: tuple[str, ...], number: int) -> Tensor:
        return views.table(blocks, (self.draw == number).nonzero().flatten())


def _spaced(ids: Tensor, most: int) -> Tensor:
    """Return so many ids at most, evenly from the first to the last."""
    return ids[torch.arange(min(len(ids), most)) * len(ids) // max(1, min(len(ids), most))]


class _Once:
    """Asks members about the same rows; columns are brought on a scale once for all who share it.

    Args:
        table: (n, dim) float32.
    """

    def __init__(self, table: Tensor):
        self.table, self._scaled = table, {}

    def __call__(self, member: Member) -> Tensor:
        """Return the probability of each row, (n,) float64."""
        predict = member.predict
        if not isinstance(predict, Linear):
            return predict(self.table)
        key = id(predict.scale)
        if key not in self._scaled:
            self._scaled[key] = predict.scale.transform(self.table)
        return predict.of_scaled(self._scaled[key])


def _member(
    view: str, name: str, learner: Learner, rows: Rows, strangers: Tensor, seed: int
) -> Member:
    """Fit one learner, and scale its logits to mean 0 and deviation 1 over nodes of the rest.

    So the members have one voice each, however sure of themselves they are.
    """
    predict = learner(rows, rows, seed)
    logits = logit(predict(strangers))
    with same_bits():
        deviation, average = torch.std_mean(logits, correction=0)
    slope = 1 / max(float(deviation), _LEAST)
    return Member(view, name, predict, torch.nan, slope, -float(average) * slope)


def _nearness(views: Views, frauds: Tensor) -> Tensor:
    """Return how near each node is to the frauds, (total,) float64; each fraud, to the others.

    Frauds are left out by folds, so that a fold is placed by the others alone.
    """
    num_folds = min(len(frauds), FOLDS)
    fold = torch.arange(len(frauds)) % num_folds
    start = torch.zeros(views.graph.total, num_folds + 1)
    start[frauds] = torch.ones(len(frauds), num_folds + 1)
    if num_folds > 1:
        start[frauds, fold] = 0
    spread = views.neighbors.spread(start).double()
    near = spread[:, -1].clone()
    near[frauds] = spread[frauds, fold]
    return near


def _places(values: Tensor, is_rest: Tensor) -> Tensor:
    """Return 1 + how many of the rest have a higher value, equals half, (n,) float64."""
    rest = values[is_rest].sort().values
    up_to = torch.searchsorted(rest, values, right=True)
    equal = up_to - torch.searchsorted(rest, values) - is_rest.long()
    return 1 + (len(rest) - up_to) + equal.double() / 2


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
