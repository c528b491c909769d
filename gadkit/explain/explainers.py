"""All explainers in one call, by name."""

import torch
from torch import Tensor

from gadkit.explain.company import by_company, by_suspicion
from gadkit.explain.edges import Edges, by_rarity
from gadkit.explain.network import by_attention, by_gradient, by_occlusion
from gadkit.explain.trees import by_trees
from gadkit.graph import HeteroGraph
from gadkit.network.gat import HeteroGAT
from gadkit.trees.recipe import Committee


def every_explainer(
    graph: HeteroGraph,
    edges: Edges,
    *,
    model: HeteroGAT,
    inputs: dict,
    fitted: Committee,
    x_names: dict[str, list[str]],
) -> dict[str, Tensor]:
    """Return by name what each explainer here says of some edges, (num_edges,) each.

    The first two are controls: chance (all alike) and the rarity of the neighbor.

    Args:
        graph: the graph.
        edges: of `edges_into`.
        model: the network.
        inputs: of `model.inputs`.
        fitted: a detector on tables, for its contributions and its scores.
        x_names: names of the columns of x by node type.
    """
    network, scores = (model, graph, inputs, edges), fitted.scores
    contributions = fitted.contributions(edges.nodes)
    return {
        "chance": torch.zeros(len(edges.neighbor), dtype=torch.float64),
        "rare neighbor": by_rarity(graph, edges),
        "attention": by_attention(*network),
        "gradient x input": by_gradient(*network),
        "occlusion": by_occlusion(*network),
        "tree contributions": by_trees(
            graph, edges, contributions, fitted.names, x_names=x_names, train=fitted.split.train
        ),
        "suspicion": by_suspicion(graph, edges, scores),
        "ties": by_company(graph, edges),
        "company": by_company(graph, edges, scores),
    }
