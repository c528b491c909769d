"""What a result stands on: every check of the data, the split, the features and the detector.

Most ways to fool oneself leave a trace that a program can find. `audit` runs the checks of `data`
and `canaries`; `of_folder` does so for a dataset and boosted trees; `write` makes a page of what
they found.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from gadkit import __version__, store
from gadkit.audit import canaries, data
from gadkit.audit.canaries import Detector, Features
from gadkit.audit.data import FAILED, LEVEL, PASSED, QUESTIONS, SKIPPED, WARNING, Finding, skipped
from gadkit.evaluation import splits
from gadkit.evaluation.bootstrap import Interval, bootstrap_interval
from gadkit.evaluation.metrics import roc_auc
from gadkit.evaluation.splits import Split
from gadkit.graph import HeteroGraph
from gadkit.graph.structure import own_columns
from gadkit.trees import recipe, views
from gadkit.trees.views import Views

_OF_FEATURES = list(QUESTIONS)[5:12]
_OF_DETECTOR = list(QUESTIONS)[12:]


def audit(
    graph: HeteroGraph,
    split: Split,
    *,
    features: Features | None = None,
    detector: Detector | None = None,
    time: Tensor | None = None,
    own: dict[str, int] | None = None,
    permutations: int = 5,
    seed: int = 0,
    progress: bool = False,
) -> list[Finding]:
    """Run every check that the arguments allow.

    The features are made about `permutations` + 8 times, the detector is fitted `permutations` + 5
    times.

    Args:
        graph: with labels, on the CPU.
        split: the nodes that teach, choose and judge.
        features: makes the table that the detector learns from. It must read labels from the
            graph and the split that it is given, and nowhere else.
        detector: fits and scores. The same holds for it.
        time: (total,) float64, NaN where a node has none; of events, to look for their future.
        own: how many of the first columns of x are the authors' own, by node type; the rest are
            made again for the controls. None where x does not depend on the edges.
        permutations: of the training labels, at least 2.
        seed: of all draws; the same seed gives the same findings.
        progress: whether to show a bar on stderr.

    Returns:
        One finding for each check, in a fixed order; those that could not be run say why.

    Raises:
        ValueError: the graph has no labels, there are fewer than two permutations, the split is of
            another graph, or the detector leaves a test node without a finite score.
    """
    if graph.labels is None:
        raise ValueError("the graph has no labels; there is nothing that a detector could leak")
    if permutations < 2:
        raise ValueError(f"permutations must be at least 2, but is {permutations}")
    ids = torch.cat([part[:, 0] for part in split])
    if len(ids) == 0 or ids.min() < 0 or ids.max() >= graph.total:
        raise ValueError(
            f"the split must hold nodes of [0, {graph.total}), but its {len(ids):,} ids are not; "
            "is it of another graph?"
        )
    made = _Made(graph, split, features, detector, permutations, seed)
    planned = {
        "overlap": partial(data.overlap, graph, split),
        "base rates": partial(data.base_rates, split),
        "node types": partial(data.node_types, graph, split),
        "duplicates": partial(data.duplicates, graph, split, own=own, seed=seed),
        "same entity": partial(data.same_entity, graph, split),
        "single column": lambda: data.single_column(
            made.names, (made.train, made.y), (made.test, split.test[:, 1]), made.interval
        ),
        "value artefact": lambda: data.value_artefact(made.names, made.train, made.y),
        "time column": lambda: data.time_column(
            made.names, made.train, made.test, made.times(time)
        ),
        "test labels in features": partial(canaries.feature_canary, graph, split, features),
        "own label in features": lambda: canaries.own_label(made.tables),
        "label decoded from features": lambda: canaries.decoded_label(made.tables, seed=seed),
        "future in features": partial(canaries.future, graph, split, features, time),
        "test labels in scores": lambda: canaries.score_canary(graph, split, detector, made.scores),
        "permuted labels": partial(
            canaries.permuted_labels, graph, split, detector, permutations=permutations, seed=seed
        ),
    }
    for name in canaries.CONTROLS:
        planned[name] = lambda name=name: canaries.control(
            graph, split, detector, name, scores=made.scores, own=own, seed=seed
        )
    without = {name: "no features were given" for name in _OF_FEATURES if features is None}
    without |= {name: "no detector was given" for name in _OF_DETECTOR if detector is None}
    return [
        skipped(name, without[name]) if name in without else check()
        for name, check in _with_bar(planned, progress)
    ]


def _with_bar(planned: dict, progress: bool) -> Iterable:
    from tqdm import tqdm

    bar = tqdm(planned.items(), desc="audit", unit="check", disable=not progress)
    for name, check in bar:
        bar.set_postfix_str(name)
        yield name, check


class _Made:
    """What several checks need, each made when it is first asked for."""

    def __init__(self, graph, split, features, detector, permutations, seed):
        self._graph, self._split = graph, split
        self._features, self._detector = features, detector
        self._permutations, self._seed = permutations, seed
        self.y = split.train[:, 1]

    @cached_property
    def _train(self) -> tuple[Tensor, list[str]]:
        return self._features(self._graph, self._split, self._split.train[:, 0])

    @property
    def train(self) -> Tensor:
        return self._train[0]

    @property
    def names(self) -> list[str]:
        return self._train[1]

    @cached_property
    def test(self) -> Tensor:
        return self._features(self._graph, self._split, self._split.test[:, 0])[0]

    @cached_property
    def tables(self) -> canaries.Tables:
        options = {"permutations": self._permutations, "seed": self._seed}
        return canaries.permuted_tables(self._graph, self._split, self._features, **options)

    @cached_property
    def scores(self) -> Tensor:
        return canaries.fit_scores(self._detector, self._graph, self._split)

    @cached_property
    def interval(self) -> Interval | None:
        """The AUROC of the detector, if there is one."""
        if self._detector is None:
            return None
        ids, y_true = self._split.test.unbind(1)
        return bootstrap_interval(roc_auc, y_true, self.scores[ids], level=LEVEL)

    def times(self, time: Tensor | None) -> tuple[Tensor, Tensor] | None:
        if time is None:
            return None
        return time[self._split.train[:, 0]], time[self._split.test[:, 0]]


def of_views(seen: Views, blocks: Sequence[str]) -> Features:
    """Return the table that some blocks make, as the checks want it.

    Args:
        seen: views of the graph to audit; a changed graph is seen through the same.
        blocks: such as ("own", "hops", "labels").
    """

    def features(graph: HeteroGraph, split: Split, ids: Tensor) -> tuple[Tensor, list[str]]:
        of_graph = seen if graph is seen.graph else seen.with_graph(graph)
        return of_graph.table(blocks, ids, split.train), of_graph.names(blocks)

    return features


def of_folder(
    folder: Path | str,
    *,
    protocol: str = "demo",
    split_seed: int = splits.SEEDS[0],
    permutations: int = 5,
    seed: int = 0,
    progress: bool = False,
) -> list[Finding]:
    """Audit a dataset, and boosted trees on the widest table that its protocol allows.

    Args:
        folder: a dataset folder with labels.
        protocol: how to split the labels, see `splits.protocols`; with "temporal", features are of
            the past.
        split_seed: of the split.
        permutations, seed, progress: as in `audit`.

    Raises:
        ValueError: as `audit`, or the protocol does not fit the graph.
    """
    graph = store.load_graph(folder)
    seen = views.from_folder(folder, graph)
    masks = store.load_masks(folder)
    split = splits.draw(graph, protocol, split_seed, time=seen.time, masks=masks)
    found = recipe.views_to_try(seen, len(split.train), past_only=protocol == "temporal")
    blocks = found[list(found)[-1]]
    return audit(
        graph,
        split,
        features=of_views(seen, blocks),
        detector=recipe.table_detector(seen, blocks, "boosted trees", seed=seed),
        time=seen.time,
        own=own_columns(graph, store.read_about(folder)),
        permutations=permutations,
        seed=seed,
        progress=progress,
    )


# The report.


def write(findings: Sequence[Finding], path: Path | str, *, subject: str = "") -> Path:
    """Write the findings as a page that needs no other file, and as JSON beside it.

    Args:
        findings: of `audit`.
        path: of the page, such as build/audit.html; the JSON has the suffix .json.
        subject: what was audited, the title of the page.

    Returns:
        The path of the page.
    """
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parents[1] / "report" / "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("audit.html").render(
        subject=subject,
        findings=findings,
        counts=verdicts(findings),
        places={one.check: _places(one) for one in findings},
        level=f"{LEVEL:.0%}",
        version=__version__,
    )
    path = Path(path)
    store.write_json(path.with_suffix(".json"), as_json(findings, subject=subject))
    with store.atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def verdicts(findings: Sequence[Finding]) -> dict[str, int]:
    """Count the findings by verdict, the gravest first."""
    given = [one.verdict for one in findings]
    return {name: given.count(name) for name in (FAILED, WARNING, PASSED, SKIPPED)}


def as_json(findings: Sequence[Finding], *, subject: str = "") -> dict:
    """Return the findings as what JSON knows; an interval becomes value, low and high."""
    rows = []
    for one in findings:
        value = one.value._asdict() if isinstance(one.value, Interval) else one.value
        rows.append(vars(one) | {"question": one.question, "value": value})
    return {"subject": subject, "level": LEVEL, "verdicts": verdicts(findings), "findings": rows}


def _places(finding: Finding) -> dict[str, float] | None:
    """Where number, ends and expectation lie on a line from -0.2 to 1, in percent of its length.

    Counts and ratios have no place there.
    """
    if not isinstance(finding.value, Interval) or finding.expected == 1:
        return None
    marks = finding.value._asdict() | {"expected": finding.expected}
    return {name: round(100 * (max(mark, -0.2) + 0.2) / 1.2, 2) for name, mark in marks.items()}
