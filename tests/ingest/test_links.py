"""Users are linked by the devices, cards and addresses that they share, and rings come out."""

import csv
import json

import numpy as np
import pytest

from gadkit import cli, ingest, store
from gadkit.evaluation import splits
from gadkit.ingest import links
from gadkit.store import node_ids
from gadkit.trees import recipe, views

HEADER = ["order_time", "customer_id", "sku", "amount", "device_id", "card_hash", "ship_address"]


def write_orders(path, rows, header=HEADER):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def order(who, device="", card="", address="", sku="P1"):
    return "2026-01-05 10:00", who, sku, 10, device, card, address


@pytest.fixture
def ingested(tmp_path):
    """ingested(rows, **options): the graph, about.json, and the users' names by link value."""

    def take(rows, header=HEADER, **options):
        events = write_orders(tmp_path / "orders.csv", rows, header)
        folder = ingest.ingest(events, tmp_path / "out", progress=False, **options)
        graph, about = store.load_graph(folder), store.read_about(folder)
        names = {
            node_type: node_ids.of_nodes(folder, graph)[graph.span(node_type)]
            for node_type in graph.node_types
        }
        shared = {}
        for name in about.get("links", {}):
            users, values = graph.edges["user", links.relation(name), name].pairs()
            shared[name] = {}
            for user, value in zip(users.tolist(), values.tolist(), strict=True):
                users_of_value = shared[name].setdefault(names[name][value], [])
                users_of_value.append(names["user"][user])
        return graph, about, shared

    return take


def test_shared_values_become_nodes_and_the_others_do_not(ingested):
    rows = [order("A", "d1", "c1"), order("B", "d1", "c2"), order("C", "d3", "c3")]
    graph, about, shared = ingested(rows)
    assert shared == {"device_id": {"d1": ["A", "B"]}}
    assert graph.node_types == ["user", "product", "device_id"]
    assert about["links"]["device_id"]["users"] == 2
    assert about["no_links"]["card_hash"] == "nobody shares a value"
    assert about["no_links"]["ship_address"] == "it is empty"
    assert about["features"]["device_id"] == ["log_users", "log_events"]
    assert graph.x["device_id"].tolist() == [[pytest.approx(np.log(3))] * 2]
    assert len(about["features"]["user"]) == store.FEATURE_DIM == graph.x["user"].shape[1]


def test_a_kind_of_device_or_card_is_no_link_unless_it_is_named(ingested):
    names = ["device_type", "cardBrand", "ip_country", "email_domain", "account_age_days"]
    header = ["customer_id", "sku", *names, "device_id"]
    rows = [[f"C{k}", f"P{k % 3}", *["same"] * len(names), f"d{k // 2}"] for k in range(8)]
    _, about, shared = ingested(rows, header)
    assert list(shared) == ["device_id"]
    assert "no_links" not in about


def test_what_identifies_is_a_candidate():
    names = ["deviceId", "card_number", "Phone Number", "email", "billing_address", "device hash"]
    assert links.candidates([*names, "device_os", "card_last4", "is_mobile"], {}) == names


def test_a_pair_counts_once_however_many_orders_it_has(ingested):
    rows = [order("A", "d1"), order("B", "d1"), order("A", "d1", sku="P2"), order("A", "d1")]
    graph, _, shared = ingested(rows)
    assert shared["device_id"] == {"d1": ["A", "B"]}
    assert graph.x["device_id"][0, 1].item() == pytest.approx(np.log1p(4))


