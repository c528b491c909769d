"""A ranked list out of a dataset folder, by the default recipe of `gadkit.trees`.

This is the only place where the graph network and the trees meet: its scores may join the trees on
the committee.
"""

from pathlib import Path

from gadkit import store
from gadkit.evaluation import splits
from gadkit.network import train_network
from gadkit.trees import views
from gadkit.trees.bag import fit_bag
from gadkit.trees.recipe import Committee, fit_recipe


def recommend(
    source: Path | str,
    *,
    protocol: str = "demo",
    network: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> Committee:
    """Rank the nodes of a dataset folder by the default recipe.

    Where there are too few labels of a kind to part them (`splits.too_few`), as where only frauds
    are confirmed, what is known is set against the rest: see `trees.bag`.

    Args:
        source: a dataset folder with labels.
        protocol: how to split the labels, see `splits.protocols`; "temporal" describes a node only
            by what came before it.
        network: whether to train the graph network too, as `network.train_network`, and let it
            join the committee; it takes several times as long as the trees.
        seed: of the split and all that learns.
        progress: whether to show bars.

    Raises:
        ValueError: the graph has no labels, the protocol does not fit it, or the network is asked
            for under "temporal", where it would see the future, or where labels are too few.
    """
    past_only = protocol == "temporal"
    if past_only and network:
        raise ValueError(
            "the network sees the whole graph, later nodes too; leave it out, or choose another "
            "protocol"
        )
    graph = store.load_graph(source)
    tables = views.from_folder(source, graph)
    lacking = None if graph.labels is None else splits.too_few(graph.labels)
    if lacking and network:
        raise ValueError(f"{lacking} to train the network; leave it out, the rest is ranked")
    if lacking and protocol == "demo":
        return fit_bag(tables, graph.labels, seed=seed, progress=progress)
    masks = store.load_masks(source)
    split_seed = splits.SEEDS[seed % len(splits.SEEDS)] if protocol == "official" else seed
    split = splits.draw(graph, protocol, split_seed, time=tables.time, masks=masks)
    beside = {}
    if network:
        trained = train_network(graph, split, seed=seed, progress=progress).members
        beside = {f"graph network {k}": member.scores for k, member in enumerate(trained, 1)}
    options = {"past_only": past_only, "seed": seed, "progress": progress}
    return fit_recipe(tables, split, beside=beside, **options)
