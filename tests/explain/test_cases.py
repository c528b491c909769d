"""Case cards: what stands on them, and that intervals and percentiles mean what they say."""

import numpy as np
import pytest
import torch

from gadkit import explain
from gadkit.evaluation import splits
from gadkit.explain import cases
from gadkit.graph import CSR, HeteroGraph
from gadkit.trees import recipe
from gadkit.trees.learners import Rows
from gadkit.trees.views import Views


@pytest.fixture(scope="module")
def shop():
    """200 users and 40 products; the frauds, every eighth, buy of products 0 to 3."""
    generator = torch.Generator().manual_seed(0)
    fraud = (torch.arange(200) % 8 == 0).long()
    bought = torch.randint(4, 40, (200, 4), generator=generator)
    bought[fraud == 1, :3] = torch.randint(4, (int(fraud.sum()), 3), generator=generator)
    users = torch.arange(200).repeat_interleave(4)
    buys = CSR.from_edges(users, bought.flatten(), num_src=200, num_dst=40)
    x = {
        "user": torch.randn(200, 3, generator=generator) + fraud[:, None],
        "product": torch.randn(40, 2, generator=generator),
    }
    labels = torch.stack([torch.arange(200), fraud], 1)
    edges = {("user", "buys", "product"): buys}
    return HeteroGraph({"user": 200, "product": 40}, edges, x, labels)


@pytest.fixture(scope="module")
def made(shop):
    """Suspects and their cards, as a notebook makes them."""
    split = splits.stratified(shop.labels)
    fitted = recipe.fit_boosted(Views(shop), split, ("own", "hops"))
    suspects = split.test[fitted.scores[split.test[:, 0]].argsort(descending=True)[:5], 0]
    space = torch.cat([shop.x["user"], torch.zeros(40, 3)])
    names = np.array([f"<b>{i}</b>" for i in range(200)] + [""] * 40, dtype=object)
    options = {"names": names, "draws": 2}
    cards = cases.of_suspects(shop, suspects, fitted, space, **options)
    repeated = cases.of_suspects(shop, suspects, fitted, space, **options)
    assert cards == repeated
    return fitted, split, suspects, cards


def test_a_card_says_who_how_sure_and_why(made):
    fitted, split, suspects, cards = made
    assert [card["node"] for card in cards] == suspects.tolist()
    for card in cards:
        assert card["score"] == float(fitted.scores[card["node"]])
        assert 0 <= card["low"] <= card["score"] <= card["high"] <= 1
        assert 1 <= len(card["features"]) <= cases.FEATURES
        raises = [feature["contribution"] for feature in card["features"]]
        assert raises == sorted(raises, reverse=True)
        assert raises[-1] > 0
    assert any(card["low"] < card["high"] for card in cards)


