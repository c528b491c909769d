"""What is looked for: `Pattern`, a small graph with attributes, and ways to make one."""

import numpy as np

from gadkit.graph.arrays import Array, as_count, as_ids
from gadkit.match._cpu import Asked
from gadkit.match.attributed import AttributedGraph


class Pattern(AttributedGraph):
    """A small graph to look for; see `AttributedGraph` for its arguments, attributes and errors.

    A pattern whose x, or edge_attr, has no columns asks for no attributes: every node of the right
    type, or every edge, fits it equally well, whatever the graph's attributes are.
    """

    def asked(self, weight: np.ndarray) -> Asked:
        """Return the edges as kernels take them, attributes multiplied by (edge_dim,) weights."""
        src, dst = self.src.astype(np.int64), self.dst.astype(np.int64)
        return Asked(src, dst, weight * self.edge_attr, weight)

    def as_given(self, values: np.ndarray) -> np.ndarray:
        """Put values in the order of `links` into the order that the edges were given in."""
        given = np.empty_like(values)
        given[self.rows] = values
        return given

    @classmethod
    def ring(cls, n: int, x: Array | None = None, edge_attr: Array | None = None) -> "Pattern":
        """Make a ring 0 -> 1 -> ... -> n - 1 -> 0, as of money that comes back.

        Args:
            n: number of nodes, 2 or more.
            x: (n, dim) attributes; none if None.
            edge_attr: (n, edge_dim) attributes of the edges in the order above; none if None.

        Raises:
            TypeError, ValueError: n is too small or no whole number, or see `AttributedGraph`.
        """
        nodes = np.arange(_at_least(n, 2, "ring", "n"))
        return cls._built(nodes, np.roll(nodes, -1), n, x, edge_attr)

    @classmethod
    def star(cls, n: int, x: Array | None = None, edge_attr: Array | None = None) -> "Pattern":
        """Make a star of n nodes: 1, 2, ..., n - 1 each point to node 0.

        Args:
            n: number of nodes, 2 or more.
            x: (n, dim) attributes; none if None.
            edge_attr: (n - 1, edge_dim) attributes of the edges in the order above; none if None.

        Raises:
            TypeError, ValueError: as of `ring`.
        """
        leaves = np.arange(1, _at_least(n, 2, "star", "n"))
        return cls._built(leaves, np.zeros_like(leaves), n, x, edge_attr)

    @classmethod
    def biclique(
        cls, a: int, b: int, x: Array | None = None, edge_attr: Array | None = None
    ) -> "Pattern":
        """Make nodes 0 ... a - 1 that each point to all of a ... a + b - 1, as buyers to products.

        Args:
            a: number of nodes that point, 1 or more.
            b: number of nodes pointed to, 1 or more.
            x: (a + b, dim) attributes; none if None.
            edge_attr: (a * b, edge_dim), those of node 0 first; none if None.

        Raises:
            TypeError, ValueError: as of `ring`.
        """
        a, b = _at_least(a, 1, "biclique", "a"), _at_least(b, 1, "biclique", "b")
        src, dst = np.divmod(np.arange(a * b), b)
        return cls._built(src, a + dst, a + b, x, edge_attr)

    @classmethod
    def _built(
        cls, src: np.ndarray, dst: np.ndarray, n: int, x: Array | None, edge_attr: Array | None
    ) -> "Pattern":
        pattern = cls(np.empty((n, 0)) if x is None else x, src, dst, edge_attr)
        if pattern.num_nodes != n:
            raise ValueError(f"x must be ({n}, dim), a row for each node, got {pattern.x.shape}")
        return pattern

    @classmethod
    def from_subgraph(cls, graph: AttributedGraph, nodes: Array) -> "Pattern":
        """Take some nodes of a graph, and all edges between them, for the pattern.

        Args:
            graph: where they are.
            nodes: (n,) integer ids, each once; pattern node k is nodes[k].

        Raises:
            TypeError: the ids are no integers.
            ValueError: there are none, or one is out of range or repeated.
        """
        nodes = as_ids(nodes, "nodes").numpy().astype(np.int64)
        if nodes.ndim != 1 or not len(nodes):
            raise ValueError(f"nodes must be 1-D and hold a node, got shape {nodes.shape}")
        if nodes.min() < 0 or nodes.max() >= graph.num_nodes:
            raise ValueError(f"nodes must be in [0, {graph.num_nodes}), got {nodes.tolist()}")
        if len(np.unique(nodes)) < len(nodes):
            raise ValueError(f"a node is named twice in {nodes.tolist()}; list each once")
        ptr, place = graph.links.ptr, {node: k for k, node in enumerate(nodes.tolist())}
        out = np.concatenate([np.arange(ptr[node], ptr[node + 1]) for node in nodes])
        src = np.repeat(np.arange(len(nodes)), ptr[nodes + 1] - ptr[nodes])
        inside = np.isin(graph.dst[out], nodes)
        out, src = out[inside].astype(np.int64), src[inside]
        dst = [place[node] for node in graph.dst[out].tolist()]
        attr, kinds = graph.edge_attr[out], graph.node_type[nodes]
        return cls(graph.x[nodes], src, np.array(dst, np.int64), attr, kinds)

    @classmethod
    def around(
        cls, graph: AttributedGraph, node: int, *, hops: int = 2, max_nodes: int = 12
    ) -> "Pattern":
        """Take a node with the closest of those around it, and all edges between them.

        Nodes are taken one by one: next is always the one with the most neighbors among those taken
        so far; of several, one that leads on to others, then the rarest, with the fewest edges,
        then the lowest id.

        Args:
            graph: where they are.
            node: id of the one in the middle, which becomes pattern node 0.
            hops: how many steps away from it a node may be.
            max_nodes: how many nodes to take at most.

        Raises:
            TypeError, ValueError: there is no such node, or hops or max_nodes is less than 1.
        """
        return cls.from_subgraph(graph, nodes_around(graph, node, hops=hops, max_nodes=max_nodes))


