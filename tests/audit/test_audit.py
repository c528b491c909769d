"""Each way to fool oneself that is planted here is found, and none where there is none."""

import html
import json

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gadkit import audit, plot
from gadkit.audit import canaries, data
from gadkit.audit.data import FAILED, PASSED, SKIPPED, WARNING
from gadkit.evaluation import splits
from gadkit.evaluation.bootstrap import bootstrap_interval
from gadkit.evaluation.metrics import Interval, roc_auc
from gadkit.evaluation.splits import Split
from gadkit.graph import CSR, HeteroGraph

FRACTIONS = (0.4, 0.2, 0.4)


def labelled(logit: torch.Tensor, generator: torch.Generator, offset: int = 0) -> torch.Tensor:
    y = (torch.rand(len(logit), generator=generator) < logit.sigmoid()).long()
    return torch.stack([torch.arange(len(y)) + offset, y], 1)


def market(seed: int = 0, users: int = 1500, products: int = 150) -> HeteroGraph:
    """Users buy some eight products each; fraud shows in both their features, a little in each."""
    draw = torch.Generator().manual_seed(seed)
    x = {
        name: torch.randn(n, 4, generator=draw)
        for name, n in (("user", users), ("product", products))
    }
    count = torch.randint(4, 13, (users,), generator=draw)
    src = torch.arange(users).repeat_interleave(count)
    dst = torch.randint(products, (len(src),), generator=draw)
    bought = torch.zeros(users, 4).index_add(0, src, x["product"][dst]) / count[:, None].sqrt()
    logit = x["user"][:, :2].sum(1) + 1.6 * bought[:, :3].sum(1) - 2.2
    buys = CSR.from_edges(src, dst, num_src=users, num_dst=products)
    sizes = {"user": users, "product": products}
    return HeteroGraph(sizes, {("user", "buys", "product"): buys}, x, labelled(logit, draw))


def payments(
    seed: int = 0, events: int = 1600, cards: int = 40
) -> tuple[HeteroGraph, torch.Tensor]:
    """Events of one card and one shop each, in time; every card and shop has a risk of its own."""
    draw = torch.Generator().manual_seed(seed)
    of = {name: torch.randint(cards, (events,), generator=draw) for name in ("card", "shop")}
    x = {"event": torch.randn(events, 3, generator=draw)}
    x |= {name: torch.randn(cards, 2, generator=draw) for name in of}
    risk = sum(0.8 * x[name][of[name], 0] for name in of)
    labels = labelled(risk + x["event"][:, 0] - 2, draw)
    time = torch.cat(
        [torch.rand(events, generator=draw).double(), torch.full((2 * cards,), torch.nan)]
    )
    edges = {
        (name, verb, "event"): CSR.from_edges(
            of[name], torch.arange(events), num_src=cards, num_dst=events
        )
        for name, verb in (("card", "pays"), ("shop", "takes"))
    }
    return HeteroGraph({"event": events, "card": cards, "shop": cards}, edges, x, labels), time


def ends(graph: HeteroGraph) -> dict[str, tuple[torch.Tensor, torch.Tensor, int]]:
    """By relation: the labelled node and the other node of every edge, and how many others."""
    if "user" in graph.num_nodes:
        csr = graph.edges["user", "buys", "product"]
        return {"buys": (csr.indices.long(), csr.dst(), csr.num_dst)}
    edges = {name: csr for (_, name, _), csr in graph.edges.items()}
    return {name: (csr.dst(), csr.indices.long(), csr.num_src) for name, csr in edges.items()}


def mean_at(place, values, count):
    """Mean of the rows of `values` at each place."""
    total = torch.zeros(count, values.shape[1], dtype=torch.float64).index_add(
        0, place, values.double()
    )
    return total / torch.bincount(place, minlength=count).clamp(min=1)[:, None]


