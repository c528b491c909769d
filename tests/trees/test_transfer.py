"""A graph never seen: what it must have, and what is remembered of those met before."""

import json

import numpy as np
import pytest
import torch

from gadkit import store
from gadkit.graph import CSR, HeteroGraph
from gadkit.store import node_ids
from gadkit.trees import transfer
from gadkit.trees.recipe import GIVEN, Committee, Member, Split
from gadkit.trees.saved import Saved
from gadkit.trees.views import Views

UP, DOWN = ("device", "used_by", "user"), ("user", "knows", "user")
FEATURES = {"user": ["age", "orders", "empty_2"], "device": ["rooted"]}


def graph_of(users, devices, used, knows=((0, 1), (1, 0)), x=None) -> HeteroGraph:
    """Make a graph of pairs (device, user) and pairs of users."""
    edges = {}
    for edge_type, pairs in ((UP, used), (DOWN, knows)):
        src, dst = torch.tensor(pairs).T
        sizes = {"user": users, "device": devices}
        edges[edge_type] = CSR.from_edges(
            src, dst, num_src=sizes[edge_type[0]], num_dst=sizes[edge_type[2]]
        )
    return HeteroGraph({"user": users, "device": devices}, edges, x)


def saved_of(path, features=FEATURES, window=None) -> Saved:
    """Make what was learned from a graph of users and devices, without any learner."""
    header = {
        "types": ["user"],
        "graph": {"num_nodes": {"user": 9, "device": 9}, "relations": [[*UP], [*DOWN]]},
        "features": features,
        "own_dims": {name: len((features or {}).get(name, ())) for name in ("user", "device")},
        "prior": 0.1,
        "window": window,
    }
    none = torch.empty(0, 2, dtype=torch.int64)
    return Saved(path / store.RECIPE, header, Split(none, none, none), [], {})


def write(folder, graph, names=None):
    store.save_graph(folder, graph)
    store.write_about(folder, {} if names is None else {"features": names})


def test_types_relations_and_features_are_put_in_order(tmp_path):
    x = {
        "shop": torch.zeros(2, 1),
        "device": torch.tensor([[5.0], [6.0]]),
        "user": torch.randn(3, 4),
    }
    names = {"shop": ["a"], "device": ["rooted"], "user": ["new", "orders", "age", "empty_3"]}
    shop = CSR.from_edges(torch.tensor([0, 1]), torch.tensor([0, 2]), num_src=2, num_dst=3)
    plain = graph_of(3, 2, [(0, 0), (1, 2)])
    edges = {("shop", "sells_to", "user"): shop, DOWN: plain.edges[DOWN], UP: plain.edges[UP]}
    graph = HeteroGraph({"shop": 2, "device": 2, "user": 3}, edges, x)
    write(tmp_path, graph, names)
    found = transfer.align(tmp_path, graph, saved_of(tmp_path))
    assert found.graph.node_types == ["user", "device"] and found.graph.edge_types == [UP, DOWN]
    assert found.ids.tolist() == [4, 5, 6, 2, 3]
    assert torch.equal(found.graph.x["user"][:, :2], x["user"][:, [2, 1]])
    assert (found.graph.x["user"][:, 2] == 0).all()  # a column of zeros, wherever it stood
    assert torch.equal(found.graph.x["device"], x["device"])
    assert [note.split(",")[0] for note in found.notes] == [
        "node type 'shop' is not in what the recipe has learned from",
        "relation 'shop sells_to user' is not in what the recipe has learned from",
        "1 features of a user are not in what the recipe has learned from",
    ]
    assert "new" in found.notes[2]


def test_features_without_names_are_matched_by_their_places(tmp_path):
    x = {"user": torch.randn(3, 3), "device": torch.randn(2, 1)}
    graph = graph_of(3, 2, [(0, 0), (1, 2)], x=x)
    write(tmp_path, graph)
    found = transfer.align(tmp_path, graph, saved_of(tmp_path))
    assert torch.equal(found.graph.x["user"], x["user"]) and found.notes == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("type", r"no node type 'device', which .*recipe.npz has learned from.*same columns and"),
        ("relation", r"no relation 'device used_by user', .*there are user knows user.*gadkit rec"),
        ("feature", r"a user of .*: it has no feature 'age', which"),
        ("features", r"a user of .*: it has no feature 'age', and lacks 1 more, which"),
        ("x", r"has no features, which"),
    ],
)
def test_what_is_missing_is_named(tmp_path, change, message):
    x = {"user": torch.randn(3, 3), "device": torch.randn(2, 1)}
    names = {"user": ["orders", "empty_1", "empty_2"], "device": ["rooted"]}
    graph = graph_of(3, 2, [(0, 0), (1, 2)], x=x)
    if change == "type":
        graph = HeteroGraph({"user": 3}, {DOWN: graph.edges[DOWN]})
    if change == "relation":
        other = CSR.from_edges(torch.tensor([0]), torch.tensor([1]), num_src=3, num_dst=2)
        edges = {DOWN: graph.edges[DOWN], ("user", "owns", "device"): other}
        graph = HeteroGraph(graph.num_nodes, edges)
    if change == "features":
        names["user"] = ["a", "b", "c"]
    if change == "x":
        graph = HeteroGraph(graph.num_nodes, graph.edges)
    write(tmp_path, graph, names)
    with pytest.raises(ValueError, match=message):
        transfer.align(tmp_path, graph, saved_of(tmp_path))


