"""The attention network against dense matrices written from the formulas, in float64."""

import pytest
import torch
from dense import BUYS, CO_BUYS, FOLLOWS, SELLS, WIDTHS, dense_of, graph_of
from torch.nn.functional import elu, leaky_relu

from gadkit.graph import HeteroGraph
from gadkit.network.gae import GAE
from gadkit.network.gat import ANOMALY, NORMAL, Architecture, GATLayer, HeteroGAT
from gadkit.network.layers import Standardize, beta_wavelets
from gadkit.ops import gat_aggregate


def dense_attention(adjacency, wh_dst, wh_src, attn) -> torch.Tensor:
    """One head of Velickovic et al. (ICLR 2018), eq. 3; a row without edges is zero."""
    num_dst, num_src = adjacency.shape
    i, j = torch.meshgrid(torch.arange(num_dst), torch.arange(num_src), indexing="ij")
    logits = leaky_relu(torch.cat([wh_dst[i], wh_src[j]], 2) @ attn, 0.2)
    return logits.masked_fill(adjacency == 0, -torch.inf).softmax(1).nan_to_num(0.0)


def dense_stream(adjacency, layer, relation, h_src, h_dst) -> torch.Tensor:
    weight, attn = layer.weight[relation], layer.attn[relation]
    outs = []
    for head in range(attn.shape[1]):
        of_head = weight[:, head * len(attn) // 2 : (head + 1) * len(attn) // 2]
        alpha = dense_attention(adjacency, h_dst @ of_head, h_src @ of_head, attn[:, head])
        outs.append(alpha @ (h_src @ of_head))
    return torch.cat(outs, 1)


def dense_layer(layer, graph, h) -> dict[str, torch.Tensor]:
    received = {name: [] for name in graph.node_types}
    for (src, name, dst), csr in graph.edges.items():
        adjacency = dense_of(csr)
        received[dst].append(dense_stream(adjacency, layer, name, h[src], h[dst]))
        if src != dst or not torch.equal(adjacency, adjacency.T):
            received[src].append(dense_stream(adjacency.T, layer, name, h[dst], h[src]))
    out = {}
    for name, streams in received.items():
        out[name] = torch.stack(streams).mean(0)
        if layer.residual is not None:
            out[name] = out[name] + h[name] @ layer.residual
        out[name] = elu(out[name])
    return out


def layer_of(graph, in_dim=6, out_dim=4, **options) -> GATLayer:
    generator = torch.Generator().manual_seed(0)
    relations = [name for _, name, _ in graph.edge_types]
    return GATLayer(relations, in_dim, out_dim, generator=generator, **options).double()


@pytest.fixture
def hidden(randn):
    """hidden(graph, dim=6): (num_nodes, dim) float64 of every type."""

    def draw(graph, dim=6):
        return {
            name: randn(count, dim, dtype=torch.float64, seed=count)
            for name, count in graph.num_nodes.items()
        }

    return draw


def assert_close(actual: dict, expected: dict) -> None:
    assert list(actual) == list(expected)
    for name in actual:
        torch.testing.assert_close(actual[name], expected[name], rtol=1e-12, atol=1e-12)


def test_types_and_relations_keep_their_order():
    model = GAE({"user": 3, "product": 4, "a": 1})
    assert list(model.weight_in) == list(model.scale) == ["user", "product", "a"]
    assert list(HeteroGAT(["sells", "buys"]).layers[1].weight) == ["sells", "buys"]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("edge_types", [(BUYS, FOLLOWS), (BUYS, CO_BUYS), (SELLS,)])
def test_layer_is_a_dense_softmax(hidden, edge_types, heads, residual):
    graph = graph_of(*edge_types)
    layer, h = layer_of(graph, heads=heads, residual=residual), hidden(graph)
    assert_close(layer(graph, h), dense_layer(layer, graph, h))


def test_network_is_two_layers_and_a_head(hidden):
    graph = graph_of(BUYS, SELLS, FOLLOWS)
    model = HeteroGAT(["buys", "sells", "follows"], 6, Architecture(4, heads=2)).double()
    torch.nn.init.constant_(model.bias, 0.5)
    h = inputs = hidden(graph)
    for layer in model.layers:
        h = dense_layer(layer, graph, h)
    embedding = torch.cat([h[name] for name in graph.node_types])
    torch.testing.assert_close(model.embed(graph, inputs), embedding)
    expected = embedding @ model.head.flatten() + 0.5
    torch.testing.assert_close(model(graph, inputs), expected)
    torch.testing.assert_close(model.classify(embedding), expected)


@pytest.mark.parametrize("heads", [1, 2])
def test_folded_scores_are_dot_products_with_projections(hidden, heads):
    graph = graph_of(BUYS, FOLLOWS)
    layer, h = layer_of(graph, heads=heads), hidden(graph)["user"]
    score_dst, score_src = layer.attention_scores("follows", h)
    projected = (h @ layer.weight["follows"]).view(len(h), heads, -1)
    a_dst, a_src = layer.attn["follows"].T.tensor_split(2, 1)
    torch.testing.assert_close(score_dst, (projected * a_dst).sum(2))
    torch.testing.assert_close(score_src, (projected * a_src).sum(2))


def test_a_relation_shares_its_weights_with_its_reverse(hidden):
    graph = graph_of(BUYS, SELLS)
    layer, h = layer_of(graph), hidden(graph)
    assert set(layer.weight) == set(layer.attn) == {"buys", "sells"}
    before = layer(graph, h)
    with torch.no_grad():
        layer.weight["buys"].mul_(2)
    after = layer(graph, h)
    changed = {name for name in h if not torch.equal(before[name], after[name])}
    assert changed == {"user", "product"}  # buys reaches products, rev_buys users


def test_a_symmetric_relation_comes_once(hidden):
    assert [stream.edge_type for stream in graph_of(CO_BUYS).streams] == [CO_BUYS]
    assert len(graph_of(FOLLOWS).streams) == 2
    graph = graph_of(BUYS, CO_BUYS)
    model = HeteroGAT(["buys", "co_buys"], 6, Architecture(4)).double()
    assert list(model.attention(graph, hidden(graph))) == [
        BUYS,
        ("product", "rev_buys", "user"),
        CO_BUYS,
    ]


def test_a_node_without_neighbors_sees_itself_only_through_the_residual(hidden):
    graph = graph_of(BUYS)
    h = hidden(graph)
    assert torch.equal(layer_of(graph)(graph, h)["user"][6], torch.zeros(4, dtype=torch.float64))
    layer = layer_of(graph, residual=True)
    torch.testing.assert_close(layer(graph, h)["user"][6], elu(h["user"][6] @ layer.residual))


@pytest.mark.parametrize("drop_edge", [0.0, 0.5])
def test_gradients_reach_every_parameter_of_the_network(randn, drop_edge):
    graph = graph_of(BUYS, SELLS, FOLLOWS)
    architecture = Architecture(
        hidden_dim=8,
        heads=2,
        residual=True,
        features=True,
        transform="quantile",
        degrees=True,
        bands=1,
        label_input=True,
        dropout=0.1,
    )
    model = HeteroGAT(
        ["buys", "sells", "follows"],
        6,
        architecture,
        feature_dims=WIDTHS,
        degree_dims={"user": 3, "product": 2, "seller": 1},
    )
    logits = model(
        graph,
        model.inputs(graph, randn(14, 6), fit=True),
        shown=torch.arange(14) % 3,
        drop_edge=drop_edge,
        generator=torch.Generator().manual_seed(0),
        seed=1,
    )
    (logits * randn(14, seed=3)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_sums_to_one_per_row_and_is_that_of_the_first_layer(hidden, heads):
    graph = graph_of(BUYS, FOLLOWS)
    model = HeteroGAT(["buys", "follows"], 6, Architecture(4, heads=heads)).double()
    h = hidden(graph)
    alpha = model.attention(graph, h)
    for relation, edge_type, csr in graph.streams:
        src, _, dst = edge_type
        assert alpha[edge_type].shape == (csr.num_edges, heads)
        mass = alpha[edge_type].new_zeros(csr.num_dst, heads)
        mass.index_add_(0, csr.dst(), alpha[edge_type])
        has_edges = (csr.degrees() > 0).double()[:, None].expand_as(mass)
        torch.testing.assert_close(mass, has_edges)
        weight, attn = model.layers[0].weight[relation], model.layers[0].attn[relation]
        first = slice(0, 4 // heads)
        dense = dense_attention(
            dense_of(csr), h[dst] @ weight[:, first], h[src] @ weight[:, first], attn[:, 0]
        )
        torch.testing.assert_close(alpha[edge_type][:, 0], dense[csr.dst(), csr.indices.long()])


def test_dropped_edges_depend_on_the_seed_alone(hidden):
    graph = graph_of(BUYS, FOLLOWS)
    model, h = HeteroGAT(["buys", "follows"], 6, Architecture(4)).double(), hidden(graph)
    one, again, other = (model(graph, h, drop_edge=0.5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert not torch.equal(one, model(graph, h))
    assert torch.equal(model.train()(graph, h), model.eval()(graph, h))


def test_weights_depend_on_the_seed_alone():
    def weights(seed):
        gae, gat = GAE(WIDTHS, 6, 4, seed=seed), HeteroGAT(["buys"], 6, Architecture(4), seed=seed)
        return torch.cat([p.flatten() for model in (gae, gat) for p in model.parameters()])

    before = torch.get_rng_state()
    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_features_enter_beside_the_embedding(randn):
    graph, z = graph_of(BUYS, SELLS), randn(14, 6)
    model = HeteroGAT(["buys", "sells"], 6, Architecture(4, features=True), feature_dims=WIDTHS)
    inputs = model.inputs(graph, z, fit=True)
    for name in graph.node_types:
        both = torch.cat([z[graph.span(name)], graph.x[name]], 1)
        torch.testing.assert_close(inputs[name], Standardize(both.shape[1]).fit(both)(both))
    again = model.inputs(graph, z + 1)  # scaled as before, so it is shifted
    assert (again["user"][:, :6] > inputs["user"][:, :6]).all()
    plain = HeteroGAT(["buys", "sells"], 6, Architecture(4)).inputs(graph, z.double())
    assert torch.equal(torch.cat(list(plain.values())), z)


@pytest.mark.parametrize("heads", [0, 3])
def test_heads_that_do_not_divide(heads):
    with pytest.raises(ValueError, match=f"must divide hidden_dim, got {heads} heads for 4"):
        Architecture(4, heads=heads)


@pytest.mark.parametrize("name", ["items", "type", "a.b"])
def test_names_that_torch_reserves(name):
    model = GAE({name: 3, "user": 2})
    assert list(model.weight_in) == [name, "user"]
    again = GAE({name: 3, "user": 2}, seed=1)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.weight_in[name], model.weight_in[name])
    assert list(HeteroGAT([name]).layers[0].weight) == [name]


def test_degrees_and_bands_enter_beside_the_features(randn):
    graph, z = graph_of(BUYS, SELLS), randn(14, 6)
    dims = {"feature_dims": WIDTHS, "degree_dims": {"user": 1, "product": 2, "seller": 1}}
    architecture = Architecture(4, features=True, degrees=True, bands=2)
    model = HeteroGAT(["buys", "sells"], 6, architecture, **dims)
    inputs = model.inputs(graph, z, fit=True)
    wide = torch.zeros(14, 8)
    for first, name in zip((0, 3, 7), WIDTHS, strict=True):
        x = graph.x[name]
        wide[graph.span(name), first : first + x.shape[1]] = Standardize(x.shape[1]).fit(x)(x)
    bands = beta_wavelets(graph.homogeneous, wide, 2)
    degrees = [csr.degrees().float().log1p() for _, _, csr in graph.streams]
    into = {"user": [1], "product": [0, 2], "seller": [3]}
    for name in graph.node_types:
        span = graph.span(name)
        columns = [z[span], graph.x[name], *(band[span] for band in bands)]
        columns += [degrees[number][:, None] for number in into[name]]
        joined = torch.cat(columns, 1)
        torch.testing.assert_close(inputs[name], Standardize(joined.shape[1]).fit(joined)(joined))
    again = HeteroGAT(["buys", "sells"], 6, architecture, **dims, seed=1)
    again.load_state_dict(model.state_dict())
    moved = HeteroGraph(graph.num_nodes, graph.edges, {n: x + 1 for n, x in graph.x.items()})
    for name, x in again.inputs(moved, z).items():  # a new graph is scaled as the first was
        assert not torch.allclose(x, inputs[name])


def test_a_shown_label_shifts_what_a_node_enters_with(randn):
    graph, z = graph_of(FOLLOWS), randn(7, 6)
    model = HeteroGAT(["follows"], 6, Architecture(4, residual=True, label_input=True))
    inputs = model.inputs(graph, z)
    unknown = torch.zeros(7, dtype=torch.int64)
    none = model(graph, inputs)
    assert torch.equal(model(graph, inputs, shown=unknown), none)
    shown = unknown.clone()
    shown[2], shown[5] = NORMAL, ANOMALY
    shifted = z.clone()
    shifted[2] += model.label_weight[0]
    shifted[5] += model.label_weight[1]
    torch.testing.assert_close(
        model(graph, inputs, shown=shown), model(graph, model.inputs(graph, shifted))
    )
    alpha = model.attention(graph, inputs, shown=shown)[FOLLOWS]
    torch.testing.assert_close(alpha, model.attention(graph, {"user": shifted})[FOLLOWS])
    assert not torch.equal(alpha, model.attention(graph, inputs)[FOLLOWS])
    plain = HeteroGAT(["follows"], 6, Architecture(4, residual=True))
    assert torch.equal(plain(graph, inputs, shown=shown), plain(graph, inputs))


def test_dropped_activations_depend_on_the_generator_alone(randn):
    graph, z = graph_of(FOLLOWS), randn(7, 6)
    model = HeteroGAT(["follows"], 6, Architecture(64, residual=True, dropout=0.4))
    inputs = model.inputs(graph, z)

    def embed(seed):
        return model.embed(graph, inputs, generator=torch.Generator().manual_seed(seed))

    whole = model.embed(graph, inputs)
    assert torch.equal(embed(1), embed(1)) and not torch.equal(embed(1), embed(2))
    assert 0.3 < (embed(1) == 0).float().mean() < 0.5 and (whole != 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transform": "log"}, r"transform must be one of \['standard', 'quantile'\], got 'log'"),
        ({"transform": "quantile"}, "change the features; ask for features"),
        ({"bands": 2}, "change the features; ask for features"),
        ({"degrees": True}, "change the features; ask for features"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        Architecture(4, **options)


@pytest.mark.parametrize(
    ("in_dim", "options", "message"),
    [
        (0, {}, "embeddings or features; there are neither"),
        (6, {"features": True}, "features enter; give feature_dims"),
        (6, {"features": True, "degrees": True}, "degrees enter; give degree_dims"),
    ],
)
def test_numbers_that_a_network_must_be_given(in_dim, options, message):
    dims = {"feature_dims": WIDTHS} if "degrees" in options else {}
    with pytest.raises(ValueError, match=message):
        HeteroGAT(["buys"], in_dim, Architecture(4, **options), **dims)


def test_a_network_is_rebuilt_from_its_config(randn):
    graph, architecture = graph_of(BUYS), Architecture(4, features=True, residual=True, heads=2)
    dims = {"feature_dims": {name: WIDTHS[name] for name in graph.node_types}}
    model = HeteroGAT(["buys"], 6, architecture, **dims, seed=3)
    again = HeteroGAT.from_config(model.config)
    assert again.architecture == architecture and again.config == model.config
    inputs = model.inputs(graph, randn(graph.total, 6), fit=True)
    assert torch.equal(again(graph, inputs), model(graph, inputs))


def test_edges_are_kept_where_there_are_few(hidden):
    graph = graph_of(BUYS, SELLS)  # 10 purchases by 6 users of 5 products
    layer, h = layer_of(graph), hidden(graph)

    def dropped(**options):
        return layer(graph, h, drop_edge=0.6, seed=3, **options)

    whole, half = layer(graph, h), dropped()
    of_all = dropped(keep_edges=10)  # more than any destination has
    assert all(torch.equal(of_all[name], whole[name]) for name in h)
    assert all(torch.equal(dropped(keep_edges=0)[name], half[name]) for name in h)
    # Users have 10/6 edges on average and lose nothing; products have 10/5 and 6/5, sellers 3.
    some = dropped(keep_edges=1.8)
    assert torch.equal(some["user"], whole["user"])
    assert not torch.equal(half["user"], whole["user"])
    csr = graph.edges[SELLS].transpose()
    expected = gat_aggregate(
        csr,
        (h["product"] @ layer.weight["sells"])[:, None],
        layer.attention_scores("sells", h["product"])[1],
        layer.attention_scores("sells", h["seller"])[0],
        drop_edge=1 - 1.8 / 3,
        seed=3 * 4 + 3,
    )
    torch.testing.assert_close(some["seller"], elu(expected[:, 0]))
