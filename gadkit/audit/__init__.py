"""The audit of a result: what its data, split, features and detector could be wrong about.

`checks` lists what is looked at. `audit` runs it on any features and any detector, `from_folder` on
a dataset and boosted trees.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gadkit import store
from gadkit.evaluation import splits
from gadkit.evaluation.splits import Detector, Split
from gadkit.graph import HeteroGraph
from gadkit.graph.structure import own_columns

if TYPE_CHECKING:
    from gadkit.audit.finding import Features, Finding
    from gadkit.trees.views import Views


def audit(
    graph: HeteroGraph,
    split: Split,
    *,
    features: "Features | None" = None,
    detector: Detector | None = None,
    time: Tensor | None = None,
    own_dims: dict[str, int] | None = None,
    permutations: int = 5,
    seed: int = 0,
    progress: bool = False,
) -> "list[Finding]":
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
        own_dims: how many of the first columns of x are the authors' own, by node type; the rest
            are made again for the controls. None where x does not depend on the edges.
        permutations: of the training labels, at least 2.
        seed: of all draws; the same seed gives the same findings.
        progress: whether to show a bar on stderr.

    Returns:
        One finding for each of `checks.CHECKS`, in that order; those that could not be run say why.

    Raises:
        ValueError: the graph has no labels, there are fewer than two permutations, the split is of
            another graph, or the detector leaves a test node without a finite score.
    """
    from tqdm import tqdm

    from gadkit.audit.checks import CHECKS, Context  # and with them all rooms of checks

    _require_judgeable(graph, split, permutations)
    context = Context(
        graph=graph,
        split=split,
        features=features,
        detector=detector,
        time=time,
        own_dims=own_dims,
        permutations=permutations,
        seed=seed,
    )
    findings = []
    bar = tqdm(CHECKS, desc="audit", unit="check", disable=not progress)
    for check in bar:
        bar.set_postfix_str(check.name)
        findings.append(check.finding(context))
    return findings


def _require_judgeable(graph: HeteroGraph, split: Split, permutations: int) -> None:
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


def table_features(views: "Views", blocks: Sequence[str]) -> "Features":
    """Return the table that some blocks make, as the checks want it.

    Args:
        views: of the graph to audit; a changed graph is seen through the same.
        blocks: such as ("own", "hops", "labels").
    """

    def features(graph: HeteroGraph, split: Split, ids: Tensor) -> tuple[Tensor, list[str]]:
        seen = views if graph is views.graph else views.with_graph(graph)
        return seen.table(blocks, ids, split.train), seen.names(blocks)

    return features


def from_folder(
    folder: Path | str,
    *,
    protocol: str = "demo",
    split_seed: int = splits.SEEDS[0],
    permutations: int = 5,
    seed: int = 0,
    progress: bool = False,
) -> "list[Finding]":
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
    from gadkit.trees import recipe, views

    graph = store.load_graph(folder)
    seen = views.from_folder(folder, graph)
    masks = store.load_masks(folder)
    split = splits.draw(graph, protocol, split_seed, time=seen.time, masks=masks)
    by_view = recipe.views_to_try(seen, len(split.train), past_only=protocol == "temporal")
    blocks = by_view[list(by_view)[-1]]
    return audit(
        graph,
        split,
        features=table_features(seen, blocks),
        detector=recipe.table_detector(seen, blocks, "boosted trees", seed=seed),
        time=seen.time,
        own_dims=own_columns(graph, store.read_about(folder)),
        permutations=permutations,
        seed=seed,
        progress=progress,
    )