@pytest.mark.parametrize(
    ("column", "one", "other", "written"),
    [
        ("device_id", "AB-12 x", " ab-12  X", "ab-12 x"),
        ("card_number", "4111 1111-1111 1111", "4111111111111111", "4111111111111111"),
        ("phone", "+1 (555) 010-99", "155501099", "155501099"),
        ("ship_address", "12 Oak Street, Apt. 4", "12 OAK ST APT 4", "12 oak st apt 4"),
        ("billingAddress", "Hauptstraße 5", "hauptstraße  5.", "hauptstraße 5"),
        ("email_address", "Ann.Lee@Mail.com", "ann.lee@mail.com", "ann.lee@mail.com"),
        ("ip_address", "10.0.0.7", "10.0.0.7 ", "10.0.0.7"),
    ],
)
def test_values_are_written_in_one_way(ingested, column, one, other, written):
    header = ["order_time", "customer_id", "sku", column]
    rows = [("2026-01-05", who, "P1", value) for who, value in (("A", one), ("B", other))]
    _, about, shared = ingested(rows, header)
    assert shared == {column: {written: ["A", "B"]}}
    assert about["links"][column]["written"]


def test_words_for_nothing_link_nobody(ingested):
    rows = [order("A", "N/A", "c1"), order("B", "N/A", "c1"), order("C", "null"), order("D", "")]
    _, about, shared = ingested(rows)
    assert shared == {"card_hash": {"c1": ["A", "B"]}}
    assert about["no_links"]["device_id"] == "it is empty"


def test_values_of_very_many_users_are_left_out_and_said(ingested):
    rows = [order(f"U{i}", "gateway") for i in range(5)] + [order(f"U{i}", "mine") for i in (0, 1)]
    rows += [order(f"U{i}", f"mine {i // 2}") for i in range(8)]
    _, about, shared = ingested(rows, links=links.LinkOptions(cap=4))
    assert "gateway" not in shared["device_id"] and shared["device_id"]["mine"] == ["U0", "U1"]
    said = links.lines(about)[0]
    assert "left out: one value of more than 4 users, the most common 'gateway' of 5" in said


