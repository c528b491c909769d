"""Controls keep what they promise: degrees, symmetry, or the structure; and nothing else."""

import pytest
import torch

from gadkit.audit import controls
from gadkit.graph import CSR, HeteroGraph
from gadkit.graph.structure import structural_features

PAIR, MATES, LEADS = ("a", "likes", "b"), ("a", "knows", "a"), ("a", "leads", "a")


@pytest.fixture(scope="module")
def graph() -> HeteroGraph:
    """A bipartite relation with a hub, a symmetric one with a loop, and a directed one."""
    draw = torch.Generator().manual_seed(0)
    src, dst = torch.randint(60, (400,), generator=draw), torch.randint(40, (400,), generator=draw)
    src[:30], dst[:30] = 7, torch.arange(30)  # node 7 is connected with most
    a, b = torch.randint(60, (2, 150), generator=draw)
    leads = torch.randint(60, (2, 90), generator=draw)
    edges = {
        PAIR: csr(*unique(src, dst), 60, 40),
        MATES: csr(*unique(torch.cat([a, b, a[:1]]), torch.cat([b, a, a[:1]])), 60, 60),
        LEADS: csr(*unique(*leads[:, leads[0] != leads[1]]), 60, 60),
    }
    x = {"a": torch.randn(60, 3, generator=draw), "b": torch.randn(40, 2, generator=draw)}
    labels = torch.stack([torch.arange(60), torch.arange(60) % 2], 1)
    return HeteroGraph({"a": 60, "b": 40}, edges, x, labels)


def unique(src, dst):
    return (src * 100 + dst).unique() // 100, (src * 100 + dst).unique() % 100


def csr(src, dst, num_src, num_dst):
    return CSR.from_edges(src, dst, num_src=num_src, num_dst=num_dst)


def pairs(csr):
    return sorted(zip(csr.indices.tolist(), csr.dst().tolist(), strict=True))


def repeats(csr):
    return csr.num_edges - len(set(pairs(csr)))


def loops(csr):
    return int((csr.indices == csr.dst()).sum())


@pytest.mark.parametrize("seed", range(5))
def test_rewired_keeps_every_degree(graph, seed):
    other = controls.rewired(graph, seed=seed)
    for edge_type, before in graph.edges.items():
        after = other.edges[edge_type]
        assert torch.equal(after.degrees(), before.degrees())
        assert torch.equal(after.transpose().degrees(), before.transpose().degrees())
        assert repeats(after) == 0
        shared = len(set(pairs(after)) & set(pairs(before)))
        assert shared < 0.6 * before.num_edges  # the hub can only keep its edges
    assert other.edges[MATES].is_symmetric
    assert loops(other.edges[MATES]) == loops(graph.edges[MATES])
    assert loops(other.edges[LEADS]) == loops(graph.edges[LEADS]) == 0
    assert all(other.x[name] is graph.x[name] for name in graph.x)  # shared, not copied
    assert other.labels is graph.labels


def test_rewired_forgets_who_is_connected():
    """Two camps that never mix are mixed as by chance."""
    camp = torch.arange(200) % 2
    src, dst = torch.meshgrid(torch.arange(200), torch.arange(200), indexing="ij")
    draw = torch.Generator().manual_seed(0)
    chosen = (camp[src] == camp[dst]) & (torch.rand(200, 200, generator=draw) < 0.1)
    graph = HeteroGraph(
        {"a": 200, "b": 200}, {("a", "likes", "b"): csr(src[chosen], dst[chosen], 200, 200)}
    )
    after = controls.rewired(graph).edges["a", "likes", "b"]
    same = (camp[after.indices.long()] == camp[after.dst()]).double().mean()
    assert 0.47 < float(same) < 0.53


def test_rewired_gives_up_where_repeats_cannot_be_avoided():
    full = torch.cartesian_prod(torch.arange(4), torch.arange(4)).T
    graph = HeteroGraph({"a": 4, "b": 4}, {("a", "likes", "b"): csr(*full, 4, 4)})
    after = controls.rewired(graph).edges["a", "likes", "b"]
    assert after.degrees().tolist() == [4] * 4


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_thinned(graph, share):
    other = controls.thinned(graph, share)
    for edge_type, before in graph.edges.items():
        after = other.edges[edge_type]
        assert set(pairs(after)) < set(pairs(before))
        assert abs(after.num_edges / before.num_edges - (1 - share)) < 0.15
    assert other.edges[MATES].is_symmetric


def test_thinned_leaves_an_edge():
    graph = HeteroGraph(
        {"a": 2, "b": 2}, {("a", "likes", "b"): csr(torch.arange(2), torch.arange(2), 2, 2)}
    )
    assert controls.thinned(graph, 0.999).edges["a", "likes", "b"].num_edges == 1
    with pytest.raises(ValueError, match="between 0 and 1, but is 1"):
        controls.thinned(graph, 1)


def test_shuffled_keeps_the_structure(graph):
    other = controls.shuffled(graph)
    for edge_type, before in graph.edges.items():
        after = other.edges[edge_type]
        assert after.degrees().sort().values.tolist() == before.degrees().sort().values.tolist()
        assert pairs(after) != pairs(before)
    assert other.edges[MATES].is_symmetric
    # A node keeps its degrees together: the joint distribution is the same.
    degrees = [
        sorted(
            zip(g.edges[MATES].degrees().tolist(), g.edges[LEADS].degrees().tolist(), strict=True)
        )
        for g in (graph, other)
    ]
    assert degrees[0] == degrees[1]


@pytest.mark.parametrize("make", [controls.rewired, controls.thinned, controls.shuffled])
def test_structural_columns_are_made_again(graph, make):
    structural = structural_features(graph)
    x = {name: torch.cat([graph.x[name], structural[name]], 1) for name in graph.x}
    joined = HeteroGraph(graph.num_nodes, graph.edges, x, graph.labels)
    other = make(joined, own_dims={"a": 3, "b": 2}, seed=1)
    expected = structural_features(other)
    for name, own_dim in (("a", 3), ("b", 2)):
        assert torch.equal(other.x[name][:, :own_dim], graph.x[name])
        assert torch.equal(other.x[name][:, own_dim:], expected[name])
    assert not torch.equal(other.x["b"], x["b"])
    assert make(joined, own_dims={"a": x["a"].shape[1], "b": x["b"].shape[1]}).x["a"] is x["a"]
    with pytest.raises(ValueError, match="2 of the authors and .* structural ones were expected"):
        make(joined, own_dims={"a": 2, "b": 2})


@pytest.mark.parametrize("make", [controls.rewired, controls.thinned, controls.shuffled])
def test_the_seed_decides(graph, make):
    first, again, other = (make(graph, seed=seed) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != other.fingerprint


def test_without_later(graph):
    later = torch.zeros(100, dtype=torch.bool)
    later[[3, 4, 5]] = True  # of type a
    other = controls.without_later(graph, later)
    for edge_type, before in graph.edges.items():
        offset = 60 if edge_type[2] == "b" else 0
        expected = [(s, d) for s, d in pairs(before) if not (later[s] or later[d + offset])]
        assert pairs(other.edges[edge_type]) == expected
    assert bool((other.x["a"][3:6] == 0).all())
    assert torch.equal(other.x["a"][6:], graph.x["a"][6:])
    changed = (other.labels != graph.labels).nonzero()
    assert changed.tolist() == [[3, 1], [4, 1], [5, 1]]


def test_without_later_leaves_an_edge(graph):
    other = controls.without_later(graph, torch.ones(100, dtype=torch.bool))
    assert [csr.num_edges for csr in other.edges.values()] == [1, 1, 1]
