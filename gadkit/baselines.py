"""The bar a graph network must clear: what the features, or the first stage, say alone.

Gradient-free forests on tabular features are hard to beat on fraud (Tang et al., GADBench, NeurIPS
2023), so every result is shown beside them, on the same split.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from gadkit.graph import HeteroGraph
from gadkit.ops import edge_dot, spmm

TREES = 200
MIN_SAMPLES_LEAF = 2


def forest_scores(x: Tensor, split, *, seed: int = 0) -> Tensor:
    """Fit a random forest on the training labels and score the test nodes.

    Args:
        x: (total, dim) one row per node, by global id.
        split: `train.Split`; only `train` is learned from.
        seed: of the forest.

    Returns:
        (num_test,) float64 scores in [0, 1], in the order of `split.test`.
    """
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        TREES, min_samples_leaf=MIN_SAMPLES_LEAF, random_state=seed, n_jobs=torch.get_num_threads()
    )
    ids, y_true = split.train.unbind(1)
    forest.fit(x[ids].numpy(), y_true.numpy())
    forest.set_params(n_jobs=1)  # threads would add up the trees in the order they finish
    return torch.from_numpy(forest.predict_proba(x[split.test[:, 0]].numpy())[:, 1])


def own_features(graph: HeteroGraph) -> Tensor:
    """Return every node's features and its type in one table, (total, 1 + widest type) float32."""
    table = torch.zeros(graph.total, 1 + max(x.shape[1] for x in graph.x.values()))
    for number, name in enumerate(graph.node_types):
        table[graph.span(name), 0] = number
        table[graph.span(name), 1 : 1 + graph.x[name].shape[1]] = graph.x[name]
    return table


def neighbor_features(graph: HeteroGraph) -> Tensor:
    """Return own features, and per stream the mean of the neighbors' and their number.

    One hop without parameters; a stream that does not reach a node's type gives it zeros.
    """
    columns = [own_features(graph)]
    for stream in graph.streams:
        src, _, dst = stream.edge_type
        degrees = stream.csr.degrees()
        x = graph.x[src].float().contiguous()
        mean = spmm(stream.csr, x, scale_dst=degrees.clamp(min=1).float().reciprocal())
        column = torch.zeros(graph.total, 1 + x.shape[1])
        column[graph.span(dst)] = torch.cat([degrees[:, None].float(), mean], 1)
        columns.append(column)
    return torch.cat(columns, 1)


def reconstruction_error(graph: HeteroGraph, z: Tensor) -> Tensor:
    """Score nodes by how badly the autoencoder explains their edges; no label is used.

    Mean over a node's edges of -log sigmoid(<z_i, z_j>), the anomaly score of graph autoencoders
    (Ding et al., Deep Anomaly Detection on Attributed Networks, SDM 2019, eq. 9, structure part).

    Args:
        graph: the graph.
        z: (total, dim) embeddings of stage 1.

    Returns:
        (total,) the higher the more unusual.
    """
    csr = graph.homogeneous
    dst = csr.dst()
    error = softplus(-edge_dot(z, z, csr.indices.long(), dst))
    error = torch.where(csr.indices == dst, 0.0, error)  # a self-loop says nothing
    others = (csr.degrees() - 1).clamp(min=1)
    return z.new_zeros(graph.total).index_add(0, dst, error) / others
