"""Graphs of events by hand, and the names of their columns."""

import numpy as np
import pytest
import torch

from gadkit.graph import CSR, HeteroGraph, build, structure

TRANSFERS = {
    "sender": np.array([0, 1, 0, 2]),
    "receiver": np.array([1, 0, 3, 1]),
    "voucher": np.array([-1, 0, -1, -1]),
}
BETWEEN = {"sender": "account", "receiver": "account"}


def test_event_graph_by_hand():
    """Two roles of one type, an entity that few events have, a value below 0, labels partly."""
    time, y = np.array([10, 0, 4, 4]), np.array([0, -1, 1, 0])
    values = {"amount": np.array([1.0, -3.0, 0.0, 7.0])}
    graph = build.event_graph(
        TRANSFERS,
        values,
        time=time,
        y=y,
        event="transfer",
        types=BETWEEN,
        verbs={"sender": "sends"},
    )
    assert graph.num_nodes == {"transfer": 4, "account": 4, "voucher": 1}
    assert graph.edge_types == [
        ("account", "sends", "transfer"),
        ("account", "receiver_of", "transfer"),
        ("voucher", "voucher_of", "transfer"),
    ]
    assert graph.labels.tolist() == [[0, 0], [2, 1], [3, 0]]
    assert graph.edges["voucher", "voucher_of", "transfer"].degrees().tolist() == [0, 1, 0, 0]
    own_names = build.event_features(TRANSFERS, values, timed=True, event="transfer", types=BETWEEN)
    names = build.name_columns(graph, own_names)
    assert {name: len(columns) for name, columns in names.items()} == {
        name: x.shape[1] for name, x in graph.x.items()
    }

    def column(node_type, name):
        return graph.x[node_type][:, names[node_type].index(name)].tolist()

    log = np.log1p
    assert column("transfer", "log_amount") == pytest.approx([log(1), -log(3), 0, log(7)])
    since = column("transfer", "log_seconds_since_sender_before")
    assert since == pytest.approx([log(6), 0, 0, 0])  # account 0 sends at 4 and 10
    assert column("transfer", "is_first_of_receiver") == [0, 1, 1, 1]
    assert column("transfer", "is_first_of_voucher") == [0, 1, 0, 0]  # 0 for those without
    sent, received = ("sender_max_log_amount", "receiver_max_log_amount")
    assert column("account", sent) == pytest.approx([log(1), -log(3), log(7), 0])
    assert column("account", received) == pytest.approx([-log(3), log(7), 0, 0])
    assert column("voucher", "min_log_amount") == pytest.approx([-log(3)])
    assert column("account", "rev_sends_log_degree") == pytest.approx(log([2, 1, 1, 0]))


def test_event_graph_without_time_or_values():
    graph = build.event_graph({"card": np.array([0, 1, 0])}, {})
    assert graph.edge_types == [("card", "card_of", "transaction")]
    assert graph.x["transaction"].shape == (3, 5)
    assert build.event_features(["card"], [], timed=False) == {"transaction": [], "card": []}
    assert graph.labels is None


@pytest.mark.parametrize(
    ("entities", "values", "message"),
    [
        ({"card": np.array([0.0, 1.0])}, {}, r"column 'card' must be \(2,\) integers, got"),
        ({"card": np.array([0, 1])}, {"a": np.ones(3)}, r"column 'a' must be \(2,\) numbers"),
        ({"card": np.array([0, 1])}, {"a": np.array([1, np.nan])}, "is nan at row 1, column 0"),
        ({"card": np.array([-1, -1])}, {}, "the transaction nodes have no edges"),
    ],
)
def test_bad_events(entities, values, message):
    with pytest.raises(ValueError, match=message):
        build.event_graph(entities, values)


def test_feature_names_say_what_a_column_is():
    csr = CSR.from_edges(torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2]), num_src=3, num_dst=3)
    graph = build.assemble({"n": 3}, {("n", "to", "n"): csr}, {"n": torch.ones(3, 1)}, None, "n")
    names = build.name_columns(graph)["n"]
    assert names[:2] == ["x_0", "to_log_degree"]
    degree = graph.x["n"][:, names.index("rev_to_log_degree")]
    torch.testing.assert_close(degree, torch.tensor([2, 1, 0]).log1p())


def test_own_columns():
    csr = CSR.from_edges(torch.tensor([0, 1]), torch.tensor([0, 0]), num_src=2, num_dst=1)
    edges = {("user", "buys", "product"): csr}
    graph = build.assemble(
        {"user": 2, "product": 1}, edges, {"user": torch.ones(2, 3)}, None, "user"
    )
    about = {"features": build.name_columns(graph)}
    assert structure.own_columns(graph, about) == {"user": 3, "product": 0}
    assert structure.own_columns(graph, {}) == {"user": 8, "product": 5}
    about["features"]["product"] = ["price", "stars", "age", "sales", "weight"]
    assert structure.own_columns(graph, about) == {"user": 3, "product": 5}
    about["features"]["product"] = ["price"]
    with pytest.raises(ValueError, match="names 1 features of product, but x has 5 columns"):
        structure.own_columns(graph, about)


def test_feature_names_come_from_the_folder_or_are_numbered():
    csr = CSR.from_edges(torch.tensor([0, 1]), torch.tensor([0, 0]), num_src=2, num_dst=1)
    edges = {("account", "makes", "payment"): csr}
    graph = HeteroGraph(
        {"account": 2, "payment": 1}, edges, {"account": torch.eye(2), "payment": torch.ones(1, 1)}
    )
    about = {"features": {"account": ["age", "payments"]}}
    assert structure.feature_names(about, graph) == {
        "account": ["age", "payments"],
        "payment": ["x_0"],
    }
    assert structure.feature_names({}, graph)["account"] == ["x_0", "x_1"]
    for names in (["age"], []):
        message = f"names {len(names)} features of account, but x has 2 columns: is it from another"
        with pytest.raises(ValueError, match=message):
            structure.feature_names({"features": {"account": names}}, graph)


@pytest.mark.parametrize("seed", range(3))
def test_time_since_previous_against_a_loop(seed):
    generator = torch.Generator().manual_seed(seed)
    entity = torch.randint(5, (60,), generator=generator)
    time = torch.randint(20, (60,), generator=generator).double()  # unordered, with ties
    csr = CSR.from_edges(torch.arange(60), entity, num_src=60, num_dst=5)
    since, first = build._since_previous(csr, time)
    last: dict[int, float] = {}
    for i in sorted(range(60), key=lambda i: (time[i], i)):
        who = int(entity[i])
        assert first[i] == (who not in last)
        assert since[i] == pytest.approx(np.log1p(float(time[i]) - last.get(who, float(time[i]))))
        last[who] = float(time[i])
