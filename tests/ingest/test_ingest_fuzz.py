"""Hundreds of damaged tables: each is refused by name, or made a folder whose account adds up."""

import csv
import gzip
import json
import re
import shutil
import warnings

import numpy as np
import pytest

from gadkit import ingest, store
from gadkit.store import node_ids, tables

NUM_ROWS = 60
FACTOR = 1  # more for a longer hunt
NAMES = ("user_id", "product_id", "seller_id", "timestamp", "rating", "amount", "text")
VALUES = [
    "", " ", "0", "-1", "1e400", "-1e300", "1e30", "inf", "nan", "NULL", "abc", "12.0", "1,5",
    "9" * 40, "x" * 5000, "日本", "😀", "a\0b", "\x1f", "\u2028", "'", "%s", "{}", "\\", "0x1F",
    "99999-01-01", "3e17", "true", "-0", "é\u0301", "\ufeff", "$1",
]  # fmt: skip


def rows(rng):
    """Purchases in which ids repeat and values are missing here and there."""
    start = 1_500_000_000
    found = []
    for row in range(NUM_ROWS):
        user, product = (int(rng.integers(size)) for size in (12, 9))
        amount = "" if rng.random() < 0.1 else f"{rng.random() * 100:.2f}"
        found.append([
            f"u{user}", f"p{product}", f"s{product % 3}", str(start + 9973 * row),
            str(rng.integers(1, 6)), amount, f"word{user} of {product}",
        ])  # fmt: skip
    return found


def as_csv(table, delimiter=",", end="\n", header=NAMES):
    return end.join(delimiter.join(row) for row in [header, *table]) + end


def as_json(table):
    return "".join(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in table)


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    """The bytes of a good Parquet file."""
    path = tmp_path_factory.mktemp("good") / "e.parquet"
    columns = zip(*rows(np.random.default_rng(0)), strict=True)
    tables.write(path, {name: np.array(c, object) for name, c in zip(NAMES, columns, strict=True)})
    return path.read_bytes()


