"""A graph never seen, made to look as the graph that a recipe has learned from.

`without_strangers` leaves out the links that were left out then: in the table of a single week even
a gift card or the gateway of a mobile carrier has few users.
`align` puts node types, relations and features in the order learned from. `remember` adds what is
known already: labels of nodes that are in both graphs, by the user's own ids, and of nodes that
are only in the old one but share something with the new: the device of last month's fraud, seen
again. `views_of` shows a recipe the two together.
"""

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gadkit import store
from gadkit.graph import CSR, EdgeType, HeteroGraph
from gadkit.graph.structure import feature_names
from gadkit.store import node_ids
from gadkit.trees.blocks import LABELLED
from gadkit.trees.recipe import BLOCK, Committee
from gadkit.trees.saved import Saved, window_of
from gadkit.trees.views import Views

ALIKE = 1.25  # times as long may one window be as the other before it is said
_NOTHING = re.compile(r"empty_\d+")  # what ingest calls a column of zeros
_NUMBERED = re.compile(r"x_\d+")  # what a feature without a name is called
_PLACE = re.compile(r"line \d+")  # an id that says where a row stood, and not who it is
_COUNT = re.compile(r"\w+: log labels over (?!walks)")  # a walk comes to every label there is


def without_strangers(
    folder: Path | str, graph: HeteroGraph, old_folder: Path | str
) -> tuple[HeteroGraph, list[str]]:
    """Leave out of a graph the values of links that were over the cap in another folder.

    Returns:
        The graph, and in words what was left out of it.
    """
    edges, said = dict(graph.edges), []
    for edge_type, csr in graph.edges.items():
        name = edge_type[2]
        cut = store.read_about(old_folder).get("links", {}).get(name, {}).get("cut", {})
        ids = node_ids.load(folder, name, rows=graph.num_nodes[name]) if cut.get("names") else None
        if ids is None:
            continue
        is_cut = torch.from_numpy(np.isin(np.asarray(ids, str), cut["names"]))
        src, dst = csr.pairs()
        is_kept = ~is_cut[dst]
        if is_kept.all():
            continue
        sizes = {"num_src": csr.num_src, "num_dst": csr.num_dst}
        edges[edge_type] = CSR.from_edges(src[is_kept], dst[is_kept], **sizes)
        example = ids[dst[~is_kept].bincount().argmax()]
        said.append(
            f"{int(is_cut.sum()):,} {name} are left out, such as {example!r}: more than "
            f"{cut['cap']} users had each in {old_folder}, so they join strangers"
        )
    return HeteroGraph(graph.num_nodes, edges, graph.x, graph.labels), said


class Aligned(NamedTuple):
    """A graph as a recipe wants it.

    Attributes:
        graph: with the node types, relations and features learned from, in their order; no labels.
        ids: (graph.total,) int64 global ids in the graph that was given.
        notes: what was left out.
    """

    graph: HeteroGraph
    ids: Tensor
    notes: list[str]


def align(folder: Path | str, graph: HeteroGraph, saved: Saved) -> Aligned:
    """Bring a graph into the form that a recipe has learned from.

    Features are matched by their names, or by their places where a folder does not name them.

    Args:
        folder: a dataset folder.
        graph: of the folder.
        saved: the recipe.

    Raises:
        ValueError: a node type, a relation or a feature is missing.
    """
    learned = saved.header["graph"]
    relations = [tuple(edge_type) for edge_type in learned["relations"]]
    for what, names, here in (
        ("node type", list(learned["num_nodes"]), graph.node_types),
        ("relation", [" ".join(e) for e in relations], [" ".join(e) for e in graph.edges]),
    ):
        missing = [name for name in names if name not in here]
        if missing:
            raise ValueError(
                f"{folder} has no {what} {missing[0]!r}, which {saved.path} has learned from; "
                f"there are {', '.join(here)}. {_mend(saved)}"
            )
    num_nodes = {name: graph.num_nodes[name] for name in learned["num_nodes"]}
    edges = {edge_type: graph.edges[edge_type] for edge_type in relations}
    notes = _left_out("node type", graph.node_types, num_nodes)
    notes += _left_out("relation", map(" ".join, graph.edges), {" ".join(e) for e in edges})
    x = _features(folder, graph, saved, notes)
    spans = [graph.span(node_type) for node_type in num_nodes]
    ids = torch.cat([torch.arange(span.start, span.stop) for span in spans])
    return Aligned(HeteroGraph(num_nodes, edges, x), ids, notes)


