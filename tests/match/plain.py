"""Matching in plain NumPy, as the mathematics is written: the oracle. It fills edges x pattern."""

import itertools

import numpy as np


def normalized(z):
    """Take log-softmax over the rows."""
    z = z - z.max(0)
    with np.errstate(divide="ignore"):
        return z - np.log(np.exp(z).sum(0))


def distances(there, asked):
    """Return all Euclidean distances, rows of `there` by rows of `asked`."""
    return np.sqrt(((there[:, None].astype(float) - asked[None]) ** 2).sum(2))


def edges_of(graph):
    return graph.src.astype(int), graph.dst.astype(int), graph.edge_attr


def best_into(values, ends, num_nodes, floor):
    """Return for each node the largest value of the edges that end there, or the floor."""
    best = np.array(np.broadcast_to(floor, (num_nodes, values.shape[1])), float)
    np.maximum.at(best, ends, values)
    return best


def published(graph, pattern, rounds):
    """The published program (mode "pnnl"), with distances as they are."""
    src, dst, attr = edges_of(graph)
    s, t, asked = edges_of(pattern)
    n = graph.num_nodes
    apart, edge_apart = distances(graph.x, pattern.x), distances(attr, asked)
    mu = normalized(-apart)
    fe = re = normalized(-edge_apart) if len(src) else -edge_apart
    forward = best_into(fe, dst, n, mu[:, s].max(0))
    backward = best_into(re, src, n, mu[:, t].max(0))
    for _ in range(rounds):
        vf, vr = mu[:, t] - forward, mu[:, s] - backward
        if len(src):
            fe = normalized(-edge_apart + vr[src])
            re = normalized(-edge_apart + vf[src])
        forward = best_into(fe, dst, n, vr.max(0))
        backward = best_into(re, src, n, vf.max(0))
        mu = -apart.copy()
        for m in range(len(s)):
            mu[:, t[m]] += forward[:, m]
            mu[:, s[m]] += backward[:, m]
        mu = normalized(mu)
    return mu


def missing(worth, null, one_to_one):
    """Return, for each node, the best other node's worth less the cost of a missing edge."""
    n = len(worth)
    rows = []
    for x in range(n):
        others = np.delete(worth, x, 0) if one_to_one and n > 1 else worth
        rows.append(others.max(0) - null)
    return np.array(rows).reshape(worth.shape)


def max_sum(graph, pattern, null, *, rounds, one_to_one=True, damping=1.0):
    """The inventors' recursion (mode "maxsum"), with distances as they are and given costs."""
    src, dst, attr = edges_of(graph)
    s, t, asked = edges_of(pattern)
    apart, edge_apart = distances(graph.x, pattern.x), distances(attr, asked)
    apart[graph.node_type[:, None] != pattern.node_type] = np.inf
    kept = src != dst if one_to_one else np.ones(len(src), bool)
    src, dst, edge_apart = src[kept], dst[kept], edge_apart[kept]
    mu = np.zeros(apart.shape)
    forward = backward = np.zeros((graph.num_nodes, len(s)))
    for _ in range(rounds):
        vf, vr = mu[:, t] - forward, mu[:, s] - backward
        to = best_into(vr[src] - edge_apart, dst, graph.num_nodes, missing(vr, null, one_to_one))
        back = best_into(vf[dst] - edge_apart, src, graph.num_nodes, missing(vf, null, one_to_one))
        forward = normalized(forward + damping * (to - forward)) if len(s) else to
        backward = normalized(backward + damping * (back - backward)) if len(s) else back
        new = -apart.copy()
        for m in range(len(s)):
            new[:, t[m]] += forward[:, m]
            new[:, s[m]] += backward[:, m]
        mu = normalized(new if damping == 1 else mu + damping * (new - mu))
    return mu


def median_cost(graph, pattern):
    """The costs of missing edges by the rule "median", where edges have attributes that vary."""
    return np.median(distances(graph.edge_attr, pattern.edge_attr), axis=0)


def pair_costs(graph, pattern, null):
    """Return what it costs to map each pattern edge to each pair, (num_edges, nodes, nodes)."""
    src, dst, attr = edges_of(graph)
    costs = np.full((pattern.num_edges, graph.num_nodes, graph.num_nodes), np.inf)
    np.minimum.at(costs, (slice(None), src, dst), distances(attr, pattern.edge_attr).T)
    return np.minimum(costs, np.asarray(null, float)[:, None, None])


def mappings(graph, pattern, null, *, one_to_one):
    """Yield every mapping with what it costs."""
    apart, pairs = distances(graph.x, pattern.x), pair_costs(graph, pattern, null)
    apart[graph.node_type[:, None] != pattern.node_type] = np.inf
    choose = itertools.permutations if one_to_one else lambda n, k: itertools.product(n, repeat=k)
    for nodes in choose(range(graph.num_nodes), pattern.num_nodes):
        cost = sum(apart[node, k] for k, node in enumerate(nodes))
        ends = zip(pattern.src, pattern.dst, strict=True)
        yield nodes, cost + sum(pairs[m, nodes[s], nodes[t]] for m, (s, t) in enumerate(ends))


def best_of_all(graph, pattern, null):
    """Return the log beliefs that the best of all mappings give each node, by trying them all."""
    best = np.full((graph.num_nodes, pattern.num_nodes), -np.inf)
    for nodes, cost in mappings(graph, pattern, null, one_to_one=False):
        for k, node in enumerate(nodes):
            best[node, k] = max(best[node, k], -cost)
    return normalized(best)