def label_rates(member, group, groups, y, how):
    """Rate and counts of training labels over the groups of each node, (n, 3).

    y is 0 or 1 where a label is known, -1 elsewhere; how says whose labels a node does not see.
    """
    known, fold = (y >= 0).double(), torch.arange(len(y)) % 5
    both = torch.stack([known * y, known], 1)

    def sums(values):
        return torch.zeros(groups, 2, dtype=torch.float64).index_add(0, group, values[member])[
            group
        ]

    seen = sums(both)
    if how == "leave one out":
        seen -= both[member]
    if how in ("out of fold", "propagated"):
        for k in range(5):
            seen -= sums(both * (fold == k)[:, None]) * (fold == k)[member, None]
    rate = (seen[:, :1] + 0.6) / (seen[:, 1:] + 3)
    found = mean_at(member, torch.cat([rate, seen.log1p()], 1), len(y))
    if how == "propagated":
        around = mean_at(group, found[member], groups)
        found = mean_at(member, around[group], len(y))
    return found


def make_features(*, labels="", reads="train", extra=None):
    """Own features, means over neighbors, degrees; label rates made in some way; a planted column.

    The numbers of the labelled nodes are their global ids in both graphs of this file.
    """

    def features(graph, split, ids):
        name = graph.node_types[0]
        n, blocks = graph.num_nodes[name], {"own": graph.x[name].double()}
        y = torch.full((n,), -1)
        for rows in split if reads == "all" else (split.train,):
            y[rows[:, 0]] = rows[:, 1]
        for (relation, (member, group, groups)), other in zip(
            ends(graph).items(), graph.node_types[1:], strict=True
        ):
            blocks[f"hops of {relation}"] = mean_at(member, graph.x[other][group], n)
            degree = torch.bincount(group, minlength=groups)[group, None]
            blocks[f"degrees of {relation}"] = mean_at(member, degree.double(), n).log1p()
            if labels:
                blocks[f"labels of {relation}"] = label_rates(member, group, groups, y, labels)
        if extra is not None:
            blocks["planted"] = extra(graph, split)[:, None].double()
        names = [f"{block}: {k}" for block, part in blocks.items() for k in range(part.shape[1])]
        return torch.cat([*blocks.values()], 1)[ids].float(), names

    return features


def make_detector(features, *, reads="train"):
    """Fit small trees on a table, and score every labelled node."""

    def detector(graph, split):
        from xgboost import XGBClassifier

        rows = split.train if reads == "train" else torch.cat([split.train, split.test])
        trees = XGBClassifier(
            n_estimators=60, max_depth=3, learning_rate=0.15, colsample_bytree=0.5, n_jobs=1
        )
        trees.fit(features(graph, split, rows[:, 0])[0].numpy(), rows[:, 1].numpy())
        ids = graph.labels[:, 0]
        found = trees.predict_proba(features(graph, split, ids)[0].numpy())[:, 1]
        scores = torch.full((graph.total,), torch.nan, dtype=torch.float64)
        scores[ids] = torch.from_numpy(found).double()
        return scores

    return detector


def verdicts(findings):
    return {one.check: one.verdict for one in findings}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("labels", ["", "out of fold"])
def test_a_clean_run_raises_no_alarm(seed, labels):
    graph = market(seed)
    features = make_features(labels=labels)
    split = splits.stratified(graph.labels, fractions=FRACTIONS, seed=seed)
    found = audit.audit(
        graph, split, features=features, detector=make_detector(features), permutations=4, seed=seed
    )
    assert list(verdicts(found)) == list(data.QUESTIONS)
    expected = dict.fromkeys(data.QUESTIONS, PASSED)
    expected |= dict.fromkeys(["same entity", "future in features"], SKIPPED)
    assert verdicts(found) == expected, [one for one in found if one.verdict != expected[one.check]]


def audit_features(graph, split, *, time=None, **options):
    features = make_features(**options)
    return verdicts(audit.audit(graph, split, features=features, time=time, permutations=4))


@pytest.fixture(scope="module")
def bought():
    graph = market()
    return graph, splits.stratified(graph.labels, fractions=FRACTIONS)


@pytest.fixture(scope="module")
def paid():
    """Events in time with a split at random, which every event is in."""
    graph, time = payments()
    return graph, time, splits.stratified(graph.labels, fractions=FRACTIONS)


