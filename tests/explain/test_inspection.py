"""Read-outs of attention and embeddings, by hand."""

import torch

from gadkit.explain import inspection
from gadkit.graph import CSR

# Row 0 has no edge, row 1 one, row 2 four.
CSR_ = CSR(torch.tensor([0, 0, 1, 5]), torch.tensor([3, 0, 1, 2, 3]), num_src=4)


def test_effective_neighbors():
    uniform = torch.tensor([1.0, 0.25, 0.25, 0.25, 0.25])
    single = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])
    assert inspection.effective_neighbors(CSR_, uniform).tolist() == [0, 1, 4]
    assert inspection.effective_neighbors(CSR_, single).tolist() == [0, 1, 1]
    two_heads = torch.stack([uniform, single], 1)
    assert inspection.effective_neighbors(CSR_, two_heads).tolist() == [0, 1, 2.5]


def test_attention_spread_leaves_out_nodes_without_a_choice():
    alpha = torch.tensor([1.0, 0.25, 0.25, 0.25, 0.25])
    assert inspection.attention_spread(CSR_, alpha).tolist() == [1.0]


def test_entropy_is_one_where_attention_is_uniform_and_zero_on_a_single_neighbor():
    uniform = torch.tensor([1.0, 0.25, 0.25, 0.25, 0.25])
    single = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])
    assert inspection.attention_entropy(CSR_, uniform).tolist() == [1.0]
    assert inspection.attention_entropy(CSR_, torch.stack([uniform, single], 1)).tolist() == [0.5]


def test_edges_that_are_repeated_are_one_neighbor():
    """Row 0 has source 0 three times and source 1 once, row 1 source 1 twice."""
    csr = CSR(torch.tensor([0, 4, 6]), torch.tensor([0, 1, 0, 0, 1, 1]), num_src=2)
    alpha = torch.tensor([0.125, 0.5, 0.125, 0.25, 0.5, 0.5])
    assert inspection.effective_neighbors(csr, alpha).tolist() == [2, 1]
    assert inspection.attention_spread(csr, alpha).tolist() == [1]
    assert inspection.attention_entropy(csr, alpha[:, None]).tolist() == [1]


def test_mass_on_chosen_sources_beside_what_a_mean_would_give():
    alpha = torch.tensor([1.0, 0.5, 0.25, 0.125, 0.125])
    mass, uniform = inspection.mass_on(CSR_, alpha, torch.tensor([True, False, False, True]))
    assert (mass.tolist(), uniform.tolist()) == ([0.625], [0.5])  # row 1 has nothing else


def test_principal_components_find_the_long_axis():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(500, 5, generator=generator) * torch.tensor([0.1, 9.0, 1.0, 0.1, 3.0])
    xy = inspection.principal_components(z + 100)
    assert xy.shape == (500, 2)
    for component, axis in ((0, 1), (1, 4)):
        assert torch.corrcoef(torch.stack([xy[:, component], z[:, axis]]))[0, 1].abs() > 0.99
    assert xy.mean(0).abs().max() < 1e-3


def test_principal_components_far_from_zero():
    """The mean of float32 at 25,000 is off by a hundredth, which is no direction of the cloud."""
    generator = torch.Generator().manual_seed(0)
    z = 25_000 + torch.rand(3000, 2, generator=generator) * torch.tensor([1.0, 0.1])
    xy = inspection.principal_components(z)
    assert xy.dtype == torch.float32 and torch.allclose(xy.std(0), z.double().std(0).float(), 1e-3)
    assert (xy.mean(0).abs() < 1e-6).all()
