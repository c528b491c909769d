"""Baselines: simpler models on the same labels and split, with which a graph network is compared.

Trees on features, and on features and plain means of the neighbors' features, are hard to beat on
fraud (Tang et al., GADBench, NeurIPS 2023), so every result is shown beside them on its own split.
"""

from functools import partial

from torch import Tensor

from gadkit.evaluation.metrics import Interval
from gadkit.evaluation.splits import Detector, Split
from gadkit.graph import HeteroGraph
from gadkit.trees.recipe import table_detector
from gadkit.trees.side import side_by_side
from gadkit.trees.views import Views

SMALL_ROWS = 1 << 15  # training labels; with more, one fit keeps all threads busy
FEATURES, NEIGHBORS, STAGE1 = "features", "features and two hops", "features and stage 1"


def baseline_detectors(
    views: Views, *, past_only: bool = False, seed: int = 0
) -> dict[str, Detector]:
    """Return the detectors that a graph network is compared with, by name.

    Boosted trees and a random forest on a node's own features, and with the means of those one and
    two hops away over every path of relations; boosted trees on features and the embeddings of
    stage 1, if the views have them; a perceptron on the features. Where nodes have no features of
    their own, degrees stand in for them.

    Args:
        views: of the graph.
        past_only: whether a node may be described only by what came before it; its neighbors'
            features are not, so these baselines are left out.
        seed: of the learners.
    """
    base = ("own",) if views.names(("own",)) else ("history",) if past_only else ("structure",)
    blocks_of_name = {FEATURES: base}
    if base == ("own",) and not past_only:
        blocks_of_name[NEIGHBORS] = ("own", "hops")
    table = {
        f"{name}, {learner}": (blocks, learner)
        for name, blocks in blocks_of_name.items()
        for learner in ("boosted trees", "random forest")
    }
    if views.z is not None and not past_only:
        table[f"{STAGE1}, boosted trees"] = ((*base, "embedding"), "boosted trees")
    table[f"{FEATURES}, perceptron"] = (base, "perceptron")
    return {
        name: table_detector(views, blocks, learner, seed=seed)
        for name, (blocks, learner) in table.items()
    }


def score_all(
    detectors: dict[str, Detector], graph: HeteroGraph, split: Split, *, progress: bool = False
) -> dict[str, Tensor]:
    """Fit several detectors and return their scores, (total,) each; small tables side by side.

    Args:
        detectors: by name; none may depend on another.
        graph, split: what each is called with.
        progress: whether to show a bar.
    """
    from tqdm import tqdm

    # Boosted trees take longest, and on the widest table, which comes after the narrower ones.
    order = sorted(detectors, key=lambda name: "boosted" in name)[::-1]
    tasks = [partial(detectors[name], graph, split) for name in order]
    done = side_by_side(tasks, are_small=len(split.train) <= SMALL_ROWS)
    scores = {}
    for position, of_nodes in tqdm(done, "baselines", len(tasks), disable=not progress):
        scores[order[position]] = of_nodes
    return {name: scores[name] for name in detectors}


def verdict(network: str, other: str, difference: Interval, *, measure: str = "AUPRC") -> str:
    """Say in one sentence whether a graph network earns its keep.

    Args:
        network: its name.
        other: the name of the best of the simpler models.
        difference: of the measure, network minus other, with its interval.
        measure: what was measured.
    """
    size = f"{abs(difference.value):.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
    if difference.low > 0:
        return f"The {network} earns its keep: {measure} {size} above {other}."
    if difference.high < 0:
        size = f"{-difference.value:.3f} [{-difference.high:+.3f}, {-difference.low:+.3f}]"
        return f"The {network} does not earn its keep: {other} is ahead in {measure} by {size}."
    return (
        f"The {network} and {other} cannot be told apart: their difference of {measure}, "
        f"{difference:+.3f}, may be zero, so the simpler one should be used."
    )
