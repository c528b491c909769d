"""The list of all checks, in the order in which an audit runs them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from gadkit.audit import canaries, data, refit, table
from gadkit.audit.finding import LEVEL, Features, Finding, skipped
from gadkit.evaluation.bootstrap import bootstrap_interval
from gadkit.evaluation.metrics import Interval, roc_auc
from gadkit.evaluation.splits import Detector, Split
from gadkit.graph import HeteroGraph

MISSING = {"features": "no features were given", "detector": "no detector was given"}


@dataclass(kw_only=True, eq=False)
class Context:
    """What is audited, and what several checks need of it, each made when it is first asked for.

    Attributes:
        graph, split, features, detector, time, own_dims, permutations, seed: as in `audit`.
    """

    graph: HeteroGraph
    split: Split
    features: Features | None = None
    detector: Detector | None = None
    time: Tensor | None = None
    own_dims: dict[str, int] | None = None
    permutations: int = 5
    seed: int = 0

    @cached_property
    def _train(self) -> tuple[Tensor, list[str]]:
        return self.features(self.graph, self.split, self.split.train[:, 0])

    @property
    def names(self) -> list[str]:
        """The columns of the tables."""
        return self._train[1]

    @property
    def train(self) -> tuple[Tensor, Tensor]:
        """The table of the training nodes, (n, dim) float32, and their (n,) labels."""
        return self._train[0], self.split.train[:, 1]

    @property
    def apart_from_labels(self) -> tuple[list[str], Tensor]:
        """The columns that no label moves, and the table of the training nodes with these alone."""
        is_apart = ~self.tables.moved
        names = [name for name, is_taken in zip(self.names, is_apart, strict=True) if is_taken]
        return names, self._train[0][:, is_apart]

    @cached_property
    def test(self) -> tuple[Tensor, Tensor]:
        """The table of the test nodes, (m, dim) float32, and their (m,) labels."""
        ids, y_true = self.split.test.unbind(1)
        return self.features(self.graph, self.split, ids)[0], y_true

    @property
    def times(self) -> tuple[Tensor, Tensor] | None:
        """The times of the training and of the test nodes, (n,) and (m,), if there are times."""
        if self.time is None:
            return None
        return self.time[self.split.train[:, 0]], self.time[self.split.test[:, 0]]

    @cached_property
    def tables(self) -> canaries.Tables:
        """The table of the training nodes under permuted labels."""
        return canaries.permuted_tables(
            self.graph,
            self.split,
            self.features,
            permutations=self.permutations,
            seed=self.seed,
        )

    @cached_property
    def scores(self) -> Tensor:
        """What the detector says of each node, (total,) float64."""
        return refit.fit_scores(self.detector, self.graph, self.split)

    @cached_property
    def area(self) -> Interval | None:
        """The AUROC of the detector, if there is one."""
        if self.detector is None:
            return None
        ids, y_true = self.split.test.unbind(1)
        return bootstrap_interval(roc_auc, y_true, self.scores[ids], level=LEVEL)


@dataclass(frozen=True)
class Check:
    """One row of an audit.

    Attributes:
        name: short, as pages and figures show it.
        question: what it looks at.
        run: gives its finding.
        needs: a key of `MISSING`, without which it cannot be run; "" if it needs neither.
    """

    name: str
    question: str
    run: Callable[[Context], Finding]
    needs: str = ""

    def finding(self, context: Context) -> Finding:
        """Run the check, or say why it is not run; the finding knows the question."""
        if self.needs and getattr(context, self.needs) is None:
            finding = skipped(self.name, MISSING[self.needs])
        else:
            finding = self.run(context)
        return replace(finding, question=self.question)


def _control(name: str) -> Callable[[Context], Finding]:
    """Return the run of a check that compares with a control graph."""

    def run(c: Context) -> Finding:
        options = {"scores": c.scores, "own_dims": c.own_dims, "seed": c.seed}
        return refit.control(c.graph, c.split, c.detector, name, **options)

    return run


CHECKS = (
    Check(
        "overlap",
        "Is every node in one part only, with the label that the graph gives it?",
        lambda c: data.overlap(c.graph, c.split),
    ),
    Check(
        "base rates",
        "Is fraud as frequent in test as in train?",
        lambda c: data.base_rates(c.split),
    ),
    Check(
        "node types",
        "Does the type of a node alone tell its label?",
        lambda c: data.node_types(c.graph, c.split),
    ),
    Check(
        "duplicates",
        "Do test nodes have the own features of training nodes, to the last bit?",
        lambda c: data.duplicates(c.graph, c.split, own_dims=c.own_dims, seed=c.seed),
    ),
    Check(
        "same entity",
        "Do test nodes belong to somebody whose label train has told?",
        lambda c: data.same_entity(c.graph, c.split),
    ),
    Check(
        "single column",
        "Does one column alone decide?",
        lambda c: table.single_column(c.names, c.train, c.test, c.area),
        needs="features",
    ),
    Check(
        "value artefact",
        "Is there a threshold beyond which all is fraud, and short of it nothing?",
        # A rate of known frauds may well be 1 for frauds alone; other checks are for such columns.
        lambda c: table.value_artefact(*c.apart_from_labels, c.split.train[:, 1]),
        needs="features",
    ),
    Check(
        "time column",
        "Does a column tell when a node is from, or in which part?",
        lambda c: table.time_column(c.names, c.train[0], c.test[0], c.times),
        needs="features",
    ),
    Check(
        "test labels in features",
        "Do features stay the same when all test labels are turned over?",
        lambda c: canaries.feature_canary(c.graph, c.split, c.features),
        needs="features",
    ),
    Check(
        "own label in features",
        "Does the row of a training node move with its own label?",
        lambda c: canaries.own_label(c.tables),
        needs="features",
    ),
    Check(
        "label decoded from features",
        "Can trees work a row's own label out of its label features?",
        lambda c: canaries.decoded_label(c.tables, seed=c.seed),
        needs="features",
    ),
    Check(
        "future in features",
        "Do features stay the same when later events are taken away?",
        lambda c: canaries.future(c.graph, c.split, c.features, c.time),
        needs="features",
    ),
    Check(
        "test labels in scores",
        "Do scores stay the same when all test labels are turned over?",
        lambda c: refit.score_canary(c.graph, c.split, c.detector, c.scores),
        needs="detector",
    ),
    Check(
        "permuted labels",
        "Does the detector find nothing once labels mean nothing?",
        lambda c: refit.permuted_labels(
            c.graph, c.split, c.detector, permutations=c.permutations, seed=c.seed
        ),
        needs="detector",
    ),
    Check(
        "rewired edges",
        "Is the graph better than one at random with the same degrees?",
        _control("rewired edges"),
        needs="detector",
    ),
    Check(
        "half the edges",
        "Is the graph better than one with half of its edges?",
        _control("half the edges"),
        needs="detector",
    ),
    Check(
        "shuffled nodes",
        "Is it better than the same structure, dealt out at random among the nodes?",
        _control("shuffled nodes"),
        needs="detector",
    ),
)
