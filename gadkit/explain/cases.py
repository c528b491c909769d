"""Case cards: all that is known about a suspect, for whoever has to look at it.

A card says in a sentence or two whom the suspect meets and where, how sure the score is, which
columns of the table made it, which neighbors it rests on and who else is there, and which confirmed
cases lie nearest. Cards are plain data, kept as JSON; `gadkit.report.pages` shows them.
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gadkit import store
from gadkit.explain.company import by_company, meetings
from gadkit.explain.edges import Edges, edges_into
from gadkit.graph import HeteroGraph
from gadkit.trees.learners import Rows, boosted_trees
from gadkit.trees.recipe import BLOCK, Committee

FILE = "cases.json"
FEATURES, NEIGHBORS, MEETINGS, CONFIRMED = 6, 5, 12, 3  # lines of a card, at most
REASONS = 3  # sentences on top of a card, at most
LEVEL = 0.9  # of the interval of a score
COLUMNS = 40  # of the table, for the trees behind the interval
EDGE = 1e-4  # probabilities are kept this far from 0 and 1, where logits have no end


class Table(NamedTuple):
    """The table that a detector has scored, and what its columns did.

    Columns that are on no card may be left out.

    Attributes:
        names: of the columns.
        ids: (num_rows,) int64 global ids of the rows, ascending, suspects among them.
        x: (num_rows, dim) float32.
        contributions: (num_suspects, dim or more) in logits, a row for each suspect.
    """

    names: list[str]
    ids: Tensor
    x: Tensor
    contributions: Tensor


class Confirmed(NamedTuple):
    """Where suspects and confirmed frauds lie.

    Attributes:
        labels: (num_train, 2) int64 rows [global id, 1 = anomaly] that the detector has learned
            from.
        space: (total, dim) embeddings; nodes that are alike to the model lie near each other. None
            if there are none.
    """

    labels: Tensor
    space: Tensor | None = None


def score_intervals(
    train: Rows, val: Rows, x: Tensor, scores: Tensor, *, draws: int = 20, seed: int = 0
) -> Tensor:
    """Return how far scores move when other accounts happen to be labelled.

    Boosted trees are fitted again on bootstrap samples of the training rows, both classes drawn
    separately (Efron, Bootstrap Methods: Another Look at the Jackknife, Annals of Statistics 1979).
    The logits of a row spread about their median; the middle `LEVEL` of that spread is laid around
    the score. What would change with other edges is not in it, nor is chance in a row itself.

    Args:
        train: training rows of the table; a few dozen columns that matter are enough, and fast.
        val: rows that say when to stop.
        x: (n, dim) float32 rows to score.
        scores: (n,) in (0, 1), theirs by the detector.
        draws: bootstrap samples.
        seed: of the samples.

    Returns:
        (n, 2) float64 low and high, in [0, 1], the score between them.
    """
    generator, logits = torch.Generator().manual_seed(seed), []
    classes = [(train.y == value).nonzero().flatten() for value in (0, 1)]
    for draw in range(draws):
        picks = [
            rows[torch.randint(len(rows), (len(rows),), generator=generator)] for rows in classes
        ]
        pick = torch.cat(picks)
        refitted = boosted_trees(Rows(train.x[pick], train.y[pick]), val, seed + draw)
        logits.append(refitted(x).logit(eps=EDGE))
    logits = torch.stack(logits)
    ends = torch.tensor([0.5 - LEVEL / 2, 0.5 + LEVEL / 2], dtype=torch.float64)
    spread = (logits - logits.quantile(0.5, dim=0)).quantile(ends, dim=0).T
    return (scores.double().logit(eps=EDGE)[:, None] + spread).sigmoid()


def percentiles(graph: HeteroGraph, table: Table, suspects: Tensor, columns: Tensor) -> Tensor:
    """Return the share of nodes of a suspect's type that lie below it, ties by half.

    Args:
        graph: the graph.
        table: with a row for each suspect.
        suspects: (n,) int64 global ids.
        columns: (num_columns,) int64, of the table.

    Returns:
        (n, num_columns) float64 in [0, 1]; NaN where a column means nothing for the type.
    """
    types, row = graph.node_type_of(table.ids), torch.searchsorted(table.ids, suspects)
    ranks = torch.empty(len(suspects), len(columns), dtype=torch.float64)
    for number in types[row].unique():
        alike = (types[row] == number).nonzero().flatten()
        rows = (types == number).nonzero().flatten()
        for place, column in enumerate(columns.tolist()):  # one at a time: they may be millions
            ordered = table.x[rows, column].sort().values
            values = table.x[row[alike], column]
            low, high = (torch.searchsorted(ordered, values, right=side) for side in (False, True))
            ranks[alike, place] = (low + high).double() / (2 * len(ordered))
    return ranks.masked_fill(table.x[row[:, None], columns].isnan(), torch.nan)


def most_suspicious(scores: Tensor, learned_from: Tensor) -> Tensor:
    """Order the nodes that somebody should look at: the highest score first, ties by global id.

    Args:
        scores: (total,) in [0, 1]; NaN for nodes without one, which are left out.
        learned_from: (n,) int64 global ids of nodes whose verdict is known, which are left out.

    Returns:
        (num_candidates,) int64 global ids.
    """
    candidates = scores.nan_to_num(-1.0).index_fill(0, learned_from, -1.0)
    order = candidates.argsort(descending=True, stable=True)
    return order[: int((candidates >= 0).sum())]


def of_suspects(
    graph: HeteroGraph,
    suspects: Tensor,
    fitted: Committee,
    space: Tensor | None = None,
    *,
    scores: Tensor | None = None,
    names: np.ndarray | None = None,
    draws: int = 20,
    seed: int = 0,
) -> list[dict]:
    """Make the cards of some suspects of a detector, with the company explainer for their edges.

    The intervals are those of trees on the `COLUMNS` columns that matter most to these suspects.

    Args:
        graph: the graph.
        suspects: (n,) int64 global ids that were not learned from, the first to look at first.
        fitted: the detector whose trees explain.
        space: (total, dim) embeddings in which confirmed frauds near a suspect are looked for; none
            are named without.
        scores: (total,) float64 in [0, 1], NaN where there is none, if the list was made by another
            detector; `fitted.scores` by default.
        names: (total,) what the user calls each node; `node_ids.of_nodes`.
        draws: bootstrap samples behind the intervals.
        seed: of the samples.

    Returns:
        As `build`.
    """
    scores = fitted.scores if scores is None else scores
    contributions = fitted.contributions(suspects)[:, : len(fitted.names)]
    weight = contributions.abs().mean(0)
    columns = weight.argsort(descending=True, stable=True)[:COLUMNS]
    train, val, asked = (
        fitted.table(ids)[:, columns]
        for ids in (fitted.split.train[:, 0], fitted.split.val[:, 0], suspects)
    )
    train, val = (Rows(x, part[:, 1]) for x, part in zip((train, val), fitted.split, strict=False))
    intervals = score_intervals(train, val, asked, scores[suspects], draws=draws, seed=seed)
    table = _table_of_cards(fitted, (~scores.isnan()).nonzero().flatten(), contributions)
    edges = edges_into(graph, suspects)
    return build(
        graph,
        suspects,
        scores,
        intervals=intervals,
        table=table,
        edges=edges,
        evidence=by_company(graph, edges, _suspicion(graph, scores, fitted.split.train)),
        confirmed=Confirmed(fitted.split.train, space),
        names=names,
    )


def _table_of_cards(fitted: Committee, ids: Tensor, contributions: Tensor) -> Table:
    """Make the columns that stand on a card, of all nodes with a score; rows a part at a time.

    Args:
        fitted: the detector whose trees explain.
        ids: (num_rows,) int64 global ids, ascending.
        contributions: (num_suspects, dim), of every column.
    """
    columns = _raising(contributions).unique()
    x = torch.empty(len(ids), len(columns))
    for rows, part in zip(x.split(BLOCK), ids.split(BLOCK), strict=True):
        rows.copy_(fitted.table(part)[:, columns])
    return Table([fitted.names[k] for k in columns], ids, x, contributions[:, columns])


def _raising(contributions: Tensor) -> Tensor:
    """Return the columns that raise each suspect most, (num_suspects, up to `FEATURES`) int64."""
    return contributions.double().argsort(dim=1, descending=True, stable=True)[:, :FEATURES]


def of_company(
    graph: HeteroGraph,
    suspects: Tensor,
    scores: Tensor,
    learned: Tensor,
    *,
    names: np.ndarray | None = None,
) -> list[dict]:
    """Make cards that say whom suspects meet and no more, where no detector can be asked why.

    Args:
        graph: the graph.
        suspects: (n,) int64 global ids, the first to look at first.
        scores: (total,) float64 in [0, 1], NaN where there is none.
        learned: (n, 2) int64 rows [global id, 1 = anomaly] that the detector has learned from.
        names: (total,) what the user calls each node; `node_ids.of_nodes`.

    Returns:
        As `build`, without intervals and columns.
    """
    edges = edges_into(graph, suspects)
    evidence = by_company(graph, edges, _suspicion(graph, scores, learned))
    options = {"edges": edges, "evidence": evidence, "confirmed": Confirmed(learned)}
    return build(graph, suspects, scores, **options, names=names)


def _suspicion(graph: HeteroGraph, scores: Tensor, learned: Tensor) -> Tensor:
    """Return scores, but 1 for confirmed frauds and 0 for accounts that were cleared."""
    verdicts = _verdicts(graph, learned)
    return torch.where(verdicts < 0, scores.double(), verdicts.double())


def build(
    graph: HeteroGraph,
    suspects: Tensor,
    scores: Tensor,
    *,
    edges: Edges,
    evidence: Tensor,
    confirmed: Confirmed,
    intervals: Tensor | None = None,
    table: Table | None = None,
    names: np.ndarray | None = None,
) -> list[dict]:
    """Gather a card for each suspect.

    Args:
        graph: the graph.
        suspects: (n,) int64 global ids, the first to look at first.
        scores: (total,) in [0, 1]; NaN for nodes without one.
        edges: `edges_into(graph, suspects)`.
        evidence: (num_edges,) of the explainer that is trusted most.
        confirmed: labels that were learned from, and where nodes lie.
        intervals: (n, 2), of `score_intervals`; or None.
        table: what the detector saw, and what it made of it; or None.
        names: (total,) what the user calls each node; `node_ids.of_nodes`.

    Returns:
        A card per suspect, of texts, numbers, lists and None; its rank is that among the suspects
        of its type.
    """
    verdicts = _verdicts(graph, confirmed.labels)
    suspicion = _suspicion(graph, scores, confirmed.labels)
    describe = _describer(graph, names, scores, verdicts)
    features = [None] * len(suspects) if table is None else _features(graph, table, suspects)
    near = _nearest(graph, suspects, confirmed)
    cards, types = [], graph.node_type_of(suspects)
    for i, node in enumerate(suspects.tolist()):
        low, high = (None, None) if intervals is None else intervals[i].tolist()
        neighbors = _neighbors(graph, edges, evidence, i, suspicion, verdicts, describe)
        card = _named(graph, node, names) | {
            "rank": int((types[: i + 1] == types[i]).sum()),
            "score": float(scores[node]), "low": low, "high": high,
            "why": _reasons(neighbors),
            "features": features[i],
            "neighbors": neighbors,
            "confirmed": near and [
                _named(graph, fraud, names) | {"distance": distance} for fraud, distance in near[i]
            ],
        }  # fmt: skip
        cards.append(card)
    return cards


def _features(graph: HeteroGraph, table: Table, suspects: Tensor) -> list[list[dict]]:
    """Describe by suspect the columns that raise its score most."""
    by_column = table.contributions[:, : len(table.names)].double()
    top = _raising(by_column)
    columns = top.unique()
    ranks = percentiles(graph, table, suspects, columns)
    row, features = torch.searchsorted(table.ids, suspects), []
    for i in range(len(suspects)):
        raising = []
        for column in top[i].tolist():
            value, contribution = float(table.x[row[i], column]), float(by_column[i, column])
            if contribution > 0 and not math.isnan(value):
                rank = ranks[i, int(torch.searchsorted(columns, column))]
                raising.append(
                    {
                        "name": table.names[column],
                        "value": value,
                        "percentile": float(rank),
                        "contribution": contribution,
                    }
                )
        features.append(raising)
    return features


def _named(graph: HeteroGraph, node: int, names: np.ndarray | None) -> dict:
    """Say which node is meant: global id, type, and the user's name or else its type and id."""
    node_type = graph.node_types[int(graph.node_type_of(torch.tensor([node])))]
    name = "" if names is None else str(names[node])
    return {
        "node": node,
        "type": node_type,
        "name": name or f"{node_type} {node - graph.offset(node_type)}",
    }


