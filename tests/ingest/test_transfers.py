import json

import numpy as np
import pytest

from gadkit import ingest, store
from gadkit.graph import build
from gadkit.ingest import columns, ends, transfers
from gadkit.ingest.features import Events
from gadkit.store import node_ids, tables

AMLWORLD = (
    "Timestamp,From Bank,Account,To Bank,Account,Amount Received,Receiving Currency,Amount Paid,"
    "Payment Currency,Payment Format,Is Laundering"
)
PAYSIM = (
    "step,type,amount,nameOrig,oldbalanceOrg,newbalanceOrig,nameDest,oldbalanceDest,"
    "newbalanceDest,isFraud,isFlaggedFraud"
)
SAML_D = (
    "Time,Date,Sender_account,Receiver_account,Amount,Payment_currency,Received_currency,"
    "Sender_bank_location,Receiver_bank_location,Payment_type,Is_laundering,Laundering_type"
)
AMLSIM = "tran_id,orig_acct,bene_acct,tx_type,base_amt,tran_timestamp,is_sar,alert_id"
BANKSIM = "step,customer,age,gender,zipcodeOri,merchant,zipMerchant,category,amount,fraud"
IEEE_CIS = (
    "TransactionID,isFraud,TransactionDT,TransactionAmt,ProductCD,card1,card2,card3,card4,card5,"
    "card6,addr1,addr2,P_emaildomain,R_emaildomain"
)


def guessed(header):
    names = header.split(",")
    if names.count("Account") == 2:
        names[names.index("Account", names.index("Account") + 1)] = "Account.1"
    return columns.guess_roles(names)


def take(tmp_path, text, name="e.csv", **options):
    path = tmp_path / name
    path.write_text(text)
    folder = ingest.ingest(path, tmp_path / f"{name}.out", progress=False, **options)
    return folder, store.load_graph(folder), store.read_about(folder)


def paid(folder, graph):
    """The pairs of the relation `pays`, as the table names them."""
    names = node_ids.load(folder, "account", rows=graph.num_nodes["account"]).tolist()
    src, dst = graph.edges["account", "pays", "account"].pairs()
    return sorted((names[i], names[j]) for i, j in zip(src.tolist(), dst.tolist(), strict=True))


def unused(folder):
    rows = tables.load(folder / ingest.UNUSED, {"line": "BIGINT", "reason": "VARCHAR"})
    return list(zip(rows["line"].tolist(), rows["reason"].tolist(), strict=True))


RING = "SENDER,RECEIVER,AMOUNT,TIMESTAMP\na,b,10,0\nb,c,9,1\nc,a,8,2\na,b,7,3\nd,d,1,4\n,a,3,5\n"


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("ring")
    labels = tmp_path / "labels.csv"
    labels.write_text("SENDER,label\nb,1\nd,0\nc,0\nz,1\n")
    return take(tmp_path, RING, labels=labels)


def test_an_account_that_pays_and_is_paid_is_one_node(ring):
    folder, graph, _ = ring
    assert graph.num_nodes == {"account": 4}
    assert paid(folder, graph) == [("a", "b"), ("b", "c"), ("c", "a"), ("d", "d")]
    assert graph.labels.tolist() == [[1, 1], [2, 0], [3, 0]]
    assert (7, "source id is missing") in unused(folder)
    assert (5, "account has no event") in unused(folder)


def test_what_became_of_payments_is_said(ring):
    told = ring[2]["transfers"]
    assert {key: told[key] for key in ("payments", "accounts", "edges", "to_self")} == {
        "payments": 5, "accounts": 4, "edges": 4, "to_self": 1,
    }  # fmt: skip
    assert told["pay_and_are_paid"] == 3
    assert "4 accounts, of which 3 both pay and are paid" in transfers.lines(ring[2])[0]


