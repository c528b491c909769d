"""Small random graphs and patterns."""

import numpy as np
import pytest

from gadkit.match import AttributedGraph, Pattern, planting


def draw(kind, num_nodes, num_edges, *, dim=3, edge_dim=2, types=1, seed=0):
    generator = np.random.default_rng(seed)
    src, dst = generator.integers(num_nodes, size=(2, num_edges))
    x, attr = generator.random((num_nodes, dim)), generator.random((num_edges, edge_dim))
    return kind(x, src, dst, attr, generator.permutation(num_nodes) % types)


@pytest.fixture
def drawn():
    """drawn(num_nodes, num_edges, **options): a random graph, loops and doubles among its edges."""
    return lambda *sizes, **options: draw(AttributedGraph, *sizes, **options)


@pytest.fixture
def asked():
    """asked(num_nodes, num_edges, **options): a random pattern."""
    return lambda *sizes, **options: draw(Pattern, *sizes, **({"seed": 7} | options))


@pytest.fixture(scope="session")
def planted_once():
    """Graph, pattern and nodes of one noisy copy among twenty decoys."""
    return planting.plant(copies=1)[:3]