@pytest.mark.parametrize("seed", range(3))
def test_rates_out_of_fold_over_small_groups_are_no_leak(seed):
    graph, _ = payments(seed)
    split = splits.stratified(graph.labels, fractions=FRACTIONS, seed=seed)
    found = audit_features(graph, split, labels="out of fold")
    assert {found[name] for name in found if "features" in name} == {PASSED, SKIPPED}


def test_leave_one_out_rates_are_decoded_from_group_totals(paid):
    graph, _, split = paid
    found = audit_features(graph, split, labels="leave one out")
    assert found["label decoded from features"] == FAILED
    assert found["own label in features"] == PASSED  # it takes the total to see it
    assert found["test labels in features"] == PASSED


def test_rates_over_all_labels_are_found_by_the_canary(paid):
    graph, _, split = paid
    found = audit_features(graph, split, labels="leave one out", reads="all")
    assert found["test labels in features"] == FAILED


@pytest.mark.parametrize("make", [market, lambda: payments()[0]], ids=["market", "payments"])
@pytest.mark.parametrize("how", ["own label left in", "propagated"])
def test_own_label_is_found(make, how):
    graph = make()
    split = splits.stratified(graph.labels, fractions=FRACTIONS)
    found = audit_features(graph, split, labels=how)
    assert found["own label in features"] == FAILED
    assert found["test labels in features"] == PASSED


def history(graph, time):
    """A column made of strictly earlier events of the same card."""
    event, card, _ = ends(graph)["pays"]
    when = time[event]
    earlier = (card[:, None] == card) & (when[None] < when[:, None])
    return torch.zeros(graph.num_nodes["event"]).index_add(0, event, earlier.sum(1).float())


def test_future_statistics_are_found(paid):
    graph, time, _ = paid
    split = splits.temporal(graph.labels, time, fractions=FRACTIONS)
    assert audit_features(graph, split, time=time)["future in features"] == FAILED

    def past(graph, split, ids):
        columns = [graph.x["event"][:, :2], history(graph, time)[:, None]]
        return torch.cat(columns, 1)[ids], ["own: 0", "own: 1", "history: events before"]

    found = canaries.future(graph, split, past, time)
    assert (found.verdict, found.value) == (PASSED, 0)


def test_later_values_and_labels_are_found(paid):
    graph, time, _ = paid
    split = splits.temporal(graph.labels, time, fractions=FRACTIONS)

    def scaled(graph, split, ids):
        x = graph.x["event"]
        return (x / x.std(0))[ids], ["x_0", "x_1", "x_2"]

    def rate(graph, split, ids):
        return graph.labels[:, 1].double().mean().expand(len(ids), 1), ["rate of all"]

    for features, columns in ((scaled, ["x_0", "x_1", "x_2"]), (rate, ["rate of all"])):
        found = canaries.future(graph, split, features, time)
        assert found.verdict == FAILED
        assert sorted(found.evidence) == columns


def test_future_says_why_it_is_not_run(paid):
    graph, time, split = paid
    features = make_features()
    assert "the split is not temporal" in canaries.future(graph, split, features, time).detail
    assert "the nodes have no times" in canaries.future(graph, split, features, None).detail
    some = torch.where(torch.arange(len(time)) == int(split.val[0, 0]), torch.nan, time)
    assert "some labelled nodes" in canaries.future(graph, split, features, some).detail


@pytest.mark.parametrize("known", [True, False])
def test_raw_time_is_found(paid, known):
    graph, time, at_random = paid
    in_time = splits.temporal(graph.labels, time, fractions=FRACTIONS)
    options = {"extra": lambda graph, split: time[: graph.num_nodes["event"]].exp()}
    for split in (in_time, *[at_random] * known):
        found = audit_features(graph, split, time=time if known else None, **options)
        assert found["time column"] == WARNING
    found = audit_features(graph, in_time, time=time if known else None)
    assert found["time column"] == PASSED


