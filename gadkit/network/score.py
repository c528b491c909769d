"""Scores of networks that are trained: how unusual the first stage finds a node."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import softplus

from gadkit import store
from gadkit.graph import HeteroGraph
from gadkit.network.finetune import load_gae
from gadkit.network.layers import GAE


def unlabelled_scores(graph: HeteroGraph, folder: Path | str) -> Tensor:
    """Score nodes by the first stage alone, as its training has left it; no label is used.

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