def _verdicts(graph: HeteroGraph, learned: Tensor) -> Tensor:
    """Return the verdicts that a card may tell: (total,) int64, 1 = fraud, -1 where there is none.

    These are all that the user has given; but of a type whose accounts all have one, as in most
    published data sets, those that were learned from: the others are there to be found.
    """
    given, verdicts = graph.label_of_nodes().cpu(), graph.label_of_nodes(learned).cpu()
    for node_type in graph.labelled_types:
        span = graph.span(node_type)
        if (given[span] < 0).any():
            verdicts[span] = given[span]
    return verdicts.long()


def _describer(
    graph: HeteroGraph, names: np.ndarray | None, scores: Tensor, verdicts: Tensor
) -> Callable[[int], dict]:
    """Return what says which node a global id is, its score, and its verdict."""

    def describe(node: int) -> dict:
        score = None if scores[node].isnan() else float(scores[node])
        verdict = int(verdicts[node])
        return _named(graph, node, names) | {
            "score": score,
            "known": None if verdict < 0 else verdict,
        }

    return describe


def _neighbors(
    graph: HeteroGraph, edges: Edges, evidence: Tensor, position: int, scores: Tensor,
    verdicts: Tensor, describe: Callable[[int], dict],
) -> list[dict]:  # fmt: skip
    """Describe the neighbors that count most, each once, with whom the suspect meets there."""
    row, degrees = edges.slice_of(position), graph.homogeneous.degrees()
    node = int(edges.nodes[position])
    ids, group = edges.neighbor[row].unique(return_inverse=True)
    evidence = evidence[row].clamp(min=0)
    # Of several edges to one neighbor the one that counts most; neighbors in the order of edges.
    strongest = evidence.new_zeros(len(ids)).scatter_reduce(0, group, evidence, "amax")
    places = torch.arange(len(group))
    first = places.new_full((len(ids),), len(group)).scatter_reduce(0, group, places, "amin")
    ids, strongest = ids[first.argsort()], strongest[first.argsort()]
    order = strongest.argsort(descending=True, stable=True)[:NEIGHBORS]
    neighbors = []
    for chosen in order[strongest[order] > 0].tolist():
        neighbor = int(ids[chosen])
        streams = edges.stream[row][edges.neighbor[row] == neighbor].tolist()
        relations = dict.fromkeys(graph.streams[number].relation for number in streams)
        neighbors.append(
            describe(neighbor)
            | {
                "relation": ", ".join(relations),
                "share": float(strongest[chosen] / strongest.sum()),
                "degree": int(degrees[neighbor]) - 1,  # less its self-loop
                "meets": _met(graph, node, neighbor, scores, verdicts, describe),
            }
            | _others(graph, node, neighbor, verdicts)
        )
        neighbors[-1]["reason"] = reason(neighbors[-1])
    return neighbors