def _left_out(what: str, names: Iterable[str], learned: Container[str]) -> list[str]:
    return [
        f"{what} {name!r} is not in what the recipe has learned from, and is not used"
        for name in names
        if name not in learned
    ]


def _mend(saved: Saved) -> str:
    return (
        f"Make it of a table with the same columns and options as {saved.path.parent} (of a longer "
        "time, if there is nothing of the kind in this one), or fit a recipe that does without: "
        "`gadkit recommend`"
    )


def _features(
    folder: Path | str, graph: HeteroGraph, saved: Saved, notes: list[str]
) -> dict[str, Tensor] | None:
    """Return the features learned from, by node type; note those that are new."""
    learned = saved.header["features"]
    if learned is None:
        if graph.x is not None:
            notes.append("the recipe has learned from no features: those here are not used")
        return None
    if graph.x is None:
        raise ValueError(f"{folder} has no features, which {saved.path} has learned from")
    named = feature_names(store.read_about(folder), graph)
    x = {}
    for node_type, names in learned.items():
        values, here = graph.x[node_type], named[node_type]
        unnamed = _all_match(_NUMBERED, names) or _all_match(_NUMBERED, here)
        if here == names or (unnamed and len(here) == len(names)):
            x[node_type] = values
            continue
        with store.errors_about(f"a {node_type} of {folder}"):
            _check_features(names, here, saved)
        new = [name for name in here if name not in names and not _NOTHING.fullmatch(name)]
        if new:
            notes.append(
                f"{len(new)} features of a {node_type} are not in what the recipe has learned "
                f"from, and are not used: {', '.join(new[:4])}{', ...' if len(new) > 4 else ''}"
            )
        place_of = {name: k for k, name in enumerate(here)}
        padded = torch.cat([values, values.new_zeros(len(values), 1)], 1)  # zeros: empty columns
        x[node_type] = padded[:, [place_of.get(name, len(here)) for name in names]]
    return x


def _check_features(names: list[str], here: list[str], saved: Saved) -> None:
    missing = [name for name in names if name not in here and not _NOTHING.fullmatch(name)]
    if missing:
        more = f", and lacks {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(
            f"it has no feature {missing[0]!r}{more}, which {saved.path} has learned from. "
            f"{_mend(saved)}"
        )


def _all_match(pattern: re.Pattern, names: Iterable[str]) -> bool:
    return all(pattern.fullmatch(name) for name in names)


def compare_windows(folder: Path | str, saved: Saved) -> str | None:
    """Say whether a folder covers another length of time than was learned from; None if alike."""
    here, learned = window_of(folder), saved.header["window"]
    if here is None or learned is None:
        return None
    unit = "days" if "days" in here and "days" in learned else "steps"
    if unit not in here or unit not in learned:
        return "times are dates on one side and steps on the other: they cannot be compared"
    shorter, longer = sorted((here[unit], learned[unit]))
    if longer <= ALIKE * shorter:
        return None
    return (
        f"{here[unit]:.1f} {unit} ({here['first']} to {here['last']}), but the recipe has learned "
        f"from {learned[unit]:.1f} ({learned['first']} to {learned['last']}): counts, gaps and "
        "rates of an account grow with the window, so the order of the list can be trusted more "
        "than its odds. A window of the same length is scored best: put the new table into one "
        "folder with the old, `gadkit ingest` that folder and score it; new accounts are then seen "
        "with all that they share with old ones"
    )


