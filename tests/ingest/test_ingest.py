import gzip
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from gadkit import ingest, store
from gadkit.ingest.features import Events
from gadkit.network import check_trainable, train_gae
from gadkit.store import node_ids, tables

CAPTURED = {"capture_output": True, "text": True, "check": True}
HEADER = "user_id,product_id,seller_id,rating,timestamp\n"


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def take(path, out, **options):
    return ingest.ingest(path, out, progress=False, **options)


def account(folder):
    rows = store.read_about(folder)["rows"]
    assert rows["read"] == rows["used"] + sum(rows["unused"].values())
    return rows["read"], rows["used"], rows["unused"]


def unused(folder):
    found = tables.load(folder / ingest.UNUSED, {"line": "BIGINT", "reason": "VARCHAR"})
    return list(zip(found["line"].tolist(), found["reason"].tolist(), strict=True))


def names_of(folder, graph, node_type):
    return node_ids.load(folder, node_type, rows=graph.num_nodes[node_type]).tolist()


def edges(folder, graph, relation):
    """The pairs of a relation, as the table names them, without self-loops."""
    edge_type = next(one for one in graph.edge_types if one[1] == relation)
    csr = graph.edges[edge_type]
    src, dst = names_of(folder, graph, edge_type[0]), names_of(folder, graph, edge_type[2])
    pairs = zip(csr.indices.tolist(), csr.dst().tolist(), strict=True)
    return sorted((src[i], dst[j]) for i, j in pairs if src[i] != dst[j])


