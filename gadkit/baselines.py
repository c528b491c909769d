"""The bar a graph network must clear: what the features, or the first stage, say alone.

Forests on tabular features are hard to beat on fraud (Tang et al., GADBench, NeurIPS
2023), so every result is shown beside them, on the same split.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import softplus

from gadkit import store
from gadkit.graph import HeteroGraph
from gadkit.nn import GAE
from gadkit.ops import spmm
from gadkit.splits import Split
from gadkit.train import load_gae

TREES = 200
MIN_SAMPLES_LEAF = 2


def forest_scores(features: Callable[[Tensor], Tensor], split: Split, *, seed: int = 0) -> Tensor:
    """Fit a random forest on the training labels and score the test nodes.

    Args:
        features: returns (n, dim) for the (n,) global ids it is given.
        split: labelled nodes; only `split.train` is learned from.
        seed: of the forest.

    Returns:
        (num_test,) float64 scores in [0, 1], in the order of `split.test`.
    """
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        TREES, min_samples_leaf=MIN_SAMPLES_LEAF, random_state=seed, n_jobs=torch.get_num_threads()
    )
    ids, y_true = split.train.unbind(1)
    forest.fit(features(ids).numpy(), y_true.numpy())
    forest.set_params(n_jobs=1)  # threads would add up the trees in the order they finish
    return torch.from_numpy(forest.predict_proba(features(split.test[:, 0]).numpy())[:, 1])


def own_features(graph: HeteroGraph, ids: Tensor) -> Tensor:
    """Return type and features of some nodes.

    Args:
        graph: with features.
        ids: (n,) int64 global ids.

    Returns:
        (n, 1 + width of the widest type) float32; narrower features are padded with zeros.
    """
    types = graph.node_type_of(ids)
    table = torch.zeros(len(ids), 1 + max(x.shape[1] for x in graph.x.values()))
    table[:, 0] = types
    for number, name in enumerate(graph.node_types):
        chosen = (types == number).nonzero().flatten()
        x = graph.x[name][ids[chosen] - graph.offset(name)]
        table[chosen[:, None], torch.arange(1, 1 + x.shape[1])] = x.float()
    return table


def neighbor_features(graph: HeteroGraph, ids: Tensor) -> Tensor:
    """Return own features, and per stream the number of neighbors and the mean of their features.

    One hop without parameters; a stream that does not reach a node's type gives it zeros.

    Args:
        graph: with features.
        ids: (n,) int64 global ids.

    Returns:
        (n, dim) float32.
    """
    columns, types = [own_features(graph, ids)], graph.node_type_of(ids)
    for stream in graph.streams:
        src, _, dst = stream.edge_type
        chosen = (types == graph.node_types.index(dst)).nonzero().flatten()
        degrees = stream.csr.degrees()
        x = graph.x[src].float().contiguous()
        mean = spmm(stream.csr, x, scale_dst=degrees.clamp(min=1).float().reciprocal())
        column = torch.zeros(len(ids), 1 + x.shape[1])
        rows = ids[chosen] - graph.offset(dst)
        column[chosen] = torch.cat([degrees[rows, None].float(), mean[rows]], 1)
        columns.append(column)
    return torch.cat(columns, 1)


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
