"""The bar a graph network must clear: what simpler things make of the same labels.

Trees on features, and on features and plain means of the neighbors' features, are hard to beat on
fraud (Tang et al., GADBench, NeurIPS 2023), so every result is shown beside them on its own split.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import softplus

from gadkit import store
from gadkit.evaluation.metrics import Interval
from gadkit.graph import HeteroGraph
from gadkit.network.gae import GAE
from gadkit.network.score import load_gae
from gadkit.trees.recipe import Detector, table_detector
from gadkit.trees.views import Views

FEATURES, NEIGHBORS, STAGE1 = "features", "features and two hops", "features and stage 1"


def baselines(views: Views, *, past_only: bool = False, seed: int = 0) -> dict[str, Detector]:
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
    own = ("own",) if views.names(("own",)) else ("history",) if past_only else ("structure",)
    seen = {FEATURES: own}
    if own == ("own",) and not past_only:
        seen[NEIGHBORS] = ("own", "hops")
    table = {
        f"{name}, {learner}": (blocks, learner)
        for name, blocks in seen.items()
        for learner in ("boosted trees", "random forest")
    }
    if views.z is not None and not past_only:
        table[f"{STAGE1}, boosted trees"] = ((*own, "embedding"), "boosted trees")
    table[f"{FEATURES}, perceptron"] = (own, "perceptron")
    return {
        name: table_detector(views, blocks, learner, seed=seed)
        for name, (blocks, learner) in table.items()
    }


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


def stage1_scores(graph: HeteroGraph, folder: Path | str) -> Tensor:
    """Score nodes by the first stage alone, as notebook 3 has left it; no label is used.

    This is what ranks a graph without labels. Types have levels of their own, as popular nodes are
    predicted otherwise than others: compare the scores of nodes of one type only.

    Args:
        graph: the graph of the folder.
        folder: a dataset folder with the embeddings and the autoencoder of stage 1.

    Returns:
        (total,) `reconstruction_error`, the higher the more unusual.

    Raises:
        FileNotFoundError: stage 1 has not been trained there.
        ValueError: what it left is damaged, or made from a graph of another size.
    """
    z = store.load_array(folder, store.GAE_EMBEDDINGS, rows=graph.total)
    return reconstruction_error(graph, load_gae(Path(folder) / store.GAE_CHECKPOINT), z)


def reconstruction_error(graph: HeteroGraph, model: GAE, z: Tensor) -> Tensor:
    """Score nodes by how badly the autoencoder explains their edges; no label is used.

    Mean over a node's edges of -log p(edge), the anomaly score of graph autoencoders (Ding et al.,
    Deep Anomaly Detection on Attributed Networks, SDM 2019, eq. 9, structure part).

    Args:
        graph: the graph.
        model: the autoencoder of stage 1.
        z: (total, dim) its embeddings.

    Returns:
        (total,) the higher the more unusual.
    """
    csr = graph.homogeneous
    dst = csr.dst()
    error = softplus(-model.decode(z, csr.indices.long(), dst).detach())
    error = torch.where(csr.indices == dst, 0.0, error)  # a self-loop says nothing
    others = (csr.degrees() - 1).clamp(min=1)
    return z.new_zeros(graph.total).index_add(0, dst, error) / others