def test_a_column_that_is_nearly_the_label_is_found(paid):
    graph, _, split = paid
    noise = torch.rand(graph.num_nodes["event"], generator=torch.Generator().manual_seed(1))
    extra = lambda graph, split: -(graph.labels[:, 1] + 1.2 * noise)  # noqa: E731
    features = make_features(extra=extra)
    found = audit.audit(graph, split, features=features, permutations=2)
    one = next(one for one in found if one.check == "single column")
    assert one.verdict == WARNING
    assert next(iter(one.evidence)) == "planted: 0"
    assert one.value.low < one.value.value < one.value.high
    assert one.value.value > data.DECIDES


def test_a_column_as_good_as_the_detector_is_found():
    y = torch.tensor([0, 1] * 50)
    both = torch.stack([y + torch.linspace(0, 2, 100), torch.linspace(-1, 1, 100)], 1), y
    weak, strong = Interval(0.7, 0.66, 0.74), Interval(0.99, 0.98, 1.0)
    found = data.single_column(["a", "b"], both, both, weak)
    assert found.verdict == WARNING and "one column does the work" in found.remedy
    assert data.single_column(["a", "b"], both, both, strong).verdict == PASSED
    found = data.single_column(["a", "b"], both, both)
    assert (found.verdict, list(found.evidence)) == (PASSED, ["a", "b"])


@pytest.mark.parametrize("sign", [1, -1])
def test_a_column_that_does_not_carry_over_is_found(sign):
    y = torch.tensor([0, 1] * 50)
    column = sign * (y + torch.linspace(0, 2, 100))[:, None]
    found = data.single_column(["a"], (column, y), (column * 0, y))
    assert found.verdict == WARNING and "does not carry over" in found.remedy
    assert found.evidence["a"].endswith("on test 0.500")


def test_missing_values_can_be_the_label():
    y = torch.tensor([0, 1] * 50)
    table = torch.where(y == 1, torch.nan, torch.linspace(0, 1, 100))[:, None]
    assert data.single_column(["a"], (table, y), (table, y)).value.value == 1


@pytest.mark.parametrize("sign", [1, -1])
def test_a_value_artefact_is_found(sign):
    """As in a simulation of money laundering, whose ordinary payments are never below 100."""
    draw = torch.Generator().manual_seed(0)
    y = (torch.rand(3000, generator=draw) < 0.1).long()
    amount = 100.04 + 50 * torch.rand(3000, generator=draw)
    small = (y == 1) & (torch.rand(3000, generator=draw) < 0.25)
    amount[small] = 100 * torch.rand(int(small.sum()), generator=draw)
    other = torch.randn(3000, generator=draw) + y
    found = data.value_artefact(["amount", "other"], torch.stack([sign * amount, other], 1), y)
    assert (found.verdict, found.value) == (WARNING, 1)
    assert list(found.evidence) == ["amount"]
    where = "below 100.04" if sign == 1 else "above -100.04"
    assert found.evidence["amount"].startswith(f"all {int(small.sum())} {where}")
    table = amount[:, None], y
    area = data.single_column(["amount"], table, table).value
    assert area.high < 0.7  # one number does not show it


@pytest.mark.parametrize("shift", [0.5, 1, 2, 3, 4])
def test_a_real_signal_is_no_artefact(shift):
    for seed in range(10):
        draw = torch.Generator().manual_seed(seed)
        y = (torch.rand(1000, generator=draw) < 0.15).long()
        normal = torch.randn(1000, generator=draw) + shift * y
        table = torch.stack([normal, normal.exp(), (2 * normal).round(), -normal], 1)
        assert data.value_artefact(list("abcd"), table, y).verdict == PASSED


def reviews(seed=0, *, each=4, users=400, habit=2.5):
    """Reviews by users who write several, and are honest or not in most of them."""
    draw = torch.Generator().manual_seed(seed)
    n = each * users
    author = torch.arange(n) % users
    tendency = habit * torch.randn(users, generator=draw)
    labels = labelled(tendency[author] - 2, draw, offset=users)
    edges = {("user", "writes", "review"): CSR.from_edges(
        author, torch.arange(n), num_src=users, num_dst=n
    )}  # fmt: skip
    return HeteroGraph({"user": users, "review": n}, edges, None, labels)


