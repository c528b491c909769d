import datetime as dt

import pytest

from gadkit.ingest import columns
from gadkit.ingest import times as times_of
from gadkit.store import tables

AMAZON_2018 = (
    "overall", "verified", "reviewTime", "reviewerID", "asin", "style", "reviewerName",
    "reviewText", "summary", "unixReviewTime", "vote", "image",
)  # fmt: skip
AMAZON_2023 = (
    "rating", "title", "text", "images", "asin", "parent_asin", "user_id", "timestamp",
    "helpful_vote", "verified_purchase",
)  # fmt: skip
TABFORMER = (
    "User", "Card", "Year", "Month", "Day", "Time", "Amount", "Use Chip", "Merchant Name",
    "Merchant City", "Merchant State", "Zip", "MCC", "Errors?", "Is Fraud?",
)  # fmt: skip
MOMENT = dt.datetime(2019, 3, 14, 15, 9, 26, tzinfo=dt.UTC)
SECONDS = MOMENT.timestamp()


@pytest.fixture(scope="module")
def con(tmp_path_factory):
    with tables.database(tmp_path_factory.mktemp("db") / "work") as con:
        yield con


def fill(con, values):
    """Make the table `t` with columns a, b, ... of text; None is missing."""
    values = [value if isinstance(value, tuple) else (value,) for value in values]
    names = "abcd"[: len(values[0])]
    con.execute(f"CREATE OR REPLACE TABLE t ({', '.join(f'{name} VARCHAR' for name in names)})")
    con.executemany(f"INSERT INTO t VALUES ({', '.join('?' * len(names))})", values)
    return list(names)


def select(con, sql, names):
    found = con.execute(f"SELECT {sql} FROM {columns.cleaned('t', names)}").fetchall()
    return [row[0] for row in found]


def numbers(con, *values):
    names = fill(con, values)
    reading = columns.number_of(con, "t", *names)
    return reading.written, select(con, reading.sql, names)


def times(con, *values, time_format=None):
    names = fill(con, values)
    reading = columns.time_of(con, "t", names, time_format)
    return reading.written, select(con, reading.sql, names)


# What columns mean.


@pytest.mark.parametrize(
    "found, roles",
    [
        (AMAZON_2018, {
            "user": ["reviewerID"], "product": ["asin"], "time": ["unixReviewTime"],
            "rating": ["overall"], "verified": ["verified"], "votes": ["vote"],
            "text": ["reviewText"],
        }),
        (AMAZON_2023, {
            "user": ["user_id"], "product": ["parent_asin"], "time": ["timestamp"],
            "rating": ["rating"], "verified": ["verified_purchase"], "votes": ["helpful_vote"],
            "text": ["text"],
        }),
        (TABFORMER, {
            "user": ["User", "Card"], "product": ["Merchant Name"], "seller": ["MCC"],
            "time": ["Year", "Month", "Day", "Time"], "amount": ["Amount"],
            "label": ["Is Fraud?"],
        }),
        (("Source", "TARGET", "Date"), {
            "source": ["Source"], "target": ["TARGET"], "time": ["Date"],
        }),  # unless their values say otherwise
        (("customer_id", "merchant_id", "sku"), {
            "user": ["customer_id"], "product": ["sku"], "seller": ["merchant_id"],
        }),
        (("customer", "merchant", "merchant_id"), {
            "user": ["customer"], "product": ["merchant"],
        }),  # where a merchant is all that is bought, nobody sells it
    ],
)  # fmt: skip
def test_roles_are_guessed_by_name(found, roles):
    assert columns.guess_roles(found) == roles
    assert list(columns.guess_roles(found[::-1])) == [r for r in columns.ROLES if r in roles]


def test_what_is_given_comes_first():
    found = ("user", "customer", "item", "date", "price", "paid")
    roles = columns.guess_roles(found, {"product": ["user"], "time": []})
    assert roles == {"user": ["customer"], "product": ["user"], "amount": ["price"]}
    both = columns.guess_roles(found, {"user": ["user", "customer"], "time": ["date", "price"]})
    assert both["user"] == ["user", "customer"] and both["amount"] == ["paid"]
    less = {role: [] for role in columns.ROLES if role not in ("user", "product")}
    assert columns.guess_roles(TABFORMER, less).keys() == {"user", "product"}


@pytest.mark.parametrize(
    "found, given, message",
    [
        (("a", "b"), {}, "no column is called like a user; found a, b; .* --user COLUMN"),
        (("user", "b"), {}, "no column is called like a product; .* --product COLUMN"),
        (("user", "item"), {"user": ()}, "no column is called like a user"),
        (("user", "item"), {"buyer": ["user"]}, "'buyer' is no role; expected one of user, "),
        (("user", "item"), {"time": ["when"]}, "no column 'when' for time; found user, item"),
        (("user", "item", "a", "b"), {"rating": ["a", "b"]}, "rating is one column, got a, b"),
        (
            tuple(f"{i:0500}" for i in range(999)),
            {},
            r"found 0{100}, [0, ]{2900,3200}, \.\.\.; say",
        ),
    ],
)
def test_wrong_columns(found, given, message):
    with pytest.raises(ValueError, match=message):
        columns.guess_roles(found, given)