def test_a_column_of_common_values_is_no_link_unless_it_is_named(ingested, tmp_path):
    rows = [order(f"U{i}", "", "visa" if i % 5 else "amex") for i in range(40)]
    _, about, shared = ingested(rows, links=links.LinkOptions(cap=20))
    assert not shared
    assert about["no_links"]["card_hash"].startswith("most rows have one value of more than 20")
    folder = ingest.ingest(
        tmp_path / "orders.csv",
        tmp_path / "named",
        links=links.LinkOptions(["card_hash"], 20),
        progress=False,
    )
    assert store.read_about(folder)["links"]["card_hash"]["users"] == 8


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["device"], "there is no column 'device' for --link; found order_time, customer_id"),
        (["customer_id"], "'customer_id' is the user already"),
        (["device_id", "device_id"], "'device_id' is named twice"),
        (["card_hash"], "no value of 'card_hash' is shared by 2 to 100 users: nobody shares"),
    ],
)
def test_links_that_cannot_be_are_refused(ingested, tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        ingested([order("A", "d1", "c1"), order("B", "d1", "c2")], links=links.LinkOptions(names))
    assert not (tmp_path / "out").exists()


def test_events_with_labels_have_links_as_further_ends(tmp_path):
    rows = [(*order(f"U{i}", f"d{i // 2}"), "fraud" if i % 3 == 0 else "ok") for i in range(12)]
    folder = ingest.ingest(
        write_orders(tmp_path / "orders.csv", rows, [*HEADER, "label"]),
        tmp_path / "out",
        progress=False,
    )
    graph = store.load_graph(folder)
    devices, events = graph.edges["device_id", "device_id_of", "event"].pairs()
    assert list(zip(devices.tolist(), events.tolist(), strict=True)) == [
        (i // 2, i) for i in range(12)
    ]
    assert node_ids.of_nodes(folder, graph)[graph.span("device_id")].tolist() == [
        f"d{i}" for i in range(6)
    ]


def test_without_links_it_is_the_marketplace_layout(ingested, tmp_path):
    _, about, _ = ingested([order("A", "d1"), order("B", "d1")], links=links.LinkOptions(()))
    assert (tmp_path / "out" / "node_counts.json").is_file() and "links" not in about


def write_export(folder, seed=0):
    """Write orders of 500 buyers, of whom 6 rings of 7 share a device, a card or an address.

    Half of the rings buy the same products on one day; the others buy like everybody else. A few
    honest buyers live together. Returns who is in a ring: (num_users,) bool.
    """
    draws = np.random.default_rng(seed)
    users = 500
    ring = np.repeat([*range(6), -1], [*[7] * 6, users - 42])
    device, card = ([f"{kind}{u}" for u in range(users)] for kind in "dc")
    address = [f"{u} Oak Street" for u in range(users)]
    for u in range(60, 100, 2):
        address[u + 1] = f"{u} OAK ST."
    for u in np.flatnonzero(ring >= 0):
        shared = (device, card, address)[ring[u] % 3]
        shared[u] = f"{ring[u]} ring"
    who = np.concatenate([draws.integers(0, users, 2500), np.repeat(np.arange(users), 1)])
    day, sku = draws.integers(0, 80, len(who)), draws.integers(0, 150, len(who))
    rows = [
        (f"2026-{1 + d // 28:02}-{1 + d % 28:02}", f"C{u}", f"P{p}", 10 + p % 7, device[u], card[u],
         address[u])
        for u, d, p in zip(who.tolist(), day.tolist(), sku.tolist(), strict=True)
    ]  # fmt: skip
    for u in np.flatnonzero((ring >= 0) & (ring < 3)):
        rows += [
            (f"2026-02-0{1 + ring[u]}", f"C{u}", f"P{k}", 99, device[u], card[u], address[u])
            for k in range(3)
        ]
    write_orders(folder / "orders.csv", rows)
    lines = [f"C{u},{'fraud' if ring[u] >= 0 else 'ok'}\n" for u in range(0, users, 2)]
    (folder / "labels.csv").write_text("customer_id,verdict\n" + "".join(lines))
    return ring >= 0


def test_rings_that_share_only_a_device_a_card_or_an_address_come_first(tmp_path, capsys):
    is_fraud = write_export(tmp_path)
    paths = {"links": ["--out", str(tmp_path / "linked")]}
    paths["none"] = ["--out", str(tmp_path / "bare"), "--link", ""]
    precision = {}
    for name, options in paths.items():
        labels = ["--labels", str(tmp_path / "labels.csv")]
        assert cli.main(["ingest", str(tmp_path / "orders.csv"), *labels, *options]) == 0
        folder = tmp_path / ("linked" if name == "links" else "bare")
        graph = store.load_graph(folder)
        seen, split = views.from_folder(folder, graph), splits.stratified(graph.labels)
        fitted = recipe.fit_one(seen, split, ("own", "hops", "structure"), "random forest")
        scores = fitted.scores[graph.span("user")]
        named = node_ids.of_nodes(folder, graph)[graph.span("user")]
        number = np.array([int(name[1:]) for name in named])
        scores = np.where(number % 2, scores.numpy(), -1)  # without those that have a label
        first = number[np.argsort(-scores, kind="stable")[: is_fraud[1::2].sum()]]
        precision[name] = is_fraud[first].mean()
    said = capsys.readouterr().out
    assert "device_id is shared by 14 users in 2 values: taken as a link" in said
    assert "not used  no column" in said and "not used  device_id, card_hash, ship_address" in said
    assert precision["links"] >= 0.9 > 0.6 > precision["none"]


def test_about_is_plain_json(ingested, tmp_path):
    ingested(
        [order(f"U{i}", "d", "c1" if i < 2 else "") for i in range(5)],
        links=links.LinkOptions(cap=4),
    )
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    assert about["links"]["card_hash"]["cut"]["values"] == 0


def test_values_over_the_cap_are_written_down_the_most_common_first(ingested):
    cards = ["gift"] * 6 + ["Voucher"] * 7 + ["mine", "mine", "lone"]
    rows = [order(f"U{i}", f"d{i}", card) for i, card in enumerate(cards)]
    _, about, _ = ingested(rows, links=links.LinkOptions(columns=["card_hash"], cap=4))
    cut = about["links"]["card_hash"]["cut"]
    assert cut["names"] == ["voucher", "gift"]
    assert (cut["values"], cut["rows"], cut["most"], cut["example"]) == (2, 13, 7, "voucher")
