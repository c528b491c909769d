"""Every statistic against a loop over the events of each node that follows its definition."""

import datetime as dt
import math
import statistics

import numpy as np
import pytest

from gadkit.ingest import features
from gadkit.ingest.features import DAY, Events

VALUES = ("rating", "verified", "votes", "amount", "text_length")
TYPES = ("user", "product", "seller")


def table(seed=0, num_events=160, *, timed=True, values=VALUES):
    """Events in which all sorts of values are missing, and some nodes have one event."""
    rng = np.random.default_rng(seed)
    nodes = {
        "user": np.concatenate([np.arange(30), rng.integers(0, 20, num_events - 30)]),
        "product": np.concatenate([np.arange(12), rng.integers(0, 9, num_events - 12)])[::-1],
        "seller": np.concatenate([np.arange(5), rng.integers(-1, 3, num_events - 5)]),
    }
    drawn = {
        "rating": rng.integers(1, 6, num_events),
        "verified": rng.integers(0, 2, num_events),
        "votes": np.maximum(rng.integers(-9, 40, num_events), 0),
        "amount": rng.normal(20, 30, num_events),
        "text_length": rng.integers(0, 60, num_events),
    }
    found = {}
    for name in values:
        found[name] = drawn[name].astype(np.float32)
        found[name][rng.random(num_events) < 0.2] = np.nan
        found[name][nodes["user"] == 29] = np.nan  # a node of which nothing is known
    time = None
    if timed:
        start = dt.datetime(2019, 3, 14, tzinfo=dt.UTC).timestamp()
        time = start + np.floor(rng.random(num_events) * 40 * DAY)
        time[1::7] = time[::7][: len(time[1::7])]  # at once
        time[rng.random(num_events) < 0.1] = np.nan
        time[nodes["user"] == 29] = np.nan
    return Events({name: ids.astype(np.int64) for name, ids in nodes.items()}, time, found)


def described(events, node_type, links=None):
    num_nodes = events.nodes[node_type].max() + 1
    out = np.zeros((num_nodes, 128), np.float32)
    links = np.zeros(num_nodes) if links is None else links
    filled = features.describe(events, node_type, links, out)
    return dict(zip(features.names(events, text=False), out.T, strict=True)), filled


# The definitions.


def mean(values):
    return statistics.fmean(values) if values else math.nan


def sd(values):
    return statistics.pstdev(values) if values else math.nan


def known(values):
    return [float(value) for value in values if not math.isnan(value)]


def log(value):
    return math.copysign(math.log1p(abs(value)), value)


def share(values, of):
    return mean([float(of(value)) for value in values])


def weekday(time):
    return dt.datetime.fromtimestamp(time, dt.UTC).weekday()


def hour(time):
    return dt.datetime.fromtimestamp(time, dt.UTC).hour


def date(time):
    return dt.datetime.fromtimestamp(time, dt.UTC).date()


def counts(events, node_type, rows):
    partner = events.nodes["user" if node_type == "product" else "product"].tolist()
    partners = {partner[row] for row in rows}
    yield "log_events", math.log1p(len(rows))
    yield "log_partners", math.log1p(len(partners))
    yield "repeat_share", 1 - len(partners) / len(rows)
    yield "partner_log_events", mean([math.log1p(partner.count(partner[row])) for row in rows])


def timed(events, _, rows):
    every, own = known(events.time), sorted(known(events.time[rows]))
    gaps = [after - before for before, after in zip(own, own[1:], strict=False)]
    days = [date(time) for time in own]
    yield "gap_log_mean", math.log1p(mean(gaps))
    yield "gap_log_sd", math.log1p(sd(gaps))
    yield "burstiness", (sd(gaps) - mean(gaps)) / max(sd(gaps) + mean(gaps), 1)
    yield "same_day_share", share(gaps, lambda gap: gap < DAY)
    yield "busiest_day_share", max(map(days.count, days)) / len(rows) if own else math.nan
    yield "log_active_days", math.log1p((own[-1] - own[0]) / DAY) if own else math.nan
    yield "first_day", (own[0] - min(every)) / DAY if own else math.nan
    yield "last_day", (max(every) - own[-1]) / DAY if own else math.nan
    yield "weekend_share", share(own, lambda time: weekday(time) >= 5)
    yield "night_share", share(own, lambda time: hour(time) < 6)


