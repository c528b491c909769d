"""Views: every block by hand or against a dense definition, and what a row must not know."""

import networkx
import numpy as np
import pytest
import torch

from gadkit import store
from gadkit.evaluation.metrics import roc_auc
from gadkit.graph import CSR, HeteroGraph
from gadkit.graph.structure import structural_features, structural_names
from gadkit.trees import blocks, neighbors, views
from gadkit.trees.blocks import BLOCKS
from gadkit.trees.history import BACK, HALF_LIVES, LATE
from gadkit.trees.neighbors import RESTART
from gadkit.trees.rates import FOLDS, PRIOR_WEIGHT
from gadkit.trees.views import Views

NAMES = {"user": ["age"], "product": ["price", "size"]}


def relation(pairs, num_src: int, num_dst: int) -> CSR:
    src, dst = torch.tensor(pairs).T
    return CSR.from_edges(src, dst, num_src=num_src, num_dst=num_dst)


def shop(x: bool = True) -> HeteroGraph:
    """Users 0 to 2, products 3 and 4: user 0 bought both, user 1 the second; user 2 returned it."""
    edges = {
        ("user", "buys", "product"): relation([(0, 0), (0, 1), (1, 1)], 3, 2),
        ("user", "returns", "product"): relation([(2, 1)], 3, 2),
    }
    values = {"user": torch.tensor([[1.0], [3.0], [8.0]])}
    values["product"] = torch.tensor([[10.0, 5.0], [20.0, 7.0]])
    labels = torch.tensor([[0, 1], [1, 0]])
    return HeteroGraph({"user": 3, "product": 2}, edges, values if x else None, labels)


