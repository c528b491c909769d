"""Read-outs of attention and embeddings, by hand."""

import torch

from gadkit import explain
from gadkit.graph import CSR

# Row 0 has no edge, row 1 one, row 2 four.
CSR_ = CSR(torch.tensor([0, 0, 1, 5]), torch.tensor([3, 0, 1, 2, 3]), num_src=4)


def test_effective_neighbors():
    uniform = torch.tensor([1.0, 0.25, 0.25, 0.25, 0.25])
    single = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])
    assert explain.effective_neighbors(CSR_, uniform).tolist() == [0, 1, 4]
    assert explain.effective_neighbors(CSR_, single).tolist() == [0, 1, 1]
    both = torch.stack([uniform, single], 1)
    assert explain.effective_neighbors(CSR_, both).tolist() == [0, 1, 2.5]


def test_attention_spread_leaves_out_nodes_without_a_choice():
    alpha = torch.tensor([1.0, 0.25, 0.25, 0.25, 0.25])
    assert explain.attention_spread(CSR_, alpha).tolist() == [1.0]


def test_principal_components_find_the_long_axis():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(500, 5, generator=generator) * torch.tensor([0.1, 9.0, 1.0, 0.1, 3.0])
    xy = explain.principal_components(z + 100)
    assert xy.shape == (500, 2)
    for component, axis in ((0, 1), (1, 4)):
        assert torch.corrcoef(torch.stack([xy[:, component], z[:, axis]]))[0, 1].abs() > 0.99
    assert xy.mean(0).abs().max() < 1e-3