def _met(
    graph: HeteroGraph, node: int, neighbor: int, scores: Tensor, verdicts: Tensor,
    describe: Callable[[int], dict],
) -> list[dict]:  # fmt: skip
    """Describe whom a suspect meets: confirmed frauds first, then the most tied and suspicious."""
    others = torch.tensor(meetings(graph, node, neighbor, scores, graph.total), dtype=torch.int64)
    others = others[_are_alike(graph, others, node)]
    frauds_first = (verdicts[others] != 1).int().argsort(stable=True)
    return [describe(other) for other in others[frauds_first][:MEETINGS].tolist()]


def _are_alike(graph: HeteroGraph, nodes: Tensor, node: int) -> Tensor:
    """Say which nodes are of the type of another one."""
    return graph.node_type_of(nodes) == graph.node_type_of(torch.tensor([node]))


def _others(graph: HeteroGraph, node: int, neighbor: int, verdicts: Tensor) -> dict[str, int]:
    """Count the other nodes of the suspect's type at a neighbor, and the verdicts among them."""
    csr = graph.homogeneous
    others = csr.indices[csr.indptr[neighbor] : csr.indptr[neighbor + 1]].long()
    others = others[(others != node) & (others != neighbor)]
    verdicts = verdicts[others[_are_alike(graph, others, node)]]
    return {
        "others": len(verdicts),
        "frauds": int((verdicts == 1).sum()),
        "cleared": int((verdicts == 0).sum()),
    }


