"""What a text table looks like, from its first lines."""

import pytest

from gadkit.store import layouts
from gadkit.store.layouts import Layout

NAMES = frozenset({"user", "product", "time", "amount", "userid"})


def see(text, **said):
    seen = layouts.see(text, Layout(names=NAMES)._replace(**said))
    return seen.columns, seen.skip_lines, seen.delimiter


@pytest.mark.parametrize(
    ("text", "columns", "skip_lines", "delimiter"),
    [
        ("user,product\nu,p\n", ["user", "product"], 1, ","),
        ("Kunde;Artikel;Preis,EUR\nu;p;1,5\n", ["Kunde", "Artikel", "Preis,EUR"], 1, ";"),
        # Excel says what the delimiter is.
        ("sep=;\nuser;product\nu;p\n", ["user", "product"], 2, ";"),
        ('"sep=,"\r\nuser,product\r\nu,p\r\n', ["user", "product"], 2, ","),
        ("SEP=\t\nuser\tproduct\nu\tp\n", ["user", "product"], 2, "\t"),
        # Lines before the header, padded to its width or not, more or less like a table.
        ("Shop,,\nof 1,,\n,,\nuser,product,time\nu,p,1\n", ["user", "product", "time"], 4, ","),
        ("Shop 12\n\nuser;product;time\nu;p;1\nv;p;1\n", ["user", "product", "time"], 3, ";"),
        ("Report, of shop 12\nuser,product\nu,p\nv,q\n", ["user", "product"], 2, ","),
        ("a;b;c;d\nuser,product\nu,p\nv,q\n", ["user", "product"], 2, ","),
        ("Konto: 7\nKunde,Artikel,Preis\nu,p,1.5\nv,q,2\n", ["Kunde", "Artikel", "Preis"], 2, ","),
        # A header that is one, though not all of it is filled, or few rows are like it.
        (",user,product\n0,u,p\n1,v,q\n", ["column 1", "user", "product"], 1, ","),
        (",name,price\nr,x,n/a\ns,y,3.5\nt,y,4\n", ["column 1", "name", "price"], 1, ","),
        ("user,product\nu\nv\nw,p\n", ["user", "product"], 1, ","),
        ("user,product,2019\nu,p,1\nv,p,2\n", ["user", "product", "2019"], 1, ","),
        ('"Price\r\n(EUR)",b\n1,1\n', ["Price\r\n(EUR)", "b"], 2, ","),
        # Comments, and a header in one.
        ("# made today\n# by us\nuser,product\nu,p\n", ["user", "product"], 3, ","),
        ("# from\n# FromNode\tToNode\n0\t1\n1\t2\n", ["FromNode", "ToNode"], 2, "\t"),
        ("#user,product\nu,p\nv,p\n", ["user", "product"], 1, ","),
        ("#,user,product\n1,u,p\n", ["#", "user", "product"], 1, ","),
        ("#order,user,product\n#1001,u,p\n#1002,v,p\n", ["#order", "user", "product"], 1, ","),
        ("% sym unweighted\nuser product\n1 2\n2 3\n", ["user", "product"], 2, " "),
        # No header.
        ("900\t0\t1.0\n901\t1\t2.0\n", ["column 1", "column 2", "column 3"], 0, "\t"),
        ("u1,p1,2022-01-27\nu2,p1,2022-01-28\n", ["column 1", "column 2", "column 3"], 0, ","),
        ("ann,tea,good\nbob,tea,bad\ncy,cup,good\n", ["column 1", "column 2", "column 3"], 0, ","),
        ("u\x01p\x012\nv\x01p\x013\n", ["column 1", "column 2", "column 3"], 0, "\x01"),
        # Rows of one field more than the header: a delimiter at the end, or R's names of rows.
        ("user,product\nu,p,\nv,q,\n", ["user", "product", "column 3"], 1, ","),
        ("user product\n1 u p\n2 u p\n", ["column 1", "user", "product"], 1, " "),
        ("user,paid\nu,1,250.00\nv,2,900.00\n", ["user", "paid"], 1, ","),
        # Nothing speaks against a header.
        ("ann,tea\nbob,cup\n", ["ann", "tea"], 1, ","),
        ("kind,what\nkind,what\na,b\n", ["kind", "what"], 1, ","),
    ],
)  # fmt: skip
def test_what_is_seen(text, columns, skip_lines, delimiter):
    assert see(text) == (columns, skip_lines, delimiter)


@pytest.mark.parametrize(
    ("text", "said", "columns", "skip_lines"),
    [
        ("x\ny\nuser,product\nu,p\n", {"skip_lines": 2}, ["user", "product"], 3),
        ("x,y\nKunde,Artikel\nu,p\n", {"skip_lines": 1}, ["Kunde", "Artikel"], 2),
        ("900,0\n901,1\n", {"header": True}, ["900", "0"], 1),
        ("user,product\nu,p\n", {"header": False}, ["column 1", "column 2"], 0),
        ("900,0\n901,1\n", {"columns": ("user", "product")}, ["user", "product"], 0),
        ("User,Product\n901,1\n", {"columns": ("user", "product")}, ["user", "product"], 1),
        ("user:product\nu:p\n", {"delimiter": ":"}, ["user", "product"], 1),
        ("// x\nuser,product\nu,p\n", {"comment": "//"}, ["user", "product"], 2),
        ("#x,y\nuser,product\nu,p\n", {"comment": ""}, ["user", "product"], 2),
        ('user,"say \\"p\\""\nu,p\n', {"escape": "\\"}, ["user", 'say "p"'], 1),
    ],
)
def test_what_is_said_goes_first(text, said, columns, skip_lines):
    assert see(text, **said)[:2] == (columns, skip_lines)


def test_notes_name_the_option_that_decides():
    def notes(text):
        return " ".join(layouts.see(text, Layout(names=NAMES)).notes)

    assert notes("user,product\nu,p\n") == ""
    assert "';' parts the fields" in notes("sep=;\nuser;product\nu;p\n")
    assert "line 3 names the columns" in notes("x\ny\nuser,product\nu,p\n")
    assert "--skip-lines 0 if line 1 does" in notes("x\ny\nuser,product\nu,p\n")
    assert "--columns" in notes("9,0\n8,1\n") and "--header" in notes("9,0\n8,1\n")
    assert "--comment ''" in notes("# x\nuser,product\nu,p\n")


@pytest.mark.parametrize(
    ("text", "said", "message"),
    [
        ("1,2\n3,4\n", {"columns": ("a", "b", "c")}, "--columns names 3 columns, but line 1 has 2"),
        ("a,b\n", {"skip_lines": 5}, "no line that names the columns after 5 lines"),
        ('"a"x,b\n1,2\n', {}, "line 1 should name the columns, but .* after a closing quote"),
    ],
)
def test_what_cannot_be_is_refused(text, said, message):
    with pytest.raises(ValueError, match=message):
        see(text, **said)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"encoding": "ebcdic"}, "encoding must be one of"),
        ({"delimiter": "::"}, "--delimiter must be one ASCII character"),
        ({"escape": '"'}, "--escape must be one ASCII character and no quote"),
        ({"skip_lines": -1}, "--skip-lines must be 0 or more"),
        ({"header": True, "columns": ("a",)}, "--columns names the columns of a table without"),
        ({"copies": "some"}, "copies must be one of drop, keep"),
    ],
)
def test_there_are_layouts_that_cannot_be(said, message):
    with pytest.raises(ValueError, match=message):
        Layout(**said).check()
