"""Labels: what says fraud and what says normal, and what is never guessed."""

import pytest

from gadkit import cli, ingest, store
from gadkit.ingest import labels
from gadkit.ingest.labels import FRAUD, NEITHER, NORMAL, UNKNOWN, LabelOptions, read_values
from gadkit.ingest.source import Source
from gadkit.store import node_ids

EVENTS = "user,product,amount\n" + "".join(f"u{row % 9},p{row % 6},{row}.5\n" for row in range(30))


def write(path, text):
    path.write_text(text)
    return path


def take(tmp_path, text, *, events=EVENTS, out="out", **options):
    """Ingest nine users and a table of labels: the labels by name, and what is said of them."""
    path = write(tmp_path / "events.csv", events)
    table = None if text is None else write(tmp_path / "labels.csv", text)
    options = LabelOptions(**options)
    folder = ingest.ingest(
        path, tmp_path / out, labels=table, label_options=options, progress=False
    )
    graph = store.load_graph(folder)
    names = node_ids.of_nodes(folder, graph)
    return (
        {names[node]: label for node, label in graph.labels.tolist()},
        labels.said(store.read_about(folder)["labels"]),
    )


def table(*rows, header="user,verdict"):
    return "\n".join([header, *rows]) + "\n"


MINUS = table("u0,-1", "u1,-1", "u2,-1", *(f"u{k},1" for k in range(3, 9)))
CLASSES = table(*(f"u{k},{('1', '2', 'unknown')[k % 3]}" for k in range(9)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINUS, r"'1' \(6 rows\), '-1' \(3 rows\); .*scikit-learn.*--positive=-1 or --positive=1"),
        (CLASSES, r"'1' \(3 rows\), '2' \(3 rows\), 'unknown' \(3 rows\); 1 is illicit .*Elliptic"),
        (MINUS.replace("1", "1.0"), r"'1.0' \(6 rows\), '-1.0' \(3 rows\); .*--positive=-1"),
        (table("u0,1", "u1,0", header="user,is_genuine"), "seems to say who is no fraud.*'1'"),
        (table("u0,blue", "u1,red"), r"no value of 'verdict' says fraud: 'blue' \(1 row: neither"),
        (table("u0,0", "u1,-1"), r"says fraud: '-1' \(1 row: not known\), '0' \(1 row: normal\)"),
        (table("u0,", "u1,NULL"), "no value of 'verdict' says fraud: there is none"),
        (table(",fraud", "u1,ok"), "no row says of a user that it is a fraud"),
        (
            table("u0,2026-01-01", header="user,when"),
            "'when' holds dates, .*'2026-01-01'.*-value ''",
        ),
        (table("u0,2026-01-01 10:00", "u1,", header="user,fraud_at"), "'fraud_at' holds dates"),
        (table("u0,0.0", "u1,1.0", "u2,0.3"), r"numbers that are not whole, .*'0.3'.*threshold"),
        (table("u0", "u1", header="user"), "no column of verdicts beside user; .*--label-value ''"),
        (table("u0,a,b", header="user,first,second"), "first, second may: .*--label-value COLUMN"),
        (table("u0,1,2", header="whom,a,b"), "expected a column called .*--label-id COLUMN"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_before_events_are_read(
    tmp_path, monkeypatch, text, message
):
    monkeypatch.setattr(Source, "_read_events", lambda *_: pytest.fail("the events were read"))
    with pytest.raises(ValueError, match=r"labels\.csv: .*" + message):
        take(tmp_path, text)
    assert not (tmp_path / "out").exists()


def expect(frauds, normal=""):
    return {f"u{k}": 1 for k in frauds} | {f"u{k}": 0 for k in normal}


@pytest.mark.parametrize(
    ("text", "options", "right"),
    [
        (MINUS, {"positive": ["-1"]}, expect("012", "345678")),
        (MINUS, {"positive": ["1"]}, expect("345678", "012")),
        (MINUS, {"positive": ["1"], "negative": [""]}, expect("345678")),
        (MINUS, {"positive": ["1.0"], "negative": ["-1"]}, expect("345678", "012")),
        (MINUS, {"negative": ["-1"]}, expect("345678", "012")),
        (CLASSES, {"positive": ["1"]}, expect("036", "147")),
        (CLASSES, {"positive": ["2"]}, expect("147", "036")),
        (CLASSES, {"negative": ["2"]}, expect("036", "147")),
        (CLASSES, {"positive": ["2", "UNKNOWN"]}, expect("147258", "036")),
        (table("u0,1", "u1,0", "u2,-1"), {}, expect("0", "1")),
        (table("u0,1", "u1,0", "u2,-1"), {"positive": ["1"]}, expect("0", "1")),
        (table("u0,CONFIRMED_FRAUD", "u1,Legit", "u2,in-review"), {}, expect("0", "1")),
        (table("u0,chargeback", "u1,ok"), {}, expect("0", "1")),
        (table("u0,fraud", "u1,chargeback", "u2,ok"), {}, expect("0", "2")),
        (table("u0,fraud", "u1,fraud"), {}, expect("01")),
        (table("u0,fraud", "u0,ok", "u1,fraud", "u2,ok"), {}, expect("1", "2")),
        (table("u0", "u3", header="user"), {"value": ""}, expect("03")),
        (table("u0,2026-01-01", header="user,when"), {"value": ""}, expect("0")),
        (
            table("u0,Y,2026-10-01", "u1,N,", header="user,chargeback,chargeback_date"),
            {},
            expect("0", "1"),
        ),
        (table("u0,fraud,ann", "u1,ok,bob", header="user,v,reviewer"), {}, expect("0", "1")),
        (table("ann,fraud,u0", header="who,v,buyer"), {}, expect("0")),
        (
            table("7,u0,yes,no", "8,u1,no,yes", header="case,whom,first,second"),
            {"id": ["whom"], "value": "second"},
            expect("1", "0"),
        ),
        (table("p0,1", "p1,0", header="id,label"), {}, {"p0": 1, "p1": 0}),
        (table("u0,1", "u1,0", header="id,target"), {}, expect("0", "1")),
        (table("u0,1", "u1,0", header="user,is_genuine"), {"positive": ["0"]}, expect("1", "0")),
    ],
)
def test_labels_are_read_as_they_say_or_as_the_user_says(tmp_path, text, options, right):
    assert take(tmp_path, text, **options)[0] == right


def test_what_was_read_is_said(tmp_path):
    text = table("u0,fraud,x", "u1,ok,x", "u2,perhaps,x", "zz,fraud,x", header="user,verdict,by")
    assert take(tmp_path, text)[1] == [
        "fraud is: user called 'fraud' by 'verdict' in labels.csv",
        "read as: 'fraud' (2 rows: fraud), 'ok' (1 row: normal), 'perhaps' (1 row: neither yes "
        "nor no)",
        "verdict: 1 value is neither yes nor no, such as 'perhaps'; name what they mean with "
        "--positive or --negative",
        "3 of 4 labelled ids are users with events, 'zz' is labelled and has no event, 'u3' has "
        "events and no label",
        "1 labelled fraud, 1 normal",
    ]
    said = take(tmp_path, table("u0,fraud"), out="other")[1]
    assert said[-1].startswith("1 confirmed as fraud and nobody as normal: the others are taken as")
    assert store.read_about(tmp_path / "other")["labels"]["kind"] == "positive only"


def test_ids_that_may_be_of_two_types_are_of_the_one_with_more_and_that_is_said(tmp_path):
    events = "user,product\n" + "".join(f"{row % 9},{row % 6}\n" for row in range(30))
    verdicts, said = take(tmp_path, table("7,1", "2,0", header="id,label"), events=events)
    assert verdicts == {"7": 1, "2": 0}
    assert "2 of 2 labelled ids are users with events" in said[2]
    assert "they are ids of 1 products as well: call the column of ids by the type" in said[2]


def test_labels_that_match_no_event_show_one_id_of_each_side(tmp_path):
    message = (
        r"labels.csv: no user that is labelled fraud has an event: 1 of 3 labelled ids are users "
        r"with events, 'U0' is labelled and has no event, 'u0' has events and no label; 2 differ "
        r"only in case: --same-id casefold joins them; values of 'verdict': 'fraud' \(2 rows: "
        r"fraud\), 'ok' \(1 row: normal\); .*--label-id"
    )
    with pytest.raises(ValueError, match=message):
        take(tmp_path, table("U0,fraud", "U1,fraud", "u2,ok"))
    with pytest.raises(ValueError, match="all 9 there are are frauds, so that nobody is left to"):
        take(tmp_path, table(*(f"u{k},fraud" for k in range(9))))
    assert [path.name for path in tmp_path.glob("out*")] == []


def test_labels_in_another_case_are_joined_where_the_user_says_so(tmp_path):
    events, reviewed = tmp_path / "events.csv", tmp_path / "reviewed.csv"
    write(events, EVENTS), write(reviewed, table("U0,fraud", "U1,ok"))
    options = {"labels": reviewed, "same_id": "casefold", "progress": False}
    graph = store.load_graph(ingest.ingest(events, tmp_path / "out", **options))
    assert graph.labels.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positive": ["scam"]}, "no row says 'scam', as --positive does: the values of 'verdict'"),
        ({"positive": ["fraud"], "negative": ["Fraud"]}, "'fraud' cannot be both --positive and"),
        ({"id": ["buyer"]}, "no column 'buyer', as --label-id says; found user, verdict"),
        ({"value": "flag"}, "no column 'flag', as --label-value says; found user, verdict"),
        ({"value": "", "positive": ["fraud"]}, "leave one out"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        take(tmp_path, table("u0,fraud", "u1,ok"), **options)


def test_options_need_labels(tmp_path):
    with pytest.raises(ValueError, match="add --labels TABLE"):
        take(tmp_path, None, id=["user"])
    with pytest.raises(ValueError, match="there are none: add --labels TABLE, or name the column"):
        take(tmp_path, None, positive=["1"])


def of_events(*verdicts):
    lines = [f"u{row % 9},p{row % 6},{verdict}" for row, verdict in enumerate(verdicts)]
    return table(*lines, header="user,product,is_fraud")


def test_a_third_verdict_of_events_is_said(tmp_path):
    events = of_events("Yes", "No", "Chargeback", "No", "Chargeback", "", "unknown")
    verdicts, said = take(tmp_path, None, events=events)
    assert verdicts == {"line 2": 1, "line 3": 0, "line 5": 0}
    assert (
        "is_fraud: 2 values are neither yes nor no, such as 'Chargeback'; name what they mean with"
        in ("\n".join(said))
    )
    verdicts, said = take(
        tmp_path, None, events=events, out="other", positive=["yes", "chargeback"]
    )
    assert [*verdicts.values()] == [1, 0, 1, 0, 1]
    assert "neither" not in "\n".join(said[2:])


def test_events_may_be_labelled_fraud_alone(tmp_path):
    verdicts, said = take(tmp_path, None, events=of_events("1", "", "", "1", ""))
    assert verdicts == {"line 2": 1, "line 5": 1}
    assert "nobody as normal" in said[-1]
    for values, message in (
        (["1", "1"], "all 2 there are are frauds"),
        (["0", "no"], "says fraud"),
    ):
        with pytest.raises(ValueError, match=f"events.csv: .*{message}"):
            take(tmp_path, None, events=of_events(*values), out="other")
    with pytest.raises(ValueError, match="'1' .*--positive=-1 or --positive=1"):
        take(tmp_path, None, events=of_events("1", "-1", "-1"), out="other")


def test_labels_of_sellers_whose_fellow_has_no_event_stay_with_their_seller(tmp_path):
    # s0 offers p0 in the table of products only, where the events name another seller of it.
    events = write(tmp_path / "e.csv", "user,product,seller\na,p0,s1\nb,p1,\nc,p2,s3\n")
    offers = write(tmp_path / "offers.csv", "product,seller\np0,s0\np1,s2\n")
    verdicts = write(tmp_path / "labels.csv", "seller,label\ns2,1\ns3,0\ns0,1\n")
    folder = ingest.ingest(
        events, tmp_path / "out", products=offers, labels=verdicts, progress=False
    )
    graph = store.load_graph(folder)
    names = node_ids.of_nodes(folder, graph)
    assert {names[node]: y for node, y in graph.labels.tolist()} == {"s2": 1, "s3": 0}


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        ("1", FRAUD), ("+1.0", FRAUD), ("confirmed_fraud", FRAUD), ("true-positive", FRAUD),
        ("0.0", NORMAL), ("not  fraud", NORMAL), ("false positive", NORMAL), ("?", UNKNOWN),
        ("under_review", UNKNOWN), ("suspicious", NEITHER), ("3", NEITHER),
    ],
)  # fmt: skip
def test_words(value, meaning):
    read = read_values({value: 1, "fraud": 2, "0": 1} | {value: 1}, LabelOptions(), "verdict")
    assert read[value] == meaning


def test_the_command_takes_the_options_and_says_what_it_read(tmp_path, capsys):
    write(tmp_path / "events.csv", EVENTS)
    write(tmp_path / "labels.csv", MINUS)
    arguments = ["ingest", str(tmp_path / "events.csv"), "--labels", str(tmp_path / "labels.csv")]
    arguments += ["--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 1
    assert "labels.csv: the values of 'verdict' can be read in two ways" in capsys.readouterr().err
    assert cli.main([*arguments, "--label-id", "user", "--positive", "-1"]) == 0
    assert "labels    3 labelled fraud, 6 normal\n" in capsys.readouterr().out


def test_verdicts_of_parts_and_in_other_languages():
    right = {
        "Closed - confirmed": FRAUD, "Chargeback - Fraud": FRAUD, "Resolved (legit)": NORMAL,
        "Closed: not fraud": NORMAL, "Fraud - suspected": NEITHER,
        "Fraud - false positive": NEITHER,
        "Chargeback - Product not received": NEITHER, "VRAI": FRAUD, "Não": NORMAL, "Nein": NORMAL,
    }  # fmt: skip
    rows = {value.lower(): 1 for value in right}
    meanings = read_values(rows, LabelOptions(), "verdict")
    assert {value: meanings[value.lower()] for value in right} == right


@pytest.mark.parametrize(
    ("fraud", "normal"),
    [
        ("confirmed", "dismissed"), ("TP", "FP"), ("true_positive", "FALSE POSITIVE"),
        ("chargeback", "dismissed"), ("guilty", "not guilty"), ("banned", "active"),
        ("suspended", "ok"), ("confirmed_fraud", "confirmed_legit"), ("SAR filed", "no SAR"),
        ("fraud - confirmed", "dismissed - no action"), ("substantiated", "unsubstantiated"),
    ],
)  # fmt: skip
def test_pairs_of_verdicts(fraud, normal):
    read = read_values({fraud.lower(): 3, normal.lower(): 6}, LabelOptions(), "verdict")
    assert [*read.values()] == [FRAUD, NORMAL]


@pytest.mark.parametrize("value", ["suspended", "banned"])
def test_a_sanction_beside_a_verdict_is_none(value):
    assert read_values({"fraud": 3, value: 2}, LabelOptions(), "verdict")[value] == NEITHER


def test_ids_that_a_spreadsheet_has_changed_are_said(tmp_path):
    ids = [*(f"{100 + k:05}" for k in range(7)), "123456789012", "77", "88"]
    events = "user,product\n" + "".join(f"{ids[k % 10]},p{k % 6}\n" for k in range(40))
    rows = [f"{100 + k},{k % 2}" for k in range(7)]
    _, said = take(tmp_path, table(*rows, "1.23E+11,1", "77,1", "88,0"), events=events)
    matched = " ".join(said)
    assert "7 such as '100' differ only in zeros at the front" in matched
    assert "1 rows have ids that lost their last digits in a spreadsheet" in matched
    with pytest.raises(ValueError, match="zeros at the front, which spreadsheets drop: write the"):
        take(tmp_path, table(*rows), events=events, out="other")
