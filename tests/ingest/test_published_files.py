"""Small files in the columns of published data sets, ingested as they are: no option, no loss.

Elliptic++  Elmougy and Liu, "Demystifying Fraudulent Transactions and Illicit Nodes in the Bitcoin
            Network for Financial Forensics", KDD 2023; github.com/git-disl/EllipticPlusPlus
Neo4j       neo4j.com/docs/operations-manual, "CSV header format"
"""

import pytest

from gadkit import ingest, store
from gadkit.ingest import ends
from gadkit.store import node_ids

WALLETS = ["1Aa", "1Bb", "1Cc", "1Dd", "1Ee"]
# A cycle of three wallets, a wallet that pays twice, and one that pays itself.
PAID = [(0, 1), (1, 2), (2, 0), (3, 0), (3, 0), (4, 4)]
CLASSES = ["2", "1", "3", "2", "3"]


def take(tmp_path, events, labels=None):
    path = tmp_path / "events.csv"
    path.write_text(events)
    if labels is not None:
        (tmp_path / "labels.csv").write_text(labels)
        labels = tmp_path / "labels.csv"
    folder = ingest.ingest(path, tmp_path / "out", labels=labels, progress=False)
    return folder, store.load_graph(folder), store.read_about(folder)


def paid(folder, graph):
    """The pairs of the relation `pays`, as the table names them."""
    names = node_ids.load(folder, "account", rows=graph.num_nodes["account"]).tolist()
    src, dst = graph.edges["account", "pays", "account"].pairs()
    return sorted((names[i], names[j]) for i, j in zip(src.tolist(), dst.tolist(), strict=True))


def rows(names, pairs=PAID, tail=""):
    return "".join(f"{names[payer]},{names[payee]}{tail}\n" for payer, payee in pairs)


def expected(names):
    return sorted({(names[payer], names[payee]) for payer, payee in PAID})


@pytest.mark.parametrize(
    "header",
    ["address,class", "address,Time step,class,num_txs_as_sender"],
    ids=["wallets_classes", "wallets_features_classes_combined"],
)
def test_wallets_of_elliptic_plus_plus(tmp_path, header):
    is_long = header.count(",") > 1
    classes = [
        f"{name},{k + 1},{verdict},0" if is_long else f"{name},{verdict}"
        for k, (name, verdict) in enumerate(zip(WALLETS, CLASSES, strict=True))
    ]
    text = "input_address,output_address\n" + rows(WALLETS)
    folder, graph, about = take(tmp_path, text, "\n".join([header, *classes]))
    assert graph.num_nodes == {"account": 5} and paid(folder, graph) == expected(WALLETS)
    assert graph.labels.tolist() == [[0, 0], [1, 1], [3, 0]]
    assert about["labels"]["frauds"] == 1 and about["labels"]["normal"] == 2
    assert ["3", 2, "not known"] in about["labels"]["values"]


def test_transactions_of_elliptic_plus_plus(tmp_path):
    numbers = [str(230425980 + k) for k in range(5)]
    classes = "txId,class\n" + "".join(
        f"{number},{verdict}\n" for number, verdict in zip(numbers, CLASSES, strict=True)
    )
    folder, graph, _ = take(tmp_path, "txId1,txId2\n" + rows(numbers), classes)
    assert graph.num_nodes == {"account": 5} and paid(folder, graph) == expected(numbers)
    assert graph.labels.tolist() == [[0, 0], [1, 1], [3, 0]]


def test_the_unknown_of_elliptic_are_a_word(tmp_path):
    classes = "txId,class\n10,unknown\n11,1\n12,2\n"
    _, graph, _ = take(tmp_path, "txId1,txId2\n10,11\n11,12\n12,10\n", classes)
    assert graph.labels.tolist() == [[1, 1], [2, 0]]


def test_other_tables_of_one_and_two_are_read_in_no_way(tmp_path):
    with pytest.raises(ValueError, match="can be read in two ways"):
        take(tmp_path, "txId1,txId2\n1,2\n2,3\n3,1\n", "txId,verdict\n1,1\n2,2\n3,2\n")
    (tmp_path / "two").mkdir()
    with pytest.raises(ValueError, match="can be read in two ways"):
        take(tmp_path / "two", "txId1,txId2\n1,2\n2,3\n3,1\n", "txId,class\n1,1\n2,2\n3,7\n")


def test_relationships_of_neo4j_within_a_group_are_transfers(tmp_path):
    text = ":START_ID(Account),:END_ID(Account),amount:double,at:datetime,:TYPE\n" + rows(
        WALLETS, tail=",12.5,2024-01-05T10:00:00Z,PAYS"
    )
    nodes = "accountId:ID(Account),name,fraud:boolean,:LABEL\n" + "".join(
        f"{name},{name.lower()},{'true' if k == 1 else 'false'},Account\n"
        for k, name in enumerate(WALLETS)
    )
    folder, graph, about = take(tmp_path, text, nodes)
    assert graph.num_nodes == {"account": 5} and paid(folder, graph) == expected(WALLETS)
    assert about["roles"]["amount"] == ["amount:double"]
    assert graph.labels.tolist() == [[k, int(k == 1)] for k in range(5)]
    assert "transfers" not in about or "settled" not in about["transfers"]


def test_relationships_of_neo4j_without_groups_are_what_their_ids_say(tmp_path):
    assert ends.guess([":START_ID", ":END_ID"]) == (
        {"source": [":START_ID"], "target": [":END_ID"]}, False,
    )  # fmt: skip
    folder, graph, about = take(tmp_path, ":START_ID,:END_ID,:TYPE\n" + rows(WALLETS, tail=",P"))
    assert paid(folder, graph) == expected(WALLETS)
    assert "taken for accounts" in about["transfers"]["settled"]
    (tmp_path / "two").mkdir()
    text = ":START_ID,:END_ID,:TYPE\n" + "".join(f"U{k % 4},P{k % 3},BUYS\n" for k in range(12))
    _, graph, about = take(tmp_path / "two", text)
    assert graph.num_nodes["user"] == 4 and graph.num_nodes["product"] == 3
    assert about["roles"]["product"] == [":END_ID"]


def test_a_folder_of_hive_keeps_chains_across_its_parts(tmp_path):
    header = "sender,receiver,amount"
    for day, pairs in (("2024-01-01", PAID[:3]), ("2024-01-02", PAID[3:])):
        (tmp_path / "events" / f"day={day}").mkdir(parents=True)
        part = tmp_path / "events" / f"day={day}" / "part-00000-3fa2.c000.csv"
        part.write_text(f"{header}\n{rows(WALLETS, pairs, ',5')}")
    (tmp_path / "events" / "_SUCCESS").write_text("")
    folder = ingest.ingest(tmp_path / "events", tmp_path / "out", progress=False)
    graph = store.load_graph(folder)
    assert paid(folder, graph) == expected(WALLETS)
    assert store.read_about(folder)["rows"]["used"] == len(PAID)