def _reasons(neighbors: Sequence[dict]) -> list[str]:
    """Say in sentences whom a suspect meets: where there are confirmed frauds, or else suspects."""
    telling = [line for line in neighbors if line["frauds"] or line["known"] == 1]
    telling = telling or [line for line in neighbors if line["others"]][:1]
    return [line["reason"] for line in telling[:REASONS]]


def reason(line: dict) -> str:
    """Say what ties a suspect to a neighbor, and who else is there, as far as there are verdicts.

    Args:
        line: one of a card's neighbors.

    >>> line = {"type": "device_id", "name": "9a", "relation": "has_device_id", "known": None}
    >>> reason(line | {"others": 6, "frauds": 5, "cleared": 1})
    'shares device_id 9a with 6 accounts, 5 of them confirmed frauds, 1 cleared'
    """
    place, relation = line["name"], line["relation"].replace("_", " ")
    if not place.startswith(f"{line['type']} "):  # as where the folder keeps no ids
        place = f"{line['type']} {place}"
    accounts = f"{line['others']:,} account{'' if line['others'] == 1 else 's'}"
    if line["known"] is not None or line["score"] is not None:  # an account itself
        verdict = {1: ", a confirmed fraud", 0: ", cleared"}.get(line["known"], "")
        said = f"is tied to {place} ({relation}){verdict}"
        said += f", and with it to {accounts}" if line["others"] else ""
    elif not line["others"]:
        said = f"is alone at {place} ({relation})"
    elif line["relation"] == f"has_{line['type']}":
        said = f"shares {place} with {accounts}"
    else:
        said = f"shares {place} ({relation}) with {accounts}"
    return said + _verdicts_in_words(line)