def draw(num_users=40, num_products=15, num_edges=120, seed=0) -> HeteroGraph:
    """Users who buy, sometimes twice, who follow each other in one direction, and are alike."""
    rng = np.random.default_rng(seed)

    def pairs(num, num_src, num_dst):
        return [(int(rng.integers(num_src)), int(rng.integers(num_dst))) for _ in range(num)]

    alike = {tuple(sorted(pair)) for pair in pairs(num_edges // 4, num_users, num_users)}
    alike = [pair for a, b in sorted(alike) if a != b for pair in ((a, b), (b, a))]
    follows = [(a, b) for a, b in pairs(num_edges // 2, num_users, num_users) if a != b]
    edges = {
        ("user", "buys", "product"): (pairs(num_edges, num_users, num_products), num_products),
        ("user", "follows", "user"): (follows, num_users),
        ("user", "resembles", "user"): (alike, num_users),
    }
    edges = {kind: relation(found, num_users, num_dst) for kind, (found, num_dst) in edges.items()}
    num_nodes = {"product": num_products, "user": num_users}  # labelled nodes do not come first
    x = {
        name: torch.from_numpy(rng.normal(size=(num, width))).float()
        for (name, num), width in zip(num_nodes.items(), (2, 3), strict=True)
    }
    users = torch.arange(num_products, num_products + num_users)
    y = torch.from_numpy(rng.random(num_users) < 0.4).long()
    y[:2] = torch.tensor([0, 1])
    return HeteroGraph(num_nodes, edges, x, torch.stack([users, y], 1))


def dense(csr: CSR) -> torch.Tensor:
    matrix = torch.zeros(csr.num_dst, csr.num_src, dtype=torch.float64)
    one = torch.ones((), dtype=torch.float64)
    return matrix.index_put((csr.dst(), csr.indices.long()), one, accumulate=True)


def mean(matrix: torch.Tensor) -> torch.Tensor:
    return matrix / matrix.sum(1, keepdim=True).clamp(min=1)


def columns(seen: Views, block: str, ids: torch.Tensor, train=None) -> dict[str, torch.Tensor]:
    names, table = seen.names([block]), seen.table([block], ids, train)
    assert table.dtype == torch.float32 and table.shape == (len(ids), len(names))
    assert len(set(names)) == len(names)
    assert all(name.startswith(f"{block}: ") for name in names)
    found = zip(names, table.T, strict=True)
    return {name.removeprefix(f"{block}: "): column for name, column in found}


def assert_columns(found: dict, expected: dict, tolerance: float = 1e-5):
    assert set(found) == set(expected)
    for name, column in expected.items():
        actual = found[name].double()
        expected_column = torch.as_tensor(column).double()
        torch.testing.assert_close(
            actual,
            expected_column,
            rtol=tolerance,
            atol=tolerance,
            msg=lambda m, n=name: f"{n}: {m}",
        )


def test_own_features_and_what_they_are_called():
    seen = Views(shop(), names=NAMES)
    assert seen.types == ["user"]
    assert_columns(columns(seen, "own", torch.tensor([2, 0])), {"age": [8, 1]})
    unnamed = Views(shop(), types=["product"])
    assert_columns(columns(unnamed, "own", torch.tensor([4])), {"x_0": [20], "x_1": [7]})
    cut = Views(shop(), names=NAMES, types=["product"], own_dims={"user": 0, "product": 1})
    assert cut.names(["own"]) == ["own: price"]
    assert cut.names(["hops"]) == [
        "hops: mean of price of products of users"
    ]  # structural columns of users are not averaged either


def test_columns_of_another_type_are_nan_and_the_type_is_a_column():
    seen = Views(shop(), names=NAMES, types=["user", "product"])
    nan = torch.nan
    found = columns(seen, "own", torch.tensor([4, 0, 3]))
    assert list(found) == ["age", "node type", "price", "size"]
    table = torch.stack(list(found.values()), 1)
    expected = torch.tensor([[nan, 1, 20, 7], [1, 0, nan, nan], [nan, 1, 10, 5]])
    torch.testing.assert_close(table, expected, rtol=0, atol=0, equal_nan=True)
    blocks = ["own", "hops", "structure", "bands"]
    whole = seen.table(blocks, torch.arange(5))
    assert whole.shape[1] == len(seen.names(blocks)) == len(set(seen.names(blocks)))
    for node_type, rows in (("user", slice(0, 3)), ("product", slice(3, 5))):
        mine = Views(shop(), names=NAMES, types=[node_type]).names(blocks) + ["own: node type"]
        known = torch.tensor([name in mine for name in seen.names(blocks)])
        assert known.sum() == len(mine)
        assert not whole[rows, known].isnan().any() and whole[rows, ~known].isnan().all()


def test_hops_spread_and_relations_by_hand():
    seen = Views(shop(), names=NAMES)
    ids = torch.arange(3)
    assert_columns(
        columns(seen, "hops", ids),
        {
            "mean of price of products": [15, 20, 20],
            "mean of size of products": [6, 7, 7],
            # of product 0 the only user is 0; of product 1 they are 0, 1 and 2
            "mean of age of users of products": [(1 + 4) / 2, 4, 4],
        },
    )
    assert_columns(
        columns(seen, "relations", ids),
        {
            "mean of price over rev_buys": [15, 20, 0],
            "mean of size over rev_buys": [6, 7, 0],
            "mean of price over rev_returns": [0, 0, 20],
            "mean of size over rev_returns": [0, 0, 7],
        },
    )
    spread = {"sd of price of products": [5, 0, 0], "sd of size of products": [1, 0, 0]}
    assert_columns(columns(seen, "spread", ids), spread, 1e-3)


def test_the_mean_of_numbers_whose_sum_is_beyond_float32():
    csr = CSR.from_edges(torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1]), num_src=3, num_dst=3)
    x = torch.tensor([[3e38, 1.0], [2e38, 0.1], [0.1, 0.1]])
    means = blocks.mean(csr, x)
    torch.testing.assert_close(means[0], torch.tensor([2.5e38, 0.55]))
    assert torch.equal(means[1], x[2]) and not means[2].any()


@pytest.mark.parametrize(("far", "unit"), [(25_000, 1.0), (1e6, 0.5), (1.7e9, 1e5)])
def test_the_mean_of_many_that_are_nearly_alike(far, unit):
    """2,000 float32 added up in float32 are off by more than they differ."""
    generator = torch.Generator().manual_seed(0)
    x = far + unit * torch.rand(2000, 40, generator=generator, dtype=torch.float64)
    csr = CSR.from_edges(torch.arange(2000), torch.zeros(2000).long(), num_src=2000, num_dst=2)
    means = blocks.mean(csr, x.float())
    assert means.dtype == torch.float32 and (means[1] == 0).all()
    assert torch.equal(means[0], x.float().double().mean(0).float())


def test_spread_of_values_that_are_far_from_all_others():
    """Squares in float32 keep seven digits, and a ring of amounts about 25,000 needs ten."""
    generator = torch.Generator().manual_seed(0)
    amount = torch.randn(2000, 1, generator=generator).exp() * 20
    amount[:300] = 25_000 + torch.rand(300, 1, generator=generator)
    amount[300:303] = 0.1  # the same: no spread at all
    amount[303:306] = torch.tensor([[3e37], [0.0], [-3e37]])  # whose squares are no float32
    src = torch.cat([torch.arange(306), torch.randint(306, 2000, (500,), generator=generator)])
    dst = torch.cat([torch.arange(300) % 3, torch.arange(3, 5).repeat_interleave(3)])
    dst = torch.cat([dst, torch.randint(5, 40, (500,), generator=generator)])
    buys = CSR.from_edges(src, dst, num_src=2000, num_dst=41)
    x = {"user": amount, "product": torch.zeros(41, 1)}
    graph = HeteroGraph({"user": 2000, "product": 41}, {("user", "buys", "product"): buys}, x)
    ids = torch.arange(2000, 2041)
    spread = Views(graph, types=["product"]).table(["spread"], ids)[:, 0].double()
    value, rows = amount[buys.indices.long(), 0].double(), buys.dst()
    count = buys.degrees().clamp(min=1)
    average = torch.zeros(41, dtype=torch.float64).index_add_(0, rows, value) / count
    squares = (value - average[rows]).square()
    expected = (torch.zeros(41, dtype=torch.float64).index_add_(0, rows, squares) / count).sqrt()
    torch.testing.assert_close(spread, expected, rtol=1e-3, atol=0)
    assert spread[3] == 0 and spread[40] == 0
    one_by_one = [Views(graph, types=["product"]).table(["spread"], ids[i : i + 1]) for i in (1, 9)]
    assert torch.cat(one_by_one)[:, 0].double().tolist() == spread[[1, 9]].tolist()


def test_hops_over_every_path_of_types():
    graph = draw()
    seen = Views(graph, names={"user": ["a", "b", "c"], "product": ["p", "q"]})
    of = {stream.edge_type: dense(stream.csr) for stream in graph.streams}
    from_products = mean(of["product", "rev_buys", "user"])
    to_products = mean(of["user", "buys", "product"])
    users = mean(
        of["user", "follows", "user"]
        + of["user", "rev_follows", "user"]
        + of["user", "resembles", "user"]
    )
    assert len(of) == 5  # who resembles whom is symmetric, and counted once
    u, p = graph.x["user"].double(), graph.x["product"].double()
    expected = {}
    for name, values in {
        "products": from_products @ p,
        "neighbors": users @ u,
        "products of neighbors": users @ from_products @ p,
        "users of neighbors": users @ users @ u,
        "users of products": from_products @ to_products @ u,
    }.items():
        letters = "abc" if values.shape[1] == 3 else "pq"
        expected |= {
            f"mean of {letter} of {name}": values[:, k] for k, letter in enumerate(letters)
        }
    ids = graph.labels[:, 0].flip(0)
    found = columns(seen, "hops", ids)
    assert_columns(found, {name: column.flip(0) for name, column in expected.items()})


def test_structure_is_degrees_around_and_the_solution_of_page_rank(monkeypatch):
    graph = draw()
    monkeypatch.setattr(neighbors, "WALK_STEPS", 300)
    found = columns(Views(graph), "structure", graph.labels[:, 0])
    own = structural_features(graph)["user"].double()
    names = structural_names(graph)["user"]
    expected = dict(zip(names, own.T, strict=True))
    a = dense(graph.homogeneous)
    spread = a / a.sum(0)
    restart = torch.ones(graph.total, dtype=torch.float64)
    rank = torch.linalg.solve(torch.eye(graph.total) - (1 - RESTART) * spread, RESTART * restart)
    assert float(rank.sum()) == pytest.approx(graph.total)
    expected["log PageRank"] = rank.log()[graph.span("user")]
    of = {stream.edge_type: dense(stream.csr) for stream in graph.streams}
    users = mean(sum(of["user", name, "user"] for name in ("follows", "rev_follows", "resembles")))
    by_product = mean(of["product", "rev_buys", "user"]) @ mean(of["user", "buys", "product"])
    for pattern, matrix in {
        "mean of {} of neighbors": users,
        "mean of {} of users by user": users @ users,
        "mean of {} of users by product": by_product,
    }.items():
        expected |= {
            pattern.format(name): c for name, c in zip(names, (matrix @ own).T, strict=True)
        }
    assert_columns(found, expected, 1e-4)


def test_a_walk_of_twenty_steps_conserves_what_is_spread():
    graph = draw()
    rank = columns(Views(graph, types=graph.node_types), "structure", torch.arange(graph.total))
    assert float(rank["log PageRank"].exp().sum()) == pytest.approx(graph.total, rel=1e-4)


def test_an_account_without_neighbors_has_the_least_page_rank(monkeypatch):
    """As NetworkX has it; by a loop of its own it would come before all but the hub."""
    monkeypatch.setattr(neighbors, "WALK_STEPS", 300)
    src, dst = torch.tensor([0] * 20), torch.arange(1, 21)
    csr = CSR.from_edges(src, dst, num_src=23, num_dst=23)
    labels = torch.tensor([[0, 1], [1, 0]])
    graph = HeteroGraph({"user": 23}, {("user", "pays", "user"): csr}, labels=labels)
    rank = columns(Views(graph), "structure", torch.arange(23))["log PageRank"]
    network = networkx.Graph(zip(src.tolist(), dst.tolist(), strict=True))
    network.add_edges_from((node, node) for node in range(21))
    network.add_nodes_from([21, 22])
    expected = networkx.pagerank(network, tol=1e-12, max_iter=1000)
    expected = torch.tensor([23 * expected[node] for node in range(23)]).log()
    torch.testing.assert_close(rank, expected, rtol=1e-5, atol=1e-5)
    assert rank.argsort()[:2].sort().values.tolist() == [21, 22]


def test_bands_against_the_eigenvectors_of_the_laplacian():
    graph = draw()
    found = columns(Views(graph), "bands", graph.labels[:, 0])
    a = dense(graph.homogeneous)
    root = a.sum(1).rsqrt()
    eigenvalue, vector = torch.linalg.eigh(torch.eye(graph.total) - root[:, None] * a * root)
    span = graph.span("user")
    x = torch.cat([graph.x["user"].double(), a.sum(1)[span, None].log()], 1)
    x = (x - x.mean(0)) / x.std(0)
    padded = torch.zeros(graph.total, 4, dtype=torch.float64)
    padded[span] = x
    half = eigenvalue / 2
    answers = {"low": (1 - half).square(), "middle": half * (1 - half), "high": half.square()}
    expected = {}
    for band, answer in answers.items():
        values = (vector @ (answer[:, None] * (vector.T @ padded)))[span]
        for k, name in enumerate(["x_0", "x_1", "x_2", "log degree"]):
            expected[f"{band} band of {name}"] = values[:, k]
    assert_columns(found, expected)


def test_bands_survive_a_constant_column_and_an_outlier():
    graph = shop()
    graph.x["user"] = torch.tensor([[2.0], [2.0], [2.0]])
    assert Views(graph).table(["bands"], torch.arange(3)).isfinite().all()
    wide = draw()
    wide.x["user"][0, 0] = 1e6
    assert Views(wide).table(["bands"], wide.labels[:, 0]).abs().max() <= 10 * 2


def rates(anomalies, labels, prior, weight=PRIOR_WEIGHT):
    rate = (anomalies + weight * prior) / (labels + weight)
    return rate, (anomalies / weight).log1p(), (labels / weight).log1p()


def dense_labels(graph: HeteroGraph, known: torch.Tensor, prior: float) -> dict:
    """Rates of labels around the users, all labels of `known` being known to everybody."""
    given = torch.zeros(graph.total, 2, dtype=torch.float64)
    given[known[:, 0], 0], given[known[:, 0], 1] = known[:, 1].double(), 1
    expected = {}

    def add(name, counts, weight=PRIOR_WEIGHT):
        of = zip(
            ("rate", "log anomalies", "log labels"), rates(*counts.T, prior, weight), strict=True
        )
        expected.update({f"{what} over {name}": column for what, column in of})

    users = given[graph.span("user")]
    for _, (source, name, target), csr in graph.streams:
        if target != "user":
            continue
        matrix = dense(csr)
        if source == "user":
            add(name, matrix @ users)
        add(f"{name} and back", matrix @ (matrix.T @ users))
        around = (matrix.T @ users).T
        expected[f"mean rate of {name}"] = mean(matrix) @ rates(*around, prior)[0]
    a = dense(graph.homogeneous)
    walk = given
    for _ in range(neighbors.WALK_STEPS):
        walk = RESTART * given + (1 - RESTART) * (a / a.sum(1, keepdim=True)) @ walk
    add("walks", walk[graph.span("user")], 1e-3)
    return expected


@pytest.fixture(scope="module")
def labelled():
    """A graph with 20 anomalies and 30 others to learn from, and 10 other users."""
    graph = draw(num_users=60, num_edges=150)
    users = graph.labels[torch.randperm(60, generator=torch.Generator().manual_seed(3)), 0]
    y = (torch.arange(50) < 20).long()
    return graph, torch.stack([users[:50], y], 1), users[50:]


def test_label_rates_of_nodes_that_teach_nothing(labelled):
    graph, train, others = labelled
    expected = dense_labels(graph, train, 0.4)
    rows = others - graph.offset("user")
    assert_columns(
        columns(Views(graph), "labels", others, train),
        {name: column[rows] for name, column in expected.items()},
        1e-4,
    )


def test_a_training_row_knows_no_label_of_its_own_fold(labelled):
    """Its row is what it would be had its whole fold never been labelled, by the definition."""
    graph, train, _ = labelled
    seen = Views(graph)
    fold = seen.label_rates(train).fold
    folds = fold[train[:, 0]]
    assert folds.bincount().tolist() == [5] * FOLDS
    assert folds[train[:, 1] == 1].bincount().tolist() == [2] * FOLDS
    assert (fold == FOLDS).sum() == graph.total - len(train)
    for number in range(FOLDS):
        mine, rest = train[folds == number], train[folds != number]
        expected = dense_labels(graph, rest, 0.4)
        rows = mine[:, 0] - graph.offset("user")
        assert_columns(
            columns(seen, "labels", mine[:, 0], train),
            {name: column[rows] for name, column in expected.items()},
            1e-4,
        )


def test_no_column_tells_a_training_row_its_label_by_a_common_neighbor():
    """Everybody buys one product: what is left of its total must not give the own label away."""
    num = 40
    edges = {("user", "buys", "product"): relation([(i, 0) for i in range(num)], num, 1)}
    labels = torch.stack([torch.arange(num), (torch.arange(num) < 20).long()], 1)
    graph = HeteroGraph({"user": num, "product": 1}, edges, None, labels)
    table = Views(graph).table(["labels"], labels[:, 0], labels)
    anomalies, others = table.chunk(2)
    torch.testing.assert_close(anomalies.mean(0), others.mean(0), rtol=1e-6, atol=1e-6)
    assert (table - table[0]).abs().max() < 1e-6


def history_of(graph: HeteroGraph, time: torch.Tensor, train: torch.Tensor | None) -> dict:
    """Summarize earlier events by a loop over pairs of events."""
    num = graph.num_nodes["event"]
    entity = {}
    for (_, name, _), csr in graph.edges.items():
        entity[name] = [None] * num
        for event, who in zip(csr.dst().tolist(), csr.indices.tolist(), strict=True):
            entity[name][event] = who
    names = list(entity)
    for k, one in enumerate(names):
        for other in names[k + 1 :]:
            pairs = zip(entity[one], entity[other], strict=True)
            entity[f"{one} and {other}"] = [None if None in pair else pair for pair in pairs]
    label = dict(train.tolist()) if train is not None else {}
    prior = sum(label.values()) / max(1, len(label))
    x, expected = graph.x["event"][:, 0].double(), {}
    for name, who in entity.items():
        rows = []
        for event in range(num):
            before = [
                other
                for other in range(num)
                if who[event] is not None and who[other] == who[event] and time[other] < time[event]
            ]
            before.sort(key=lambda other: float(time[other]))
            if train is not None:
                known = torch.tensor([[label[o], 1] for o in before if o in label]).view(-1, 2)
                rows.append(torch.stack(rates(*known.sum(0).double(), prior)))
                continue
            since = [time[event] - time[before[-1 - k]] if len(before) > k else -0.5 for k in BACK]
            past = x[before]
            average = past.mean() if before else 0.0
            sd = past.std(unbiased=False) if before else 0.0
            top = past.max() if before else 0.0
            rows.append(torch.tensor([len(before), *since, average, sd, top, x[event] - average]))
        of = torch.stack([row.double() for row in rows], 1)
        if train is not None:
            for what, column in zip(("rate", "log anomalies", "log labels"), of, strict=True):
                expected[f"{what} over {name} before"] = column
            continue
        expected[f"{name}: log events before"] = of[0].log1p()
        for k, column in zip(BACK, of[1:4], strict=True):
            expected[f"{name}: log time since the last but {k}"] = column.log1p()
        if " and " not in name:
            whats = "mean of amount", "sd of amount", "max of amount", "amount above mean"
            expected |= {
                f"{name}: {what} before": column for what, column in zip(whats, of[4:], strict=True)
            }
    return expected


def events(num=60, seed=0, ties=True) -> tuple[HeteroGraph, torch.Tensor]:
    """Events of a card at a shop; some of no card, many at the same time, in no order."""
    rng = np.random.default_rng(seed)
    card, shop_ = rng.integers(6, size=num), rng.integers(4, size=num)
    paid = [(int(c), e) for e, c in enumerate(card) if e % 7]
    edges = {
        ("card", "pays", "event"): relation(paid, 6, num),
        ("shop", "hosts", "event"): relation([(int(s), e) for e, s in enumerate(shop_)], 4, num),
    }
    num_nodes = {"event": num, "card": 6, "shop": 4}
    x = {name: torch.empty(count, 0) for name, count in num_nodes.items()}
    x["event"] = torch.from_numpy(rng.normal(size=(num, 1))).float()
    labels = torch.stack([torch.arange(num), torch.from_numpy(rng.random(num) < 0.3).long()], 1)
    time = torch.full((num + 10,), torch.nan, dtype=torch.float64)
    time[:num] = torch.from_numpy(rng.integers(20, size=num) if ties else rng.permutation(num))
    return HeteroGraph(num_nodes, edges, x, labels), time


def test_history_by_hand_ties_do_not_see_each_other():
    edges = {("card", "pays", "event"): relation([(0, e) for e in range(4)] + [(1, 4)], 2, 5)}
    x = {"event": torch.tensor([[8.0], [2.0], [4.0], [1.0], [7.0]]), "card": torch.empty(2, 0)}
    labels = torch.tensor([[0, 0], [1, 1]])
    graph = HeteroGraph({"event": 5, "card": 2}, edges, x, labels)
    time = torch.tensor([30.0, 10.0, 20.0, 20.0, 15.0, torch.nan, torch.nan], dtype=torch.float64)
    seen = Views(graph, time=time, names={"event": ["amount"]})
    assert seen.has_history
    found = columns(seen, "history", torch.arange(5))
    count = found["pays: log events before"].expm1().round().tolist()
    assert count == [3, 0, 1, 1, 0]  # event 0 is the last; 2 and 3 happen at once
    since = found["pays: log time since the last but 0"].expm1()
    torch.testing.assert_close(since, torch.tensor([10.0, -0.5, 10.0, 10.0, -0.5]))
    since = found["pays: log time since the last but 2"].expm1()
    torch.testing.assert_close(since, torch.tensor([20.0, -0.5, -0.5, -0.5, -0.5]))
    past = found["pays: mean of amount before"]
    torch.testing.assert_close(past, torch.tensor([7 / 3, 0, 2, 2, 0]))
    torch.testing.assert_close(found["pays: max of amount before"], torch.tensor([4.0, 0, 2, 2, 0]))
    above = found["pays: amount above mean before"]
    torch.testing.assert_close(above, torch.tensor([8 - 7 / 3, 2, 2, -1, 7]))
    rate = columns(seen, "label_history", torch.arange(5), torch.tensor([[1, 1], [2, 0]]))
    torch.testing.assert_close(
        rate["rate over pays before"], torch.tensor([2.5 / 5, 0.5, 2.5 / 4, 2.5 / 4, 0.5])
    )


def test_history_against_a_loop_over_pairs():
    graph, time = events()
    seen = Views(graph, time=time, names={"event": ["amount"]})
    ids = torch.arange(60).flip(0)
    expected = history_of(graph, time, None)
    assert any(" and " in name for name in expected)
    assert_columns(
        columns(seen, "history", ids), {name: c.flip(0) for name, c in expected.items()}, 1e-4
    )
    train = graph.labels[::2]
    expected = history_of(graph, time, train)
    assert_columns(
        columns(seen, "label_history", ids, train),
        {name: column.flip(0) for name, column in expected.items()},
    )


def test_lately_against_a_loop_over_pairs():
    """An event counts half as much after as many more of its entity as is its half-life."""
    graph, time = events(ties=False)  # of events at one time none is the last
    seen = Views(graph, time=time, names={"event": ["amount"]})
    found = columns(seen, "lately", torch.arange(60))
    everything = columns(seen, "history", torch.arange(60))
    x, expected = graph.x["event"][:, 0].double(), {}
    for name in ("pays", "hosts"):
        csr = next(csr for key, csr in graph.edges.items() if key[1] == name)
        who = torch.full((60,), -1).index_put((csr.dst(),), csr.indices.long())
        for half_life in HALF_LIVES:
            usual = torch.zeros(60, dtype=torch.float64)
            for event in range(60):
                is_past = (who == who[event]) & (who >= 0) & (time[:60] < time[event])
                past = is_past.nonzero().flatten()
                past = past[time[past].argsort(descending=True)]
                weight = 0.5 ** (torch.arange(len(past)).double() / half_life)
                usual[event] = (weight * x[past]).sum() / weight.sum() if len(past) else 0.0
            expected[f"{name}: mean of amount lately, half-life {half_life}"] = usual
            expected[f"{name}: amount above mean lately, half-life {half_life}"] = x - usual
    since = {name: column for name, column in everything.items() if "log time since" in name}
    assert_columns(found, expected | since, 1e-6)


def test_what_is_usual_lately_does_not_grow_old():
    """The same goes on for ever: no column of lately tells the first half from the second."""
    num, rng = 20_000, np.random.default_rng(0)
    shop = torch.from_numpy(rng.integers(20, size=num))
    hosts = CSR.from_edges(shop, torch.arange(num), num_src=20, num_dst=num)
    x = {"event": torch.from_numpy(rng.normal(size=(num, 1))).float(), "shop": torch.empty(20, 0)}
    time = torch.full((num + 20,), torch.nan, dtype=torch.float64)
    time[:num] = torch.arange(num)
    labels = torch.stack([torch.arange(num), torch.from_numpy(rng.random(num) < 0.1).long()], 1)
    graph = HeteroGraph({"event": num, "shop": 20}, {("shop", "hosts", "event"): hosts}, x, labels)
    seen = Views(graph, time=time)
    y = (torch.arange(num) >= num // 2).long()

    def ages(block):
        used = columns(seen, block, torch.arange(num))
        return max(abs(roc_auc(y[2000:], column[2000:]) - 0.5) for column in used.values())

    assert ages("history") > 0.4
    assert ages("lately") < 0.05


def test_late_labels_are_those_known_a_while_before():
    graph, time = events()
    train = graph.labels[::2]
    when = time[train[:, 0]]
    known_at = torch.where(time.isnan(), time, time + LATE * (when.max() - when.min()))
    found = columns(Views(graph, time=time), "late_labels", torch.arange(60), train)
    for event in range(0, 60, 4):
        # As if at this event's time nothing but the labels known by then had happened.
        is_known = known_at[train[:, 0]] < time[event]
        now = torch.where(torch.arange(len(time)) == event, 1e9, time)
        views = Views(graph, time=torch.where(time.isnan(), time, now))
        at_last = views.table(["label_history"], torch.tensor([event]), train[is_known])[0]
        rates = {name: value for name, value in zip(found, at_last, strict=True)}
        if is_known.any():  # without labels the prior is another
            prior = train[is_known, 1].double().mean(), train[:, 1].double().mean()
            for name, value in rates.items():
                if not name.startswith("rate"):
                    assert found[name][event].item() == pytest.approx(value.item(), abs=1e-6)
                    continue
                labels = 3 * rates[name.replace("rate", "log labels")].expm1() + 3
                value = value + 3 * float(prior[1] - prior[0]) / labels
                assert found[name][event].item() == pytest.approx(value.item(), abs=1e-5)
        else:
            assert all(column[event] == 0 for name, column in found.items() if "log" in name)


def test_history_of_values_that_are_large_and_nearly_alike():
    """Of 2^30 and 128 more or less, squares in float64 leave no spread."""
    amount = torch.tensor([2.0**30, 2.0**30 + 128, 2.0**30 - 128, 0.1, 0.1, 0.1])
    x = {"event": torch.cat([amount, amount[-1:], amount[:1]])[:, None], "card": torch.empty(2, 0)}
    card = [0, 0, 0, 1, 1, 1, 1, 0]
    edges = {("card", "pays", "event"): relation([(c, e) for e, c in enumerate(card)], 2, 8)}
    time = torch.full((10,), torch.nan, dtype=torch.float64)
    time[:8] = torch.arange(8)
    graph = HeteroGraph({"event": 8, "card": 2}, edges, x, torch.tensor([[0, 0], [1, 1]]))
    seen = Views(graph, time=time, names={"event": ["amount"]})
    past = columns(seen, "history", torch.arange(8))
    spread = past["pays: sd of amount before"]
    assert spread[7].item() == pytest.approx(128 * (2 / 3) ** 0.5, rel=1e-6)
    assert not spread[3:7].any()
    assert not past["pays: amount above mean before"][4:7].any()


def test_history_knows_nothing_of_what_comes_later():
    graph, time = events()
    train, now = graph.labels[::2], 12.0
    past = (time[:60] <= now).nonzero().flatten()
    blocks = ["own", "history", "lately", "label_history"]
    before = Views(graph, time=time).table(blocks, past, train)
    later = time[:60] > now
    x = graph.x | {"event": torch.where(later[:, None], 99.0, graph.x["event"])}
    changed = HeteroGraph(graph.num_nodes, graph.edges, x, graph.labels)
    moved = torch.where(time > now, time * 3 + 1, time)
    flipped = train.clone()
    is_later = later[train[:, 0]]
    y = train[is_later, 1]
    flipped[is_later, 1] = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]
    assert not torch.equal(flipped, train)
    assert torch.equal(before, Views(changed, time=moved).table(blocks, past, flipped))


def test_only_events_with_times_and_entities_have_a_history():
    graph, time = events()
    assert Views(graph, time=time).has_history
    assert not Views(graph).has_history
    assert not Views(graph, time=torch.where(torch.arange(70) == 3, torch.nan, time)).has_history
    assert not Views(graph, time=time, types=["event", "card"]).has_history
    assert not Views(draw(), time=torch.zeros(55, dtype=torch.float64)).has_history


def test_a_cache_never_answers_for_other_labels(labelled):
    graph, train, others = labelled
    seen = Views(graph)
    other = torch.stack([train[:, 0], 1 - train[:, 1]], 1)
    first = seen.table(["labels"], others, train)
    second = seen.table(["labels"], others, other)
    assert not torch.equal(first, second)
    assert torch.equal(second, Views(graph).table(["labels"], others, other))
    seen.names(["labels", "own"])
    assert torch.equal(first, seen.table(["labels"], others, train))
    graph, time = events()
    seen = Views(graph, time=time)
    one, two = graph.labels[::2], graph.labels[1::2]
    ids = graph.labels[:, 0]
    tables = [seen.table(["label_history"], ids, train) for train in (one, two, one)]
    assert torch.equal(tables[0], tables[2]) and not torch.equal(tables[0], tables[1])
    assert torch.equal(tables[1], Views(graph, time=time).table(["label_history"], ids, two))


@pytest.mark.parametrize("block", BLOCKS)
def test_rows_do_not_depend_on_which_others_are_asked_for(block):
    graph, time = events()
    z = torch.arange(140.0).view(70, 2)
    seen = Views(graph, time=time, z=z)
    ids = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    train = graph.labels[::3]
    whole = seen.table([block], ids, train)
    assert whole.isfinite().all() and whole.shape == (60, len(seen.names([block])))
    few = Views(graph, time=time, z=z).table([block], ids[10:13], train)
    torch.testing.assert_close(few, whole[10:13], rtol=0, atol=0)
    assert seen.table([block], ids[:0], train).shape == (0, whole.shape[1])


def test_blocks_are_joined_in_the_order_asked_for():
    graph, time = events()
    seen = Views(graph, time=time)
    blocks, ids, train = ["labels", "own", "history"], torch.tensor([5, 3]), graph.labels[:30]
    table = torch.cat([seen.table([block], ids, train) for block in blocks], 1)
    torch.testing.assert_close(seen.table(blocks, ids, train), table, rtol=0, atol=0)
    assert seen.names(blocks) == sum((seen.names([block]) for block in blocks), [])


def test_embeddings_are_columns():
    z = torch.arange(10.0).view(5, 2)
    found = columns(Views(shop(), z=z), "embedding", torch.tensor([2, 0]))
    assert_columns(found, {"z_0": [4, 0], "z_1": [5, 1]})


def test_views_of_a_graph_without_features():
    graph = shop(x=False)
    seen, ids = Views(graph), torch.arange(3)
    for block in ("own", "hops", "spread", "relations"):
        assert seen.names([block]) == [] and seen.table([block], ids).shape == (3, 0)
    assert len(seen.names(["bands"])) == 3
    for block in ("structure", "bands", "labels"):
        assert seen.table([block], ids, graph.labels).isfinite().all()


def test_views_without_labels_are_of_the_first_type():
    graph = HeteroGraph(shop().num_nodes, shop().edges, shop().x)
    assert Views(graph).types == ["user"]
    assert Views(graph, types=["product"]).table(["own"], torch.tensor([3])).tolist() == [[10, 5]]


def test_views_of_another_graph_see_its_edges():
    graph = shop()
    seen = Views(graph, names=NAMES, z=torch.ones(5, 1))
    edges = graph.edges | {("user", "returns", "product"): relation([(2, 0)], 3, 2)}
    other = seen.with_graph(HeteroGraph(graph.num_nodes, edges, graph.x, graph.labels))
    ids = torch.arange(3)
    blocks = ["own", "hops", "embedding"]
    assert other.names(blocks) == seen.names(blocks)
    assert other.table(blocks, ids)[:2].tolist() != seen.table(blocks, ids)[:2].tolist()
    assert other.table(["own"], ids).tolist() == seen.table(["own"], ids).tolist()
    assert other.table(["hops"], ids)[2, :2].tolist() == [10, 5]


def test_a_table_does_not_depend_on_the_number_of_threads(with_threads):
    graph = draw(num_users=3000, num_products=2000, num_edges=30_000)
    ids, train = graph.labels[:, 0], graph.labels[::2]
    blocks = ["own", "hops", "spread", "relations", "structure", "bands", "labels"]
    tables = [with_threads(n, lambda: Views(graph).table(blocks, ids, train)) for n in (1, 4)]
    assert torch.equal(*tables)


def test_errors_say_what_is_missing():
    seen, ids = Views(shop()), torch.tensor([0])
    with pytest.raises(ValueError, match="no block 'hop'; there are own, hops"):
        seen.table(["hop"], ids)
    for block in ("labels", "label_history"):
        with pytest.raises(ValueError, match=f"block '{block}' needs the training labels"):
            seen.table([block], ids)
    with pytest.raises(ValueError, match="the nodes have no time"):
        seen.table(["history"], ids)
    timed = Views(draw(), time=torch.zeros(55, dtype=torch.float64))
    with pytest.raises(ValueError, match="no relation gives a user one entity"):
        timed.table(["history"], torch.tensor([20]))
    with pytest.raises(ValueError, match="block 'embedding' needs embeddings"):
        seen.table(["embedding"], ids)
    with pytest.raises(ValueError, match="node 4 is a product, but these views are of user"):
        seen.table(["own"], torch.tensor([0, 4]))


def test_a_folder_knows_names_and_times_and_which_columns_are_its_own(tmp_path):
    graph, time = events()
    structural = structural_features(graph)
    x = {name: torch.cat([graph.x[name], structural[name]], 1) for name in graph.node_types}
    joined = HeteroGraph(graph.num_nodes, graph.edges, x, graph.labels)
    store.save_graph(tmp_path, joined)
    own = {"event": ["amount"]}
    names = {name: own.get(name, []) + of for name, of in structural_names(graph).items()}
    store.write_about(tmp_path, {"features": names})
    store.save_time(tmp_path, joined, {"event": time[:60].numpy()})
    seen = views.from_folder(tmp_path, store.load_graph(tmp_path))
    assert seen.names(["own"]) == ["own: amount"] and seen.has_history
    assert seen.names(["hops"]) == [
        f"hops: mean of amount of events of {e}s" for e in ("card", "shop")
    ]
    plain = Views(graph, time=time, names=own)
    blocks, ids = ["own", "hops", "structure", "bands", "history"], torch.arange(60)
    assert torch.equal(seen.table(blocks, ids), plain.table(blocks, ids))


def test_nobody_is_a_neighbor_of_itself():
    """A relation with self-loops, as data sets have them, is seen as without."""
    graph = draw()
    loops = torch.arange(40)

    def with_loops(kind, csr):
        if kind[0] != kind[2]:
            return csr
        src, dst = torch.cat([csr.indices.long(), loops]), torch.cat([csr.dst(), loops])
        return CSR.from_edges(src, dst, num_src=40, num_dst=40)

    bare = {
        kind: (csr, csr.indices.long() != csr.dst()) if kind[0] == kind[2] else (csr, None)
        for kind, csr in graph.edges.items()
    }
    bare = {
        kind: csr
        if kept is None
        else CSR.from_edges(csr.indices.long()[kept], csr.dst()[kept], num_src=40, num_dst=40)
        for kind, (csr, kept) in bare.items()
    }
    looped = {kind: with_loops(kind, csr) for kind, csr in bare.items()}
    one, other = (HeteroGraph(graph.num_nodes, e, graph.x, graph.labels) for e in (bare, looped))
    ids, train = graph.labels[:, 0], graph.labels[::2]
    for block in ("hops", "spread", "relations", "bands", "labels"):
        tables = [Views(each).table([block], ids, train) for each in (one, other)]
        assert torch.equal(*tables), block


def test_columns_of_the_same_name_are_refused():
    with pytest.raises(ValueError, match="two columns are called 'own: size'"):
        Views(shop(), names={"product": ["size", "size"]}, types=["product"]).names(["own"])


def test_an_event_without_a_time_has_no_history():
    graph, time = events()
    time[3] = torch.nan
    with pytest.raises(ValueError, match="event 3 has no time"):
        Views(graph, time=time).table(["history"], torch.tensor([5]))
