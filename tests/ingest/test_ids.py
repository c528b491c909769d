"""One id is one text in every table, whatever wrote it."""

import json
import uuid

import pytest

from gadkit import ingest, store
from gadkit.store import node_ids, tables

UUIDS = [str(uuid.UUID(int=(n + 1) << 96 | 0xABCDEF)) for n in range(6)]


def take(path, out, **options):
    return ingest.ingest(path, out, progress=False, **options)


def users_of(folder):
    graph = store.load_graph(folder)
    return node_ids.load(folder, "user", rows=graph.num_nodes["user"]).tolist()


@pytest.fixture
def parquet(database, tmp_path):
    """Write a Parquet file of what a query selects."""

    def write(query, name="events.parquet"):
        path = tmp_path / name
        database.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
        return path

    return write


def test_one_id_is_one_text(read_ids):
    pairs = {
        "'C123'": "C123", '"C123"': "C123", '="00123"': "00123", "'00123": "00123", "007": "007",
        "12.0": "12", "-12.0": "-12", "1.2345678901234568e+16": "12345678901234568",
        "1e5": "1e5", "O'Neil": "O'Neil", "'": "'", UUIDS[0].upper(): UUIDS[0],
        f"{{{UUIDS[1].upper()}}}": UUIDS[1], "9007199254740993": "9007199254740993",
        "''": None, "'NULL'": None, "a+b@c.d": "a+b@c.d",
    }  # fmt: skip
    assert dict(zip(pairs, read_ids(*pairs), strict=True)) == pairs
    assert read_ids("Ab", "'C'", fold=True) == ["ab", "c"]


def test_quotes_around_a_whole_column_are_no_part_of_ids(tmp_path):
    path, labels = tmp_path / "bank.csv", tmp_path / "labels.csv"
    path.write_text("customer,item,age\n" + "".join(f"'C{n % 4}','M{n}','4'\n" for n in range(9)))
    labels.write_text("customer,label\nC0,1\nC1,0\n")
    folder = take(path, tmp_path / "out", labels=labels)
    assert users_of(folder) == ["C0", "C1", "C2", "C3"]
    assert len(store.load_graph(folder).labels) == 2


def test_leading_zeros_are_kept_wherever_the_first_stand(tmp_path):
    rows = [f"{n % 50},p{n % 7}" for n in range(30_000)] + ["007,p1", "7,p1"]
    path = tmp_path / "e.csv"
    path.write_text("user,item\n" + "\n".join(rows) + "\n")
    users = users_of(take(path, tmp_path / "out"))
    assert len(users) == 51 and users[-1] == "007"


def test_uuids_of_every_writer_meet(tmp_path, parquet):
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "user,label\n" + "".join(f"{u.upper()},{n % 2}\n" for n, u in enumerate(UUIDS))
    )
    listed = ", ".join(f"('{u}')" for u in UUIDS)
    values = f"(VALUES {listed}) v(u)"
    bytes_of = "unhex(replace(u, '-', ''))"
    paths = [
        parquet(f"SELECT u::UUID AS \"user\", 'p' AS item FROM {values}", "uuid.parquet"),
        parquet(f"SELECT {bytes_of} AS \"user\", 'p' AS item FROM {values}", "bytes.parquet"),
        parquet(f"SELECT encode(u) AS \"user\", 'p' AS item FROM {values}", "text.parquet"),
        tmp_path / "e.jsonl", tmp_path / "e.csv",
    ]  # fmt: skip
    paths[3].write_text("".join(json.dumps({"user": u, "item": "p"}) + "\n" for u in UUIDS))
    paths[4].write_text("user,item\n" + "".join(f"{{{u.upper()}}},p\n" for u in UUIDS))
    for path in paths:
        folder = take(path, tmp_path / f"of {path.name}", labels=labels)
        assert users_of(folder) == UUIDS, path.name
        assert len(store.load_graph(folder).labels) == len(UUIDS)


def test_bytes_that_are_text_are_text(tmp_path, parquet):
    path = parquet(
        "SELECT encode('ACCOUNT-' || lpad(i::VARCHAR, 8, '0')) AS \"user\", "  # 16 bytes each
        "encode('Zürich') AS item, unhex('00ff' || lpad(i::VARCHAR, 2, '0')) AS seller "
        "FROM range(3) r(i)"
    )
    folder = take(path, tmp_path / "out")
    assert users_of(folder) == [f"ACCOUNT-{n:08}" for n in range(3)]
    names = node_ids.load(folder, "seller", rows=3).tolist()
    assert names == ["00ff00", "00ff01", "00ff02"]


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("{'id': i}", "structs"),
        ("[i, i]", "lists"),
        ("MAP {'id': i}", "maps"),
        ("[{'id': i}]", "lists"),
    ],
)
def test_nested_columns_are_refused_by_name(tmp_path, parquet, sql, kind):
    path = parquet(f"SELECT {sql} AS buyer, 'p' AS item, {sql} AS extra FROM range(3) r(i)")
    message = f"events.parquet: column 'buyer' holds {kind}.*as a column of its own"
    with pytest.raises(ValueError, match=message):
        take(path, tmp_path / "out")
    roles = {"user": ["item"], "product": ["item"]}  # what is not used may hold anything
    assert users_of(take(path, tmp_path / "other", roles=roles)) == ["p"]


