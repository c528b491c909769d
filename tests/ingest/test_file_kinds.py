"""Files as other programs write them, small: the same sixty events come out of each."""

import bz2
import gzip
import json
import lzma
import zipfile

import pytest

from gadkit import ingest, store
from gadkit.store import node_ids

NAMES = ("user", "product", "amount", "timestamp")
ROWS = [
    (f"u{k % 9}", f"p{k % 6}", f"{k}.5", f"2022-01-{k % 28 + 1:02} 0{k % 10}:04:57")
    for k in range(60)
]
RECORDS = [dict(zip(NAMES, row, strict=True)) for row in ROWS]


def table(rows=ROWS, delimiter=",", names=NAMES, end="\n"):
    lines = [delimiter.join(names)] if names else []
    return end.join([*lines, *(delimiter.join(row) for row in rows)]) + end


def quoted(row):
    return [f'"{value}"' for value in row]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def take(path, folder, **options):
    made = ingest.ingest(path, folder, progress=False, **options)
    return store.read_about(made), made


def check(path, tmp_path, unused=None, highest=59.5, **options):
    """All sixty events, of the same users and products, amounts and times."""
    about, folder = take(path, tmp_path / "out", **options)
    assert about["rows"]["used"] == 60 and about["rows"]["unused"] == (unused or {})
    for role, prefix, count in (("user", "u", 9), ("product", "p", 6)):
        names = node_ids.load(folder, role, rows=count).tolist()
        assert sorted(names) == [f"{prefix}{k}" for k in range(count)]
    read = about["read"]
    assert (read["amount"]["low"], read["amount"]["high"]) == (0.5, highest)
    assert (read["time"]["low"][:10], read["time"]["high"][:10]) == ("2022-01-01", "2022-01-28")
    return about


def with_line(place, line, text=None):
    lines = (text or table()).splitlines()
    lines.insert(place, line)
    return "\n".join(lines)