def test_a_card_leads_to_the_products_of_the_ring_and_to_whom_one_meets_there(shop, made):
    fitted, split, _, cards = made
    learned = dict(split.train.tolist())  # all users have a label: the others are to be found
    assert shop.labels[cards[0]["node"], 1] == 1
    first = cards[0]["neighbors"][0]
    assert (first["type"], first["relation"]) == ("product", "buys")
    assert first["node"] - 200 < 4
    assert first["score"] is None
    assert len(first["meets"]) == min(cases.MEETINGS, first["others"])
    verdicts = [met["known"] for met in first["meets"]]
    assert verdicts == sorted(verdicts, key=lambda verdict: verdict != 1)  # frauds first
    assert cards[0]["why"][0] == first["reason"]
    assert first["frauds"] == sum(
        learned.get(user) == 1 for user in buyers(shop, first["node"]) - {cards[0]["node"]}
    )
    for met in first["meets"]:
        assert met["node"] != cards[0]["node"]
        assert met["known"] == learned.get(met["node"])
    shares = [neighbor["share"] for neighbor in cards[0]["neighbors"]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1 + 1e-9


def buyers(graph, product):
    users, products = graph.edges["user", "buys", "product"].pairs()
    return set(users[products == product - graph.offset("product")].tolist())


def devices(labels):
    """Users 0 to 4 have device 0, users 0 and 5 card 0, user 6 pays users 0 and 7."""
    has_device = CSR.from_edges(torch.arange(5), torch.zeros(5).long(), num_src=10, num_dst=1)
    has_card = CSR.from_edges(torch.tensor([0, 5]), torch.zeros(2).long(), num_src=10, num_dst=1)
    pays = CSR.from_edges(torch.tensor([6, 6]), torch.tensor([0, 7]), num_src=10, num_dst=10)
    edges = {
        ("user", "has_device", "device"): has_device,
        ("user", "has_card", "card"): has_card,
        ("user", "pays", "user"): pays,
    }
    num_nodes = {"user": 10, "device": 1, "card": 1}
    return HeteroGraph(num_nodes, edges, labels=torch.tensor(labels))


def test_a_card_says_in_words_whom_a_suspect_meets():
    graph = devices([[1, 1], [2, 1], [3, 0], [6, 1]])
    scores = torch.full((12,), torch.nan, dtype=torch.float64)
    scores[:10] = torch.tensor([0.9, 0.1, 0.2, 0.9, 0.5, 0.8, 0.3, 0.3, 0.3, 0.3])
    names = np.array([*"abcdefghij", "d7", "c7"], dtype=object)
    suspects = torch.tensor([0, 9])
    first, alone = cases.of_company(graph, suspects, scores, graph.labels[:1], names=names)
    # All that the user has said counts, also what was not learned from.
    reasons = {line["name"]: line["reason"] for line in first["neighbors"]}
    assert reasons["d7"] == (
        "shares device d7 with 4 accounts, 2 of them confirmed frauds, 1 cleared"
    )
    assert reasons["c7"] == "shares card c7 with 1 account, not confirmed"
    assert reasons["g"] == (
        "is tied to user g (pays), a confirmed fraud, and with it to 1 account, not confirmed"
    )
    assert set(first["why"]) == {reasons["d7"], reasons["g"]}  # where frauds are confirmed
    (device,) = (line for line in first["neighbors"] if line["name"] == "d7")
    # b and c are confirmed, however low they score, and e is met; d is cleared.
    assert [met["name"] for met in device["meets"]] == ["b", "c", "e"]
    assert (first["low"], first["features"], first["confirmed"]) == (None, None, None)
    assert (alone["why"], alone["neighbors"]) == ([], [])


@pytest.mark.parametrize(
    ("others", "frauds", "cleared", "words"),
    [
        (1, 1, 0, "with 1 account, a confirmed fraud"),
        (1, 0, 1, "with 1 account, cleared"),
        (6, 6, 0, "with 6 accounts, all of them confirmed frauds"),
        (6, 5, 0, "with 6 accounts, 5 of them confirmed frauds"),
        (6, 1, 2, "with 6 accounts, 1 of them a confirmed fraud, 2 cleared"),
        (1200, 0, 0, "with 1,200 accounts, none of them a confirmed fraud"),
    ],
)
def test_reasons_read_as_sentences(others, frauds, cleared, words):
    line = {"type": "ip", "name": "10.0.0.1", "known": None, "score": None}
    line |= {"others": others, "frauds": frauds, "cleared": cleared}
    assert cases.reason(line | {"relation": "has_ip"}) == f"shares ip 10.0.0.1 {words}"
    bought = cases.reason(line | {"relation": "co_buys"})
    assert bought == f"shares ip 10.0.0.1 (co buys) {words}"


def test_a_reason_names_a_thing_once_and_says_who_is_alone():
    line = {"type": "product", "name": "product 7", "relation": "sells"}
    line |= {"known": None, "score": None, "others": 0, "frauds": 0, "cleared": 0}
    assert cases.reason(line) == "is alone at product 7 (sells)"
    assert cases._reasons([line | {"reason": cases.reason(line)}]) == []
    assert cases.reason(line | {"others": 2}).startswith("shares product 7 (sells) with 2 accounts")


def test_a_neighbor_stands_on_a_card_once_however_many_edges_lead_to_it():
    """User 0 bought product 0 six times, reviewed product 1 as well, and follows user 1 back."""
    bought = torch.tensor([[0, 0]] * 6 + [[0, k] for k in range(1, 6)] + [[1, 0], [1, 1], [2, 1]])
    buys = CSR.from_edges(*bought.T, num_src=3, num_dst=6)
    reviews = CSR.from_edges(torch.tensor([0]), torch.tensor([1]), num_src=3, num_dst=6)
    follows = CSR.from_edges(torch.tensor([0, 1]), torch.tensor([1, 0]), num_src=3, num_dst=3)
    edges = {
        ("user", "buys", "product"): buys,
        ("user", "reviews", "product"): reviews,
        ("user", "follows", "user"): follows,
    }
    graph = HeteroGraph({"user": 3, "product": 6}, edges)
    listed = explain.edges_into(graph, torch.tensor([0]))
    evidence = 1.0 / (1.0 + listed.neighbor.double())
    nothing = torch.full((9,), torch.nan)
    describe = cases._describer(graph, None, nothing, torch.full((9,), -1))
    lines = cases._neighbors(graph, listed, evidence, 0, nothing, torch.full((9,), -1), describe)
    assert [line["node"] for line in lines] == [1, 3, 4, 5, 6]
    assert [line["relation"] for line in lines] == [
        "follows",
        "buys",
        "buys, reviews",
        *["buys"] * 2,
    ]
    whole = sum(1 / (1 + node) for node in (1, 3, 4, 5, 6, 7, 8))
    assert lines[1]["share"] == pytest.approx(1 / 4 / whole)


def test_the_nearest_confirmed_frauds_are_training_frauds_by_distance(shop, made):
    _, split, _, cards = made
    frauds = split.train[split.train[:, 1] == 1, 0]
    space = shop.x["user"].double()
    typical = torch.nn.functional.pdist(space[frauds]).median()
    for card in cards:
        far = (space[frauds] - space[card["node"]]).norm(dim=1) / typical
        assert [fraud["distance"] for fraud in card["confirmed"]] == pytest.approx(
            far.sort().values[:3].tolist()
        )


def test_percentiles_are_among_the_nodes_of_the_type():
    edge = CSR.from_edges(torch.tensor([0]), torch.tensor([0]), num_src=4, num_dst=2)
    graph = HeteroGraph({"a": 4, "b": 2}, {("a", "to", "b"): edge})
    x = torch.tensor([[1.0], [2.0], [2.0], [4.0], [torch.nan], [9.0]])
    table = cases.Table(["v"], torch.arange(6), x, torch.zeros(1, 1))
    suspects = torch.tensor([3, 1, 5, 4])
    ranks = cases.percentiles(graph, table, suspects, torch.tensor([0]))[:, 0]
    assert ranks[:2].tolist() == [0.875, 0.5]
    assert ranks[3].isnan()


def test_an_interval_is_wide_where_few_labels_speak_and_narrow_where_many_do():
    generator = torch.Generator().manual_seed(0)
    y = (torch.arange(1200) % 4 == 0).long()
    x = torch.randn(1200, 2, generator=generator) + y[:, None]
    rows, val = Rows(x[:900], y[:900]), Rows(x[900:], y[900:])
    few = Rows(x[:60], y[:60])
    scores = torch.full((50,), 0.5, dtype=torch.float64)
    seen = x[850:900]
    widths = [
        (ends[:, 1] - ends[:, 0]).mean()
        for ends in (
            cases.score_intervals(train, val, seen, scores, draws=6) for train in (few, rows)
        )
    ]
    assert widths[1] < 0.7 * widths[0]


def test_cards_are_kept_as_json(tmp_path, made):
    cards = made[3]
    cases.save(tmp_path / cases.FILE, cards)
    assert cases.load(tmp_path / cases.FILE) == cards


def test_most_suspicious_leaves_out_what_was_learned_and_what_has_no_score():
    scores = torch.tensor([0.5, 0.9, torch.nan, 0.0, 0.5, 1.0], dtype=torch.float64)
    assert cases.most_suspicious(scores, torch.tensor([5])).tolist() == [1, 0, 4, 3]


def test_a_suspect_without_neighbors_or_alike_still_gets_a_card(shop):
    table = cases.Table(["v"], torch.arange(200), torch.ones(200, 1), torch.tensor([[-1.0]]))
    edges = explain.edges_into(shop, torch.tensor([1]))
    scores = torch.full((240,), 0.25)
    confirmed = cases.Confirmed(torch.tensor([[0, 1], [2, 0]]), torch.zeros(240, 2))
    (card,) = cases.build(
        shop, torch.tensor([1]), scores, intervals=torch.tensor([[0.1, 0.9]]), table=table,
        edges=edges, evidence=torch.zeros(len(edges.neighbor)), confirmed=confirmed,
    )  # fmt: skip
    assert (card["features"], card["neighbors"], card["confirmed"]) == ([], [], [])
    assert card["name"] == "user 1"
