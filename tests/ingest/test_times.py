"""Times as exports write them: each right value stands beside what is written."""

import datetime as dt
import json

import pytest

from gadkit import ingest, store
from gadkit.ingest import times

DAY = 86_400


def at(*parts, **zone):
    """Seconds since 1970 of year, month, day, hour, ..., UTC."""
    return dt.datetime(*parts, tzinfo=dt.UTC).timestamp()


MOMENT = at(2026, 9, 22, 12, 34, 34)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-09-22 12:34:34 -0500", MOMENT + 5 * 3600),
        ("2026-09-22 12:34:34 -05:00", MOMENT + 5 * 3600),
        ("2026-09-22 12:34:34 +05:30", MOMENT - 5.5 * 3600),
        ("2026-09-22 12:34:34 +02", MOMENT - 2 * 3600),
        ("2026-09-22 12:34:34 Z", MOMENT),
        ("2026-09-22 12:34:34 UTC", MOMENT),
        ("2026-09-22 12:34:34 GMT", MOMENT),
        ("2026-09-22 12:34:34 EST", MOMENT + 5 * 3600),
        ("2026-09-22 12:34:34.250 -0500", MOMENT + 5 * 3600 + 0.25),
        ("2026-09-22 12:34:34,250", MOMENT + 0.25),
        ("2026-09-22T12:34:34+0000", MOMENT),
        ("2026-09-22 12:34 +0100", MOMENT - 34 - 3600),
        ("20260922T123434Z", MOMENT),
        ("20260922T123434", MOMENT),
        ("Tue, 22 Sep 2026 12:34:34 +0000", MOMENT),
        ("Tue, 22 Sep 2026 12:34:34 -0700", MOMENT + 7 * 3600),
        ("Tue, 22 Sep 2026 12:34:34 GMT", MOMENT),
        ("Tue, 22 Sep 2026 12:34:34 -0700 (PDT)", MOMENT + 7 * 3600),
        ("22 Sep 2026 12:34:34 +0000", MOMENT),
        ("Tue Sep 22 12:34:34 2026", MOMENT),
        ("Tue Sep 22 12:34:34 UTC 2026", MOMENT),
        ("Tue Sep 22 12:34:34 +0000 2026", MOMENT),
        ("Tue Sep 22 2026 12:34:34 GMT+0200 (Central European Summer Time)", MOMENT - 2 * 3600),
        ("22/Sep/2026:12:34:34 +0000", MOMENT),
        ("09/22/2026 12:34:34 PM", MOMENT),
        ("09/22/2026 12:34:34 PM UTC", MOMENT),
        ("22.09.2026 12:34:34", MOMENT),
        ("22-09-2026 12:34:34", MOMENT),
        ("22-Sep-2026 12:34:34", MOMENT),
        ("Sep 22, 2026 12:34:34 PM", MOMENT),
        ("Sep 22 2026 12:34PM", MOMENT - 34),
    ],
)
def test_a_zone_a_weekday_and_a_fraction_wherever_they_stand(read_times, text, seconds):
    _, (value,) = read_times(text)
    assert value == pytest.approx(seconds, abs=1e-3)


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("yyyymmdd", "%Y%m%d"), ("minutes", "%Y%m%d%H%M"), ("seconds", "%Y%m%d%H%M%S"),
        ("two-digit years", "%y%m%d"), ("hours", "%Y%m%d%H"), ("days first", "%d%m%Y"),
        ("months first", "%m%d%Y"), ("months", "%Y%m"), ("years", "%Y"),
    ],
)  # fmt: skip
def test_digits_that_are_a_date_in_every_row_are_one(read_times, written, form):
    moments = [dt.datetime(2022, 1, 27, 9, 4, 57, tzinfo=dt.UTC) + dt.timedelta(hours=7 * n)
               for n in range(60)]  # fmt: skip
    texts = [moment.strftime(form) for moment in moments]
    expected = [
        dt.datetime.strptime(text, form).replace(tzinfo=dt.UTC).timestamp() for text in texts
    ]
    reading, seconds = read_times(*texts)
    assert (reading.written, seconds) == (form, expected)
    reading, seconds = read_times(*(f"{text}.0" for text in texts))  # a gap makes them doubles
    assert (reading.written, seconds) == (form, expected)


def test_digits_that_are_no_date_in_one_row_are_numbers(read_times):
    reading, seconds = read_times("220127", "220128", "220199")
    assert (reading.written, seconds) == ("seconds since 1970", [220127, 220128, 220199])