def purchases(num, seed=0):
    """A table of `num` purchases in which everything occurs, as lines of CSV."""
    rng = np.random.default_rng(seed)
    users, products = rng.integers(0, num // 5, num), rng.integers(0, num // 8, num)
    return HEADER + "".join(
        f"u{user},p{product},s{product % 7},{rng.integers(1, 6)},{1_500_000_000 + 977 * row}\n"
        for row, (user, product) in enumerate(zip(users, products, strict=True))
    )


def test_events_become_the_edges_they_say(tmp_path):
    path = write(
        tmp_path / "e.csv",
        HEADER
        + "ann,tea,shop,5,1000\nbob,tea,shop,4,2000\nann,cup,kiln,1,3000\nann,tea,shop,2,9\n",
    )
    folder = take(path, tmp_path / "out")
    graph = store.load_graph(folder)
    assert graph.num_nodes == {"user": 2, "product": 2, "seller": 2}
    assert names_of(folder, graph, "user") == ["ann", "bob"]  # in the order of the file
    assert edges(folder, graph, "buys") == [("ann", "cup"), ("ann", "tea"), ("bob", "tea")]
    assert edges(folder, graph, "sells") == [("kiln", "cup"), ("shop", "tea")]
    assert edges(folder, graph, "co_buys") == [("ann", "bob"), ("bob", "ann")]
    assert graph.labels is None
    assert account(folder) == (4, 4, {})
    assert store.read_about(folder)["time"] == {
        "column": "timestamp", "first": "day 0.375", "last": "day 125",  # 9 and 3000 steps
    }  # fmt: skip


def test_features_are_named_and_say_what_they_mean(tmp_path):
    path = write(
        tmp_path / "e.csv", HEADER + "ann,tea,s,5,86400\nann,cup,s,1,172800\nbob,tea,s,,0\n"
    )
    graph = store.load_graph(take(path, tmp_path / "out"))
    about = store.read_about(tmp_path / "out")
    column = {name: k for k, name in enumerate(about["features"]["user"])}
    x = {name: graph.x["user"][:, k].tolist() for name, k in column.items()}
    assert len(column) == 128
    assert x["log_events"] == pytest.approx([np.log(3), np.log(2)])
    assert x["rating_mean"] == [3, 3]  # bob rated nothing: the mean of those who did
    assert x["first_day"] == [1, 0]
    assert about["missing"]["rating"] == 1
    assert about["missing_x"]["user"]["rating_mean"] == 1


def test_every_row_is_used_or_listed_with_its_line(tmp_path):
    path = write(
        tmp_path / "e.csv",
        "\ufeff" + HEADER + 'ann,tea,s,5,1\r\n,tea,s,5,2\nann, NULL ,s,5,3\n\nann,tea,s,5,1\n'
        'bob,tea\nbob,tea,s,4,5,6\n"cy,tea,s,4,6\nann,tea,s,3,7\ndan,"cup\nof tea",s,2,8\n',
    )  # fmt: skip
    folder = take(path, tmp_path / "out")
    assert unused(folder) == [
        (3, "user id is missing"),
        (4, "product id is missing"),
        (6, "copy of an earlier row"),
        (7, "cannot be read: too few fields"),
        (8, "cannot be read: too many fields"),
        (9, "cannot be read: a quote that is not closed"),
    ]
    assert account(folder)[:2] == (9, 3)
    assert names_of(folder, store.load_graph(folder), "product") == ["tea", "cup of tea"]


def test_equal_rows_without_a_time_are_events_of_their_own(tmp_path):
    path = write(tmp_path / "e.csv", "user,product\nann,tea\nann,tea\nbob,tea\n")
    folder = take(path, tmp_path / "out")
    assert account(folder) == (3, 3, {})
    assert float(store.load_graph(folder).x["user"][0, 0]) == pytest.approx(np.log(3))


def test_amazon_2018(tmp_path):
    rows = [
        {"overall": 5.0, "vote": "1,234", "verified": True, "reviewTime": "09 13, 2009",
         "reviewerID": "A1", "asin": "0001", "style": {"Size": "L"}, "reviewText": "Lovely tea",
         "unixReviewTime": 1252800000},
        {"overall": 1.0, "verified": False, "reviewerID": "A2", "asin": "0001",
         "unixReviewTime": 1252900000},
        {"overall": 2.0, "vote": "3", "verified": True, "reviewerID": "A1", "asin": "0002",
         "reviewText": "So-so \u2615", "unixReviewTime": 1253000000},
    ]  # fmt: skip
    path = tmp_path / "reviews.json.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    meta = tmp_path / "meta.json.gz"
    products = [{"asin": "0001", "brand": "Kiln"}, {"asin": "0003", "brand": "Other"},
                {"asin": "0002", "brand": ""}]  # fmt: skip
    meta.write_bytes(gzip.compress("\n".join(map(json.dumps, products)).encode()))
    folder = take(path, tmp_path / "out", products=meta)
    graph, about = store.load_graph(folder), store.read_about(folder)
    assert names_of(folder, graph, "product") == ["0001", "0002"]  # zeros in front stay
    assert edges(folder, graph, "sells") == [("Kiln", "0001")]
    assert about["roles"]["votes"] == ["vote"]
    votes = about["features"]["user"].index("votes_log_max")
    assert graph.x["user"][:, votes].tolist() == pytest.approx([np.log(1235), 0])
    assert about["missing"]["votes"] == 0  # nothing written is no vote
    assert any(name.startswith("topic") for name in about["features"]["user"])
    unused_offers = about["tables"]["meta.json.gz"]["unused"]
    assert unused_offers == {"product has no event": 1, "seller is missing": 1}


def test_amazon_2023(tmp_path):
    rows = [
        {"user_id": user, "parent_asin": product, "asin": "x", "rating": 4.0, "title": "t",
         "text": "fine", "helpful_vote": 0, "verified_purchase": True, "timestamp": time}
        for user, product, time in (("A", "P", 1588687728923), ("B", "P", 1588687729923))
    ]  # fmt: skip
    path = write(tmp_path / "r.jsonl", "\n".join(map(json.dumps, rows)))
    meta = write(tmp_path / "meta.jsonl", json.dumps({"parent_asin": "P", "store": "Shop"}))
    folder = take(path, tmp_path / "out", products=meta)
    graph, about = store.load_graph(folder), store.read_about(folder)
    assert about["roles"]["product"] == ["parent_asin"]
    assert about["time"]["first"] == "2020-05-05T14:08:48Z"  # milliseconds
    assert edges(folder, graph, "sells") == [("Shop", "P")]


def test_events_with_labels_become_nodes(tmp_path):
    header = (
        "User,Card,Year,Month,Day,Time,Amount,Use Chip,Merchant Name,Merchant City,"
        "Merchant State,Zip,MCC,Errors?,Is Fraud?\n"
    )
    lines = [
        f'{user},{card},2002,9,{day},06:2{day},"${amount}",Swipe,{merchant},X,CA,91750.0,5300,,{fraud}'
        for user, card, day, amount, merchant, fraud in (
            (0, 0, 1, "134.09", -3527213246127876953, "No"),
            (0, 1, 2, "-38.48", -727612092139916043, "Yes"),
            (1, 0, 3, "1,120.34", -727612092139916043, "No"),
            (1, 0, 4, "128.95", 3414527459579106770, ""),
        )
    ]
    path = write(tmp_path / "card_transaction.v1.csv", header + "\n".join(lines) + "\n")
    folder = take(path, tmp_path / "out")
    graph = store.load_graph(folder)
    assert graph.num_nodes == {"event": 4, "user": 3, "product": 3, "seller": 1}
    assert names_of(folder, graph, "user") == ["0-0", "0-1", "1-0"]
    assert names_of(folder, graph, "event") == ["line 2", "line 3", "line 4", "line 5"]
    assert graph.labels.tolist() == [[0, 0], [1, 1], [2, 0]]
    amount = store.read_about(folder)["features"]["event"].index("log_amount")
    assert float(graph.x["event"][2, amount]) == pytest.approx(np.log1p(1120.34), rel=1e-6)
    time = store.load_time(folder)
    day = 24 * 60 * 60
    assert time[:4].diff().tolist() == [day + 60] * 3 and time[4:].isnan().all()


def test_an_event_without_a_time_keeps_none(tmp_path):
    text = "user,item,time,label\na,p,2020-01-01,1\nb,p,2020-01-03,0\nc,q,,0\n"
    folder = take(write(tmp_path / "events.csv", text), tmp_path / "out")
    time = store.load_time(folder)
    assert (time[1] - time[0], bool(time[2].isnan())) == (2 * 24 * 60 * 60, True)
    untimed = write(tmp_path / "untimed.csv", "user,item,label\na,p,1\nb,p,0\n")
    assert store.load_time(take(untimed, tmp_path / "other")) is None


@pytest.fixture(scope="module")
def made_of_csv(tmp_path_factory):
    """A table of 400 purchases, and the folder made of it."""
    folder = tmp_path_factory.mktemp("csv")
    csv = write(folder / "events.csv", purchases(400))
    return csv, take(csv, folder / "out")


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".jsonl", ".parquet"])
def test_every_kind_of_file_gives_the_same_folder(tmp_path, made_of_csv, suffix):
    csv, expected = made_of_csv
    text = csv.read_text(encoding="utf-8")
    path = tmp_path / f"events{suffix}"
    if suffix == ".csv":
        write(path, text)
    elif suffix == ".csv.gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif suffix == ".tsv":
        write(path, text.replace(",", "\t"))
    elif suffix == ".jsonl":
        header, *lines = text.splitlines()
        rows = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]
        write(path, "\n".join(map(json.dumps, rows)))
    elif suffix == ".parquet":
        types = {"rating": "DOUBLE", "timestamp": "BIGINT"}
        names = HEADER.strip().split(",")
        tables.write(path, tables.load(csv, {name: types.get(name, "VARCHAR") for name in names}))
    folder = take(path, tmp_path / "out")
    for name in (*store.raw_files(), "ids_user.parquet", "ids_product.parquet"):
        if name != store.LABELS:
            assert (folder / name).read_bytes() == (expected / name).read_bytes(), name


