"""What the first notebook says of a dataset folder, whatever the folder does not say."""

import torch

from gadkit.datasets import describe
from gadkit.graph import CSR, HeteroGraph

ABOUT = {
    "title": "Reviews",
    "license": "CC BY 4.0",
    "labels": {"meaning": "banned by a moderator.", "kind": "adjudicated"},
    "features": {"account": ["age", "payments"]},
    "time": {"column": "at", "first": "2012-03-01T00:00:00Z", "last": "2014-07-01T00:00:00Z"},
    "rows": {"read": 10, "used": 8, "unused": {"account is missing": 2}},
    "missing": {"at": 0, "amount": 2},
    "missing_x": {"account": {"age": 3}},
    "roles": {"account": ["from", "to"]},
}


def make_graph(*, x=True, labels=True) -> HeteroGraph:
    """Make four accounts, of which 0 knows itself and 1 and 2 each other, and two payments."""
    knows = CSR.from_edges(torch.tensor([0, 1, 2]), torch.tensor([0, 2, 1]), num_src=4, num_dst=4)
    pays = CSR.from_edges(torch.tensor([0, 0]), torch.tensor([0, 1]), num_src=4, num_dst=2)
    features = {
        "account": torch.tensor([[0.0, 1], [1, 1], [2, 1], [3, 1]]),
        "payment": torch.zeros(2, 1),
    }
    known = torch.tensor([[0, 1], [1, 1], [2, 0], [3, 0]])
    edges = {("account", "knows", "account"): knows, ("account", "pays", "payment"): pays}
    num_nodes = {"account": 4, "payment": 2}
    return HeteroGraph(num_nodes, edges, features if x else None, known if labels else None)


def test_provenance():
    rows = describe.provenance(ABOUT)
    assert rows["name"] == "Reviews"
    assert rows["license"] == "CC BY 4.0"
    assert rows["citation"] == "not stated"
    assert rows["time range"] == "2012-03-01T00:00:00Z to 2014-07-01T00:00:00Z (at)"
    assert rows["columns used"] == "account: from, to"
    assert describe.provenance({"name": "reviews"})["name"] == "reviews"


def test_rows_read():
    rows = {"read": ("10", "100.00%"), "used": ("8", "80.00%")}
    assert describe.rows_read(ABOUT) == rows | {"not used: account is missing": ("2", "20.00%")}
    assert describe.rows_read({"rows": {"used": 1200}}) == {"used": ("1,200", "")}
    tables = {"labels.csv": {"read": 4, "used": 3, "unused": {"no such user": 1}}}
    assert describe.rows_read({"tables": tables}) == {
        "labels.csv: read": ("4", "100.00%"),
        "labels.csv: used": ("3", "75.00%"),
        "labels.csv: not used: no such user": ("1", "25.00%"),
    }


def test_missing_values_come_with_their_whole_and_the_worst_first():
    missing = describe.missing_values(ABOUT, make_graph())
    assert [*missing.items()] == [("account: age", (3, 4)), ("amount", (2, 8)), ("at", (0, 8))]


def test_label_meaning():
    graph = make_graph()
    assert describe.label_meaning(ABOUT, graph).startswith(
        "Label 1, called fraud here, means: banned by a moderator. Somebody decided"
    )
    assert "not a verdict" in describe.label_meaning({"labels": {"kind": "proxy"}}, graph)
    assert "does not say" in describe.label_meaning({}, graph)
    assert "has no labels" in describe.label_meaning(ABOUT, make_graph(labels=False))


def test_frauds_alone_are_said_to_be_alone():
    graph = make_graph()
    graph.labels = graph.labels[:2]
    assert "nobody has looked at them" in describe.label_meaning(ABOUT, graph)
    assert describe.node_table(graph)["account"] == ["4", "2", "2", "2", ""]
    assert describe.single_feature_areas(graph)[0] is None
    assert describe.fraud_beside(graph) == {}


def test_tables_by_hand():
    graph = make_graph()
    assert describe.relation_table(graph) == {
        "knows": ["account", "account", "2", "1", "2", "2"],
        "pays": ["account", "payment", "2", "0", "3", "0"],
    }
    assert describe.node_table(graph) == {
        "account": ["4", "2", "4", "2", "50.00%"],
        "payment": ["2", "1", "0", "0", ""],
    }


def test_single_feature_areas():
    node_type, areas = describe.single_feature_areas(make_graph())
    assert node_type == "account"
    assert areas.tolist() == [1, 0.5]  # the first is low for frauds, the second a constant


def test_neighbors_of_frauds():
    graph = make_graph()
    assert describe.fraud_beside(graph) == {"account → account (knows)": ["100.0%", "0.0%"]}
    del graph.edges["account", "knows", "account"]
    del graph.__dict__["streams"]
    assert describe.fraud_beside(graph) == {}


def test_nothing_is_known():
    graph = make_graph(x=False, labels=False)
    assert set(describe.provenance({}).values()) == {"not stated"}
    assert describe.rows_read({}) == describe.missing_values({}, graph) == {}
    assert describe.node_table(graph)["account"] == ["4", "0", "0", "0", ""]
    assert describe.single_feature_areas(graph)[0] is None
    assert describe.single_feature_areas(make_graph(x=False))[0] is None
    assert describe.fraud_beside(graph) == {}


def test_labels_of_one_kind_on_a_type_are_no_contrast():
    graph = make_graph()
    graph.labels = torch.tensor([[0, 1], [4, 0]])
    assert describe.single_feature_areas(graph)[0] is None