def of_values(events, _, rows):
    own = {name: known(value[rows]) for name, value in events.values.items()}

    def vs_product(value):
        products = events.nodes["product"]
        return mean([
            value[row] - mean(known(value[products == products[row]]))
            for row in rows if not math.isnan(value[row])
        ])  # fmt: skip

    if "rating" in own:
        rating = events.values["rating"].astype(float)
        yield "rating_mean", mean(own["rating"])
        yield "rating_sd", sd(own["rating"])
        yield "rating_lowest_share", share(own["rating"], lambda stars: stars == 1)
        yield "rating_highest_share", share(own["rating"], lambda stars: stars == 5)
        yield "rating_vs_product", vs_product(rating)
    if "verified" in own:
        yield "verified_share", mean(own["verified"])
    if "votes" in own:
        yield "votes_log_mean", mean([log(votes) for votes in own["votes"]])
        yield "votes_log_max", max(map(log, own["votes"]), default=math.nan)
        yield "votes_none_share", share(own["votes"], lambda votes: votes == 0)
    if "amount" in own:
        amounts = [log(amount) for amount in own["amount"]]
        yield "amount_log_mean", mean(amounts)
        yield "amount_log_sd", sd(amounts)
        yield "amount_log_max", max(amounts, default=math.nan)
        yield "amount_vs_product", vs_product(np.array([log(a) for a in events.values["amount"]]))
    if "text_length" in own:
        lengths = [log(length) for length in own["text_length"]]
        yield "text_log_mean", mean(lengths)
        yield "text_log_sd", sd(lengths)
        yield "text_short_share", share(own["text_length"], lambda length: length < 20)


def expected(events, node_type):
    """Each statistic of each node, those of nodes of which nothing is known filled; how many."""
    parts = [counts, of_values] + ([timed] if events.time is not None else [])
    ids = events.nodes[node_type]
    nodes = [
        {name: value for part in parts for name, value in part(events, node_type, rows)}
        for rows in (np.flatnonzero(ids == node) for node in range(ids.max() + 1))
    ]
    columns, filled = {}, {}
    for name in nodes[0]:
        column = np.array([node[name] for node in nodes])
        unknown = np.isnan(column)
        if unknown.any():
            filled[name] = int(unknown.sum())
            column[unknown] = 0 if unknown.all() else column[~unknown].mean()
        columns[name] = column
    return columns, filled


@pytest.mark.parametrize("node_type", TYPES)
@pytest.mark.parametrize(
    "make",
    [
        {"seed": 0},
        {"seed": 1, "timed": False},
        {"seed": 2, "values": ()},
        {"seed": 3, "timed": False, "values": ("amount",)},
        {"seed": 4, "num_events": 31},
    ],
    ids=str,
)
def test_every_column_is_what_it_is_called(node_type, make):
    events = table(**make)
    found, filled = described(events, node_type)
    columns, expected_filled = expected(events, node_type)
    links = found.pop("log_links")
    assert not links.any()
    named = {name for name in found if not name.startswith("empty")}
    assert named == set(columns)
    for name, column in columns.items():
        np.testing.assert_allclose(found[name], column, rtol=1e-5, atol=1e-5, err_msg=name)
    assert filled == expected_filled
    assert not any(found[name].any() for name in found if name.startswith("empty"))


def test_links_are_the_callers():
    found, _ = described(table(), "user", np.arange(30))
    np.testing.assert_allclose(found["log_links"], np.log1p(np.arange(30)), rtol=1e-6)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("values", [(), VALUES])
def test_there_are_128_columns_of_different_names(values, text):
    for timed in (False, True):
        names = features.names(table(timed=timed, values=values), text=text)
        assert len(set(names)) == 128
        assert any(name.startswith("topic_") for name in names) == text
        assert any(name.startswith("empty_") for name in names) == (not text)


def test_one_event_is_described_too():
    one = {name: np.zeros(1, np.int64) for name in TYPES}
    rating = {"rating": np.array([4], np.float32)}
    found, filled = described(Events(one, np.array([DAY / 2]), rating), "user")
    assert found["rating_mean"] == 4 and found["rating_sd"] == found["burstiness"] == 0
    assert set(filled) == {"gap_log_mean", "gap_log_sd", "burstiness", "same_day_share"}
    nothing = Events(one, np.array([np.nan]), {"rating": np.array([np.nan], np.float32)})
    found, filled = described(nothing, "user")
    assert all(np.isfinite(column).all() for column in found.values())
    assert filled["first_day"] == filled["rating_mean"] == 1