def check(folder, name, content, *, num_records=None, **options):
    """Ingest a file; whatever is in it, it ends well. Return how.

    Args:
        folder: a new folder.
        name: of the file.
        content: bytes, or text.
        num_records: where it is clear, the rows that must be read or listed as unused.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path, out = folder / name, folder / "out"
    path.write_bytes(
        content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            ingest.ingest(path, out, progress=False, **options)
        except (ValueError, FileNotFoundError) as error:
            assert name in str(error), str(error)
            assert len(str(error)) < 3000
            assert list(folder.iterdir()) == [path]
            return "refused"
        graph = store.load_graph(out)
    assert sorted(folder.iterdir()) == sorted([path, out])
    account = store.read_about(out)["rows"]
    assert account["read"] == account["used"] + sum(account["unused"].values())
    assert account["used"] > 0 and all(count > 0 for count in account["unused"].values())
    with open(out / ingest.UNUSED, newline="", encoding="utf-8") as file:
        listed = list(csv.reader(file))[1:]
    assert len(listed) == sum(account["unused"].values())
    assert [int(row[1]) for row in listed] == sorted(int(row[1]) for row in listed)
    if num_records is not None:
        assert account["read"] == num_records
    names = node_ids.load(out, "user", rows=graph.num_nodes["user"])
    assert len(set(names)) == len(names) and all(names)
    return "made"


def records(text):
    """Count the lines that are not blank, less the header: rows where no quote spans lines."""
    return sum(bool(line.strip(" ")) for line in re.split(r"\r\n|\r|\n", text)) - 1


def each(seed, count):
    """Yield generators of random numbers, one for each table."""
    for number in range(FACTOR * count):
        yield np.random.default_rng([*np.atleast_1d(seed), number])


def flipped(rng, content, most=6):
    content = np.frombuffer(content, np.uint8).copy()
    at = rng.integers(0, len(content), rng.integers(1, most))
    content[at] = rng.integers(0, 256, len(at))
    return content.tobytes()


def test_the_good_files_are_good(tmp_path, parquet):
    table = rows(np.random.default_rng(0))
    for name, content in (
        ("e.csv", as_csv(table)), ("e.jsonl", as_json(table)), ("e.parquet", parquet),
    ):  # fmt: skip
        assert check(tmp_path / "in", name, content, num_records=NUM_ROWS) == "made"
        assert len(store.load_graph(tmp_path / "in" / "out").x["user"]) == 12


def test_values_of_every_kind(tmp_path):
    for rng in each(1, 8):
        table = rows(rng)
        for _ in range(rng.integers(1, 12)):
            value = str(rng.choice(VALUES)).replace(",", ";")
            table[rng.integers(NUM_ROWS)][rng.integers(len(NAMES))] = value
        check(tmp_path / "in", "e.csv", as_csv(table), num_records=NUM_ROWS)
        check(tmp_path / "in", "e.jsonl", as_json(table), num_records=NUM_ROWS)


def test_whole_columns_of_every_kind(tmp_path):
    for number, rng in enumerate(each(2, 16)):
        table = rows(rng)
        column = int(rng.integers(len(NAMES)))
        for row in table:
            row[column] = VALUES[(2 * number + 1) % len(VALUES)].replace(",", ";")
        check(tmp_path / "in", "e.csv", as_csv(table), num_records=NUM_ROWS)


def test_flipped_bytes(tmp_path):
    for rng in each(3, 8):
        table = rows(rng)
        check(tmp_path / "in", "e.csv", flipped(rng, as_csv(table).encode()))
        check(tmp_path / "in", "e.jsonl", flipped(rng, as_json(table).encode()))


def test_lines_lost_doubled_swapped_and_cut(tmp_path):
    for rng in each(4, 4):
        table = rows(rng)
        for name, text in (("e.csv", as_csv(table)), ("e.jsonl", as_json(table))):
            parts = text.splitlines()
            for _ in range(rng.integers(1, 8)):
                one, other = rng.integers(1, len(parts), 2)
                match rng.integers(5):
                    case 0:
                        del parts[one]
                    case 1:
                        parts.insert(other, parts[one])
                    case 2:
                        parts[one], parts[other] = parts[other], parts[one]
                    case 3:
                        parts[one] = parts[one][: rng.integers(0, 20)]
                    case 4:
                        parts[one] += parts[other]
            text = "\n".join(parts)
            count = records(text) + (name == "e.jsonl")
            check(tmp_path / "in", name, text, num_records=count)
            check(tmp_path / "in", name, text[: rng.integers(1, len(text))])


def test_delimiters_line_ends_and_blank_lines(tmp_path):
    for rng in each(5, 10):
        table = rows(rng)
        delimiter = str(rng.choice([",", ";", "\t", "|", " ", ":"]))
        ends = ["\n", "\r", "\r\n", "\n\n", "\r \n"]
        lines = as_csv(table, delimiter).splitlines()
        text = "".join(line + str(rng.choice(ends)) for line in lines)
        name = str(rng.choice(["e.csv", "e.tsv", "e.txt"]))
        found = check(tmp_path / "in", name, text, num_records=NUM_ROWS)
        assert found == ("made" if delimiter in ",;\t|" else "refused")
        mixed = lines[: NUM_ROWS // 2] + as_csv(table, ";").splitlines()[1:]
        check(tmp_path / "in", name, "\n".join(mixed), num_records=len(mixed) - 1)


def test_quotes_anywhere(tmp_path):
    for rng in each(6, 15):
        text = as_csv(rows(rng))
        for _ in range(rng.integers(1, 6)):
            at = rng.integers(0, len(text))
            text = text[:at] + str(rng.choice(['"', '""', '"x', ',"', '"\n'])) + text[at:]
        check(tmp_path / "in", "e.csv", text)


def test_headers(tmp_path):
    table = rows(np.random.default_rng(7))
    text = as_csv(table)
    for rng in each(7, 10):
        header = list(NAMES)
        for _ in range(rng.integers(1, 4)):
            new = ["", "x", "User_ID", "rowid", "row", "fate", "NULL", 'say "hi"', *VALUES[14:]]
            header[rng.integers(len(header))] = str(rng.choice(new)).replace(",", ";")
        check(tmp_path / "in", "e.csv", as_csv(table, header=header))
        dropped = int(rng.integers(len(NAMES)))
        less = [row[:dropped] + row[dropped + 1 :] for row in [list(NAMES), *table]]
        check(tmp_path / "in", "e.csv", as_csv(less[1:], header=less[0]), num_records=NUM_ROWS)
    twice = ",".join(NAMES) + "\n" + text
    assert check(tmp_path / "in", "e.csv", twice, num_records=NUM_ROWS + 1) == "made"
    assert check(tmp_path / "in", "e.csv", as_csv([])) == "refused"
    assert check(tmp_path / "in", "e.csv", as_csv(table[:1]), num_records=1) == "made"
    assert check(tmp_path / "in", "e.csv", as_csv(table).partition("\n")[2]) == "refused"
    for name in ("e.csv", "e.jsonl", "e.parquet", "e.csv.gz"):
        for content in ("", "\n", "\ufeff", "\0", " "):
            assert check(tmp_path / "in", name, content) == "refused"


def test_encodings_and_suffixes(tmp_path, parquet):
    table = rows(np.random.default_rng(8))
    table[3][0], table[5][6] = "ünal", "日本"
    text = as_csv(table)
    contents = {
        "utf-8": text.encode(), "utf-8-sig": text.encode("utf-8-sig"),
        "latin-1": text.replace("日本", "é").encode("latin-1"), "utf-16": text.encode("utf-16"),
        "utf-16-le": text.encode("utf-16-le"), "gzip": gzip.compress(text.encode()),
        "json": as_json(table).encode(), "parquet": parquet, "zip": b"PK\x03\x04" + b"\0" * 50,
    }  # fmt: skip
    made = set()
    for what, content in contents.items():
        for name in ("e.csv", "e.jsonl", "e.parquet", "e.csv.gz", "e.xlsx", "e"):
            for encoding in tables.ENCODINGS:
                found = check(tmp_path / "in", name, content, layout=tables.Layout(encoding))
                if found == "made":
                    made.add((what, name, encoding))
    assert {("latin-1", "e.csv", "latin-1"), ("utf-16", "e.csv", "utf-16")} <= made
    assert {("gzip", "e.csv.gz", "utf-8"), ("utf-8-sig", "e.csv", "utf-8")} <= made
    for rng in each(8, 5):
        check(
            tmp_path / "in",
            "e.csv",
            flipped(rng, contents["utf-16"]),
            layout=tables.Layout("utf-16"),
        )


def test_damaged_gzip(tmp_path):
    packed = gzip.compress(as_csv(rows(np.random.default_rng(9))).encode(), mtime=0)
    for rng in each(9, 12):
        check(tmp_path / "in", "e.csv.gz", flipped(rng, packed))
        assert (
            check(tmp_path / "in", "e.csv.gz", packed[: rng.integers(2, len(packed))]) == "refused"
        )


@pytest.mark.parametrize("seed", range(2))
def test_damaged_parquet(tmp_path, parquet, seed):
    for rng in each((10, seed), 20):
        check(tmp_path / "in", "e.parquet", flipped(rng, parquet, 3))
    for rng in each((11, seed), 3):
        cut = int(rng.integers(len(parquet)))
        assert check(tmp_path / "in", "e.parquet", parquet[:cut]) == "refused"
        check(
            tmp_path / "in", "e.parquet", parquet[:cut] + parquet[cut + int(rng.integers(1, 9)) :]
        )


@pytest.mark.parametrize("role", ["labels", "products"])
def test_damaged_tables_beside_the_events(tmp_path, role):
    events = tmp_path / "e.csv"
    events.write_text(as_csv(rows(np.random.default_rng(12))))
    what = "label" if role == "labels" else "seller_id"
    key = "user_id" if role == "labels" else "product_id"
    for rng in each(12, 6):
        side = [[f"{key[0]}{i}", str(int(rng.integers(2)))] for i in range(12)]
        for _ in range(rng.integers(0, 5)):
            side[rng.integers(12)][rng.integers(2)] = str(rng.choice(VALUES)).replace(",", ";")
        text = as_csv(side, header=[key, what])
        for content in (text.encode(), flipped(rng, text.encode())):
            path, out = tmp_path / "side.csv", tmp_path / "out"
            path.write_bytes(content)
            try:
                ingest.ingest(events, out, progress=False, **{role: path})
            except ValueError as error:
                assert "side.csv" in str(error)
                assert sorted(one.name for one in tmp_path.iterdir()) == ["e.csv", "side.csv"]
                continue
            store.load_graph(out)
            about = store.read_about(out)
            assert about["rows"]["used"] == NUM_ROWS
            account = about["tables"]["side.csv"]
            assert account["read"] == account["used"] + sum(account["unused"].values())
            shutil.rmtree(out)