def test_features_of_accounts_are_named_and_hold_what_they_say(ring):
    _, graph, about = ring
    names = about["features"]["account"]
    assert len(names) == len(set(names)) == graph.x["account"].shape[1]
    x = {name: graph.x["account"][:, k].tolist() for k, name in enumerate(names)}
    assert x["out_log_payments"] == pytest.approx(np.log1p([2, 1, 1, 1]))
    assert x["in_log_payments"] == pytest.approx(np.log1p([1, 2, 1, 1]))
    assert x["out_repeat_share"] == [0.5, 0, 0, 0]
    assert x["out_amount_log_sum"] == pytest.approx(np.log1p([17, 9, 8, 1]))
    assert x["self_share"] == [0, 0, 0, 1]
    assert x["payments_balance"] == pytest.approx([-1 / 3, 1 / 3, 0, 0])
    assert x["amount_balance"] == pytest.approx([-9 / 25, 8 / 26, 1 / 17, 0])
    assert x["passed_on_share"] == pytest.approx([8 / 17, 9 / 17, 8 / 9, 1])
    assert x["pays_max_log_degree_of_neighbors"]  # two hops and degrees come with the graph


def test_waits_are_from_the_last_receipt_to_a_payment():
    #  0 -> 1 at 0 s, 1 -> 2 at 60 s, 1 -> 3 at 2 days, 2 -> 2 at 3 days, 3 -> 0 before it was paid
    day = 86_400.0
    who = {"source": [0, 1, 1, 2, 3], "target": [1, 2, 3, 2, 0]}
    nodes = {role: np.array(ids) for role, ids in who.items()}
    events = Events(nodes, np.array([0, 60, 2 * day, 3 * day, day]), {})
    x, names, filled = transfers.describe(events, 4)
    x = dict(zip(names, x.T, strict=True))
    mean = (np.log1p(60) + np.log1p(2 * day)) / 2
    assert x["wait_log_mean"] == pytest.approx([mean] * 4)  # the only one there is fills the others
    assert x["wait_log_min"][1] == pytest.approx(np.log1p(60), rel=1e-6)
    assert x["passed_on_within_day_share"].tolist() == [0, 0.5, 0, 0]
    assert filled["wait_log_mean"] == 3
    assert x["out_busiest_day_log_partners"].tolist() == pytest.approx([np.log(2)] * 4)


def test_many_receivers_on_one_day_are_counted_once_each():
    day = 86_400.0
    nodes = {"source": np.array([0] * 5), "target": np.array([1, 2, 2, 1, 2])}
    events = Events(nodes, np.array([1.0, 2, 3, day, 9 * day]), {})
    x, names, _ = transfers.describe(events, 3)
    x = dict(zip(names, x.T, strict=True))
    assert x["out_busiest_day_log_partners"][0] == pytest.approx(np.log1p(2), rel=1e-6)
    assert x["in_log_payments"].tolist() == pytest.approx([0, np.log1p(2), np.log1p(3)])


def test_numbers_of_accounts_stay_when_payments_are_added(tmp_path):
    _, graph, _ = take(tmp_path, RING)
    folder, longer, _ = take(tmp_path, RING + "x,y,1,6\ny,a,2,7\n", name="longer.csv")
    names = node_ids.load(folder, "account", rows=6).tolist()
    assert names == ["a", "b", "c", "d", "x", "y"] and graph.num_nodes["account"] == 4


def test_the_same_table_gives_the_same_bytes(tmp_path, ring):
    folder, _, _ = take(tmp_path, RING)
    again, _, _ = take(tmp_path, RING, name="again.csv")
    assert (folder / store.GRAPH).read_bytes() == (again / store.GRAPH).read_bytes()