def test_milliseconds_behind_fourteen_digits(read_times):
    reading, seconds = read_times("20220127090457123", "20220127090458000")
    assert seconds == [pytest.approx(at(2022, 1, 27, 9, 4, 57) + 0.123), at(2022, 1, 27, 9, 4, 58)]


def test_each_number_says_by_its_size_what_it_counts(read_times):
    second = int(at(2022, 1, 27, 9))
    rows = [second, second * 10**3, second * 10**6, second * 10**9]
    reading, seconds = read_times(*map(str, rows))
    assert seconds == [second] * 4
    units = "seconds and milliseconds and microseconds and nanoseconds"
    assert reading.written == f"{units} since 1970"
    reading, seconds = read_times(*[str(second * 1000)] * 9, str(second), "0")
    assert reading.written == "seconds and milliseconds since 1970" and seconds[-1] == 0


def test_days_of_excel(read_times):
    reading, seconds = read_times("44202.16667", "44202.5", "44203", "44203,25")
    assert reading.written == "days as Excel counts them"
    assert seconds == [
        at(2021, 1, 6, 4), at(2021, 1, 6, 12), at(2021, 1, 7), at(2021, 1, 7, 6)
    ]  # fmt: skip
    reading, _ = read_times("44202", "44203", "12")  # a number in between is no such day
    assert reading.written == "seconds since 1970"
    reading, seconds = read_times("18000", "18001")
    assert (reading.written, seconds) == ("days since 1970", [18000 * DAY, 18001 * DAY])


def test_a_counter_of_steps_is_no_date(read_times):
    reading, seconds = read_times("0", "1", "743", "x")
    assert reading.is_counter and reading.written.startswith("a counter of steps, not dates")
    assert seconds == [0, 3600, 743 * 3600, None]
    assert not read_times("0", "86400", "15811131")[0].is_counter


@pytest.mark.parametrize(
    ("word", "seconds"),
    [("steps", None), ("hours", 3600), ("Days", DAY), ("minutes", 60), ("seconds", 1)],
)
def test_what_is_counted_can_be_said(read_times, word, seconds):
    if seconds is None:
        with pytest.raises(ValueError, match="no value of 'a' can be read as a time"):
            read_times("3", time_format=word)
        return
    reading, values = read_times("3", "5", time_format=word)
    assert values == [3 * seconds, 5 * seconds]
    assert reading.is_counter and reading.written == f"a counter of {word.lower()}, not dates"


def test_units_can_be_said_too(read_times):
    second = int(at(2022, 1, 27, 9))
    for word, factor in (("milliseconds", 1000), ("microseconds", 10**6), ("seconds", 1)):
        reading, values = read_times(str(second * factor), time_format=word)
        assert (reading.written, values, reading.is_counter) == (
            f"{word} since 1970", [second], False
        )  # fmt: skip
    assert read_times("25569.5", time_format="excel")[1] == [DAY / 2]


def test_date_and_time_of_day_in_two_columns(read_times):
    day = at(2022, 10, 7)
    for rows, clock in (
        ([("2022-10-07", "10:35:19")], 38119),
        ([("10:35:19", "2022-10-07")], 38119),
        ([("2022-10-07 00:00:00", "10:35")], 38100),
        ([("10/07/2022", "10:35 AM")], 38100),
        ([("20221007", "1035"), ("20221007", "935")], 38100),
        ([("20221007", "103519"), ("20221007", "93519")], 38119),
        ([("2022-10-07", "0.5")], 43200),
        ([("44841", "0.5")], 43200),
        ([("2022-10-07", "10")], 36000),
        ([("2022-10-07", "1899-12-30 10:35:19")], 38119),
    ):
        _, seconds = read_times(*rows)
        assert seconds[0] == day + clock, rows


def test_a_column_that_holds_the_whole_time_needs_no_other(read_times):
    reading, seconds = read_times(("1 day", "2022-10-07 10:35"), ("2 days", "2022-10-08 10:35"))
    assert reading.names == ("b",) and seconds == [at(2022, 10, d, 10, 35) for d in (7, 8)]


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        (["user", "item", "Date", "Time"], ["Date", "Time"]),
        (["user", "item", "Time", "Date"], ["Date", "Time"]),
        (["user", "item", "order_time", "order_date"], ["order_date", "order_time"]),
        (["user", "item", "timestamp", "date"], ["timestamp"]),
        (["user", "item", "datetime", "date"], ["datetime"]),
    ],
)
def test_date_and_time_are_joined_by_their_names(columns, chosen):
    assert ingest.columns.guess_roles(columns)["time"] == chosen


