"""Noisy copies of a pattern, planted in a graph among decoys that look like its nodes."""

import numpy as np

from gadkit.match import AttributedGraph, Pattern

# A ring of five accounts, a hub that pays each of them, and a sink that each of them pays.
RING = [(k, (k + 1) % 5) for k in range(5)]
COLLUSION = RING + [(5, k) for k in range(5)] + [(k, 6) for k in range(5)]
DIM, EDGE_DIM = 3, 2


def rmat(num_nodes, num_edges, generator):
    """Draw the ends of edges of an R-MAT graph, with the numbers of its nodes shuffled."""
    bits = int(np.ceil(np.log2(num_nodes)))
    src, dst = np.zeros((2, num_edges), np.int64)
    for _ in range(bits):
        draw = generator.random(num_edges)
        src = 2 * src + (draw > 0.76)
        dst = 2 * dst + (((draw > 0.57) & (draw <= 0.76)) | (draw > 0.95))
    names = generator.permutation(1 << bits) % num_nodes
    return names[src], names[dst]


def collusion(generator):
    """Return the pattern, with random attributes that stand out."""
    src, dst = np.array(COLLUSION).T
    x = 3 * generator.standard_normal((7, DIM))
    return Pattern(x, src, dst, 3 * generator.standard_normal((len(src), EDGE_DIM)))


def plant(*, copies, decoys=20, noise=0.3, num_nodes=3_000, num_edges=24_000, seed=0):
    """Plant copies of the collusion pattern; return the graph, the pattern and their nodes.

    A decoy is seven nodes with the attributes of the pattern's, as noisy, and none of its edges.
    """
    generator = np.random.default_rng(seed)
    pattern = collusion(generator)
    src, dst = rmat(num_nodes, num_edges, generator)
    x = generator.standard_normal((num_nodes, DIM))
    attr = generator.standard_normal((num_edges, EDGE_DIM))
    chosen = generator.choice(num_nodes, (copies + decoys, 7), replace=False)
    for nodes in chosen:
        x[nodes] = pattern.x + noise * generator.standard_normal((7, DIM))
    links = [(src, dst, attr)]
    for nodes in chosen[:copies]:
        noisy = pattern.edge_attr + noise * generator.standard_normal(pattern.edge_attr.shape)
        links.append((nodes[pattern.src], nodes[pattern.dst], noisy))
    src, dst, attr = map(np.concatenate, zip(*links, strict=True))
    return AttributedGraph(x, src, dst, attr), pattern, chosen[:copies]
