"""The default recipe: it finds what is planted, by validation, without a look at the test part."""

import numpy as np
import pytest
import torch

from gadkit.audit import controls
from gadkit.evaluation import budget, splits
from gadkit.evaluation.metrics import auprc_error, average_precision, roc_auc
from gadkit.evaluation.splits import Split
from gadkit.graph import CSR, HeteroGraph
from gadkit.trees import learners, recipe
from gadkit.trees.learners import Boosted
from gadkit.trees.recipe import Committee, Member, fit_boosted, fit_one, fit_recipe, views_to_try
from gadkit.trees.views import Views

FUTURE = {"hops", "spread", "relations", "structure", "bands", "labels", "embedding"}


@pytest.fixture(autouse=True, scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learners, "TREES", 20)
        patch.setattr(learners, "_PATIENCE", 10)
        patch.setattr(learners, "_ROUNDS_FEW", 30)
        yield


def planted(num: int = 500, seed: int = 0) -> HeteroGraph:
    """Users who buy; fraud buys cheap products, and its own features hardly show it."""
    rng = np.random.default_rng(seed)
    fraud = rng.random(num) < 0.25
    num_products = num // 4
    edges = [
        (user, int(rng.integers(num_products // 2) + (num_products // 2) * (rng.random() < p)))
        for user, p in enumerate(np.where(fraud, 0.8, 0.2))
        for _ in range(4)
    ]
    src, dst = torch.tensor(sorted(set(edges))).T
    buys = CSR.from_edges(src, dst, num_src=num, num_dst=num_products)
    price = (np.arange(num_products) < num_products // 2) + 0.3 * rng.normal(size=num_products)
    x = {"user": rng.normal(size=(num, 2)) + 0.3 * fraud[:, None], "product": price[:, None]}
    x = {name: torch.from_numpy(values).float() for name, values in x.items()}
    labels = torch.stack([torch.arange(num), torch.from_numpy(fraud).long()], 1)[: num - 20]
    return HeteroGraph(
        {"user": num, "product": num_products}, {("user", "buys", "product"): buys}, x, labels
    )


@pytest.fixture(scope="module")
def graph() -> HeteroGraph:
    return planted()


@pytest.fixture(scope="module")
def split(graph) -> Split:
    return splits.stratified(graph.labels, fractions=(0.5, 0.2, 0.3))


@pytest.fixture(scope="module")
def fitted(graph, split) -> Committee:
    return fit_recipe(Views(graph), split)


def test_the_recipe_finds_what_the_neighbors_show(graph, split, fitted):
    ids, y = split.test.T
    assert roc_auc(y, fitted.scores[ids]) > 0.9
    own = fit_boosted(Views(graph), split, ("own",)).scores
    assert average_precision(y, fitted.scores[ids]) > average_precision(y, own[ids]) + 0.2


def test_scores_are_of_all_nodes_of_the_labelled_types(graph, fitted):
    scores = fitted.scores
    assert scores.shape == (graph.total,) and scores.dtype == torch.float64
    users = scores[graph.span("user")]
    assert ((users > 0) & (users < 1)).all()  # those without a label as well
    assert scores[graph.span("product")].isnan().all()
    ids = torch.tensor([499, 3])
    assert torch.equal(fitted.score(ids), scores[ids])
    ranked = fitted.ranked()
    assert sorted(ranked.tolist()) == list(range(500))
    assert (scores[ranked].diff() <= 0).all()


def test_scores_made_in_blocks_are_the_same(graph, split, fitted, monkeypatch):
    monkeypatch.setattr(recipe, "BLOCK", 33)
    again = Committee(fitted.views, fitted.blocks, split, fitted.candidates, fitted.members)
    assert torch.equal(again.scores[:500], fitted.scores[:500])


@pytest.mark.parametrize("size", [1, 33, 1000])
def test_a_score_has_the_same_bits_whichever_nodes_come_with_it(size):
    """A sigmoid that rounds the end of a tensor otherwise, as torch's does, would show here."""
    num = 5000
    graph = HeteroGraph({"user": num}, {("user", "knows", "user"): CSR.from_edges(
        torch.tensor([0]), torch.tensor([1]), num_src=num, num_dst=num)})  # fmt: skip
    given = torch.rand(num, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    member = Member(recipe.GIVEN, "mine", given.__getitem__, 0.5, 1.3, 0.1)
    none = torch.empty(0, 2, dtype=torch.int64)
    committee = Committee(Views(graph), {}, Split(none, none, none), [member], [member])
    parts = [committee.score(ids) for ids in torch.arange(num).split(size)]
    assert torch.equal(torch.cat(parts), committee.scores)


def test_the_test_part_is_not_looked_at(graph, split, fitted):
    flipped = torch.stack([split.test[:, 0], 1 - split.test[:, 1]], 1)
    labels = torch.cat([split.train, split.val, flipped])
    other = HeteroGraph(graph.num_nodes, graph.edges, graph.x, labels)
    scores = fit_recipe(Views(other), split._replace(test=flipped)).scores
    assert torch.equal(scores[:500], fitted.scores[:500])
    without = split._replace(test=torch.empty(0, 2, dtype=torch.int64))
    found = recipe.recipe_detector(Views(graph))(graph, without)
    assert torch.equal(found[:500], fitted.scores[:500])


def test_training_and_validation_labels_count(graph, split, fitted):
    for part in ("train", "val"):
        rows = getattr(split, part)
        y = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(1)), 1]
        other = split._replace(**{part: torch.stack([rows[:, 0], y], 1)})
        assert not torch.equal(fit_recipe(Views(graph), other).scores[:500], fitted.scores[:500])


def test_the_committee_is_those_within_a_standard_error_of_the_best(split, fitted):
    trees = [m for m in fitted.candidates if m.learner == "boosted trees"]
    assert [member.view for member in trees] == list(fitted.blocks)
    others = [m for m in fitted.candidates if m.learner != "boosted trees"]
    assert {m.learner for m in others} == {"extra trees"}
    ranked = sorted(trees, key=lambda member: -member.val_auprc)
    assert {m.view for m in others} == {member.view for member in ranked[:2]}
    assert len(fitted.candidates) == len(fitted.blocks) + 2
    best = max(member.val_auprc for member in fitted.candidates)
    positives = int(split.val[:, 1].sum())
    limit = best - (best * (1 - best) / positives) ** 0.5
    assert 1 <= len(fitted.members) < len(fitted.candidates)
    for member in fitted.candidates:
        assert (member in fitted.members) == (member.val_auprc >= limit)
        table = fitted.views.table(fitted.blocks[member.view], split.val[:, 0], split.train)
        assert member.val_auprc == average_precision(split.val[:, 1], member.predict(table))
    assert trees[0].name == "boosted trees on own features"


def test_other_detectors_join_the_committee_if_they_validate_well(graph, split, fitted):
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(graph.total, generator=generator)
    labels = torch.zeros(graph.total)
    labels[graph.labels[:, 0]] = graph.labels[:, 1].float()
    beside = {"oracle": 0.9 * labels + 0.1 * noise, "dice": noise}
    found = fit_recipe(Views(graph), split, beside=beside)
    assert [m.name for m in found.candidates[-2:]] == ["oracle", "dice"]
    assert [m.name for m in found.members] == ["oracle"]
    ids, y = split.test.T
    assert average_precision(y, found.scores[ids]) == 1
    assert found.names == fitted.names  # it is the trees that are explained
    with pytest.raises(ValueError, match="only other detectors are on the committee"):
        found.on(graph)
    alone = fit_recipe(Views(graph), split, beside={"dice": noise})
    assert torch.equal(alone.scores[:500], fitted.scores[:500])
    assert torch.equal(alone.on(graph).scores[:500], fitted.scores[:500])


@pytest.mark.parametrize("value", [1.5, -0.1, torch.nan])
def test_scores_of_other_detectors_must_be_probabilities(graph, split, value):
    scores = torch.full((graph.total,), 0.5)
    scores[3] = value  # not a validation node alone: every node gets a score
    with pytest.raises(ValueError, match=r"'mine' must be in \[0, 1\], but 1 of a user .* node 3"):
        fit_recipe(Views(graph), split, beside={"mine": scores})
    with pytest.raises(ValueError, match=r"'mine' must be \(625,\), one a node"):
        fit_recipe(Views(graph), split, beside={"mine": scores[:500]})


def test_a_committee_with_other_detectors_weighs_all_alike(graph, split, fitted):
    given = fitted.scores.nan_to_num(0.0)
    found = fit_recipe(Views(graph), split, beside={"mine": given})
    assert len(found.members) == len(fitted.members) + 1
    member, ids = found.members[-1], split.test[:, 0]
    logit = member.slope * given[ids].logit() + member.bias
    count = len(fitted.members)
    expected = (fitted.scores[ids].logit() * count + logit) / (count + 1)
    torch.testing.assert_close(found.scores[ids].logit(), expected)


def test_the_score_is_the_mean_of_the_members_calibrated_logits():
    graph = planted(60)
    one, other = torch.linspace(0.0, 1.0, 60).double(), torch.full((60,), 0.25).double()
    members = [
        Member("a", "x", lambda table: one[: len(table)], 0.5, 2.0, 1.0),
        Member("b", "y", lambda table: other[: len(table)], 0.5, 0.5, -1.0),
    ]
    none = torch.empty(0, 2, dtype=torch.int64)
    blocks = {"a": ("own",), "b": ("own",)}
    scores = Committee(Views(graph), blocks, Split(none, none, none), members, members).scores[:60]
    expected = (2 * one.clamp(1e-4, 1 - 1e-4).logit() + 1 + 0.5 * other.logit() - 1) / 2
    torch.testing.assert_close(scores, expected.sigmoid())


@pytest.mark.parametrize("sureness", [0.2, 1.0, 5.0, 40.0])
@pytest.mark.parametrize("num", [40, 2000])
def test_calibration_is_the_least_regularized_loss(sureness, num):
    """Against a search by BFGS; also where the logits are far too sure."""
    from scipy.optimize import minimize

    generator = torch.Generator().manual_seed(num)
    logit = torch.randn(num, dtype=torch.float64, generator=generator) - 1
    y = (torch.rand(num, dtype=torch.float64, generator=generator) < logit.sigmoid()).long()
    probability = (sureness * logit + 0.5).sigmoid()
    seen = probability.clamp(1e-4, 1 - 1e-4).logit().numpy()

    def loss(weight):
        z = weight[0] * seen + weight[1]
        fit = (np.logaddexp(0, z) - y.numpy() * z).sum()
        return fit + ((weight[0] - 1) ** 2 + weight[1] ** 2) / 2

    expected = minimize(loss, [1.0, 0.0], method="BFGS").x
    slope, bias = budget.platt(probability, y)
    assert (slope, bias) == pytest.approx(tuple(expected), abs=1e-3)


def test_logits_that_are_sure_and_wrong_are_calibrated():
    y = torch.tensor([0, 1] * 50)
    probability = torch.where(torch.arange(100) < 30, 1 - y, y).double()
    slope, bias = budget.platt(probability, y)
    assert torch.tensor(slope * 9.2).sigmoid() == pytest.approx(0.7, abs=0.02)
    assert bias == pytest.approx(0, abs=1e-6)
    slope, _ = budget.platt(1 - y.double(), y)  # wrong in every case
    assert slope > 0


def test_calibrated_scores_are_of_the_size_of_the_truth(split, fitted):
    ids, y = split.test.T
    assert float(fitted.scores[ids].mean()) == pytest.approx(float(y.double().mean()), abs=0.06)


def test_contributions_add_up_to_the_logit_of_the_explained_trees(split, fitted):
    ids = split.test[:20, 0]
    contributions, table = fitted.contributions(ids), fitted.table(ids)
    assert table.shape == (20, len(fitted.names))
    assert contributions.shape == (20, len(fitted.names) + 1)
    explained = fitted.explained
    assert isinstance(explained.predict, Boosted) and fitted.view == explained.view
    logit = explained.predict(table).logit()
    torch.testing.assert_close(contributions.sum(1).double(), logit, rtol=1e-4, atol=1e-4)
    assert torch.equal(
        table, fitted.views.table(fitted.blocks[fitted.view], ids, fitted.split.train)
    )


def test_the_explained_trees_are_on_the_committee_if_any_are():
    trees = [
        Member("a", "boosted trees", Boosted(None, 1), value, 1.0, 0.0) for value in (0.3, 0.5)
    ]
    forest = Member("a", "random forest", lambda table: table, 0.9, 1.0, 0.0)
    none = torch.empty(0, 2, dtype=torch.int64)

    def explained(members):
        views = Views(planted(60))
        parts = Split(none, none, none)
        return Committee(views, {"a": ("own",)}, parts, [*trees, forest], members).explained

    assert explained([forest, trees[0]]) is trees[0]
    assert explained([forest]) is trees[1]


def test_the_same_seed_gives_the_same_scores(graph, split, fitted):
    state = torch.get_rng_state()
    again = fit_recipe(Views(graph), split, seed=0).scores
    assert torch.equal(again[:500], fitted.scores[:500])
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(fit_recipe(Views(graph), split, seed=1).scores[:500], again[:500])


def test_views_that_are_tried(graph):
    tried = views_to_try(Views(graph), 400)
    assert list(tried) == ["own features", "neighbors", "neighbors and labels", "everything"]
    few = views_to_try(Views(graph), 100)
    assert list(few) == ["own features", "neighbors"]
    assert not any("labels" in blocks for blocks in few.values())
    bare = HeteroGraph(graph.num_nodes, graph.edges, None, graph.labels)
    assert list(views_to_try(Views(bare), 100)) == ["neighbors"]


def test_with_few_labels_a_linear_model_is_tried(graph):
    split = splits.few_label(graph.labels, seed=1)
    found = fit_recipe(Views(graph), split)
    assert {member.learner for member in found.candidates} == {
        "boosted trees", "random forest", "extra trees", "logistic regression",
    }  # fmt: skip
    ids, y = split.test.T
    assert roc_auc(y, found.scores[ids]) > 0.75
    rare = graph.labels[(graph.labels[:, 1] == 0) | (graph.labels[:, 0] < 120)]
    split = splits.stratified(rare, fractions=(0.6, 0.2, 0.2))
    assert len(split.train) >= learners.FEW and learners.are_few_frauds(split.train[:, 1])
    found = fit_recipe(Views(graph), split)
    assert "logistic regression" in {member.learner for member in found.candidates}


def test_with_few_frauds_other_detectors_must_validate_above_the_trees(graph):
    split = splits.few_label(graph.labels, seed=1)
    trees = fit_recipe(Views(graph), split)
    best = max(trees.candidates, key=lambda member: member.val_auprc)
    assert best.val_auprc < 1
    ids, y = split.val.unbind(1)
    limit = best.val_auprc - auprc_error(best.val_auprc, int(y.sum()))
    level = torch.zeros(graph.total, dtype=torch.float64)
    level[ids] = best.predict(trees._table(best.view, ids))
    below, above = level.clone(), level.clone()
    last = ids[y == 1][level[ids[y == 1]].argmin()]
    below[last], above[last] = 0.0, 1.0

    def seated(**beside):
        found = fit_recipe(Views(graph), split, beside=beside)
        assert found.candidates[-1].val_auprc >= limit  # with more frauds it would be seated
        return [member.name for member in found.members if member.view == recipe.GIVEN]

    assert seated(level=level) == seated(below=below) == []
    assert seated(above=above) == ["above"]
    assert seated(below=below, above=above) == ["below", "above"]


def events(num: int = 400) -> tuple[HeteroGraph, torch.Tensor]:
    """Payments by cards; a card that has been robbed pays more than it used to."""
    rng = np.random.default_rng(0)
    card = rng.integers(30, size=num)
    usual, fraud = rng.normal(size=30) * 3, rng.random(num) < 0.25
    amount = usual[card] + 0.3 * rng.normal(size=num) + 2.0 * fraud
    pays = CSR.from_edges(torch.from_numpy(card), torch.arange(num), num_src=30, num_dst=num)
    x = {"event": torch.from_numpy(amount[:, None]).float(), "card": torch.empty(30, 0)}
    labels = torch.stack([torch.arange(num), torch.from_numpy(fraud).long()], 1)
    num_nodes, edges = {"event": num, "card": 30}, {("card", "pays", "event"): pays}
    time = torch.full((num + 30,), torch.nan, dtype=torch.float64)
    time[:num] = torch.arange(num)
    return HeteroGraph(num_nodes, edges, x, labels), time


def test_past_only_looks_at_nothing_else():
    graph, time = events()
    views = Views(graph, time=time)
    assert "history" in views_to_try(views, 400)["neighbors"]
    tried = views_to_try(views, 400, past_only=True)
    assert not FUTURE & {block for blocks in tried.values() for block in blocks}
    split = splits.temporal(graph.labels, time)
    found = fit_recipe(views, split, past_only=True)
    assert "random forest" not in {member.learner for member in found.candidates}
    ids, y = split.test.T
    assert roc_auc(y, found.scores[ids]) > 0.8
    now = int(split.test[40, 0])  # by id is by time: everything from here on becomes another
    x = graph.x | {"event": torch.where(torch.arange(400)[:, None] >= now, 50.0, graph.x["event"])}
    src = torch.where(torch.arange(400) >= now, 0, graph.edges["card", "pays", "event"].indices)
    pays = CSR.from_edges(src.long(), torch.arange(400), num_src=30, num_dst=400)
    later = HeteroGraph(graph.num_nodes, {("card", "pays", "event"): pays}, x, graph.labels)
    other = recipe.recipe_detector(views, past_only=True)(later, split)
    assert torch.equal(other[:now], found.scores[:now])
    assert not torch.equal(other[now:400], found.scores[now:400])


def test_events_without_features_have_a_past():
    graph, time = events()
    bare = HeteroGraph(graph.num_nodes, graph.edges, None, graph.labels)
    assert list(views_to_try(Views(bare, time=time), 400, past_only=True)) == [
        "its past", "its past with labels",
    ]  # fmt: skip


def test_the_past_needs_times(graph, split):
    with pytest.raises(ValueError, match="the nodes have no time"):
        fit_recipe(Views(graph), split, past_only=True)


def test_a_detector_sees_the_graph_that_it_is_given(graph, split, fitted):
    views = Views(graph)
    rewired = controls.rewired(graph)
    ids, y = split.test.T
    for make in (
        recipe.recipe_detector(views),
        recipe.table_detector(views, ("own", "hops"), "random forest"),
    ):
        real, control = make(graph, split), make(rewired, split)
        assert roc_auc(y, real[ids]) > roc_auc(y, control[ids]) + 0.1


def test_one_learner_alone(graph, split):
    found = fit_one(Views(graph), split, ("own", "hops"), "extra trees", seed=3)
    assert [member.name for member in found.members] == ["extra trees on own + hops"]
    detector = recipe.table_detector(Views(graph), ("own", "hops"), "extra trees", seed=3)
    assert torch.equal(detector(graph, split)[:500], found.scores[:500])


def test_of_a_large_graph_a_table_detector_scores_the_nodes_of_the_split(
    graph, split, fitted, monkeypatch
):
    detector = recipe.table_detector(Views(graph), ("own", "hops"), "extra trees", seed=3)
    whole = detector(graph, split)
    assert torch.equal(whole.isnan(), ~fitted.has_score)
    monkeypatch.setattr(recipe, "MOST", graph.total - 1)
    some, ids = detector(graph, split), torch.cat([part[:, 0] for part in split])
    assert torch.equal(some[ids], whole[ids])
    assert int(some.isfinite().sum()) == len(ids)