@dataclass
class Memory:
    """What is known already of a graph never seen.

    Attributes:
        graph: the new one, and after the nodes of each type the labelled nodes of the old graph
            that share something with it; their relations to it are added.
        labels: (n, 2) int64 rows [global id in `graph`, 1 = anomaly].
        carried: (m, 2) the same of nodes of the new graph, by their global id there.
        beside: by node type which nodes of the old graph were added, (k,) int64 from 0 in the type.
        seen_again: by node type how many nodes have an id that the old graph has too; empty where
            the folders keep no ids.
        old_num_nodes: of the old graph, by node type.
    """

    graph: HeteroGraph
    labels: Tensor
    carried: Tensor
    beside: dict[str, Tensor]
    seen_again: dict[str, int]
    old_num_nodes: dict[str, int]


def match_ids(
    folder: Path | str, graph: HeteroGraph, old_folder: Path | str, old: HeteroGraph
) -> dict[str, Tensor]:
    """Find the nodes of an old graph in a new one, by the user's own ids.

    Ids that say where a row stood in its file ("line 7") are no one's, and match nothing. Case
    counts for nothing in a type whose spellings were joined when the old folder was made.

    Returns:
        By node type, where both folders keep ids: (old.num_nodes,) int64, the node of the new graph
        from 0 in its type, or -1.
    """
    matches = {}
    for node_type in old.node_types:
        ids, old_ids = (
            node_ids.load(place, node_type, rows=side.num_nodes[node_type])
            for place, side in ((folder, graph), (old_folder, old))
        )
        if ids is None or old_ids is None or _all_match(_PLACE, ids) or _all_match(_PLACE, old_ids):
            continue
        if _joins_spellings(old_folder, node_type):
            ids, old_ids = ([name and name.lower() for name in names] for names in (ids, old_ids))
        node_of = {name: node for node, name in reversed([*enumerate(ids)]) if name}
        nodes = np.fromiter((node_of.get(name, -1) for name in old_ids), np.int64, len(old_ids))
        matches[node_type] = torch.from_numpy(nodes)
    return matches


def _spellings(folder: Path | str, node_type: str) -> dict:
    """Return what ingest has found of ids that differ only in case; empty where there are none."""
    return store.read_about(folder).get("read", {}).get(node_type, {}).get("case") or {}


def _joins_spellings(folder: Path | str, node_type: str) -> bool:
    return bool(_spellings(folder, node_type).get("joined"))


def compare_spellings(
    folder: Path | str, old_folder: Path | str, node_types: Iterable[str]
) -> list[str]:
    """Say where one folder has taken ids that differ only in case for one, and the other has not.

    In the table of a single week few ids occur in both spellings, so that a guess keeps them apart.
    """
    said = []
    for node_type in node_types:
        here = _spellings(folder, node_type)
        if here and not here["joined"] and _joins_spellings(old_folder, node_type):
            said.append(
                f"{here['ids']:,} {node_type} ids differ only in case here, such as "
                f"{here['example'][0]!r} and {here['example'][1]!r}, and are two accounts each; "
                f"{old_folder} has joined such ids: ingest again with --same-id casefold"
            )
    return said


