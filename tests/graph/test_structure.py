"""What edges alone tell of a node, by hand and against dense matrices."""

import numpy as np
import pytest
import torch

from gadkit.graph import CSR, HeteroGraph, structure
from gadkit.graph.arrays import column_parts, distinct


def test_structural_features_by_hand():
    """0 -> 1, 0 -> 2, 1 -> 2, one way."""
    csr = CSR.from_edges(torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2]), num_src=3, num_dst=3)
    x = structure.structural_features(HeteroGraph({"n": 3}, {("n", "to", "n"): csr}))["n"]
    a, b = np.log1p(1), np.log1p(2)  # node 0 sends 2, node 1 sends 1; node 1 receives 1, node 2 two
    mean0, mean1 = (a + b) / 2, b  # in-degrees that nodes 0 and 1 look at
    expected = [
        [0, 0, 0, 0, 0],
        [a, b, b, b, mean0],
        [b, (a + b) / 2, b, a, (mean0 + mean1) / 2],
    ]
    torch.testing.assert_close(x[:, :5], torch.tensor(expected).float())
    assert x.shape == (3, 10)


@pytest.mark.parametrize("seed", range(3))
def test_structural_features_against_dense(seed):
    generator = torch.Generator().manual_seed(seed)
    src, dst = (torch.randint(n, (30,), generator=generator) for n in (9, 7))
    csr = CSR.from_edges(src, dst, num_src=9, num_dst=7)
    graph = HeteroGraph({"a": 9, "b": 7}, {("a", "r", "b"): csr})
    adjacency = torch.zeros(7, 9).index_put((dst, src), torch.ones(()), accumulate=True)
    features = structure.structural_features(graph)
    for node_type, dense in {"b": adjacency, "a": adjacency.T}.items():
        degree, back = dense.sum(1), dense.sum(0)
        seen = [back.log1p().repeat_interleave(row.long()) for row in dense]
        mean_back = dense.T @ degree.log1p() / back.clamp(min=1)
        columns = [
            degree.log1p(),
            dense @ back.log1p() / degree.clamp(min=1),
            torch.stack([s.max() if len(s) else torch.zeros(()) for s in seen]),
            torch.stack([s.min() if len(s) else torch.zeros(()) for s in seen]),
            dense @ mean_back / degree.clamp(min=1),
        ]
        torch.testing.assert_close(features[node_type], torch.stack(columns, dim=1))


def test_distinct_keys_ascend():
    keys = torch.randint(50, (200,), generator=torch.Generator().manual_seed(0))
    assert torch.equal(distinct(keys.clone()), keys.unique())
    assert distinct(torch.empty(0, dtype=torch.int64)).tolist() == []
    assert distinct(torch.tensor([3])).tolist() == [3]


def test_parts_of_a_table_are_never_a_single_column():
    for dim in (0, 1, 2, 32, 33, 64, 65, 129, 257):
        x = torch.arange(3 * dim).view(3, dim)
        parts = column_parts(x)
        assert torch.equal(torch.cat(parts, 1), x)
        widths = [part.shape[1] for part in parts]
        assert max(widths) <= 32
        assert dim < 2 or min(widths) > 1