def test_the_same_table_gives_the_same_bytes(tmp_path):
    path = write(tmp_path / "events.csv", purchases(3000) + "u1,,s,1,1\n")
    one, other = take(path, tmp_path / "one"), take(path, tmp_path / "other")
    names = sorted(file.name for file in one.iterdir())
    assert names == sorted(file.name for file in other.iterdir())
    assert all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_labels_are_joined_by_the_users_own_ids(tmp_path):
    path = write(tmp_path / "events.csv", purchases(400))
    labels = write(
        tmp_path / "labels.csv",
        "user_id,verdict\nu3,fraud\nu4,normal\nu4,legit\nu5,yes\nu5,no\nu6,\nu7,purple\nzz,1\n,1\n",
    )
    folder = take(path, tmp_path / "out", labels=labels)
    graph = store.load_graph(folder)
    names = names_of(folder, graph, "user")
    assert {names[node]: label for node, label in graph.labels.tolist()} == {"u3": 1, "u4": 0}
    assert store.read_about(folder)["tables"]["labels.csv"] == {
        "read": 9,
        "used": 3,
        "unused": {
            "label is missing or unknown": 1,
            "label is neither yes nor no": 1,
            "user has no event": 1,
            "user id is missing": 1,
            "user is labelled both yes and no": 2,
        },
    }