def test_ids_of_other_tables():
    roles = {"user": ["reviewerID"], "product": ["User", "Card"]}
    assert columns.find_id(["x", "reviewerID"], "user", roles) == ["reviewerID"]
    assert columns.find_id(["x", "user_id"], "user", roles) == ["user_id"]
    assert columns.find_id(["Card", "User"], "product", roles) == ["User", "Card"]
    assert columns.find_id(["Card"], "product", roles) == []
    assert columns.find_id(["x", "shop"], "seller", roles) == ["shop"]


# What values mean.


def test_words_for_missing_are_missing(con):
    missing = [
        "",
        " ",
        "\t",
        "\xa0",
        "NULL",
        "null",
        "NaN",
        "nan",
        "None",
        "N/A",
        "NA",
        "nil",
        "\\N",
        "-",
        "--",
        ".",
    ]
    kept = ["0", "nope", "nanny", "none of them", "-5", ".5", "Na-Na", "日本"]
    names = fill(con, missing + [f" {value}\t" for value in kept] + [None])
    assert select(con, "a", names) == [None] * len(missing) + kept + [None]


def test_ids(con):
    values = ["12.0", "12", "007", "12.50", "1.2.0", "-12.0", "1e5", "B00.0", "12.000", None, ".0"]
    expected = ["12", "12", "007", "12.50", "1.2.0", "-12", "1e5", "B00.0", "12", None, ".0"]
    assert select(con, columns.id_of(["a"]), fill(con, values)) == expected
    names = fill(con, [("1.0", "2"), ("a-b", "c"), ("1", None), (None, "2")])
    assert select(con, columns.id_of(names), names) == ["1-2", r"a\-b-c", None, None]


def test_flags(con):
    yes = ["1", "1.0", "true", "True", "T", "YES", "y", "Fraud", "fraudulent", "spam", "illicit"]
    no = ["0", "0.0", "false", "F", "no", "N", "Normal", "legit", "legitimate", "genuine", "licit"]
    neither = ["-1", "-1.0", "unknown", "?", "", "null", None, "2", "maybe", "0.5", "01"]
    names = fill(con, yes + no + neither)
    expected = [1] * len(yes) + [0] * len(no) + [None] * len(neither)
    assert select(con, columns.flag_of(con, "t", "a").sql, names) == expected


def test_numbers_as_people_write_them(con):
    values = {
        "1": 1, "1.5": 1.5, "5.": 5, ".5": 0.5, "-3": -3, "+4": 4, "1e3": 1000, "-1.5E-2": -0.015,
        "$1,234.50": 1234.5, "€ 12": 12, "-£3.20": -3.2, "$-77.00": -77, "12 %": 12, "¥1,000": 1000,
        "1,234": 1234, "12,345,678.9": 12345678.9, "1'234.5": 1234.5, "1 234": 1234,
        "1\xa0234.5": 1234.5, "1\u202f234": 1234, " 7\t": 7,
        "12,34": None, "1,2345": None, "abc": None, "1.2.3": None, "": None, "--1": None,
        "inf": None, "-Infinity": None, "nan": None, "1e400": None, "1e30": None, "-1e31": None,
    }  # fmt: skip
    assert numbers(con, *values) == ("numbers", list(values.values()))


def test_numbers_with_a_decimal_comma(con):
    values = {
        "2,5": 2.5, "1.234,50": 1234.5, "1.234.567,8": 1234567.8, "-0,25": -0.25, "3": 3,
        "12,345": 12.345, "1.234": 1234, "€ 9,99": 9.99, "1 234,5": 1234.5, "1,2,3": None,
        "x": None, "1.5": 1.5,
    }  # fmt: skip
    assert numbers(con, *values) == ("numbers with a decimal comma", list(values.values()))
    assert numbers(con, "1,234", "1,500") == ("numbers", [1234, 1500])


def test_a_column_of_no_numbers_is_refused_and_an_empty_one_is_not(con):
    with pytest.raises(
        ValueError, match="no value of 'a' can be read as a number; one is 'x+'; name another"
    ) as e:
        numbers(con, "x" * 5000, "", "NULL")
    assert len(str(e.value)) < 200
    assert numbers(con, None, "", "n/a") == ("numbers", [None] * 3)


@pytest.mark.parametrize("time_format", times_of.FORMATS[::8])
def test_times_in_every_format(con, time_format):
    later = MOMENT + dt.timedelta(days=400)  # 04/17 is no day and month: the format is clear
    moments = [moment.strftime(time_format) for moment in (MOMENT, later)]
    expected = [
        dt.datetime.strptime(text, time_format).replace(tzinfo=dt.UTC).timestamp()
        for text in moments
    ]
    written, found = times(con, *moments)
    assert found == expected and written in (time_format, "ISO 8601")
    assert times(con, *moments, time_format=time_format)[1] == expected