@pytest.mark.parametrize("second", ["Account.1", "Account_1", "Account_duplicated_0"])
def test_amlworld_that_was_saved_again_is_the_same_graph(tmp_path, second):
    """pandas, DuckDB and polars rename the second of two columns `Account` in their own way."""
    rows = [
        [
            "2022/09/01 00:20",
            "10",
            f"A{k % 3}",
            "12",
            f"B{k % 2}",
            1.5,
            "Euro",
            k + 0.5,
            "Euro",
            "Wire",
        ]
        for k in range(12)
    ]
    rows = [[*row, int(k < 3)] for k, row in enumerate(rows)]
    names = AMLWORLD.split(",")
    lines = [",".join(map(str, row)) for row in rows]
    first, graph, about = take(tmp_path, "\n".join([AMLWORLD, *lines]), name="first.csv")
    assert graph.num_nodes == {"event": 12, "account": 5}
    names[names.index("To Bank") + 1] = second
    again = "\n".join([",".join(names), *lines])
    objects = "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows)
    for name, text in (("again.csv", again), ("again.jsonl", objects)):
        folder, same, said = take(tmp_path, text, name=name)
        assert same.fingerprint == graph.fingerprint and said["features"] == about["features"]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (AMLWORLD, {"source": ["From Bank", "Account"], "target": ["To Bank", "Account.1"],
                    "time": ["Timestamp"], "amount": ["Amount Paid"], "label": ["Is Laundering"]}),
        (PAYSIM, {"source": ["nameOrig"], "target": ["nameDest"], "time": ["step"],
                  "amount": ["amount"], "label": ["isFraud"]}),
        (SAML_D, {"source": ["Sender_account"], "target": ["Receiver_account"],
                  "time": ["Date", "Time"], "amount": ["Amount"], "label": ["Is_laundering"]}),
        (AMLSIM, {"source": ["orig_acct"], "target": ["bene_acct"], "time": ["tran_timestamp"],
                  "amount": ["base_amt"], "label": ["is_sar"]}),
        ("TX_ID,SENDER_ACCOUNT_ID,RECEIVER_ACCOUNT_ID,TX_TYPE,TX_AMOUNT,TIMESTAMP,IS_FRAUD",
         {"source": ["SENDER_ACCOUNT_ID"], "target": ["RECEIVER_ACCOUNT_ID"],
          "time": ["TIMESTAMP"], "amount": ["TX_AMOUNT"], "label": ["IS_FRAUD"]}),
        (BANKSIM, {"user": ["customer"], "product": ["merchant"], "time": ["step"],
                   "amount": ["amount"], "label": ["fraud"]}),
        (IEEE_CIS, {"user": ["card1"], "product": ["ProductCD"], "time": ["TransactionDT"],
                    "amount": ["TransactionAmt"], "label": ["isFraud"]}),
        ("input_address,output_address", {"source": ["input_address"],
                                          "target": ["output_address"]}),
        ("buyer_id,item_id,sender_address,receiver_address",
         {"user": ["buyer_id"], "product": ["item_id"]}),
    ],
)  # fmt: skip
def test_published_columns_are_recognized(header, expected):
    assert guessed(header) == expected


@pytest.mark.parametrize(
    ("header", "pair", "clear"),
    [
        ("id,payer,payee,amount", ("payer", "payee"), True),
        ("fromAccount,toAccount", ("fromAccount", "toAccount"), True),
        ("from,to,value", ("from", "to"), False),
        ("hash,from_address,to_address,value", ("from_address", "to_address"), True),
        ("source_id,target_id", ("source_id", "target_id"), False),
        ("txId1,txId2", ("txId1", "txId2"), False),
        ("sender_name,sender_iban,receiver_name,receiver_iban",
         ("sender_iban", "receiver_iban"), True),
        ("originator,beneficiary", ("originator", "beneficiary"), True),
    ],
)  # fmt: skip
def test_two_ends_are_told_by_names_alike(header, pair, clear):
    roles, is_clear = ends.guess(header.split(","))
    assert (*roles["source"], *roles["target"], is_clear) == (*pair, clear)


@pytest.mark.parametrize("header", ["from_date,to_date", "total,token", "debit,credit", "sender"])
def test_other_names_are_no_ends(header):
    assert ends.guess(header.split(",")) == ({}, False)


def test_source_and_target_with_ids_in_common_are_accounts(tmp_path):
    folder, graph, about = take(tmp_path, "source,target\n1,2\n2,3\n3,1\n4,1\n")
    assert graph.num_nodes == {"account": 4}
    assert paid(folder, graph) == [("1", "2"), ("2", "3"), ("3", "1"), ("4", "1")]
    assert "3 of 4 ids of 'source' are among the 3 of 'target'" in transfers.lines(about)[0]
    assert "--user 'source' --product 'target' takes two kinds" in transfers.lines(about)[0]


def test_source_and_target_with_none_in_common_are_users_and_products(tmp_path):
    text = "source,target,brand\nS1,T1,x\nS2,T1,x\nS1,T2,y\n"
    _, graph, about = take(tmp_path, text)
    assert graph.num_nodes == {"user": 2, "product": 2, "seller": 2}
    assert about["roles"]["user"] == ["source"]
    assert "--source 'source' --target 'target' takes accounts" in transfers.lines(about)[0]
    _, graph, _ = take(tmp_path, text, "f.csv", roles={"source": ["source"], "target": ["target"]})
    assert graph.num_nodes == {"account": 4}