FILES = {
    "Excel's Unicode text": ("e.txt", table(delimiter="\t", end="\r\n").encode("utf-16")),
    "UTF-16, big end first": ("e.csv", b"\xfe\xff" + table().encode("utf-16-be")),
    "UTF-16, packed": ("e.csv.gz", gzip.compress(table().encode("utf-16"))),
    "UTF-16, sep=;": (
        "e.csv",
        ("sep=;\r\n" + table(map(quoted, ROWS), ";", quoted(NAMES), "\r\n")).encode("utf-16"),
    ),
    "bzip2": ("e.csv.bz2", bz2.compress(table().encode())),
    "xz": ("e.csv.xz", lzma.compress(table().encode())),
    "gzip of several members": (
        "e.csv.gz",
        b"".join(gzip.compress(table(ROWS[k : k + 20], names=NAMES * (k == 0)).encode())
                 for k in (0, 20, 40)),
    ),
    "a name without a suffix": ("unl_0000_part_00", table(delimiter="|")),
    "a packed file without a suffix": ("unl_0000_part_00.gz", gzip.compress(table().encode())),
    "an array in an object": ("e.json", json.dumps({"orders": RECORDS})),
    "an array beside other things": (
        "e.json",
        json.dumps({"meta": {"n": 60, "of": [{"a": 1}]}, "errors": [], "value": RECORDS}, indent=1),
    ),
    "JSON lines with a mark": (
        "e.ndjson", b"\xef\xbb\xbf" + "\r\n".join(map(json.dumps, RECORDS)).encode()
    ),
    "carriage returns": ("e.csv", table(end="\r")),
    "delimiters at the ends": ("e.csv", table().replace("\n", ",,\n")),
    "lines within quotes": (
        "e.csv",
        table([(*row, '"one\ntwo, ""three""\r\n"') for row in ROWS], names=(*NAMES, "comment")),
    ),
    "empty lines": ("e.csv", "\n\n  \n" + table()),
    "lines of delimiters": ("e.csv", ",,,\n,,,\n" + table()),
    "a name that comes twice": ("e.csv", table([(*row, "x") for row in ROWS],
                                               names=(*NAMES, "amount"))),
    "units": ("e.csv", with_line(1, ",,EUR,UTC")),
    "units of all columns": ("e.csv", with_line(1, "id,id,EUR,UTC")),
    "types": ("e.csv", with_line(1, "VARCHAR,VARCHAR,DOUBLE,TIMESTAMP")),
    "R": ("e.txt", " ".join(quoted(NAMES)) + "\n" + "".join(
        f'"{k + 1}" "{row[0]}" "{row[1]}" {row[2]} "{row[3]}"\n' for k, row in enumerate(ROWS)
    )),
    "decimal commas": ("e.csv", table([(*row[:2], row[2].replace(".", ","), row[3])
                                       for row in ROWS], ";")),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_a_file_as_it_is_written_elsewhere(tmp_path, kind):
    name, content = FILES[kind]
    check(write(tmp_path / name, content), tmp_path)


HEADER_AGAIN, SHORT = "the header again", "cannot be read: too few fields"
MARK = b"\xef\xbb\xbf"
FILES_WITH_MORE = {
    "files put together, each with a mark": (
        b"".join(MARK + table(ROWS[k : k + 20]).encode() for k in (0, 20, 40)), {HEADER_AGAIN: 2}
    ),
    "files put together, quoted otherwise": (
        table(ROWS[:20]) + table(map(quoted, ROWS[20:]), names=quoted(NAMES)), {HEADER_AGAIN: 1}
    ),
    "totals": (table() + "TOTAL,60,1800.00,\n", {"totals": 1}),
    "totals without a product": (table() + "Total,,1800,\n", {"product id is missing": 1}),
    "psql": (
        " user | product | amount | timestamp \n------+---------+--------+-----\n"
        + table([[f" {value} " for value in row] for row in ROWS], "|", ()) + "(60 rows)\n",
        {SHORT: 2},
    ),
    "Markdown": (
        "| user | product | amount | timestamp |\n|---|---|---:|---|\n"
        + "".join(f"| {' | '.join(row)} |\n" for row in ROWS),
        {},
    ),
    "Postgres COPY": (table(delimiter="\t") + "\\.\n", {SHORT: 1}),
    "a remark behind it": (table() + "\nExported by ACME\nPage 1 of 1\n", {SHORT: 2}),
    "the end of a file of DOS": (table(end="\r\n").encode() + b"\x1a", {SHORT: 1}),
    "zeros behind it": (table().encode() + b"\0" * 64, {SHORT: 1}),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES_WITH_MORE)
def test_what_is_no_event_in_a_file_is_listed(tmp_path, kind):
    content, unused = FILES_WITH_MORE[kind]
    highest = 1800 if kind == "totals" else 59.5  # of events that have a user and a product
    check(write(tmp_path / "e.csv", content), tmp_path, unused, highest)


def test_what_databases_unload_is_a_folder_of_parts(tmp_path):
    for k in range(2):
        part = table(ROWS[30 * k : 30 * k + 30], delimiter="|")
        write(tmp_path / "plain" / f"unl_000{k}_part_00", part)
        write(tmp_path / "packed" / f"unl_000{k}_part_00.gz", gzip.compress(part.encode()))
        rows = list(map(quoted, ROWS[30 * k : 30 * k + 30]))
        shard = gzip.compress(table(rows, names=[name.upper() for name in NAMES]).encode())
        write(tmp_path / "sharded" / f"{k:012d}.csv.gz", shard)
    write(tmp_path / "plain" / "unl_manifest", '{\n "entries": []}')
    for name in ("plain", "packed", "sharded"):
        out = tmp_path / f"of_{name}"
        check(tmp_path / name, out)


def test_hives_default_partition_is_nobody(tmp_path):
    rest = [row[1:] for row in ROWS]
    for user in range(9):
        rows = [row for row, whole in zip(rest, ROWS, strict=True) if whole[0] == f"u{user}"]
        write(tmp_path / "events" / f"user=u{user}" / "000000_0", table(rows, names=NAMES[1:]))
    nobody = tmp_path / "events" / "user=__HIVE_DEFAULT_PARTITION__" / "000000_0"
    write(nobody, table(rest[:2], names=NAMES[1:]))
    check(tmp_path / "events", tmp_path, {"user id is missing": 2})


def test_a_zip_file_may_hold_a_remark_beside_the_table(tmp_path):
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        archive.writestr("x/orders.csv", table())
        archive.writestr("x/README.md", "# Orders")
    check(tmp_path / "e.zip", tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.csv", b"PAR1....PAR1", "Parquet file; let its name end in .parquet"),
        ("e.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Excel workbook; save the sheet as CSV"),
        ("e.xlsx", b"PK\x03\x04", "workbook; save the sheet as CSV"),
        ("e.csv", b"SQLite format 3\0", "database of SQLite.*sqlite3 -csv -header"),
        ("e.csv", b"\x28\xb5\x2f\xfd....", "packed by zstd; unpack it"),
        ("e.csv.zst", b"\x28\xb5\x2f\xfd....", "packed by zstd; unpack it with zstd -d"),
        ("e.csv", "<!DOCTYPE html>\n<table><tr><td>user</td></tr></table>", "HTML or XML"),
        ("e.csv", table().encode("utf-16-le"), "--encoding utf-16"),
        ("e.csv", table().encode("utf-32"), "UTF-32; save it as UTF-8"),
        ("e.csv.gz", gzip.compress(b"x" * 257 + b"ustar" + b"x" * 200, mtime=0), "archive of tar"),
        ("e.json", json.dumps({"orders": RECORDS, "users": [{"id": "u1"}]}),
         "several tables, orders, users"),
        ("e.txt", table(names=()), "--columns user,product"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_told_by_its_content(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        take(write(tmp_path / name, content), tmp_path / "out")


def test_lines_in_another_encoding_are_read_or_the_option_is_named(tmp_path):
    names = [(row[0].replace("u", "ü"), *row[1:]) for row in ROWS]
    path = write(tmp_path / "e.csv", table(names).encode("windows-1252"))
    about, folder = take(path, tmp_path / "all")
    assert about["rows"]["used"] == 60
    assert sorted(node_ids.load(folder, "user", rows=9)) == [f"ü{k}" for k in range(9)]
    assert "windows-1252" in about["notes"]["e.csv"][0]
    assert "--encoding latin-1" in about["notes"]["e.csv"][0]
    some = table(ROWS[:-1]) + ",".join(("é", *ROWS[-1][1:]))
    path = write(tmp_path / "e.csv", some.encode("latin-1"))
    about, _ = take(path, tmp_path / "some")
    assert about["rows"]["unused"] == {"cannot be read: not in the encoding of the file": 1}
    assert "--encoding windows-1252 or latin-1" in about["notes"]["e.csv"][0]


VERDICTS = [(f"u{k}", "fraud" if k < 3 else "ok") for k in range(9)]
SHOPS = [(f"p{k}", f"s{k % 2}") for k in range(6)]


def as_table(rows, names, kind):
    """Write a small table in one of several ways: file name and content."""
    if kind == "latin-1":
        return "t.csv", table([(*row, "né") for row in rows], names=(*names, "by")).encode(kind)
    if kind == "backslashes":
        by = '"a \\"b\\", c"'
        return "t.csv", table([(*row, by) for row in rows], names=(*names, "by"))
    if kind == "JSON":
        return "t.json", json.dumps([dict(zip(names, row, strict=True)) for row in rows])
    texts = {
        "lines before it": f"Reviewed by: Ann\nRange: all\n\n{table(rows, names=names)}",
        "sep=;": "sep=;\n" + table(rows, ";", names),
        "comments": "# by Ann\n# today\n" + table(rows, names=names),
        "no header": table(rows, names=()),
        "no header, the other way round": table([row[::-1] for row in rows], names=()),
        "semicolons": table(rows, ";", names),
        "tabs": table(rows, "\t", names),
        "UTF-16": table(rows, names=names),
    }
    return "t.csv", texts[kind].encode("utf-16" if kind == "UTF-16" else "utf-8")


@pytest.mark.parametrize(
    "kind",
    ["latin-1", "backslashes", "JSON", "lines before it", "sep=;", "comments", "no header",
     "no header, the other way round", "semicolons", "tabs", "UTF-16"],
)  # fmt: skip
def test_other_tables_are_laid_out_as_events_may_be(tmp_path, kind):
    events = write(tmp_path / "e.csv", table())
    name, content = as_table(VERDICTS, ("user", "verdict"), kind)
    labels = write(tmp_path / "labels" / name, content)
    name, content = as_table(SHOPS, ("product", "seller"), kind)
    products = write(tmp_path / "products" / name, content)
    _, folder = take(events, tmp_path / "out", labels=labels, products=products)
    graph = store.load_graph(folder)
    assert graph.num_nodes == {"user": 9, "product": 6, "seller": 2}
    assert graph.labels[:, 1].tolist() == [1] * 3 + [0] * 6
    shops = graph.edges["seller", "sells", "product"].pairs()
    assert [side.tolist() for side in shops] == [[0, 1, 0, 1, 0, 1], list(range(6))]


def test_other_tables_may_be_folders_and_zip_files(tmp_path):
    events = write(tmp_path / "e.csv", table())
    for k in range(3):
        rows = VERDICTS[3 * k : 3 * k + 3]
        write(tmp_path / "labels" / f"part-{k}.csv", table(rows, names=("user", "verdict")))
    with zipfile.ZipFile(tmp_path / "products.zip", "w") as archive:
        archive.writestr("products.csv", table(SHOPS, names=("product", "seller")))
    options = {"labels": tmp_path / "labels", "products": tmp_path / "products.zip"}
    _, folder = take(events, tmp_path / "out", **options)
    graph = store.load_graph(folder)
    assert graph.num_nodes["seller"] == 2 and graph.labels[:, 1].sum() == 3


def test_errors_about_other_tables_name_what_to_do(tmp_path):
    events = write(tmp_path / "e.csv", table())
    labels = write(tmp_path / "l.csv", table(VERDICTS, "::", ("user", "verdict")))
    with pytest.raises(ValueError, match="--label-value.*commas"):
        take(events, tmp_path / "out", labels=labels)
    products = write(tmp_path / "p.csv", table(SHOPS, "::", ("product", "seller")))
    with pytest.raises(ValueError, match="a first line that names the columns"):
        take(events, tmp_path / "out", products=products)
    labels = write(tmp_path / "l.csv", "u0\nu1\nu2\n")
    with pytest.raises(ValueError, match="--label-value ''"):
        take(events, tmp_path / "out", labels=labels)
    options = ingest.LabelOptions(value="")
    about, _ = take(events, tmp_path / "out", labels=labels, label_options=options)
    assert about["labels"]["frauds"] == 3


FIXED = "".join(f"{a:<12}{b:<10}{c:>10}  {d:<20}\n" for a, b, c, d in [NAMES, *ROWS])


@pytest.mark.parametrize("delimiter", ["~", "^", "\x1f"])
def test_a_rare_delimiter_is_seen(tmp_path, delimiter):
    check(write(tmp_path / "e.psv", table(delimiter=delimiter)), tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.txt", FIXED, r"line 1 and those after it have no delimiter.*pandas.read_fwf"),
        ("e.csv", table(delimiter="::"), "line 1 is one field, 'user::product.*--delimiter"),
        (
            "e.csv",
            json.dumps(RECORDS[0]) + "\n",
            r"objects of JSON; rename it, such as to e\.jsonl",
        ),
        ("e.txt", "INSERT INTO orders VALUES (1, 2);\n", "statements of SQL, such as 'INSERT"),
        ("e.csv", b"\xff\xff\xff\xff" + bytes(99), "is a stream of Arrow"),
        ("e.feather", b"ARROW1", r"pandas.read_feather\('e.feather'\).to_parquet"),
        ("e.dta", b"<stata_dta>", r"pandas.read_stata\('e.dta'\).to_csv"),
        ("e.sqlite", b"SQLite format 3", "sqlite3 -csv -header e.sqlite"),
        ("e.jsonl.zst", b"\x28\xb5\x2f\xfd", "unpack it with zstd -d"),
        ("e.tar.gz", b"\x1f\x8b", "unpack it with tar -xf"),
        (
            "wallets.csv",
            "address,Time step,class\na,1,2\n",
            "wallets with their classes, and no eve",
        ),
    ],
)
def test_a_file_of_another_kind_names_its_cure(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        take(write(tmp_path / name, content), tmp_path / "out")
    assert not (tmp_path / "out").exists()
