"""Exports of shops, payment services and published data sets are understood by their columns.

Each layout is the header as published, in whole or the columns that matter; a kind of value stands
behind each name, and what is expected below. Values are made here.
"""

import csv
import datetime
import random
from pathlib import Path

import pytest

from gadkit import ingest, store
from gadkit.ingest import columns, guesses, links

NUM_ROWS, NUM_USERS = 120, 40


def layouts():
    """Read the table: a name, columns as NAME=KIND, their roles, and which may be links."""
    text = (Path(__file__).parent / "layouts_of_exports.txt").read_text(encoding="utf-8")
    lines = (block.splitlines() for block in text.split("\n\n"))
    return {
        name: (header, roles.removeprefix("roles: "), linked.removeprefix("links:").strip())
        for name, header, roles, linked in lines
    }


LAYOUTS = layouts()


def values(row, draw):
    """One value of each kind. Users 0 to 15 share a device, card, address and phone in pairs."""
    user, product = draw.randrange(NUM_USERS), draw.randrange(15)
    pair = user // 2 if user < 16 else user
    moment = datetime.datetime(2024, 1, 3, 8) + datetime.timedelta(minutes=947 * row)
    stamp = int(moment.replace(tzinfo=datetime.UTC).timestamp())
    is_fraud = row in (3, 7) or draw.random() < 0.15
    return {
        "order": f"ch_{100_000 + row}", "index": row, "user": f"C{user:05}", "id": 5000 + user,
        "user2": f"C{draw.randrange(NUM_USERS):05}", "email": f"ann.{user}@mail.com",
        "person": f"Ann {('Lee', 'Kaur', 'Mann', 'Ortiz', 'Price')[user % 5]}",
        "product": f"SKU-{product:03}", "number": 300 + product, "shop": f"Shop {product % 6}",
        "title": f"Thing {product}", "line": 1 + row % 3, "amount": f"{draw.uniform(5, 200):.2f}",
        "rating": draw.randrange(1, 6), "text": f"it broke on day {row}, never again",
        "device": f"dev-{31 * pair:05x}", "card": f"fp{7919 * pair:08x}", "ip": f"10.0.{pair}.9",
        "address": f"{pair + 1} Oak Street", "phone": f"+1 555 01{pair:04}",
        "country": ("US", "DE", "FR")[user % 3], "kind": ("mobile", "desktop")[user % 2],
        "shopmail": "shop@store.com", "word": ("home", "toys", "gas", "food")[product % 4],
        "label": int(is_fraud), "yes": "Y" if is_fraud else "N", "none": "", "zero": "0",
        "score": f"{draw.random():.3f}", "iso": moment.isoformat(" "), "ymd": moment.date(),
        "mdy": f"{moment:%m/%d/%Y}", "clock": f"{moment:%H:%M:%S}",
        "dmy": f"{moment:%d.%m.%Y %H:%M}",
        "offset": f"{moment:%Y-%m-%d %H:%M:%S} -0500", "seconds": stamp, "ms": 1000 * stamp,
        "PST": "PST", "place": "Eastern Time (US & Canada)",
    }  # fmt: skip


def written(text):
    return [tuple(part.strip().rsplit("=", 1)) for part in text.split(";")]


def write(path, header):
    draw, kinds = random.Random(0), [kind for _, kind in header]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([name for name, _ in header])
        for row in range(NUM_ROWS):
            made = values(row, draw)
            table.writerow([made[kind] for kind in kinds])
    return path