def test_a_table_of_products_says_that_events_are_purchases(tmp_path):
    products = tmp_path / "products.csv"
    products.write_text("product,seller\n1,x\n2,y\n")
    text = "source,target\n1,2\n2,1\n3,1\n"
    _, graph, _ = take(tmp_path, text, products=products)
    assert graph.num_nodes == {"user": 3, "product": 2, "seller": 2}


def test_both_ends_taken_for_users_and_products_are_warned_of(tmp_path):
    roles = {"user": ["SENDER"], "product": ["RECEIVER"]}
    _, graph, about = take(tmp_path, RING, roles=roles)
    assert graph.num_nodes["user"] == 4
    assert "--source 'SENDER' --target 'RECEIVER' makes it one account" in about["warnings"][-1]


def test_payments_without_chains_are_warned_of(tmp_path):
    _, _, about = take(tmp_path, "payer,payee\na,x\nb,x\nb,y\n")
    assert "no account both pays and is paid" in " ".join(about["warnings"])


def test_labelled_transfers_become_nodes_between_accounts(tmp_path):
    rows = (
        "2022/09/01 00:20,010,8000,010,8001,3.5,US Dollar,3.5,US Dollar,Cash,0\n"
        "2022/09/01 00:21,010,8001,070,8000,4.5,US Dollar,4.5,US Dollar,Wire,1\n"
        "2022/09/02 00:26,070,8000,010,8000,5.5,Euro,5.5,Euro,ACH,0\n"
    )
    folder, graph, about = take(tmp_path, f"{AMLWORLD}\n{rows}")
    assert graph.num_nodes == {"event": 3, "account": 3}  # 8000 is an account of two banks
    names = node_ids.load(folder, "account", rows=3).tolist()
    assert names == ["010-8000", "010-8001", "070-8000"]
    assert graph.labels.tolist() == [[0, 0], [1, 1], [2, 0]]
    source = graph.edges["account", "source_of", "event"].pairs()
    target = graph.edges["account", "target_of", "event"].pairs()
    assert source[0].tolist() == [0, 1, 2] and target[0].tolist() == [1, 2, 0]
    assert "source_mean_log_amount" in about["features"]["account"]
    assert store.load_time(folder)[:3].diff().tolist() == [60, 86_700]


def test_labels_of_accounts_of_a_bank_have_both_columns(tmp_path):
    rows = "2022/09/01 00:20,010,1,010,2,3,USD,3,USD,Cash,0\n" * 2
    rows += "2022/09/01 00:21,010,2,070,1,4,USD,4,USD,Wire,1\n"
    labels = tmp_path / "labels.csv"
    labels.write_text("Bank ID,Account Number,label\n010,1,0\n070,1,1\n")
    _, graph, about = take(tmp_path, f"{AMLWORLD}\n{rows}", labels=labels)
    assert graph.num_nodes == {"account": 3}
    assert graph.labels.tolist() == [[0, 0], [2, 1]]
    assert about["rows"]["unused"] == {"copy of an earlier row": 1}


@pytest.mark.parametrize(
    ("header", "rows", "counts"),
    [
        (PAYSIM, ["1,TRANSFER,9.5,C1,9,0,C2,0,0,1,0", "1,CASH_OUT,9.5,C2,9,0,C3,0,0,0,0",
                  "2,PAYMENT,9,C3,9,0,M1,0,0,0,0"], {"event": 3, "account": 4}),
        (SAML_D, ["10:35:19,2022-10-07,8724731955,2769355426,1459.15,UK pounds,UK pounds,UK,UK,"
                  "Cash Deposit,0,Normal_Cash_Deposits",
                  "10:35:20,2022-10-07,2769355426,8401255335,6019.64,UK pounds,Dirham,UK,UAE,"
                  "Cross-border,1,Smurfing"], {"event": 2, "account": 3}),
        (AMLSIM, ["1,10,11,TRANSFER,9.1,2017-01-01T00:00:00Z,False,-1",
                  "2,11,12,TRANSFER,9.2,2017-01-01T00:00:00Z,True,3"], {"event": 2, "account": 3}),
        (BANKSIM, ["0,'C1','4','M','28007','M1','28007','es_transportation',4.55,0",
                   "1,'C1','4','M','28007','M2','28007','es_health',39.68,1"],
         {"event": 2, "user": 1, "product": 2}),
        (IEEE_CIS, ["1,0,86400,68.5,W,13926,,150,discover,142,credit,315,87,,",
                    "2,1,86401,29,W,2755,404,150,mastercard,102,credit,,,gmail.com,"],
         {"event": 2, "user": 2, "product": 1}),
    ],
    ids=["PaySim", "SAML-D", "AMLSim", "BankSim", "IEEE-CIS"],
)  # fmt: skip
def test_published_tables_end_in_the_right_counts(tmp_path, header, rows, counts):
    _, graph, about = take(tmp_path, "\n".join([header, *rows, ""]))
    assert graph.num_nodes == counts
    assert about["missing"]["time"] == about["missing"]["amount"] == 0