def test_a_recipe_without_features_looks_at_none(tmp_path):
    x = {"user": torch.randn(3, 3), "device": torch.randn(2, 1)}
    graph = graph_of(3, 2, [(0, 0), (1, 2)], x=x)
    write(tmp_path, graph)
    found = transfer.align(tmp_path, graph, saved_of(tmp_path, None))
    assert found.graph.x is None and "are not used" in found.notes[0]


# Last month: a fraud (ann) and an honest one (bob) on device d0, a fraud (cat) on d1, and dan, of
# whom nobody knows, on d0 and d2. Ann knows bob. This week: bob is here again, with d3; eve and fay
# are new, eve on d0 and fay on d3.
OLD_USERS, OLD_DEVICES = ["ann", "bob", "cat", "dan"], ["d0", "d1", "d2"]
OLD_USED = [(0, 0), (0, 1), (1, 2), (0, 3), (2, 3)]
OLD_LABELS = torch.tensor([[0, 1], [1, 0], [2, 1]])
USERS, DEVICES = ["eve", "bob", "fay"], ["d3", "d0"]
USED = [(1, 0), (0, 1), (0, 2)]


@pytest.fixture
def folders(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    write(old, graph_of(4, 3, OLD_USED))
    write(new, graph_of(3, 2, USED))
    ids = {old: (OLD_USERS, OLD_DEVICES), new: (USERS, DEVICES)}
    for folder, (users, devices) in ids.items():
        node_ids.save(folder, {"user": users, "device": devices})
    return old, new


@pytest.fixture
def memory(folders):
    old, new = (store.load_graph(folder) for folder in folders)
    matches = transfer.match_ids(folders[1], new, folders[0], old)
    assert matches["user"].tolist() == [-1, 1, -1, -1]
    assert matches["device"].tolist() == [1, -1, -1]
    return transfer.remember(new, old, OLD_LABELS, matches)


def test_labels_are_carried_over_and_stand_beside(memory):
    assert memory.graph.num_nodes == {"user": 4, "device": 2}  # ann stands behind fay
    assert memory.beside["user"].tolist() == [0] and len(memory.beside["device"]) == 0
    assert sorted(memory.labels.tolist()) == [[1, 0], [3, 1]]  # cat met nobody who is here
    assert memory.carried.tolist() == [[1, 0]]
    assert memory.seen_again == {"user": 1, "device": 1}
    src, dst = memory.graph.edges[UP].pairs()
    pairs = set(zip(src.tolist(), dst.tolist(), strict=True))
    assert pairs == {*USED, (1, 3), (1, 1)}  # d0 of ann and of bob; dan is not remembered
    src, dst = memory.graph.edges[DOWN].pairs()
    pairs = sorted(zip(src.tolist(), dst.tolist(), strict=True))
    assert pairs == [(0, 1), (1, 0), (1, 3), (3, 1)]


def test_the_device_of_a_fraud_counts_when_it_is_seen_again(memory, folders, tmp_path):
    graph = store.load_graph(folders[1])
    aligned = transfer.Aligned(graph, torch.arange(5), [])
    tables = transfer.views_of(aligned, saved_of(tmp_path, None), time=None, memory=memory)
    names = tables.names(("labels",))
    place = names.index("labels: rate over used_by and back")
    rates = tables.table(("labels",), torch.arange(3), memory.labels)[:, place]
    # eve meets ann (1) and bob (0) at d0; fay meets bob at d3. Of two labels each is in the first
    # fold of its class, so bob may read neither. All drawn to the old rate, 0.1, by three labels.
    expected = torch.tensor([1.3 / 5, 0.3 / 3, 0.3 / 4])
    torch.testing.assert_close(rates, expected)


def test_edges_that_are_there_already_are_not_counted_twice(folders):
    old, _ = (store.load_graph(folder) for folder in folders)
    same = {"user": torch.arange(4), "device": torch.arange(3)}
    memory = transfer.remember(old, old, OLD_LABELS, same)
    assert memory.graph.num_nodes == old.num_nodes
    assert torch.equal(memory.graph.edges[UP].indices, old.edges[UP].indices)
    assert torch.equal(memory.carried, OLD_LABELS) and torch.equal(memory.labels, OLD_LABELS)


def test_without_ids_nothing_is_carried(folders):
    old, new = (store.load_graph(folder) for folder in folders)
    for name in ("user", "device"):
        (folders[0] / store.IDS.format(name)).unlink()
    matches = transfer.match_ids(folders[1], new, folders[0], old)
    memory = transfer.remember(new, old, OLD_LABELS, matches)
    assert len(memory.labels) == len(memory.carried) == 0
    assert memory.graph.num_nodes == new.num_nodes
    assert "no ids in common" in transfer.describe(memory, new)[0]


def test_spellings_that_the_old_folder_has_joined_are_one(folders):
    old, new = (store.load_graph(folder) for folder in folders)
    exact = transfer.match_ids(folders[1], new, folders[0], old)["user"].tolist()
    names = node_ids.load(folders[1], "user", rows=new.num_nodes["user"])
    node_ids.save(folders[1], {"user": [name.upper() for name in names]})
    assert transfer.match_ids(folders[1], new, folders[0], old)["user"].tolist() == [-1] * 4
    assert transfer.compare_spellings(folders[1], folders[0], ["user"]) == []
    for folder, joined in zip(folders, (True, False), strict=True):
        case = {"ids": 3, "total": 9, "joined": joined, "example": ["BOB", "bob"]}
        (folder / store.ABOUT).write_text(json.dumps({"read": {"user": {"case": case}}}))
    assert transfer.match_ids(folders[1], new, folders[0], old)["user"].tolist() == exact
    (said,) = transfer.compare_spellings(folders[1], folders[0], ["user", "device"])
    assert said.startswith("3 user ids differ only in case here, such as 'BOB' and 'bob'")
    assert said.endswith("ingest again with --same-id casefold")


def test_lines_of_a_file_are_nobody(folders):
    old, new = (store.load_graph(folder) for folder in folders)
    node_ids.save(folders[0], {"user": [f"line {k}" for k in range(4)]})
    node_ids.save(folders[1], {"user": [f"line {k}" for k in range(3)]})
    assert set(transfer.match_ids(folders[1], new, folders[0], old)) == {"device"}


def test_what_is_known_is_said(memory, folders):
    seen, carried = transfer.describe(memory, store.load_graph(folders[1]))
    assert seen == "seen again, by id: 1 of 3 user, 1 of 2 device"
    assert carried.startswith("labels of 1 of them are carried over (0 anomalies); 1 more labelled")
    assert carried.endswith("(1 anomalies)")


def test_those_without_a_label_near_are_scored_by_who_looks_at_no_labels():
    used = [(0, 0), (0, 1), (1, 2)]  # users 0 and 1 share a device, and 0 has a label
    graph = graph_of(3, 2, used, knows=((2, 2), (1, 1)))
    views = Views(graph, types=["user"], prior=0.1)
    members = [
        Member(view, "x", lambda table, p=p: torch.full((len(table),), p).double(), 0.5, 1.0, 0.0)
        for view, p in (("around", 0.9), ("alone", 0.2))
    ]
    labels = torch.tensor([[0, 1]])
    split = Split(labels, torch.tensor([[1, 1], [2, 0]]), labels)
    blocks = {"around": ("structure", "labels"), "alone": ("structure",)}
    committee = Committee(views, blocks, split, members, members[:1])
    assert transfer.labels_near(committee, torch.arange(3)).tolist() == [False, True, False]
    scores = transfer.transferred_scores(committee)
    torch.testing.assert_close(scores[:3], torch.tensor([0.2, 0.9, 0.2]).double())
    assert scores[3:].isnan().all()
    assert transfer.count_near(committee).startswith("1 of 3 have a label within two relations")
    blind = Committee(views, blocks, split, members, members[1:])
    assert transfer.labels_near(blind, torch.arange(3)).all() and not transfer.count_near(blind)


def test_a_network_is_asked_wherever_it_sits():
    graph = graph_of(3, 2, [(0, 0), (0, 1), (1, 2)])
    given = torch.tensor([0.1, 0.2, 0.3, 0.0, 0.0]).double()
    member = Member(GIVEN, "network", given.__getitem__, 0.5, 1.0, 0.0)
    labels = torch.tensor([[0, 1]])
    split = Split(labels, torch.tensor([[1, 1], [2, 0]]), labels)
    committee = Committee(Views(graph, types=["user"]), {}, split, [member], [member])
    torch.testing.assert_close(transfer.transferred_scores(committee)[:3], given[:3])


def test_links_that_were_left_out_stay_so(tmp_path):
    has, old = ("user", "has_card", "card"), tmp_path / "old"
    user, card = torch.tensor([[0, 1, 2, 1, 2], [0, 0, 0, 1, 1]])
    edges = {has: CSR.from_edges(user, card, num_src=3, num_dst=2)}
    x = {"user": torch.rand(3, 2), "card": torch.rand(2, 1)}
    graph = HeteroGraph({"user": 3, "card": 2}, edges, x, torch.tensor([[2, 1]]))
    write(tmp_path, graph)
    node_ids.save(tmp_path, {"user": ["ann", "bob", "cat"], "card": ["gift", "c1"]})
    for cut in ({"cap": 100, "values": 0}, {"cap": 100, "names": ["voucher"]}):
        store.write_about(old, {"links": {"card": {"cut": cut}}})
        same, said = transfer.without_strangers(tmp_path, graph, old)
        assert (same.fingerprint, said) == (graph.fingerprint, [])
    store.write_about(old, {"links": {"card": {"cut": {"cap": 100, "names": ["gift", "voucher"]}}}})
    fewer, said = transfer.without_strangers(tmp_path, graph, old)
    assert [end.tolist() for end in fewer.edges[has].pairs()] == [[1, 2], [1, 1]]
    assert fewer.num_nodes == graph.num_nodes and torch.equal(fewer.labels, graph.labels)
    assert all(torch.equal(fewer.x[name], x[name]) for name in x)
    assert said == [
        f"1 card are left out, such as 'gift': more than 100 users had each in {old}, so they join "
        "strangers"
    ]


def test_views_of_another_graph_have_the_columns_that_were_learned_from():
    """Columns that this graph would leave out, or has in another order, or has more of."""
    used = [(0, 0), (1, 1), (1, 2)]
    graph = graph_of(3, 2, used)  # every user has one device: "mean rate of used_by" says nothing
    labels = torch.tensor([[0, 1], [1, 0]])
    plain = Views(graph, types=["user"]).names(("labels",))
    made = Views(graph, types=["user"], prior=0.1).names(("labels",))
    assert "labels: mean rate of used_by" in set(made) - set(plain)
    learned = {"v": made[::-2]}
    seen = []
    member = Member("v", "x", lambda table: seen.append(table) or table[:, 0].double(), 1, 1.0, 0.0)
    split, views = Split(labels, labels, labels), Views(graph, types=["user"], prior=0.1)
    committee = Committee(views, {"v": ("labels",)}, split, [member], [member], learned)
    committee.score(torch.tensor([2]))
    expected = views.table(("labels",), torch.tensor([2]), labels)[:, range(len(made))[::-2]]
    assert torch.equal(seen[0], expected)
    committee.columns = {"v": ["labels: rate over telepathy"]}
    del committee.__dict__["_places"]
    with pytest.raises(ValueError, match="has no 'labels: rate over telepathy'"):
        committee.score(torch.tensor([2]))


@pytest.mark.parametrize(
    ("here", "learned", "expected"),
    [
        ((0, 7), (0, 84), "7.0 days (1970-01-01T00:00:00Z to 1970-01-08T00:00:00Z), but the recipe "
         "has learned from 84.0"),
        ((0, 84), (0, 7), "84.0 days"),
        ((84, 91), (0, 7), None),
        ((84, 92), (0, 7), None),
        (None, (0, 7), None),
        ((0, 7), None, None),
    ],
)  # fmt: skip
def test_windows_that_differ_are_said(tmp_path, here, learned, expected):
    def window(days):
        first, last = (str(np.datetime64(day, "D").astype("datetime64[s]")) + "Z" for day in days)
        return {"first": first, "last": last}

    write(tmp_path, graph_of(3, 2, [(0, 0), (1, 2)]))
    if here:
        store.write_about(tmp_path, {"time": window(here)})
    learned = learned and window(learned) | {"days": float(learned[1] - learned[0])}
    found = transfer.compare_windows(tmp_path, saved_of(tmp_path, window=learned))
    assert found is None if expected is None else found.startswith(expected)
    steps = saved_of(tmp_path, window={"first": "1", "last": "9", "steps": 8.0})
    if here:
        assert "cannot be compared" in transfer.compare_windows(tmp_path, steps)