def test_the_same_author_in_two_parts_is_found():
    graph = reviews()
    split = splits.stratified(graph.labels, fractions=FRACTIONS)
    found = data.same_entity(graph, split)
    assert found.verdict == WARNING
    assert found.value.low > 2
    assert "protocol new_user" in found.remedy
    apart = splits.by_group(graph.labels, splits.groups(graph, "writes"), seed=0)
    assert data.same_entity(graph, apart).verdict == PASSED
    fickle = reviews(habit=0)  # the same authors, but their reviews have nothing in common
    split = splits.stratified(fickle.labels, fractions=FRACTIONS)
    assert data.same_entity(fickle, split).verdict == PASSED


def test_a_category_is_no_entity():
    graph = reviews(users=10, each=100)
    split = splits.stratified(graph.labels, fractions=FRACTIONS)
    assert data.same_entity(graph, split).verdict == SKIPPED


def test_a_type_that_is_never_fraud_is_found():
    graph = market()
    products = torch.stack([torch.arange(1500, 1650), torch.zeros(150, dtype=torch.int64)], 1)
    graph = HeteroGraph(graph.num_nodes, graph.edges, graph.x, torch.cat([graph.labels, products]))
    found = data.node_types(graph, splits.stratified(graph.labels))
    assert found.verdict == WARNING
    assert "product is of one class throughout" in found.detail
    assert found.evidence["product"] == "0.00% of 150"


def with_x(graph, x):
    return HeteroGraph(graph.num_nodes, graph.edges, graph.x | x, graph.labels)


def copies(split, count):
    """Ids of test and of train nodes, of the same label one by one."""
    half = count // 2
    parts = (split.test, split.train)
    return [
        torch.cat([part[part[:, 1] == y][: (half, count - half)[y], 0] for y in (0, 1)])
        for part in parts
    ]


def test_rows_in_two_parts_are_found(bought):
    graph, split = bought
    x = graph.x["user"].clone()
    for count, verdict in ((8, WARNING), (60, FAILED)):
        test, train = copies(split, count)
        x[test] = x[train]
        found = data.duplicates(with_x(graph, {"user": x}), split)
        assert found.verdict == verdict
        assert found.value == pytest.approx(count / len(split.test))
        assert found.evidence["labels of twins agree"] == "100.0%"


def test_rows_that_say_nothing_are_no_copies(bought):
    graph, split = bought
    draw = torch.Generator().manual_seed(0)
    test, train = copies(split, 60)
    choice = torch.randint(2, (1500, 4), generator=draw).float()  # sixteen rows, common to many
    equal = torch.arange(1500).float()[:, None].expand(-1, 4).clone()
    equal[test] = equal[train]  # pairs, but the same number in every column
    coarse = torch.randint(8, (1500, 4), generator=draw).float()  # some agree by chance
    chance = graph.x["user"].clone()
    chance[test] = chance[train.flip(0)]  # copies, but a fraud is paired with a normal node
    for x in (choice, equal, coarse, chance):
        assert data.duplicates(with_x(graph, {"user": x}), split).verdict == PASSED


def test_only_own_columns_make_a_copy(bought):
    graph, split = bought
    test, train = copies(split, 60)
    x = graph.x["user"].clone()
    x[test, 1:] = x[train, 1:]
    own = {"user": 3, "product": 4}  # the first column differs
    assert data.duplicates(with_x(graph, {"user": x}), split, own=own).verdict == PASSED
    turned = with_x(graph, {"user": x.flip(1)})
    assert data.duplicates(turned, split, own=own).verdict == FAILED


def test_overlap_of_parts_is_found(bought):
    graph, split = bought
    assert data.overlap(graph, split).verdict == PASSED
    twice = split._replace(test=torch.cat([split.test, split.train[:3]]))
    found = data.overlap(graph, twice)
    assert (found.verdict, found.value) == (FAILED, 3)
    turned = split._replace(val=split.val * torch.tensor([1, 0]))
    found = data.overlap(graph, turned)
    assert (found.verdict, found.value) == (FAILED, int(split.val[:, 1].sum()))
    fewer = HeteroGraph(graph.num_nodes, graph.edges, graph.x, split.train)
    found = data.overlap(fewer, split)
    assert (found.verdict, found.value) == (FAILED, len(split.val) + len(split.test))