def remember(
    graph: HeteroGraph, old: HeteroGraph, old_labels: Tensor, matches: dict[str, Tensor]
) -> Memory:
    """Add to a graph what the labels of an old one say about it.

    Args:
        graph: a new graph.
        old: with the same node types and relations, in the same order.
        old_labels: (n, 2) int64 rows [global id in `old`, 1 = anomaly].
        matches: as `match_ids`.
    """
    place = {name: torch.full((count,), -1) for name, count in old.num_nodes.items()}
    place |= {name: nodes.clone() for name, nodes in matches.items()}
    labelled = torch.zeros(old.total, dtype=torch.bool)
    labelled[old_labels[:, 0]] = True
    labelled = {name: labelled[old.span(name)] for name in old.node_types}
    beside, num_nodes = _beside(old, place, labelled), dict(graph.num_nodes)
    for name, nodes in beside.items():
        place[name][nodes] = num_nodes[name] + torch.arange(len(nodes))
        num_nodes[name] += len(nodes)
    edges = {}
    for (src, name, dst), csr in graph.edges.items():
        pairs = _remembered((src, name, dst), old, place, labelled)
        edges[src, name, dst] = _with_pairs(csr, *pairs, num_nodes[src], num_nodes[dst])
    joined = HeteroGraph(num_nodes, edges)
    labels, carried = [torch.empty(0, 2, dtype=torch.int64)], []
    for name in old.node_types:
        span, nodes = old.span(name), place[name]
        rows = old_labels[(old_labels[:, 0] >= span.start) & (old_labels[:, 0] < span.stop)]
        rows = torch.stack([nodes[rows[:, 0] - span.start], rows[:, 1]], 1)
        rows = rows[rows[:, 0] >= 0]
        labels.append(rows + torch.tensor([joined.offset(name), 0]))
        here = rows[rows[:, 0] < graph.num_nodes[name]]
        carried.append(here + torch.tensor([graph.offset(name), 0]))
    seen_again = {name: int((nodes >= 0).sum()) for name, nodes in matches.items()}
    return Memory(joined, torch.cat(labels), torch.cat(carried), beside, seen_again, old.num_nodes)