def test_accounts_are_linked_by_what_the_payer_has(tmp_path):
    text = "sender,receiver,device_id,receiver_phone,amount\na,b,D1,1,2\nb,c,d1 ,1,3\nc,a,D2,2,4\n"
    folder, graph, about = take(tmp_path, text)
    assert graph.num_nodes == {"account": 3, "device_id": 1}
    src, dst = graph.edges["account", "has_device_id", "device_id"].pairs()
    assert src.tolist() == [0, 1] and dst.tolist() == [0, 0]
    assert list(about["links"]) == ["device_id"]  # the phone is not the sender's
    assert node_ids.load(folder, "device_id", rows=1).tolist() == ["d1"]
    labelled = text.replace("amount\n", "amount,label\n").replace(",2\n", ",2,1\n", 1)
    labelled = labelled.replace(",3\n", ",3,0\n").replace(",4\n", ",4,0\n")
    _, graph, _ = take(tmp_path, labelled, "labelled.csv")
    assert graph.num_nodes == {"event": 3, "account": 3, "device_id": 1}


def test_a_link_called_account_is_refused(tmp_path):
    text = "sender,receiver,account\na,b,x\nb,c,x\n"
    with pytest.raises(ValueError, match="a link cannot be called 'account'"):
        take(tmp_path, text, links=ingest.LinkOptions(["account"]))
    assert take(tmp_path, text)[1].num_nodes == {"account": 3}


def test_ids_in_two_cases_are_one_account_on_both_sides(tmp_path):
    text = "sender,receiver\nA1,b1\nB1,c1\nC1,a1\n"
    folder, graph, about = take(tmp_path, text)
    assert paid(folder, graph) == [("A1", "b1"), ("b1", "c1"), ("c1", "A1")]
    assert sum("differ only in case" in warning for warning in about["warnings"]) == 1


def test_roles_that_do_not_go_together_are_refused(tmp_path):
    names = ["sender", "receiver", "shop", "x"]
    with pytest.raises(ValueError, match=r"transfers .* or purchases .* leave --seller out"):
        columns.guess_roles(names, {"source": ["sender"], "seller": ["shop"]})
    with pytest.raises(ValueError, match="no column is called like a target.*--target COLUMN"):
        columns.guess_roles(["sender", "x"], {"source": ["sender"]})
    assert columns.guess_roles(names, {"source": ["sender"]})["target"] == ["receiver"]
    assert columns.guess_roles(names, {"target": ["x"]})["source"] == ["sender"]
    with pytest.raises(ValueError, match="leave --products out"):
        take(tmp_path, RING, products=tmp_path / "none.csv")


def test_words_of_payments_become_topics_of_both_accounts(tmp_path):
    _, graph, about = take(tmp_path, "payer,payee,comment\na,b,rent rent\nb,c,rent\nc,d,\n")
    names = about["features"]["account"]
    topics = [k for k, name in enumerate(names) if name.startswith("topic")]
    norm = graph.x["account"][:, topics].norm(dim=1)
    assert norm.tolist() == pytest.approx([1, 1, 1, 0]) and len(topics) > 50


def test_accounts_of_the_features_are_those_of_the_event_graph():
    assert set(transfers.TYPES) == set(columns.ENDS)
    names = build.event_features(columns.ENDS, ["amount"], timed=True, types=transfers.TYPES)
    assert set(names) == {"transaction", columns.ACCOUNT}
