"""Graphs, features and detectors for the tests of the audit, honest or with a planted mistake."""

import torch

from gadkit.audit.checks import CHECKS, Context
from gadkit.audit.finding import Finding
from gadkit.graph import CSR, HeteroGraph

FRACTIONS = (0.4, 0.2, 0.4)


def labelled(logit: torch.Tensor, generator: torch.Generator, offset: int = 0) -> torch.Tensor:
    y = (torch.rand(len(logit), generator=generator) < logit.sigmoid()).long()
    return torch.stack([torch.arange(len(y)) + offset, y], 1)


def market(seed: int = 0, users: int = 1500, products: int = 150) -> HeteroGraph:
    """Users buy some eight products each; fraud shows in both their features, a little in each."""
    draw = torch.Generator().manual_seed(seed)
    x = {
        name: torch.randn(n, 4, generator=draw)
        for name, n in (("user", users), ("product", products))
    }
    count = torch.randint(4, 13, (users,), generator=draw)
    src = torch.arange(users).repeat_interleave(count)
    dst = torch.randint(products, (len(src),), generator=draw)
    bought = torch.zeros(users, 4).index_add(0, src, x["product"][dst]) / count[:, None].sqrt()
    logit = x["user"][:, :2].sum(1) + 1.6 * bought[:, :3].sum(1) - 2.2
    buys = CSR.from_edges(src, dst, num_src=users, num_dst=products)
    sizes = {"user": users, "product": products}
    return HeteroGraph(sizes, {("user", "buys", "product"): buys}, x, labelled(logit, draw))


def payments(
    seed: int = 0, events: int = 1600, cards: int = 40
) -> tuple[HeteroGraph, torch.Tensor]:
    """Events of one card and one shop each, in time; every card and shop has a risk of its own."""
    draw = torch.Generator().manual_seed(seed)
    entity = {name: torch.randint(cards, (events,), generator=draw) for name in ("card", "shop")}
    x = {"event": torch.randn(events, 3, generator=draw)}
    x |= {name: torch.randn(cards, 2, generator=draw) for name in entity}
    risk = sum(0.8 * x[name][entity[name], 0] for name in entity)
    labels = labelled(risk + x["event"][:, 0] - 2, draw)
    time = torch.cat(
        [torch.rand(events, generator=draw).double(), torch.full((2 * cards,), torch.nan)]
    )
    edges = {
        (name, verb, "event"): CSR.from_edges(
            entity[name], torch.arange(events), num_src=cards, num_dst=events
        )
        for name, verb in (("card", "pays"), ("shop", "takes"))
    }
    return HeteroGraph({"event": events, "card": cards, "shop": cards}, edges, x, labels), time


def ends(graph: HeteroGraph) -> dict[str, tuple[torch.Tensor, torch.Tensor, int]]:
    """By relation: the labelled node and the other node of every edge, and how many others."""
    if "user" in graph.num_nodes:
        csr = graph.edges["user", "buys", "product"]
        return {"buys": (csr.indices.long(), csr.dst(), csr.num_dst)}
    edges = {name: csr for (_, name, _), csr in graph.edges.items()}
    return {name: (csr.dst(), csr.indices.long(), csr.num_src) for name, csr in edges.items()}


def mean_at(place, values, count):
    """Mean of the rows of `values` at each place."""
    total = torch.zeros(count, values.shape[1], dtype=torch.float64).index_add(
        0, place, values.double()
    )
    return total / torch.bincount(place, minlength=count).clamp(min=1)[:, None]


def label_rates(member, group, groups, y, how):
    """Rate and counts of training labels over the groups of each node, (n, 3).

    y is 0 or 1 where a label is known, -1 elsewhere; how says whose labels a node does not see.
    """
    is_known, fold = (y >= 0).double(), torch.arange(len(y)) % 5
    own_counts = torch.stack([is_known * y, is_known], 1)

    def sums(values):
        return torch.zeros(groups, 2, dtype=torch.float64).index_add(0, group, values[member])[
            group
        ]

    counts = sums(own_counts)
    if how == "leave one out":
        counts -= own_counts[member]
    if how in ("out of fold", "propagated"):
        for k in range(5):
            counts -= sums(own_counts * (fold == k)[:, None]) * (fold == k)[member, None]
    rate = (counts[:, :1] + 0.6) / (counts[:, 1:] + 3)
    rates = mean_at(member, torch.cat([rate, counts.log1p()], 1), len(y))
    if how == "propagated":
        around = mean_at(group, rates[member], groups)
        rates = mean_at(member, around[group], len(y))
    return rates


def make_features(*, labels="", reads="train", extra=None):
    """Own features, means over neighbors, degrees; label rates made in some way; a planted column.

    The numbers of the labelled nodes are their global ids in both graphs of this file.
    """

    def features(graph, split, ids):
        name = graph.node_types[0]
        n, blocks = graph.num_nodes[name], {"own": graph.x[name].double()}
        y = torch.full((n,), -1)
        for rows in split if reads == "all" else (split.train,):
            y[rows[:, 0]] = rows[:, 1]
        for (relation, (member, group, groups)), other in zip(
            ends(graph).items(), graph.node_types[1:], strict=True
        ):
            blocks[f"hops of {relation}"] = mean_at(member, graph.x[other][group], n)
            degree = torch.bincount(group, minlength=groups)[group, None]
            blocks[f"degrees of {relation}"] = mean_at(member, degree.double(), n).log1p()
            if labels:
                blocks[f"labels of {relation}"] = label_rates(member, group, groups, y, labels)
        if extra is not None:
            blocks["planted"] = extra(graph, split)[:, None].double()
        names = [f"{block}: {k}" for block, part in blocks.items() for k in range(part.shape[1])]
        return torch.cat([*blocks.values()], 1)[ids].float(), names

    return features


def make_detector(features, *, reads="train"):
    """Fit small trees on a table, and score every labelled node."""

    def detector(graph, split):
        from xgboost import XGBClassifier

        rows = split.train if reads == "train" else torch.cat([split.train, split.test])
        trees = XGBClassifier(
            n_estimators=60, max_depth=3, learning_rate=0.15, colsample_bytree=0.5, n_jobs=1
        )
        trees.fit(features(graph, split, rows[:, 0])[0].numpy(), rows[:, 1].numpy())
        ids = graph.labels[:, 0]
        rates = trees.predict_proba(features(graph, split, ids)[0].numpy())[:, 1]
        scores = torch.full((graph.total,), torch.nan, dtype=torch.float64)
        scores[ids] = torch.from_numpy(rates).double()
        return scores

    return detector


def findings(graph, split, *names, **options) -> dict[str, Finding]:
    """Run the named checks alone, by name; all if none is named. Options as in `audit.audit`."""
    context = Context(graph=graph, split=split, **options)
    return {
        check.name: check.finding(context) for check in CHECKS if not names or check.name in names
    }


def verdicts(findings):
    return {finding.check: finding.verdict for finding in findings}
