"""Frauds alone, or few of them: the rest of a ring comes first, and nothing is claimed of it."""

import re
from functools import partial

import numpy as np
import pytest
import torch

from gadkit import cli, store
from gadkit.evaluation import splits
from gadkit.graph import CSR, HeteroGraph
from gadkit.recommend import recommend
from gadkit.trees import bag, learners
from gadkit.trees.bag import Bag, fit_bag
from gadkit.trees.views import Views

USERS, RING, LONE = 400, 16, 24


@pytest.fixture(autouse=True, scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        quick = partial(learners.random_forest, trees=10)
        patch.setattr(bag, "BAGGED", bag.BAGGED | {"random forest": quick})
        patch.setattr(bag, "DRAWS", 5)
        yield


def shops(seed: int = 0) -> HeteroGraph:
    """Users 0 to 15 are a ring that shares devices and nothing else; 16 to 39 only look odd.

    The ring's members use two of eight devices each; everybody else has a device of their own, and
    every tenth shares it with somebody by chance.
    """
    rng = np.random.default_rng(seed)
    buys = np.unique([(u, rng.integers(90)) for u in range(USERS) for _ in range(5)], axis=0).T
    shared = [(u, d) for u in range(RING) for d in (u // 2, (u // 2 + 1) % 8)]
    own = [(u, 8 + (u if rng.random() < 0.9 else rng.integers(RING, USERS))) for u in range(USERS)]
    uses = np.array(shared + own[RING:]).T
    x = rng.normal(size=(USERS, 4))
    x[RING : RING + LONE, 0] += 3.0
    edges = {
        ("user", "buys", "product"): (buys, 90),
        ("user", "uses", "device"): (uses, 8 + USERS),
    }
    edges = {
        edge_type: CSR.from_edges(*map(torch.from_numpy, ends), num_src=USERS, num_dst=num)
        for edge_type, (ends, num) in edges.items()
    }
    counts = {"user": USERS, "product": 90, "device": 8 + USERS}
    x = {"user": torch.from_numpy(x).float()}
    x |= {name: torch.zeros(counts[name], 1) for name in ("product", "device")}
    return HeteroGraph(counts, edges, x)


@pytest.fixture(scope="module")
def graph() -> HeteroGraph:
    return shops()


def labelled(frauds, cleared=()) -> torch.Tensor:
    return torch.tensor([[u, 1] for u in frauds] + [[u, 0] for u in cleared])


def fitted(graph, labels, seed=0) -> Bag:
    return fit_bag(Views(graph, types=["user"]), labels, seed=seed)


@pytest.fixture(scope="module")
def some(graph) -> Bag:
    """What ten of the ring make of the others."""
    return fitted(graph, labelled([*range(10)]))


def places(ranking: Bag, users, left_out=()) -> torch.Tensor:
    """Where users come in a list from which some others are left out, from 1."""
    order = [user for user in ranking.ranked().tolist() if user not in {*left_out}]
    return torch.tensor([1.0 + order.index(user) for user in users])


@pytest.mark.parametrize("confirmed", [[3], [0, 3, 12], [*range(0, 10)]])
def test_the_rest_of_a_ring_comes_first(graph, confirmed):
    ranking = fitted(graph, labelled(confirmed))
    others = [user for user in range(RING) if user not in confirmed]
    where = places(ranking, others, confirmed)
    # One knows the three whom it shares a device with; ten leave one that shares with none of them.
    near = 3 if len(confirmed) == 1 else len(others) - 1
    assert int((where <= 2 * near + 2).sum()) >= near
    assert float(where.median()) <= (60 if len(confirmed) == 1 else len(others))


@pytest.mark.parametrize(("num", "most"), [(3, 100), (10, 60)])
def test_accounts_that_look_alike_come_first(graph, num, most):
    confirmed = [*range(RING, RING + num)]
    others = [*range(RING + num, RING + LONE)]
    ranking = fitted(graph, labelled(confirmed))
    assert float(places(ranking, others, confirmed).median()) <= most  # by chance 190
    assert sorted(ranking.ranked().tolist()) == [*range(USERS)]  # of other types nobody


def test_frauds_and_accounts_cleared(graph):
    cleared = [*range(100, 160)]
    ranking = fitted(graph, labelled([1, 2], cleared))
    assert float(places(ranking, range(3, RING), [1, 2]).median()) <= 30
    assert ranking.split.train.shape == (62, 2)
    assert not (ranking.draw[cleared] >= 0).any()  # they are taught in every draw
    assert "2 confirmed frauds and 60 cleared accounts against 338 that nobody" in ranking.said()[0]


def test_a_draw_is_scored_by_the_others(graph):
    ranking = fitted(graph, labelled([*range(10)]))
    assert ranking.num_folds == bag.FOLDS == bag.DRAWS
    assert sorted(ranking.draw[40:USERS].unique().tolist()) == [*range(bag.DRAWS)]
    assert (ranking.draw[USERS:] == -1).all() and (ranking.draw[:10] == -1).all()
    for member, number in zip(ranking.members, ranking.draw_of_member, strict=True):
        member.predict = lambda x, number=number: torch.full((len(x),), 0.5, dtype=torch.float64)
        member.bias = 1.0 if number == 3 else 0.0
    scores = ranking.score(ranking.ids).logit()
    for user, score in zip(ranking.ids.tolist(), scores.tolist(), strict=True):
        if user < 10:  # taught to all but the draw of its fold
            assert score == pytest.approx(1.0 if ranking.fold[user] == 3 else 0.0)
        else:
            assert score == pytest.approx(0.0 if ranking.draw[user] == 3 else 1 / 4)


def test_hidden_frauds_are_placed_as_if_they_were_not_known(graph, some):
    assert float(some.hidden_places.median()) < 10
    assert re.search(r"(9|10) of 10 come before all but 19 of 390 others: recall", some.said()[1])
    rng = np.random.default_rng(5)
    anybody = rng.choice(np.arange(RING + LONE, USERS), 60, replace=False).tolist()
    random = fitted(graph, labelled(anybody))  # what means nothing cannot be found
    assert 110 < float(random.hidden_places.mean()) < 230  # half of the 340 others: 170
    assert random.chosen in (bag.BOTH, bag.ALIKE, bag.NEAR)


def test_nothing_is_claimed_that_was_not_measured(graph, some):
    for frauds in ([3], [0, 1, 2, 3]):
        said = fitted(graph, labelled(frauds)).said()
        assert said[1] == "how good the list is cannot be measured: there are too few labels"
        assert not re.search(r"AUC|AUPRC|precision|recall", " ".join(said))
    assert "no precision can be known" in some.said()[1]


def test_the_same_labels_make_the_same_list(graph, with_threads):
    first = with_threads(1, lambda: fitted(graph, labelled([0, 3, 12])).scores)
    again = with_threads(2, lambda: fitted(graph, labelled([0, 3, 12])).scores)
    assert torch.equal(first.nan_to_num(-1), again.nan_to_num(-1))
    other = fitted(graph, labelled([0, 3, 12]), seed=1).scores
    assert not torch.equal(first.nan_to_num(-1), other.nan_to_num(-1))
    assert float(first[:USERS].max()) <= 1 and float(first[:USERS].min()) > 0


def test_all_may_be_labelled_and_few_may_be_there(graph):
    all_labelled = labelled([0, 1, 2], range(3, USERS))
    ranking = fitted(graph, all_labelled)
    assert (ranking.draw[3:USERS] >= 0).all()  # who is normal is dealt like the rest
    assert float(places(ranking, range(3, 8), [0, 1, 2]).median()) <= 40
    everybody = labelled(range(USERS))
    with pytest.raises(ValueError, match="all 400 nodes are confirmed frauds: nobody is left"):
        fitted(graph, everybody)
    alone = labelled(range(USERS - 1))
    assert len(fitted(graph, alone).ranked()) == USERS


def test_places_by_hand():
    values = torch.tensor([5.0, 3, 3, 1, 3, 9])
    is_rest = torch.tensor([True, True, True, True, False, False])
    assert bag._places(values, is_rest).tolist() == [1, 2.5, 2.5, 4, 3, 1]


def test_nearness_is_spread_over_each_relation_by_itself(graph):
    start = torch.zeros(graph.total, 1)
    start[3] = 1
    total, sizes = graph.total, {}
    dense = torch.zeros(total, total, dtype=torch.float64)
    for _, (src, _, dst), csr in graph.streams:
        matrix = torch.zeros(graph.num_nodes[dst], graph.num_nodes[src], dtype=torch.float64)
        matrix.index_put_((csr.dst(), csr.indices.long()), torch.tensor(1.0).double(), True)
        rows, columns = (matrix.sum(axis).clamp(min=1).rsqrt() for axis in (1, 0))
        dense[graph.span(dst), graph.span(src)] += rows[:, None] * matrix * columns
        sizes[dst] = sizes.get(dst, 0) + 1
    for node_type, count in sizes.items():
        dense[graph.span(node_type)] /= count
    x = start.double()
    for _ in range(20):
        x = 0.15 * start + 0.85 * dense @ x
    spread = Views(graph, types=["user"]).neighbors.spread(start)
    torch.testing.assert_close(spread.double(), x, rtol=1e-4, atol=1e-7)
    nearest = spread[:USERS, 0].argsort(descending=True)[:5].tolist()
    assert {2, 3} <= {*nearest} and {*nearest} <= {*range(RING)}


@pytest.fixture(scope="module")
def folder(graph, tmp_path_factory):
    path = tmp_path_factory.mktemp("bag") / "shops"
    parts = graph.num_nodes, graph.edges, graph.x
    store.save_graph(path, HeteroGraph(*parts, labelled([0, 3, 12])))
    return path


def test_a_folder_with_frauds_alone_is_ranked(folder, tmp_path, capsys):
    assert cli.main(["recommend", str(folder), "--out", str(tmp_path / "s.csv")]) == 0
    out = capsys.readouterr().out
    assert "learned   3 confirmed frauds and 0 cleared accounts against 397 that nobody" in out
    assert "AUPRC" not in out
    header, *rows = (tmp_path / "s.csv").read_text().splitlines()
    assert header == "rank,node,type,id,score_against_the_rest,group"  # and no probability
    assert len(rows) == USERS - 3
    new = [int(row.split(",")[1]) for row in rows][:13]
    assert len({*new} & {*range(RING)}) >= 10


def test_what_needs_more_labels_says_so(folder):
    reason = "3 confirmed frauds and nobody cleared as normal, where 5 of each are needed"
    with pytest.raises(ValueError, match=f"{reason} to train the network"):
        recommend(folder, network=True, progress=False)
    with pytest.raises(ValueError, match="too few to split"):
        recommend(folder, protocol="full", progress=False)


def test_too_few_to_part():
    assert splits.too_few(labelled(range(5), range(5, 10))) is None
    assert splits.too_few(labelled(range(4), range(5, 10))).startswith(
        "the dataset has 4 confirmed frauds and 5"
    )
    assert splits.too_few(labelled([1])).startswith("the dataset has 1 confirmed fraud and nobody")
