"""A made-up export, and the dataset that it becomes: dirty, told truly, found again."""

import csv
from collections import Counter, defaultdict
from functools import partial

import numpy as np
import pytest
import torch

from gadkit import cli, datasets, store
from gadkit.datasets import export, shop
from gadkit.store import node_ids

BUYERS = 600
NAMES = {export.ORDERS, export.REVIEWED, export.NEXT_WEEK, export.TRUTH}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return export.write_export(tmp_path_factory.mktemp("export") / "files", num_buyers=BUYERS)


@pytest.fixture(scope="module")
def truth(files):
    return {row["customer_id"]: row for row in rows(files / export.TRUTH)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("shop") / "shop"
    return shop.generate(where, num_buyers=BUYERS, progress=False)


def rows(path):
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_the_same_seed_gives_the_same_bytes(files, tmp_path):
    again = export.write_export(tmp_path / "again", num_buyers=BUYERS, seed=0)
    other = export.write_export(tmp_path / "other", num_buyers=BUYERS, seed=1)
    assert {path.name for path in again.iterdir()} == NAMES
    for name in NAMES:
        assert (again / name).read_bytes() == (files / name).read_bytes()
        assert (other / name).read_bytes() != (files / name).read_bytes()


def test_says_who_is_what(files, truth):
    kinds = Counter((row["kind"], row["is_new"]) for row in truth.values())
    assert {kind for kind, _ in kinds} == set(export.KINDS)
    assert kinds["normal", "0"] > 10 * sum(n for (kind, _), n in kinds.items() if kind == "lone")
    reviewed = rows(files / export.REVIEWED)
    matched = [row for row in reviewed if row["customer_id"] in truth]
    assert len(reviewed) == len(matched) + 5
    assert all(truth[row["customer_id"]]["is_new"] == "0" for row in matched)
    for row in matched:
        is_fraud = truth[row["customer_id"]]["kind"] != "normal"
        assert row["verdict"] == ("fraud" if is_fraud else "ok")


def test_new_buyers_come_next_week(files, truth):
    ordered, next_week = (
        {(row["customer_id"] or "").upper() for row in rows(files / name)} & set(truth)
        for name in (export.ORDERS, export.NEXT_WEEK)
    )
    new = {name for name, row in truth.items() if row["is_new"] == "1"}
    assert new <= next_week | {""}
    assert not new & ordered
    assert next_week & ordered


def test_a_ring_shares_one_value_and_nobody_else_has_it(files, truth):
    holders = defaultdict(set)
    for row in rows(files / export.ORDERS) + rows(files / export.NEXT_WEEK):
        customer = (row["customer_id"] or "").upper()
        if customer in truth:
            for column in ("device_id", "card_hash"):
                holders[column, (row[column] or "").lower()].add(customer)
    rings = {row["ring"] for row in truth.values() if row["shares"] in ("device_id", "card_hash")}
    shared = Counter()
    for members in holders.values():
        of_rings = {truth[name]["ring"] for name in members}
        if len(members) >= 3 and of_rings != {"-1"} and len(of_rings) == 1:
            shared[of_rings.pop()] += 1
    assert rings
    assert sum(shared[ring] == 1 for ring in rings) >= 0.8 * len(rings)


def test_a_quiet_ring_buys_like_everybody_else(files, truth):
    count, sums = Counter(), Counter()
    for row in rows(files / export.ORDERS):
        kind = truth.get((row["customer_id"] or "").upper(), {}).get("kind")
        if kind and "USD" in (row["amount"] or ""):
            count[kind] += 1
            sums[kind] += float(row["amount"].split()[1].replace(",", ""))
    mean = {kind: sums[kind] / count[kind] for kind in count}
    assert mean["quiet_ring"] == pytest.approx(mean["normal"], rel=0.25)
    assert mean["lone"] > 2 * mean["normal"]


def test_rings_of_one_kind(tmp_path):
    made = export.write_export(tmp_path / "quiet", num_buyers=BUYERS, rings="quiet")
    kinds = {row["kind"] for row in rows(made / export.TRUTH)}
    assert kinds == {"normal", "quiet_ring", "lone"}
    with pytest.raises(ValueError, match="rings must be one of both, quiet, bursting, got 'loud'"):
        export.write_export(tmp_path / "loud", rings="loud")
    assert not (tmp_path / "loud").exists()


def test_too_few_buyers_and_a_folder_that_is_taken(files, tmp_path):
    with pytest.raises(ValueError, match="num_buyers must be 600 or more, .*: 599"):
        export.write_export(tmp_path / "few", num_buyers=599)
    before = (files / export.ORDERS).read_bytes()
    with pytest.raises(FileExistsError, match="files"):
        export.write_export(files, num_buyers=BUYERS)
    assert (files / export.ORDERS).read_bytes() == before


def test_the_front_door_reads_it_without_an_option(folder):
    graph, about = store.load_graph(folder), store.read_about(folder)
    assert about["roles"] == {
        "user": ["customer_id"], "product": ["sku"], "seller": ["merchant_id"],
        "time": ["order_time"], "amount": ["amount"],
    }  # fmt: skip
    assert set(export.LINKS) <= set(about["links"])
    assert BUYERS - 20 < graph.num_nodes["user"] <= BUYERS  # an id in lower case is no other buyer
    assert about["rows"]["used"] > 0.98 * about["rows"]["read"]
    assert about["labels"]["kind"] == "injected"


def test_the_answers_are_those_of_the_export(folder, truth):
    graph, planted = store.load_graph(folder), store.load_planted(folder)
    names = [name.upper() for name in node_ids.load(folder, "user", rows=graph.num_nodes["user"])]
    assert [export.KINDS[kind] for kind in planted.kind[: len(names)]] == [
        truth[name]["kind"] for name in names
    ]
    assert not planted.kind[len(names) :].any()
    assert store.planted_names(folder)[: len(names)] == [truth[name]["kind"] for name in names]
    ids, is_fraud = graph.labels[:, 0].numpy(), graph.labels[:, 1].numpy()
    np.testing.assert_array_equal(planted.kind[ids] > 0, is_fraud > 0)


def test_members_own_what_their_ring_shares(folder, truth):
    graph, planted = store.load_graph(folder), store.load_planted(folder)
    types = [graph.node_types[k] for k in graph.node_type_of(torch.arange(graph.total))]
    names = [name.upper() for name in node_ids.load(folder, "user", rows=graph.num_nodes["user"])]
    owner = np.repeat(planted.node, np.diff(planted.edge_ptr))
    owned = defaultdict(set)
    for who, src, dst, relation in zip(
        owner, planted.edge_src, planted.edge_dst, planted.edge_relation, strict=True
    ):
        edge_type = list(graph.edges)[relation]
        assert planted.relation_names[relation] == edge_type[1]
        assert (types[src], types[dst]) == (edge_type[0], edge_type[2])
        assert who == src
        owned[who].add(edge_type[1])
    num_linked = 0
    for node in planted.node:
        row = truth[names[node]]
        if row["kind"] == "lone":
            assert not owned[node]
        else:
            num_linked += f"has_{row['shares']}" in owned[node]
            assert ("buys" in owned[node]) == (row["kind"] == "bursting_ring")
    members = sum(truth[names[node]]["kind"] != "lone" for node in planted.node)
    assert num_linked > 0.8 * members  # some have used their own each time


def test_the_name_is_of_a_dataset(tmp_path, monkeypatch):
    monkeypatch.setattr(shop, "generate", partial(shop.generate, num_buyers=BUYERS))
    made = datasets.prepare("demo_shop", root=tmp_path, progress=False)
    assert store.is_dataset(made)
    monkeypatch.setattr(shop, "generate", None)
    assert datasets.prepare("demo_shop", root=tmp_path) == made


def test_the_command_makes_an_export(files, tmp_path, capsys):
    assert cli.main(["data", "shop", str(tmp_path / "made"), "--buyers", str(BUYERS)]) == 0
    assert capsys.readouterr().out.split() == [
        str(tmp_path / "made" / name)
        for name in (export.ORDERS, export.REVIEWED, export.NEXT_WEEK, export.TRUTH)
    ]
    assert (tmp_path / "made" / "orders.csv").read_bytes() == (files / "orders.csv").read_bytes()
    assert cli.main(["data", "shop", str(tmp_path / "made")]) == 1
    assert "made" in capsys.readouterr().err