def test_another_base_rate_is_found(bought):
    _, split = bought
    assert data.base_rates(split).verdict == PASSED
    frauds = split.test[split.test[:, 1] == 1]
    found = data.base_rates(split._replace(test=torch.cat([frauds, split.test[:150]])))
    assert found.verdict == WARNING and found.value.low > 1


def test_a_detector_that_learns_from_test_is_found(bought):
    detector = make_detector(make_features(), reads="test")
    found = canaries.score_canary(*bought, detector)
    assert found.verdict == FAILED and found.value > 500


def test_a_choice_by_test_labels_is_found(bought):
    """One bit of the test labels decides, and everything else is as it should be."""
    good = make_detector(make_features())

    def detector(graph, split):
        y = torch.full((graph.total,), torch.nan)
        y[graph.labels[:, 0]] = graph.labels[:, 1].float()
        scores, (ids, _) = good(graph, split), split.test.unbind(1)
        return scores if roc_auc(y[ids], scores[ids]) > 0.5 else -scores

    assert canaries.score_canary(*bought, detector).verdict == FAILED
    assert canaries.score_canary(*bought, good).verdict == PASSED


def test_a_detector_that_is_not_repeatable_is_told_from_one_that_cheats(bought):
    def detector(graph, split):
        return torch.rand(graph.total, dtype=torch.float64)

    found = canaries.score_canary(*bought, detector)
    assert found.verdict == WARNING
    assert "differ between two equal runs" in found.detail


def test_labels_kept_from_before_are_found_by_permuting(bought):
    """A model pre-trained on all labels: no canary sees it, as it reads none now."""
    known = bought[0].labels[:, 1].double()
    noise = torch.rand(len(known), generator=torch.Generator().manual_seed(0))

    def detector(graph, split):
        scores = torch.full((graph.total,), torch.nan, dtype=torch.float64)
        scores[: len(known)] = 0.3 * known + noise
        return scores

    assert canaries.score_canary(*bought, detector).verdict == PASSED
    found = canaries.permuted_labels(*bought, detector, permutations=3)
    assert found.verdict == FAILED
    assert found.value.low > 0.5


def test_the_interval_of_permuted_labels_covers_chance():
    """Scores drawn at random, one direction for all cases, scatter far more than cases do."""
    y = torch.tensor([0, 0, 0, 1] * 100)
    covered = 0
    for seed in range(40):
        draw = torch.Generator().manual_seed(seed)
        x = torch.randn(400, 2, generator=draw) + 1.5 * y[:, None]
        scores = [x @ torch.randn(2, generator=draw) for _ in range(5)]
        areas = [roc_auc(y, one) for one in scores]
        error = canaries._case_error(y, scores[:1])
        found = canaries._of_permutations(areas, canaries._case_error(y, scores))
        assert found.high - found.low > 2 * error
        covered += found.low <= 0.5 <= found.high
    assert covered >= 38


def test_the_error_over_cases_is_that_of_the_bootstrap():
    y = torch.tensor([0, 0, 0, 1] * 100)
    scores = torch.randn(400, generator=torch.Generator().manual_seed(3)) + 0.8 * y
    interval = bootstrap_interval(roc_auc, y, scores, level=0.95)
    error = canaries._case_error(y, [scores])
    assert (interval.high - interval.low) / (2 * 1.96) == pytest.approx(error, rel=0.1)
    assert canaries._case_error(y, [scores, scores]) == pytest.approx(error)
    assert canaries._case_error(y, [scores, -scores]) == pytest.approx(0, abs=1e-12)


def test_a_graph_that_says_nothing_is_found(bought):
    graph, split = bought

    def alone(graph, split, ids):
        return graph.x["user"][ids], list("abcd")

    for name in ("rewired edges", "shuffled nodes"):
        found = canaries.control(graph, split, make_detector(alone), name)
        assert (found.verdict, found.value) == (WARNING, (0, 0, 0))
    assert canaries.control(graph, split, make_detector(alone), "half the edges").verdict == PASSED