def test_labels_of_sellers(tmp_path):
    path = write(tmp_path / "events.csv", purchases(400))
    labels = write(tmp_path / "labels.csv", "seller_id,label\ns0,1\ns1,0\n")
    folder = take(path, tmp_path / "out", labels=labels)
    graph = store.load_graph(folder)
    assert graph.labelled_types == ["seller"]
    names = names_of(folder, graph, "seller")
    found = {names[node - graph.offset("seller")]: label for node, label in graph.labels.tolist()}
    assert found == {"s0": 1, "s1": 0}


def test_a_folder_of_events_trains(tmp_path):
    path = write(tmp_path / "events.csv", purchases(600))
    verdicts = "".join(f"u{k},{int(k % 4 == 0)}\n" for k in range(100))
    labels = write(tmp_path / "labels.csv", "user_id,label\n" + verdicts)
    graph = store.load_graph(take(path, tmp_path / "out", labels=labels))
    check_trainable(graph)
    assert train_gae(graph, epochs=2, progress=False).z.shape == (graph.total, 128)


def test_sellers_of_a_product_table_fill_in_where_events_have_none(tmp_path):
    path = write(
        tmp_path / "e.csv", "user,product,seller\na,p,own\na,q,\nb,p,\nb,r,\n"
    )  # fmt: skip
    offers = write(
        tmp_path / "products.csv", "product,seller\np,other\nq,mine\nq,late\nr,\nz,none\nq,mine\n"
    )
    folder = take(path, tmp_path / "out", products=offers)
    graph = store.load_graph(folder)
    assert edges(folder, graph, "sells") == [("mine", "q"), ("other", "p"), ("own", "p")]
    assert store.read_about(folder)["tables"]["products.csv"]["unused"] == {
        "product has another seller already": 1,
        "product has no event": 1,
        "seller is missing": 1,
    }


def test_co_purchases_are_capped_and_close_in_time():
    user, product = np.arange(6), np.zeros(6, np.int64)
    time = np.array([50.0, 10, 40, 20, 30, np.nan])  # in the order 1 3 4 2 0 5
    events = Events({"user": user, "product": product}, time, {})
    low, high = ingest.co_purchases(events, 1)
    assert sorted(zip(low.tolist(), high.tolist(), strict=True)) == [
        (0, 2), (0, 5), (1, 3), (2, 4), (3, 4),
    ]  # fmt: skip
    assert len(ingest.co_purchases(events, 5)[0]) == 15  # everybody with everybody
    assert len(ingest.co_purchases(events, 0)[0]) == 0


def test_a_popular_product_makes_few_links(tmp_path):
    lines = "".join(f"u{k},p,s,5,{k}\n" for k in range(2000))
    graph = store.load_graph(take(write(tmp_path / "e.csv", HEADER + lines), tmp_path / "out"))
    degrees = graph.edges["user", "co_buys", "user"].degrees()
    assert int(degrees.max()) <= 2 * ingest.CO_PURCHASE_CAP + 1  # and its self-loop
    assert store.read_about(tmp_path / "out")["co_purchase_cap"] == ingest.CO_PURCHASE_CAP