def test_whole_doubles_are_integers(tmp_path, parquet):
    query = "SELECT (CASE i WHEN 0 THEN NULL ELSE {} + i END)::{} AS \"user\", 'p' AS item"
    query += " FROM range(4) r(i), range(2)"
    folder = take(parquet(query.format(1000, "DOUBLE")), tmp_path / "out")
    assert users_of(folder) == ["1001", "1002", "1003"]
    assert store.read_about(folder)["warnings"] == []
    path = parquet(query.format("12345678901234560", "DOUBLE"), "large.parquet")
    folder = take(path, tmp_path / "large")
    assert users_of(folder) == ["12345678901234560", "12345678901234562", "12345678901234564"]
    (warning,) = store.read_about(folder)["warnings"]
    assert "6 of 8 (75.00 %) are numbers whose last digits are lost" in warning
    assert "--user" in warning and "such as '1.2345678901234" in warning


def test_excel_that_has_lost_digits_is_said(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("user,item\n1.23457E+15,p\n1.23457E+15,q\n1.3E+15,p\n")
    (warning,) = store.read_about(take(path, tmp_path / "out"))["warnings"]
    assert "3 of 3" in warning and "'1.23457E+15' on line 2" in warning


@pytest.fixture
def by_case(tmp_path):
    """Buyers written in both cases, but for one; the labels are written in one of the two."""
    path, labels = tmp_path / "e.csv", tmp_path / "labels.csv"
    rows = [f"{'bB'[n % 2]}{n // 2 % 20},S{n % 7}" for n in range(200)] + ["b20,S1"]
    path.write_text("buyer,sku\n" + "\n".join(rows) + "\n")
    labels.write_text("buyer,label\n" + "".join(f"B{n},{n % 2}\n" for n in range(10)))
    return path, labels


@pytest.mark.parametrize("same_id", ["guess", "casefold"])
def test_ids_that_differ_only_in_case_are_one(tmp_path, by_case, same_id):
    path, labels = by_case
    folder = take(path, tmp_path / "out", labels=labels, same_id=same_id)
    assert users_of(folder) == [f"b{n}" for n in range(21)]
    assert len(store.load_graph(folder).labels) == 10
    about = store.read_about(folder)
    assert about["read"]["user"]["different"] == 21
    assert about["warnings"] == [
        "user (buyer): 20 of 21 differ only in case, such as 'B0' and 'b0': "
        "taken for the same; --same-id exact keeps them apart"
    ]


def test_ids_that_differ_only_in_case_stay_apart_if_it_is_said(tmp_path, by_case):
    path, labels = by_case
    folder = take(path, tmp_path / "out", labels=labels, same_id="exact")
    assert len(users_of(folder)) == 41
    (warning,) = store.read_about(folder)["warnings"]
    assert warning.endswith("taken for different ones; --same-id casefold joins them")
    with pytest.raises(ValueError, match="same_id must be one of guess, exact, casefold"):
        take(path, tmp_path / "other", same_id="lower")


def test_ids_of_random_characters_are_never_joined_by_a_guess(tmp_path):
    path = tmp_path / "e.csv"
    letters = [f"{a}{b}" for a in "aAbBcC" for b in "aAbBcC"]
    path.write_text("user,item\n" + "".join(f"{user},p\n" for user in letters))
    folder = take(path, tmp_path / "out")
    assert users_of(folder) == letters
    assert "--same-id casefold" in store.read_about(folder)["warnings"][-1]
    assert len(users_of(take(path, tmp_path / "joined", same_id="casefold"))) == 9


def test_sellers_of_events_and_of_a_product_table_are_joined_by_case(tmp_path):
    path, offers = tmp_path / "e.csv", tmp_path / "products.csv"
    path.write_text("user,product,seller\na,p,SHOP\nb,q,\nc,Q,\n")
    offers.write_text("product,seller\nP,other\nQ,shop\n")
    folder = take(path, tmp_path / "out", products=offers, same_id="casefold")
    graph = store.load_graph(folder)
    assert graph.num_nodes == {"user": 3, "product": 2, "seller": 1}
    assert node_ids.load(folder, "seller", rows=1).tolist() == ["SHOP"]


def test_own_ids_keep_their_nodes_when_events_are_added(tmp_path):
    rows = [f"u{n * 7 % 40},p{n % 11},s{n % 3},{1_600_000_000 + n}" for n in range(300)]
    before, after = tmp_path / "before.csv", tmp_path / "after.csv"
    head = "user,product,seller,timestamp\n"
    before.write_text(head + "\n".join(rows[:200]) + "\n")
    after.write_text(head + "\n".join([*rows, "new,p1,s9,1600001000"]) + "\n")
    first, second = take(before, tmp_path / "1"), take(after, tmp_path / "2")
    for node_type in ("user", "product", "seller"):
        names = [
            tables.load(folder / store.IDS.format(node_type))["id"].tolist()
            for folder in (first, second)
        ]
        assert names[1][: len(names[0])] == names[0]


def test_ids_that_look_alike_are_one(read_ids):
    pairs = {
        "a1\u200b": "a1", "\ufeffa2": "a2", "a3\u3000": "a3", "Jose\u0301": "Jos\u00e9",
        "\uff11\uff12": "12", "1.23456789E9": "1234567890", "1E5": "1E5",
        f"urn:uuid:{UUIDS[0]}": UUIDS[0],
        '{"$oid":"507f1f77bcf86cd799439011"}': "507f1f77bcf86cd799439011",
        "ObjectId(507f1f77bcf86cd799439012)": "507f1f77bcf86cd799439012", "-": None,
        "00000000-0000-0000-0000-000000000000": None,
    }  # fmt: skip
    assert dict(zip(pairs, read_ids(*pairs), strict=True)) == pairs