def nodes_around(
    graph: AttributedGraph, node: int, *, hops: int = 2, max_nodes: int = 12
) -> np.ndarray:
    """Return the ids of the nodes that `Pattern.around` takes, (n,) int64, `node` first."""
    node, hops, max_nodes = (
        as_count(value, name)
        for value, name in ((node, "node"), (hops, "hops"), (max_nodes, "max_nodes"))
    )
    if not 0 <= node < graph.num_nodes:
        raise ValueError(f"node is {node}; ids are in [0, {graph.num_nodes})")
    if hops < 1 or max_nodes < 1:
        raise ValueError(f"hops is {hops} and max_nodes {max_nodes}; both must be 1 or more")
    steps, beside = {node: 0}, []  # how far away those taken are, and who is next to each
    while len(steps) < max_nodes:
        last = list(steps)[-1]
        beside.append((graph.neighbors(last), steps[last]))
        ends = np.concatenate([ends for ends, _ in beside])
        near = np.concatenate([ends for ends, step in beside if step < hops])
        candidates, ties = np.unique(ends[~np.isin(ends, list(steps))], return_counts=True)
        is_near = np.isin(candidates, near)
        candidates, ties = candidates[is_near], ties[is_near]
        if not len(candidates):
            break
        degree = graph.degree[candidates]
        is_end = degree <= ties  # all its edges lead to nodes that are taken
        chosen = int(candidates[np.lexsort([candidates, degree, is_end, -ties])[0]])
        steps[chosen] = 1 + min(step for ends, step in beside if chosen in ends)
    return np.array(list(steps), np.int64)


def _at_least(count: int, least: int, shape: str, name: str) -> int:
    count = as_count(count, name)
    if count < least:
        raise ValueError(f"a {shape} needs {name} of {least} or more, got {count}")
    return count