def test_two_styles_in_one_column(read_times):
    first, second = at(2022, 1, 27), at(2022, 2, 1)
    reading, seconds = read_times("27/01/2022", "2022-01-27", "01/02/2022", "2022-02-01")
    assert seconds == [first, first, second, second]
    assert set(reading.written.split(", or ")) == {"ISO 8601", "%d/%m/%Y"}
    second = int(at(2022, 1, 27, 9))
    _, seconds = read_times("2022-01-27 09:00:00", "2022-01-27 09:00:00", str(second), "44588.375")
    assert seconds == [second] * 4
    _, seconds = read_times("27.01.2022 09:00", "27.01.2022 09:00", "27.01.2022")
    assert seconds == [second, second, first]


def test_a_second_style_that_leaves_a_doubt_is_not_read(read_times):
    reading, seconds = read_times("2022-01-27", "2022-01-27", "2022-01-28", "03/04/2022")
    assert reading.written == "ISO 8601" and seconds[-1] is None
    # 13 in front says that days come first: 04/25/2022 is not turned around.
    reading, seconds = read_times("13/04/2022", "14/04/2022", "15/04/2022", "04/25/2022")
    assert reading.written == "%d/%m/%Y" and seconds[-1] is None


@pytest.mark.parametrize("unknown", ["soon", "2022-13-01", "0000-00-00", "-", "12:30"])
def test_what_is_no_time_is_none(read_times, unknown):
    assert read_times("2022-01-27", "2022-01-28", unknown)[1][-1] is None


def test_a_counter_has_no_dates_in_the_folder(tmp_path):
    path = tmp_path / "steps.csv"
    path.write_text("user,item,step\n" + "".join(f"u{n % 5},p{n % 3},{n}\n" for n in range(48)))
    about = store.read_about(ingest.ingest(path, tmp_path / "out", progress=False))
    assert about["time"] == {"column": "step", "first": "day 0", "last": "day 1.95833"}
    assert about["read"]["time"]["counter"] and about["warnings"] == []
    assert json.dumps(about)  # numbers of Python, not of NumPy


@pytest.mark.parametrize("month", [1, 3])
def test_every_format_reads_what_it_writes(database, month):
    moment = dt.datetime(2022, month, 27, 21, 4, 57)
    texts = {form: moment.strftime(form) for form in times.FORMATS}
    listed = ", ".join(
        times._formatted(form)[0].quickly(f"'{text}'") for form, text in texts.items()
    )
    expected = [dt.datetime.strptime(text, form).replace(tzinfo=dt.UTC).timestamp()
                for form, text in texts.items()]  # fmt: skip
    assert list(database.execute(f"SELECT {listed}").fetchone()) == expected


def test_formats_are_tried_where_they_may_fit(database):
    """The shape of what a format writes is found among those that it reads."""
    for form in times.FORMATS:
        text = dt.datetime(2022, 3, 7, 9, 4, 5).strftime(form)
        database.execute(
            "CREATE OR REPLACE TEMP TABLE time_column AS "
            f"SELECT '{text}' AS value, {{'body': '{text}'}} AS split"
        )
        fitting = times._fitting(database)
        assert form in fitting and len(fitting) < 20, form
    database.execute("DROP TABLE time_column")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-09-22T12:34:34+02:00[Europe/Berlin]", MOMENT - 2 * 3600),
        ("2026-09-22 12:34:34 CEST", MOMENT - 2 * 3600),
        ("Tue Sep 22 12:34:34 CEST 2026", MOMENT - 2 * 3600),
        ("22 Sept 2026 12:34:34 UTC", MOMENT),
        ("Sep-22-26 12:34:34 PDT", MOMENT + 7 * 3600),
        ("9/22/2026, 12:34:34\u202fPM", MOMENT),
        ("22 sept. 2026 12:34:34", MOMENT),
        ("22. September 2026 12:34:34", MOMENT),
        ("22/set/2026 12:34:34", MOMENT),
        ("22 de setembro de 2026 12:34:34", MOMENT),
        ("22-SEP-26 12.34.34.000000 PM", MOMENT),
        ("22/09/2026 12.34.34", MOMENT),
        ("2026年9月22日 12:34:34", MOMENT),
        ("/Date(1790080474000)/", MOMENT),
        ('{"$date":{"$numberLong":"1790080474000"}}', MOMENT),
        ("2026-09-22\u00a012:34:34", MOMENT),
        ("639256772740000000", MOMENT),
    ],
)
def test_other_languages_and_programs(read_times, text, seconds):
    _, values = read_times(text, text)
    assert values == pytest.approx([seconds] * 2, abs=1e-3)