def expected_roles(text):
    return {
        role: names.split("+") for role, names in (part.split("=") for part in text.split("; "))
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_columns_of_exports_are_understood(tmp_path, layout):
    header, roles, linked = LAYOUTS[layout]
    guess = guesses.guess(write(tmp_path / "events.csv", written(header)))
    assert guess.roles == expected_roles(roles)
    may_link = links.candidates(guess.columns, guess.roles)
    if columns.layout_of(guess.columns):
        may_link = []
    assert may_link == ([] if not linked else linked.split("; "))


def taken(tmp_path, text, **options):
    """Ingest columns as NAME=KIND: about.json, and all notes of the events."""
    path = write(tmp_path / "events.csv", written(text))
    about = store.read_about(ingest.ingest(path, tmp_path / "out", progress=False, **options))
    return about, " ".join(note for notes in about.get("notes", {}).values() for note in notes)


@pytest.mark.parametrize("layout", ["shopify", "stripe", "paypal", "kaggle_ecom"])
def test_exports_are_ingested_with_their_links(tmp_path, layout):
    header, roles, linked = LAYOUTS[layout]
    about, _ = taken(tmp_path, header)
    assert about["roles"] == expected_roles(roles) and about["rows"]["used"] == NUM_ROWS
    unshared = {"Customer Email", "Card ID", "Device Used"}
    assert set(about["links"]) == set(linked.split("; ")) - unshared
    assert set(about.get("no_links", {})) <= unshared


def test_what_most_users_have_in_common_is_no_link(tmp_path):
    text = "customer_id=user; sku=product; Device=kind; Support Phone=shopmail; Device ID=device"
    about, _ = taken(tmp_path, text)
    assert list(about["links"]) == ["Device ID"]
    assert "only 2 values, such as 'mobile'" in about["no_links"]["Device"].replace(
        "desktop", "mobile"
    )
    assert "38 users have one value" in about["no_links"]["Support Phone"]
    (tmp_path / "named").mkdir()
    options = {"links": links.LinkOptions(["Device"])}
    assert "Device" in taken(tmp_path / "named", text, **options)[0]["links"]


@pytest.mark.parametrize(
    ("text", "note", "first"),
    [
        ("Date=ymd; Time=clock; TimeZone=PST", "", "2024-01-03T16:00:00Z"),
        ("Date=ymd; Time=clock; Time Zone=place", "such as 'Eastern Time", "2024-01-03T08:00:00Z"),
        ("Created (UTC)=iso", "", "2024-01-03T08:00:00Z"),
        ("Created (PST)=iso", "though 'Created (PST)' says PST", "2024-01-03T08:00:00Z"),
    ],
)
def test_zones_are_used_or_it_is_said_that_they_are_not(tmp_path, text, note, first):
    about, notes = taken(tmp_path, f"user=user; item=product; {text}")
    assert about["read"]["time"]["low"] == first
    assert note in notes and ("UTC" in notes) == bool(note)


def test_what_is_taken_for_want_of_a_better_one_is_said(tmp_path):
    _, notes = taken(tmp_path, "user_id=user; device_id=device; login_time=iso")
    assert "'device_id' is taken for the product, as no column is called like one" in notes
    assert "--product" in notes


def test_columns_that_are_called_like_a_role_and_are_none_are_left_out(tmp_path):
    about, notes = taken(tmp_path, "user=user; item=product; deceptive=word; created=title")
    assert about["roles"] == {"user": ["user"], "product": ["item"]}
    assert "'deceptive' is called like a label, but its values make none" in notes
    assert "--time 'created' takes it" in notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fraud_bool=label; income=score; customer_age=id; month=line; device_os=kind",
         "like a user; found fraud_bool, income, .*--user COLUMN"),
        ("user_id=user; device_id=order; created=iso",
         "like a product; found user_id, .* 'device_id' is none either, .* --product COLUMN"),
        ("user_id=user; signup_time=iso; age=id", "like a product; found .* --product COLUMN"),
    ],
)  # fmt: skip
def test_without_a_user_or_product_the_error_names_the_option(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        taken(tmp_path, text)


def test_verdicts_that_are_rare_are_labels_all_the_same(tmp_path):
    path = tmp_path / "events.csv"
    lines = [f"C{k % 40},T{k % 9},{int(k == 2900)}" for k in range(3000)]
    path.write_text("CUSTOMER_ID,TERMINAL_ID,TX_FRAUD_FLAG\n" + "\n".join(lines))
    assert guesses.guess(path).roles["label"] == ["TX_FRAUD_FLAG"]
