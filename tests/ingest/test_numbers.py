"""Amounts as shops, banks and spreadsheets write them."""

import pytest

from gadkit import ingest, store


def test_currencies_and_signs_wherever_they_stand(read_numbers):
    values = {
        "USD 45.00": 45, "45.00 EUR": 45, "US$45": 45, "45,000.50 USD": 45000.5,
        "$1,234.50": 1234.5,
        "£12": 12, "R$ 12.50": 12.5, "12.50 zł": 12.5, "Rs. 1,200": 1200, "Rs.1,200.50": 1200.5,
        "₹1,23,456.78": 123456.78, "kr 99": 99, "usd 3": 3, "-USD 3": -3, "USD -3": -3,
        "(12.00)": -12, "12.00-": -12, "$(1,234.50)": -1234.5, "($1,234.50)": -1234.5,
        "(USD 3.00)": -3, "3.00- EUR": -3, "1,23,456.78": 123456.78, "12,34,567": 1234567,
        "1.234,50 €": 1234.5, "1.234.567": 1234567, "1’234.50": 1234.5, "'45.00'": 45,
        "ABC 45": None, "45 apples": None, "(12": None, "12)": None, "--3": None, "-3-": None,
        "USD": None, "$": None, "()": None, "1,2,3": None,
    }  # fmt: skip
    reading, numbers = read_numbers(*values)
    assert dict(zip(values, numbers, strict=True)) == values
    assert reading.written == "numbers" and reading.note.startswith("several currencies: ")


def test_decimal_commas_with_currencies(read_numbers):
    values = {
        "45,00 EUR": 45, "1.234,50 €": 1234.5, "(12,00)": -12, "12,00-": -12, "1.234": 1234,
        "12,345": 12.345, "$1,234.50": 1234.5, "1,234,567": 1234567, "7": 7,
    }  # fmt: skip
    reading, numbers = read_numbers(*values)
    assert reading.written == "numbers with a decimal comma"
    assert dict(zip(values, numbers, strict=True)) == values


def test_several_currencies_are_said(read_numbers):
    reading, _ = read_numbers("USD 1", "USD 2", "EUR 3", "4")
    assert reading.note == ("several currencies: USD (67%), EUR (33%); nothing is converted")
    assert read_numbers("USD 1", "usd 2", "3")[0].note == ""
    assert read_numbers("1", "2")[0].note == ""


def test_debit_and_credit_are_one_amount(read_numbers):
    rows = [("12.00", ""), ("", "$30"), ("0", "5"), ("7", "0.00"), ("", None), ("-3", "")]
    reading, numbers = read_numbers(*rows, names=["Debit", "Credit"])
    assert numbers == [-12, 30, 5, -7, None, -3]
    assert reading.written == "Credit less Debit; numbers"
    flipped = [row[::-1] for row in rows]
    assert read_numbers(*flipped, names=["Credit", "Debit"])[1] == numbers


def test_debit_and_credit_are_found_by_name(tmp_path):
    path = tmp_path / "bank.csv"
    path.write_text("user,item,Debit Amount,Credit Amount\na,p,12.00,\nb,p,,30.00\na,q,,\n")
    about = store.read_about(ingest.ingest(path, tmp_path / "out", progress=False))
    read = about["read"]["amount"]
    assert about["roles"]["amount"] == ["Debit Amount", "Credit Amount"]
    assert (read["low"], read["high"], read["missing"], read["unreadable"]) == (-12, 30, 1, 0)


@pytest.mark.parametrize("value", ["(not set)", "#N/A", "<NA>", "(null)", "NaT", "N/A", "#DIV/0!"])
def test_words_for_nothing_are_missing_and_not_unreadable(tmp_path, value):
    path = tmp_path / "e.csv"
    path.write_text(f"user,item,price\na,p,1\nb,p,2\n{value},p,3\na,q,{value}\n")
    about = store.read_about(ingest.ingest(path, tmp_path / "out", progress=False))
    read = about["read"]
    assert (read["user"]["missing"], read["user"]["different"]) == (1, 2)
    assert (read["amount"]["missing"], read["amount"]["unreadable"]) == (1, 0)


def test_statements_spreadsheets_and_short_forms(read_numbers):
    values = {
        "\u221245.00": -45, "\u201345.00": -45, "1,234.50 CR": 1234.5, "45.00 Dr.": -45,
        "CHF 45.-": 45,
        "1.5K": 1500, "1.2 lakh": 120_000, "12.00+": 12, "45.000 ₫": 45_000, "Rp 1.500": 1500,
        "\uff11\uff12.\uff15": 12.5, '{"$numberDecimal":"12.50"}': 12.5, "-": None, ".": None,
    }  # fmt: skip
    reading, numbers = read_numbers(*values)
    assert dict(zip(values, numbers, strict=True)) == values
    assert "CR is taken for money in, DR for money out" in reading.note


def test_an_exponent_behind_a_decimal_comma(read_numbers):
    assert read_numbers("1,5E+03", "2,25", "1.200,-")[1] == [1500, 2.25, 1200]
