"""A ranked list out of a dataset folder, by the default recipe of `gadkit.trees`; and again later.

This is the only place where the graph network and the trees meet: its scores may join the trees on
the committee.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gadkit import store
from gadkit.evaluation import splits
from gadkit.evaluation.splits import Split
from gadkit.graph import HeteroGraph
from gadkit.trees import saved as saved_recipe
from gadkit.trees import transfer, views
from gadkit.trees.bag import fit_bag
from gadkit.trees.recipe import Committee, fit_recipe
from gadkit.trees.saved import Saved


def recommend(
    source: Path | str,
    *,
    protocol: str = "demo",
    network: bool = False,
    seed: int = 0,
    save: bool = False,
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
        save: whether to leave recipe and scores in the folder, for `score` and `gadkit export`.
        progress: whether to show bars.

    Raises:
        PermissionError: the folder may not be written to.
        ValueError: the graph has no labels, the protocol does not fit it, or the network is asked
            for under "temporal", where it would see the future, or where labels are too few.
    """
    past_only, source = protocol == "temporal", Path(source)
    if past_only and network:
        raise ValueError(
            "the network sees the whole graph, later nodes too; leave it out, or choose another "
            "protocol"
        )
    if save and not os.access(source, os.W_OK):  # now, and not after minutes of training
        raise PermissionError(
            f"the recipe is saved in {source}, which may not be written to; copy the folder, or "
            "leave nothing behind: --no-save"
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
    trained = _train_networks(graph, split, seed, progress) if network else {}
    beside = {name: scores for name, (scores, _) in trained.items()}
    options = {"past_only": past_only, "seed": seed, "progress": progress}
    fitted = fit_recipe(tables, split, beside=beside, **options)
    if save:
        files = {}
        for k, (name, (_, checkpoint)) in enumerate(trained.items(), 1):
            files[name] = store.RECIPE_NETWORK.format(k)
            store.save_checkpoint(source / files[name], checkpoint)
        saved_recipe.save(source, fitted, checkpoints=files, protocol=protocol, seed=seed)
    return fitted


def _train_networks(
    graph: HeteroGraph, split: Split, seed: int, progress: bool
) -> dict[str, tuple[Tensor, dict]]:
    """Train the graph network; return scores and checkpoint of every member, by name."""
    from gadkit import network

    first = network.train_gae(graph, seed=seed, progress=progress)
    trained = network.train_network(graph, split, z=first.z, seed=seed, progress=progress)
    return {
        f"graph network {k}": (member.scores, member.best | {"gae": first.best})
        for k, member in enumerate(trained.members, 1)
    }


@dataclass
class Scored:
    """What a saved recipe says of a graph.

    Attributes:
        graph: the graph.
        scores: (total,) float64 probabilities by global id, NaN for types without scores.
        types: node types that have scores.
        known: (n,) int64 global ids of the nodes whose labels the recipe, or its evidence, has
            seen: their rank says nothing about it.
        notes: what to know about the scores, by subject.
        aligned: the graph as the recipe sees it.
        memory: what is known of it from the graph that the recipe was fitted on; None where that is
            the same graph.
    """

    graph: HeteroGraph
    scores: Tensor
    types: list[str]
    known: Tensor
    notes: list[tuple[str, str]]
    aligned: transfer.Aligned
    memory: transfer.Memory | None


def score(source: Path | str, models: Path | str) -> Scored:
    """Score the nodes of a dataset folder by the recipe that was saved in the same or another.

    On the graph that the recipe was fitted on, the scores are those of `recommend` to the last bit.
    On another graph, labels of nodes that the user calls the same in both folders are looked at,
    and labels of nodes of the old graph that share something with the new one.

    Args:
        source: a dataset folder; it needs no labels.
        models: the dataset folder in which the recipe was saved.

    Raises:
        FileNotFoundError: no recipe was saved there.
        ValueError: it is damaged, or the graph lacks a node type, a relation or a feature.
    """
    saved = saved_recipe.load(models)
    saved.check_checkpoints()
    graph, time = store.load_graph(source), store.load_time(source)
    is_same = saved.is_of(graph, time)
    if not is_same:
        graph, left_out = transfer.without_strangers(source, graph, models)
    aligned = transfer.align(source, graph, saved)
    if is_same:
        tables, labels = transfer.views_of(aligned, saved, time=time), saved.split.train
        given = _ask_networks(aligned.graph, saved, labels)
        scores = saved.committee(tables, labels, given).scores
        seen, notes, memory = saved.learned_from, [], None
    else:
        memory, old_time = _memory(source, aligned, saved, models)
        tables = transfer.views_of(aligned, saved, time=time, memory=memory, old_time=old_time)
        given = _ask_networks(aligned.graph, saved, memory.carried)
        committee = saved.committee(tables, memory.labels, given)
        scores = transfer.transferred_scores(committee)
        seen = aligned.ids[memory.carried[:, 0]]
        notes = [("links", note) for note in left_out]
        notes += _notes(source, aligned, saved, memory, committee)
    out = torch.full((graph.total,), torch.nan, dtype=torch.float64)
    out[aligned.ids] = scores
    return Scored(graph, out, saved.types, seen, notes, aligned, memory)


def _memory(
    source: Path | str, aligned: transfer.Aligned, saved: Saved, models: Path | str
) -> tuple[transfer.Memory, Tensor | None]:
    """Return what the recipe's folder knows of the new graph, and when its nodes came to be."""
    old = store.load_graph(models)
    labels = torch.empty(0, 2, dtype=torch.int64) if old.labels is None else old.labels
    old_aligned = transfer.align(models, old, saved)
    new_id = torch.empty(old.total, dtype=torch.int64)
    new_id[old_aligned.ids] = torch.arange(len(old_aligned.ids))
    labels = torch.stack([new_id[labels[:, 0]], labels[:, 1]], 1)
    matches = transfer.match_ids(source, aligned.graph, models, old_aligned.graph)
    time = store.load_time(models)
    memory = transfer.remember(aligned.graph, old_aligned.graph, labels, matches)
    return memory, None if time is None else time[old_aligned.ids]


def _ask_networks(graph: HeteroGraph, saved: Saved, labels: Tensor) -> dict[str, Tensor]:
    """Return the scores of the graph networks on the committee, by name."""
    if not saved.checkpoints:
        return {}
    from gadkit import network

    return {
        name: network.score_graph(graph, path.parent, labels=labels, checkpoint=path.name)
        for name, path in saved.checkpoints.items()
    }


def _notes(
    source: Path | str,
    aligned: transfer.Aligned,
    saved: Saved,
    memory: transfer.Memory,
    committee: Committee,
) -> list[tuple[str, str]]:
    """Say what the reader of the list should know."""
    notes = [("schema", note) for note in aligned.notes]
    spelled = transfer.compare_spellings(source, saved.path.parent, aligned.graph.node_types)
    notes += [("ids", note) for note in spelled]
    window = transfer.compare_windows(source, saved)
    notes += [("window", window)] if window else []
    notes += [("known", note) for note in transfer.describe(memory, aligned.graph)]
    near = transfer.count_near(committee)
    return notes + ([("labels", near)] if near else [])