def _verdicts_in_words(line: dict) -> str:
    """Say how many of the accounts at a neighbor are confirmed frauds, and how many cleared."""
    many, frauds, cleared = line["others"], line["frauds"], line["cleared"]
    if many == 0:
        return ""
    which = "all of them" if frauds == many > 1 else f"{frauds or 'none'} of them"
    if many == 1:
        said = ", a confirmed fraud" if frauds else ", not confirmed"
        return ", cleared" if cleared else said
    said = f", {which} {'a confirmed fraud' if frauds < 2 else 'confirmed frauds'}"
    return said + (f", {cleared} cleared" if cleared else "")


def _nearest(graph: HeteroGraph, suspects: Tensor, confirmed: Confirmed) -> list[list] | None:
    """Return the nearest confirmed frauds of a suspect's type, and how far they are.

    None without a space.

    Distances are over the median distance between two confirmed frauds of the type, so that 1 is as
    far as one fraud is from another.
    """
    if confirmed.space is None:
        return None
    frauds = confirmed.labels[confirmed.labels[:, 1] == 1, 0]
    types = graph.node_type_of(frauds)
    near = []
    for node, number in zip(suspects.tolist(), graph.node_type_of(suspects).tolist(), strict=True):
        alike = frauds[(types == number) & (frauds != node)]
        if len(alike) < 2:
            near.append([])
            continue
        places = confirmed.space[alike].double()
        typical = torch.nn.functional.pdist(places).median().clamp(min=1e-12)
        far = (places - confirmed.space[node].double()).norm(dim=1) / typical
        order = far.argsort(stable=True)[:CONFIRMED]
        near.append([*zip(alike[order].tolist(), far[order].tolist(), strict=True)])
    return near


def save(path: Path | str, cards: Sequence[dict]) -> None:
    """Write cards as JSON."""
    store.write_json(path, {"cases": list(cards)})


def load(path: Path | str) -> list[dict]:
    """Read cards that `save` has written.

    Raises:
        FileNotFoundError: there are none.
    """
    return json.loads(Path(path).read_text(encoding="utf-8"))["cases"]