def _beside(
    old: HeteroGraph, place: dict[str, Tensor], labelled: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return by type the labelled nodes without a place whose neighbor has one, from 0."""
    beside = {name: torch.zeros(count, dtype=torch.bool) for name, count in old.num_nodes.items()}
    for (src_type, _, dst_type), csr in old.edges.items():
        src, dst = csr.pairs()
        for name, nodes, is_met in (
            (src_type, src, place[dst_type][dst] >= 0),
            (dst_type, dst, place[src_type][src] >= 0),
        ):
            chosen = nodes[is_met].unique()
            beside[name][chosen[labelled[name][chosen] & (place[name][chosen] < 0)]] = True
    return {name: chosen.nonzero().flatten() for name, chosen in beside.items()}


def _remembered(
    edge_type: EdgeType, old: HeteroGraph, place: dict[str, Tensor], labelled: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the places of the ends of the edges that labelled nodes have in the old graph."""
    src_type, _, dst_type = edge_type
    src, dst = old.edges[edge_type].pairs()
    of_labelled = labelled[src_type][src] | labelled[dst_type][dst]
    src, dst = place[src_type][src[of_labelled]], place[dst_type][dst[of_labelled]]
    has_place = (src >= 0) & (dst >= 0)
    return src[has_place], dst[has_place]


def _with_pairs(csr: CSR, src: Tensor, dst: Tensor, num_src: int, num_dst: int) -> CSR:
    """Return a relation with more nodes and with more edges, but for those that it has already."""
    if len(src) == 0 and (csr.num_src, csr.num_dst) == (num_src, num_dst):
        return csr
    src_here, dst_here = csr.pairs()
    is_new = ~torch.isin(dst * num_src + src, dst_here * num_src + src_here)
    src, dst = torch.cat([src_here, src[is_new]]), torch.cat([dst_here, dst[is_new]])
    return CSR.from_edges(src, dst, num_src=num_src, num_dst=num_dst)


def describe(memory: Memory, graph: HeteroGraph) -> list[str]:
    """Say what is known already of a new graph."""
    if not memory.seen_again:
        return [
            "the two folders have no ids in common (ids_<type>.parquet): no account, device or "
            "seller can be recognized, and no label is carried over"
        ]
    seen = [
        f"{count:,} of {graph.num_nodes[name]:,} {name}"
        for name, count in memory.seen_again.items()
    ]
    carried, beside = memory.carried[:, 1], sum(map(len, memory.beside.values()))
    return [
        f"seen again, by id: {', '.join(seen)}",
        f"labels of {len(carried):,} of them are carried over ({int(carried.sum()):,} anomalies); "
        f"{beside:,} more labelled nodes are not here, but what they used is "
        f"({int(memory.labels[:, 1].sum() - carried.sum()):,} anomalies)",
    ]


def count_near(committee: Committee) -> str:
    """Say of how many nodes labels were near enough to be looked at."""
    views = committee.views
    spans = [views.graph.span(node_type) for node_type in views.types]
    ids = torch.cat([torch.arange(span.start, span.stop) for span in spans])
    near = sum(int(labels_near(committee, part).sum()) for part in ids.split(BLOCK))
    if near == len(ids):
        return ""
    return (
        f"{near:,} of {len(ids):,} have a label within two relations; the others are scored by the "
        "learners that look at no labels"
    )


def views_of(
    aligned: Aligned,
    saved: Saved,
    *,
    time: Tensor | None,
    memory: Memory | None = None,
    old_time: Tensor | None = None,
) -> Views:
    """Return the views of a graph, with what the recipe has learned to see.

    Args:
        aligned: the graph.
        saved: the recipe.
        time: (total,) of the graph as it was given, as `store.load_time`, or None.
        memory: of what is known; the blocks of labels are then made with it.
        old_time: (total,) of the old graph as `remember` got it, or None.
    """
    graph, header = aligned.graph, saved.header
    options = {"types": saved.types, "prior": header["prior"]}
    time = None if time is None else time[aligned.ids]
    evidence = None
    if memory is not None:
        bare = dict.fromkeys(graph.node_types, 0)
        joined_time = _joined_time(graph, time, memory, old_time)
        evidence = Views(memory.graph, own_dims=bare, time=joined_time, **options)
    return Views(
        graph,
        own_dims=header["own_dims"],
        names=header["features"],
        time=time,
        standards=saved.standards,
        evidence=evidence,
        **options,
    )


def _joined_time(
    graph: HeteroGraph, time: Tensor | None, memory: Memory, old_time: Tensor | None
) -> Tensor | None:
    """Return when the nodes of `memory.graph` came to be, (total,) float64."""
    if time is None:
        return None
    parts, start = [], 0
    for name, nodes in memory.beside.items():
        parts.append(time[graph.span(name)])
        unknown = torch.full((len(nodes),), torch.nan, dtype=torch.float64)
        parts.append(unknown if old_time is None else old_time[nodes + start].double())
        start += memory.old_num_nodes[name]
    return torch.cat(parts)


def transferred_scores(committee: Committee) -> Tensor:
    """Score a graph that was not learned from, (total,) float64, NaN for types without scores.

    In the graph learned from, most nodes had labels around them. Here many may have none, and a
    learner that counts labels would take that for a sign. So those without a label within reach are
    scored by the committee that would have been seated had nobody looked at labels.
    """
    scores = torch.full((committee.views.graph.total,), torch.nan, dtype=torch.float64)
    blind = replace(committee, members=committee.blind or committee.members)
    for node_type in committee.views.types:
        span = committee.views.graph.span(node_type)
        for ids in torch.arange(span.start, span.stop).split(BLOCK):
            is_near = labels_near(committee, ids)
            for chosen, judges in ((ids[is_near], committee), (ids[~is_near], blind)):
                if len(chosen):
                    scores[chosen] = judges.score(chosen)
    return scores


def labels_near(committee: Committee, ids: Tensor) -> Tensor:
    """Say of some nodes whether a label is one relation away, or two; or in their past: (n,) bool.

    All True for a committee that does not look at labels.
    """
    looked_at = {
        block
        for member in committee.members
        for block in committee.blocks.get(member.view, ())
        if block in LABELLED
    }
    if not looked_at:
        return torch.ones(len(ids), dtype=torch.bool)
    near = torch.zeros(len(ids), dtype=torch.bool)
    for block in sorted(looked_at):
        names = committee.views.names((block,))
        counts = [k for k, name in enumerate(names) if _COUNT.match(name)]
        table = committee.views.table((block,), ids, committee.split.train)
        near |= (table[:, counts].nan_to_num(0.0) > 0).any(1)
    return near
