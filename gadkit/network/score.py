"""Saved networks: load them, and score with them graphs that they may never have seen."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import softplus

from gadkit import __version__, store
from gadkit.graph import HeteroGraph
from gadkit.network.gae import GAE
from gadkit.network.gat import HeteroGAT, shown_labels
from gadkit.ops.threads import evenly, same_bits


@same_bits()
@torch.no_grad()
def score_graph(
    graph: HeteroGraph,
    models: Path | str,
    *,
    labels: Tensor | None = None,
    checkpoint: str = store.GAT_CHECKPOINT,
) -> Tensor:
    """Score every node of a graph with the two trained stages; the graph may be one never seen.

    Args:
        graph: with the node types, relations and features that the models were trained on.
        models: folder holding the checkpoint, with the first stage under "gae".
        labels: (n, 2) int64 rows [global id, 1 = anomaly] to show to a network that takes labels
            as input; None shows it none.
        checkpoint: name of its file.

    Returns:
        (total,) scores in [0, 1], the higher the more suspicious.

    Raises:
        FileNotFoundError: the folder lacks the checkpoint.
        ValueError: the graph has other types, relations or numbers of features than the models.
    """
    path = Path(models) / checkpoint
    state = store.load_checkpoint(path)
    gae = _restore(GAE, state.get("gae"), path).to(graph.device)
    gat = _restore(HeteroGAT, state, path).to(graph.device)
    trained_dims, trained_relations = gae.config["in_dims"], gat.config["relations"]
    dims = {name: graph.x[name].shape[1] for name in graph.node_types} if graph.x else {}
    relations = [name for _, name, _ in graph.edge_types]
    # As lists, since the order of types and relations matters too.
    if list(dims.items()) != list(trained_dims.items()) or relations != trained_relations:
        raise ValueError(
            f"the models in {models} were trained on features {trained_dims} and relations "
            f"{trained_relations}, but the graph has {dims} and {relations}"
        )
    z = gae.encode(graph.homogeneous, gae.standardize(graph.x))
    shown = None if labels is None else shown_labels(graph, labels.to(graph.device))
    return evenly(torch.sigmoid, gat(graph, gat.inputs(graph, z), shown=shown)).cpu()


@same_bits()
def reconstruction_error(graph: HeteroGraph, model: GAE, z: Tensor) -> Tensor:
    """Score nodes by how badly the autoencoder explains their edges; no label is used.

    Mean over a node's edges of -log p(edge), the anomaly score of graph autoencoders (Ding et al.,
    Deep Anomaly Detection on Attributed Networks, SDM 2019, eq. 9, structure part). Types have
    levels of their own, as popular nodes are predicted otherwise than others: compare the scores of
    nodes of one type only.

    Args:
        graph: the graph.
        model: the autoencoder of stage 1.
        z: (total, dim) its embeddings.

    Returns:
        (total,) the higher the more unusual.
    """
    csr = graph.homogeneous
    src, dst = csr.pairs()
    error = evenly(softplus, -model.decode(z, src, dst).detach())
    error = torch.where(src == dst, 0.0, error)  # a self-loop says nothing
    others = (csr.degrees() - 1).clamp(min=1)
    return z.new_zeros(graph.total).index_add(0, dst, error) / others


def load_gae(path: Path | str) -> GAE:
    """Read the autoencoder of a checkpoint such as `Pretrained.best`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged or holds something else.
    """
    return _restore(GAE, store.load_checkpoint(path), path)


def load_gat(path: Path | str) -> HeteroGAT:
    """Read the attention network of a checkpoint such as `Finetuned.best`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged or holds something else.
    """
    return _restore(HeteroGAT, store.load_checkpoint(path), path)


def _restore(kind: type, state: dict | None, path: Path | str):
    """Return the model of that kind that a checkpoint holds."""
    try:
        model = kind.from_config(state["architecture"])
        _check_weights(state["model"])
        model.load_state_dict(state["model"])
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"{path} holds no {kind.__name__}: {' '.join(reason.split())}; it is something else, "
            f"or another gadkit than {__version__} has written it: use that one, or train again "
            "(`gadkit run`), which replaces the file"
        ) from error
    return model


def _check_weights(weights: dict[str, Tensor]) -> None:
    for name, weight in weights.items():
        if not isinstance(weight, Tensor) or weight.dtype != torch.float32:
            raise ValueError(f"its {name} is {getattr(weight, 'dtype', weight)}, not torch.float32")
        if weight.isnan().any():  # a deviation may be infinite, of a column that never changes
            raise ValueError(f"its {name} has values that are no numbers")