def test_noisy_edges_are_found(bought):
    graph, split = bought
    detector = make_detector(make_features())

    def better_with_less(other, split):
        scores = detector(graph, split)
        noise = torch.randn(len(scores), generator=torch.Generator().manual_seed(0))
        return scores + noise if other.edges == graph.edges else scores

    found = canaries.control(graph, split, better_with_less, "half the edges")
    assert found.verdict == WARNING and found.value.high < 0


def test_audit_without_features_or_detector(bought):
    found = verdicts(audit.audit(*bought))
    assert list(found) == list(data.QUESTIONS)
    assert [name for name in found if found[name] == SKIPPED] == list(data.QUESTIONS)[4:]


def test_audit_is_repeatable():
    graph, features = market(users=400, products=40), make_features(labels="out of fold")
    split = splits.stratified(graph.labels)
    options = {"features": features, "detector": make_detector(features), "permutations": 2}
    assert audit.audit(graph, split, **options) == audit.audit(graph, split, **options)


def test_audit_refuses_what_it_cannot_judge(bought):
    graph, split = bought
    bare = HeteroGraph(graph.num_nodes, graph.edges, graph.x)
    with pytest.raises(ValueError, match="the graph has no labels"):
        audit.audit(bare, split)
    with pytest.raises(ValueError, match="at least 2, but is 1"):
        audit.audit(graph, split, permutations=1)
    with pytest.raises(ValueError, match="is it of another graph"):
        audit.audit(graph, Split(*(part + 5000 for part in split)))
    with pytest.raises(ValueError, match="test nodes without a finite score; first node"):
        audit.audit(graph, split, detector=lambda g, s: torch.full((g.total,), torch.nan))
    with pytest.raises(ValueError, match="scores of shape \\(3,\\), but there are 1,650 nodes"):
        audit.audit(graph, split, detector=lambda g, s: torch.zeros(3))


def test_write(bought, tmp_path):
    features = make_features()
    found = audit.audit(
        *bought, features=features, detector=make_detector(features), permutations=2
    )
    page = audit.write(found, tmp_path / "new" / "audit.html", subject="a <market>")
    text = page.read_text()
    assert "a &lt;market&gt;" in text
    assert "http" not in text  # needs no other file, and no network
    for one in found:
        assert html.escape(one.question).replace("&#x27;", "&#39;") in text
        assert one.number in text
    kept = json.loads(page.with_suffix(".json").read_text())
    assert kept["verdicts"] == {"failed": 0, "warning": 0, "passed": 15, "not run": 2}
    by_name = {row["check"]: row for row in kept["findings"]}
    assert by_name["overlap"]["value"] == 0
    assert set(by_name["permuted labels"]["value"]) == {"value", "low", "high"}
    assert by_name["future in features"]["detail"] == "Not run: the nodes have no times."


def test_plot():
    findings = [
        data.Finding("overlap", PASSED, "nodes wrong", 0, 0),
        data.Finding("base rates", FAILED, "ratio", Interval(3.0, 2.0, 5.0), 1),
        data.Finding("permuted labels", WARNING, "AUROC", Interval(0.4, 0.3, 0.5), 0.5),
        data.skipped("future in features", "no times"),
    ]
    ax = Figure(layout="constrained").add_subplot()
    assert plot.audit(ax, findings) is ax
    drawn = [line.get_xydata().tolist() for line in ax.lines]  # a count and a ratio are not
    assert drawn == [[[0.3, 2], [0.5, 2]], [[0.4, 2]]]
    assert ax.collections[0].get_segments()[0][:, 0].tolist() == [0.5, 0.5]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [one.check for one in findings]
    texts = [text.get_text() for text in ax.texts]
    assert texts[1] == "failed   3.000 [2.000, 5.000]"
    assert texts[3].strip() == "not run"
    assert ax.texts[1].get_color() == plot.VERDICTS["failed"]
    FigureCanvasAgg(ax.figure).draw()
    with pytest.raises(ValueError, match="is empty"):
        plot.audit(ax, [])