def test_roles_can_be_said_and_left_out(tmp_path):
    path = write(tmp_path / "e.csv", "who;what;n;rating\na;x;1;5\nb;x;2;4\na;y;3;3\n")
    with pytest.raises(ValueError, match="no column is called like a user.*--user"):
        take(path, tmp_path / "out")
    roles = {"user": ["who"], "product": ["what"], "rating": []}
    folder = take(path, tmp_path / "out", roles=roles)
    assert store.read_about(folder)["roles"] == {"user": ["who"], "product": ["what"]}


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "is empty"),
        (HEADER, {}, "holds no row"),
        (HEADER + ",p,s,1,1\nu,,s,1,1\n", {}, "no row names both a user and a product"),
        (HEADER + "u,p,s,good,1\n", {}, "no value of 'rating' can be read as a number"),
        (HEADER + "u,p,s,5,whenever\n", {}, "no value of 'timestamp' can be read as a time"),
        (HEADER + "u,p,s,5,1\n", {"roles": {"user": ["nobody"]}}, "no column 'nobody' for user"),
        (HEADER + "u,p,s,5,1\n", {"roles": {"buyer": ["user_id"]}}, "'buyer' is no role"),
        (HEADER + "u,p,s,5,1\n", {"co_purchase_cap": -1}, "co_purchase_cap must be 0 or more"),
        (HEADER + "u,p,s,5,1\n", {"layout": tables.Layout("ebcdic")}, "encoding must be one of"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_left_behind(tmp_path, text, options, message):
    path = write(tmp_path / "e.csv", text)
    with pytest.raises(ValueError, match=message):
        take(path, tmp_path / "out", **options)
    assert [file.name for file in tmp_path.iterdir()] == ["e.csv"]


def test_a_folder_that_holds_something_is_kept(tmp_path):
    path = write(tmp_path / "e.csv", purchases(100))
    folder = take(path, tmp_path / "out")
    before = (folder / store.FEATURES).read_bytes()
    with pytest.raises(FileExistsError, match="exists already"):
        take(path, folder)
    assert (folder / store.FEATURES).read_bytes() == before


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_other_encodings(tmp_path, encoding):
    path = write(tmp_path / "e.csv", "user,product\nJosé,café\nAnn,café\n", encoding)
    folder = take(path, tmp_path / "out", layout=tables.Layout(encoding))
    assert names_of(folder, store.load_graph(folder), "user") == ["José", "Ann"]
    folder = take(path, tmp_path / "other")  # seen from the bytes
    assert names_of(folder, store.load_graph(folder), "user") == ["José", "Ann"]


def test_events_whose_label_says_nothing_are_counted(tmp_path):
    text = "user,item,label\na,p,1\nb,p,0\nc,q,\nd,q,unknown\ne,q,perhaps\n"
    folder = take(write(tmp_path / "e.csv", text), tmp_path / "out")
    assert store.read_about(folder)["missing"] == {"label": 3}
    assert account(folder) == (5, 5, {}) and len(store.load_graph(folder).labels) == 2


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_copy_repeats_the_whole_row_and_not_only_what_is_used(tmp_path, suffix):
    second = "2024-01-05 10:07:03"
    rows = [("o1", "ann", "tea", second), *[("o2", "ann", "tea", second)] * 2]
    names = ("order", "user", "product", "time")
    if suffix == ".csv":
        text = "\n".join([",".join(names), *(",".join(map(str, row)) for row in rows)])
    else:
        text = "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows)
    folder = take(write(tmp_path / f"e{suffix}", text), tmp_path / "out")
    assert account(folder) == (3, 2, {"copy of an earlier row": 1})


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_rows_of_a_large_table_stay_in_order(tmp_path, suffix):
    """Large enough that the database shares it out among threads, which may shuffle it."""
    num = 400_000
    rng = np.random.default_rng(0)
    user, product = rng.integers(0, 50_000, num), rng.integers(0, 9_000, num)
    nobody = np.arange(500, num, 1000)
    copies = np.arange(1000, num, 1000)
    user[copies], product[copies] = user[copies - 1], product[copies - 1]
    time = np.arange(num)
    time[copies] -= 1
    names = np.char.add("u", user.astype(str)).astype(object)
    names[nobody] = ""
    form = "%s,%d,%d" if suffix == ".csv" else '{"user":"%s","product":%d,"time":%d}'
    head = ["user,product,time"] if suffix == ".csv" else []
    rows = (form % row for row in zip(names, product, time, strict=True))
    path = write(tmp_path / f"e{suffix}", "\n".join([*head, *rows]))
    folder = take(path, tmp_path / "out", co_purchase_cap=0)
    reasons = dict.fromkeys(nobody.tolist(), "user id is missing")
    reasons |= dict.fromkeys(copies.tolist(), "copy of an earlier row")
    assert unused(folder) == [(row + 1 + len(head), reasons[row]) for row in sorted(reasons)]
    keep = np.ones(num, bool)
    keep[[*reasons]] = False
    graph = store.load_graph(folder)
    assert names_of(folder, graph, "user") == list(dict.fromkeys(names[keep]))
    assert names_of(folder, graph, "product") == list(dict.fromkeys(product[keep].astype(str)))
    counts = dict(zip(*np.unique(names[keep], return_counts=True), strict=True))
    log_events = np.log1p([counts[name] for name in names_of(folder, graph, "user")])
    np.testing.assert_allclose(graph.x["user"][:, 0], log_events, rtol=1e-6)


def test_sellers_of_rows_that_are_not_used_do_not_appear(tmp_path):
    path = write(tmp_path / "e.csv", "user,product,seller\nu1,p1,s1\nu2,p2,s2\n,p1,\nu3,p1,s1\n")
    offers = write(tmp_path / "products.csv", "product,seller\np1,S9\n")
    folder = take(path, tmp_path / "out", products=offers)
    assert names_of(folder, store.load_graph(folder), "seller") == ["s1", "s2"]


def test_rows_without_a_time_are_no_copies(tmp_path):
    second = "2024-01-05 10:07:03"
    text = f"user,product,time\nu1,p1,\nu1,p1,\nu1,p1,{second}\nu1,p1,{second}\n"
    path = write(tmp_path / "e.csv", text)
    assert account(take(path, tmp_path / "out")) == (4, 3, {"copy of an earlier row": 1})


def test_names_that_differ_by_case_only_are_not_mixed_up(tmp_path):
    rows = '{"User": "U0", "user": "u0", "item": 0}\n{"User": "U1", "user": "u1", "item": 1}\n'
    path = write(tmp_path / "e.jsonl", rows)
    with pytest.raises(ValueError, match="differs from another one by case only"):
        take(path, tmp_path / "out", roles={"user": ["User"], "product": ["user"]})


def test_what_a_killed_run_left_is_cleared(tmp_path):
    path = write(tmp_path / "e.csv", purchases(100))
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], **CAPTURED)
    abandoned, running = tmp_path / f".{int(done.stdout)}.out", tmp_path / f".{os.getppid()}.out"
    for folder in (abandoned, running):
        (folder / "half").mkdir(parents=True)
    take(path, tmp_path / "out")
    assert not abandoned.exists() and running.exists()


def test_lists_are_no_ids(tmp_path):
    path = write(tmp_path / "e.jsonl", '{"user": [1, 2], "item": "a"}\n')
    with pytest.raises(ValueError, match="the user is .* an id must be one value"):
        take(path, tmp_path / "out")


def test_two_digit_years_and_windows_encoding(tmp_path):
    text = "user;product;price;date\nJosé;p;2,50 €;02.01.23\nAnn;p;0,390 €;03.01.23\n"
    path = write(tmp_path / "e.csv", text, "windows-1252")
    folder = take(path, tmp_path / "out", layout=tables.Layout("windows-1252"))
    about = store.read_about(folder)
    assert about["time"]["first"] == "2023-01-02T00:00:00Z"
    assert about["missing"] == {"amount": 0, "time": 0}
    column = about["features"]["user"].index("amount_log_mean")
    found = store.load_graph(folder).x["user"][:, column].tolist()
    assert found == pytest.approx(np.log1p([2.5, 0.39]).tolist())