def test_iso_times_and_their_zones(con):
    values = {
        "2019-03-14T15:09:26Z": SECONDS, "2019-03-14 15:09:26": SECONDS,
        "2019-03-14 15:09:26.5": SECONDS + 0.5,
        "2019-03-14T15:09:26.123456789Z": SECONDS + 0.123456,
        "2019-03-14T17:09:26+02:00": SECONDS, "2019-03-14T10:09:26-0500": SECONDS,
        "2019-03-14 16:09:26 Europe/Berlin": SECONDS, "2019-03-14 15:09:26 UTC": SECONDS,
        "2019-03-14": SECONDS - SECONDS % 86400, "0001-01-01": None, "1900-01-01": -2208988800,
        "99999-01-01": None, "infinity": None, "2019-02-30": None, "yesterday": None, "": None,
    }  # fmt: skip
    written, found = times(con, *values)
    assert written == "ISO 8601" and found == pytest.approx(list(values.values()), abs=1e-6)


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_numbers_count_from_1970_by_their_size(con, unit):
    written, found = times(con, f"{int(SECONDS) * unit}", f"{int(SECONDS + 1) * unit}.0", "x")
    name = {1: "seconds", 10**3: "milliseconds", 10**6: "microseconds", 10**9: "nanoseconds"}[unit]
    assert (written, found) == (f"{name} since 1970", [SECONDS, SECONDS + 1, None])


def test_numbers_that_are_no_time(con):
    written, found = times(con, "0", "-86400", "172792", "172793", "1e30", "nan", "inf")
    assert found == [0, -86400, 172792, 172793, None, None, None]


def test_one_unit_and_one_way_to_write_serve_a_whole_column(con):
    milliseconds = ["94694400000", "99999999999", "100000000000", *["1600000000000"] * 3]
    found = times(con, *milliseconds)[1]
    assert found == [int(value) / 1e3 for value in milliseconds]
    dates = [f"202401{day:02}" for day in range(1, 29)]
    written, found = times(con, *dates, "20240231", "0")
    assert written == "%Y%m%d" and found[-2:] == [None, None]


def test_eight_digits_that_make_dates_are_dates(con):
    day = 86400 * (SECONDS // 86400)
    assert times(con, "20190314", "20190315") == ("%Y%m%d", [day, day + 86400])
    assert times(con, "20190314", "1552576166", "1552576167")[0] == "seconds since 1970"


def test_day_and_month_are_told_apart_by_days_over_12(con):
    march, april = (dt.datetime(2019, m, d, tzinfo=dt.UTC) for m, d in ((3, 4), (4, 3)))
    assert times(con, "03/04/2019") == ("%m/%d/%Y", [march.timestamp()])
    written, found = times(con, "03/04/2019", "25/04/2019")
    assert written == "%d/%m/%Y" and found[0] == april.timestamp()
    assert times(con, "03/04/2019", time_format="%d/%m/%Y")[1] == [april.timestamp()]


def test_times_in_several_columns(con):
    assert times(con, ("2019-03-14", "15:09:26"), ("2019-03-14", None))[1] == [SECONDS, None]
    assert times(con, ("3/14/2019", "15:09"))[1] == [SECONDS - 26]
    written, found = times(con, ("2019", "3", "14", "15:09"), ("2019", "13", "14", "15:09"))
    assert found == [SECONDS - 26, None]


def test_a_format_that_is_given_is_the_only_one_beside_iso(con):
    assert times(con, "14|03|2019", "15|03|2019", "x", time_format="%d|%m|%Y")[0] == "%d|%m|%Y"
    for values, time_format, message in (
        (["2019-03-14"], "%Q", "'%Q' is no time format"),
        (
            ["x", "y"],
            "%Y",
            "no value of 'a' can be read as a time; one is '[xy]'; .* --time-format",
        ),
        (["x"], None, "no value of 'a' can be read as a time"),
        ([("x", "y")], None, "no value of 'a b' can be read as a time; one is 'x y'"),
    ):
        with pytest.raises(ValueError, match=message):
            times(con, *values, time_format=time_format)


def test_the_way_that_reads_most_is_chosen_from_a_sample_of_all(con):
    make = (
        "CREATE OR REPLACE TABLE t AS SELECT if(i < 90000, '{}', '{}') AS a FROM range(99999) r(i)"
    )
    con.execute(make.format("01/02/2019", "31/01/2019"))
    assert columns.time_of(con, "t", ["a"]).written == "%d/%m/%Y"
    con.execute(make.format("1", "2,5"))
    assert columns.number_of(con, "t", "a").written == "numbers with a decimal comma"