def test_the_order_of_the_rows_makes_no_difference():
    events = table()
    order = np.random.default_rng(9).permutation(len(events.time))
    shuffled = Events(
        {name: ids[order] for name, ids in events.nodes.items()},
        events.time[order],
        {name: value[order] for name, value in events.values.items()},
    )
    for node_type in TYPES:
        (one, filled), (other, refilled) = (
            described(events, node_type),
            described(shuffled, node_type),
        )
        assert filled == refilled
        for name in one:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-5)


def test_spread_of_values_that_are_large_and_nearly_alike():
    """Of 2^30 and 128 more or less, squares in float64 leave no spread."""
    value = np.array([2.0**30, 2.0**30 + 128, 2.0**30 - 128, 5.0, 0.1, 0.1, 0.1], np.float32)
    buyers = {"user": np.array([0, 0, 0, 1, 2, 2, 2])}
    mean, sd = features.Groups(Events(buyers, None, {}), "user", 3).moments(value)
    np.testing.assert_allclose(mean, [2.0**30, 5, np.float32(0.1)], rtol=1e-12)
    np.testing.assert_allclose(sd, [128 * (2 / 3) ** 0.5, 0, 0], rtol=1e-9, atol=0)


def test_values_as_large_as_may_be_stay_finite():
    events = table()
    for name in ("rating", "amount"):
        events.values[name][::5] = 9.9e29
        events.values[name][1::5] = -9.9e29
    events.time[::5], events.time[1::5] = 253_402_300_799, -62_135_596_800
    for node_type in TYPES:
        found, _ = described(events, node_type)
        assert all(np.isfinite(column).all() for column in found.values())


# Words.

WORDS = [
    "Great product, GREAT price!",
    "",
    "   ",
    "naïve 日本 😀",
    "a a a b",
    "12 monkeys",
    "don't",
]


def topics(pieces, nodes, first=40, num_nodes=4):
    out = np.zeros((num_nodes, 128), np.float32)
    features.add_topics(pieces, [(np.asarray(nodes), out)], first)
    assert not out[:, :first].any()
    return out[:, first:]


def one_piece(texts):
    return [(np.arange(len(texts)), list(texts))]


def test_topics_do_not_depend_on_pieces_or_order():
    nodes = np.array([0, 1, 2, 0, 1, -1, 0])
    whole = topics(one_piece(WORDS), nodes)
    assert (whole == topics(one_piece(WORDS), nodes)).all()
    for size in (1, 2, 5):
        starts = range(0, len(WORDS), size)
        pieces = [(np.arange(len(WORDS))[i : i + size], WORDS[i : i + size]) for i in starts]
        assert (whole == topics(pieces, nodes)).all()
        assert (whole == topics(pieces[::-1] + [(np.arange(0), [])], nodes)).all()
    assert not topics([], nodes).any() and not topics([(np.arange(0), [])], nodes).any()


def test_topics_have_length_one_where_there_are_words():
    nodes = np.array([0, 1, 1, 0, 2, -1, 2])
    lengths = np.linalg.norm(topics(one_piece(WORDS), nodes), axis=1)
    np.testing.assert_allclose(lengths, [1, 0, 1, 0], atol=1e-6)


def test_topics_see_words_and_not_how_they_are_written():
    def of(text):
        return topics(one_piece([text]), [0])[0]

    assert (of("Great, price") == of("great price!")).all()
    assert (of("price great") == of("great price")).all()
    assert (of("great") != of("greats")).any() and (of("great") != of("grea t")).any()
    assert (of("great great") == of("great")).all()
    assert np.count_nonzero(of("great")) == 1 and abs(of("great")).max() == 1
    assert (of("日本") != of("日")).any() and not of("!? -- \n\t").any()
    assert of("\ud800 x").any()  # no Unicode, yet no error


def test_topics_use_all_columns_and_both_signs():
    words = [f"word{i}" for i in range(3000)]
    found = topics(one_piece(words), np.arange(3000), first=100, num_nodes=3000)
    assert (np.count_nonzero(found, axis=1) == 1).all()
    per_column = np.count_nonzero(found, axis=0)
    assert per_column.min() > 60 and per_column.max() < 160  # 107 on average
    assert 0.45 < (found.sum(axis=1) > 0).mean() < 0.55
    one = topics(one_piece(words[:9]), np.zeros(9, int), first=127)
    assert one.shape[1] == 1 and np.isfinite(one).all()
