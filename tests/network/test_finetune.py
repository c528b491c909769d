"""Stage 2: what is learned, and that the seed decides all of it."""

import inspect

import pytest
import torch
from trainings import (
    BUYS,
    FOLLOWS,
    GAE_OPTIONS,
    TUNED,
    assert_identical,
    flipped_labels,
    generator,
    not_called,
    tune,
)

from gadkit.evaluation.metrics import average_precision, roc_auc
from gadkit.evaluation.splits import stratified
from gadkit.graph import CSR, HeteroGraph
from gadkit.network import PUBLISHED, Architecture, Schedule, finetune, finetune_gat, train_gae


def test_network_learns_a_planted_signal(finetuned, planted, split):
    ids, y_true = split.test.unbind(1)
    assert roc_auc(y_true, finetuned.scores[ids]) > 0.8
    assert finetuned.history[-1]["loss"] < finetuned.history[0]["loss"]
    assert finetuned.z.shape == (planted.total, 16) and finetuned.scores.shape == (planted.total,)
    assert ((finetuned.scores >= 0) & (finetuned.scores <= 1)).all()


def test_best_epoch_is_the_first_to_validate_best(planted, z, split):
    result = tune(planted, z, split, epochs=10, eval_every=2)
    validated = {r["epoch"]: r["val_auprc"] for r in result.history if "val_auprc" in r}
    assert list(validated) == [2, 4, 6, 8, 10]
    assert result.best["epoch"] == max(validated, key=validated.get)
    assert result.best["val_auprc"] == max(validated.values())
    ids, y_true = split.val.unbind(1)
    assert average_precision(y_true, result.scores[ids]) == pytest.approx(result.best["val_auprc"])
    assert len({str(r) for r in result.history}) == 10


def test_the_best_epoch_is_kept_when_later_ones_are_worse(planted, z, split):
    wrong = split._replace(val=flipped_labels(split.val))  # so learning makes it worse
    result = tune(planted, z, wrong, epochs=20, eval_every=1)
    auprcs = [record["val_auprc"] for record in result.history]
    assert result.best["epoch"] == auprcs.index(max(auprcs)) + 1 < 20
    ids, y_true = wrong.val.unbind(1)
    kept = average_precision(y_true, result.scores[ids])
    assert kept == pytest.approx(max(auprcs)) and kept > auprcs[-1] + 0.01


def test_patience_ends_a_training_that_gains_nothing(planted, z, split, tmp_path):
    options = {"epochs": 20, "eval_every": 2, "checkpoint": tmp_path / "run.pt"}
    wrong = split._replace(val=flipped_labels(split.val))
    result = tune(planted, z, wrong, **options, patience=6)
    assert len(result.history) == result.best["epoch"] + 6 < 20
    again = tune(planted, z, wrong, **options, patience=6, callback=not_called)
    assert_identical(result, again)  # it knows that it had ended
    assert len(tune(planted, z, wrong, **options).history) == 20


def test_test_labels_never_reach_the_scores(finetuned, planted, z, split):
    flip = torch.tensor([[1, -1]]), torch.tensor([[0, 1]])
    labels = planted.labels.clone()
    row = torch.isin(labels[:, 0], split.test[:, 0])
    labels[row] = labels[row] * flip[0] + flip[1]
    graph = HeteroGraph(planted.num_nodes, planted.edges, planted.x, labels)
    other = split._replace(test=split.test * flip[0] + flip[1])
    assert not torch.equal(other.test, split.test)
    assert_identical(finetuned, tune(graph, z, other, epochs=40))


def test_network_depends_on_the_seed_alone(planted, z, split):
    options = {"epochs": 3, "heads": 2, "residual": True, "features": True}
    state = torch.get_rng_state()
    one, again, other = (tune(planted, z, split, seed=s, **options) for s in (1, 1, 2))
    assert_identical(one, again)
    assert not torch.equal(one.scores, other.scores)
    assert torch.equal(torch.get_rng_state(), state)


def roughness(graph: HeteroGraph, scores: torch.Tensor) -> torch.Tensor:
    src, dst = graph.edges[BUYS].indices.long(), graph.edges[BUYS].dst() + graph.offset("product")
    return (scores[src] - scores[dst]).square().mean()


def test_smoothness_makes_neighbors_alike(planted, z, split):
    def run(smoothness):
        return tune(planted, z, split, epochs=10, smoothness=smoothness)

    none, some, strong = run(0.0), run({"buys": 5.0}), run(50)
    assert_identical(none, run({}))
    assert_identical(some, run(5.0))
    assert roughness(planted, strong.scores) < 0.5 * roughness(planted, none.scores)


def test_smoothness_per_relation(market):
    degree = market.homogeneous.degrees().float()
    z, split = degree[:, None].repeat(1, 16) / 10, stratified(market.labels)

    def loss(**smoothness):
        return tune(market, z, split, epochs=1, smoothness=smoothness).history[0]["loss"]

    none, buys, twice, sells = loss(), loss(buys=1.0), loss(buys=2.0), loss(sells=1.0)
    assert none < min(buys, sells) and buys != sells
    assert twice - none == pytest.approx(2 * (buys - none), rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"smoothness": {"sells": 0.1}},
            r"smoothness names \['sells'\], but the relations are \['buys'\]",
        ),
        ({"smoothness": -0.5}, "smoothness must not be negative, got -0.5"),
        ({"smoothness": {"buys": float("nan")}}, "smoothness must not be negative, got .*nan"),
        ({"drop_edge": 1.0}, r"drop_edge must be in \[0, 1\), got 1.0"),
        ({"heads": 3}, "heads must divide hidden_dim, got 3 heads for 16"),
        ({"epochs": 0}, "epochs and eval_every must be at least 1, got 0 and 10"),
        ({"eval_every": 0}, "epochs and eval_every must be at least 1, got 1 and 0"),
        ({"label_share": 1.0}, r"label_share must be in \(0, 1\), got 1.0"),
        ({"label_share": 0.0}, r"label_share must be in \(0, 1\), got 0.0"),
        ({"pos_weight": 0.0}, "pos_weight must be positive, got 0.0"),
        ({"focal_gamma": -1.0}, "focal_gamma must be 0 or more, got -1.0"),
        ({"keep_edges": -1.0}, "keep_edges must be 0 or more, got -1.0"),
        ({"weight_decay": -1.0}, "weight_decay must be 0 or more, got -1.0"),
        ({"transform": "log"}, "transform must be one of .* got 'log'"),
        ({"lr": -1.0}, "lr must be 0 or more, got -1.0"),
        ({"transform": "quantile"}, "change the features; ask for features"),
        ({"degrees": True}, "change the features; ask for features"),
        ({"embeddings": False}, "embeddings or features; there are neither"),
        ({"bands": 1}, "change the features; ask for features"),
        ({"dropout": -0.1}, r"dropout must be in \[0, 1\), got -0.1"),
        ({"patience": 9}, "patience must be at least eval_every, .* got 9 and 10"),
    ],
)
def test_wrong_options(planted, z, split, options, message):
    with pytest.raises(ValueError, match=message):
        tune(planted, z, split, **({"epochs": 1} | options))


def test_wrong_inputs(planted, z, split):
    with pytest.raises(ValueError, match=r"z must have shape \(210, dim\), got \(209, 16\)"):
        finetune_gat(planted, z[1:], split)
    with pytest.raises(ValueError, match=r"z must have shape \(210, dim\), got \(210,\)"):
        finetune_gat(planted, z[:, 0], split)
    bad = z.clone()
    bad[7, 3] = float("nan")
    with pytest.raises(ValueError, match="z is nan at row 7, column 3"):
        finetune_gat(planted, bad, split)
    bare = HeteroGraph(planted.num_nodes, planted.edges)
    with pytest.raises(ValueError, match="the graph has no features x; give it some"):
        tune(bare, z, split, features=True)
    result = tune(bare, z, split, epochs=1)  # z is enough without
    assert result.scores.isfinite().all()


def test_one_validation_at_the_end(planted, z, split):
    result = tune(planted, z, split, epochs=3, eval_every=10)
    assert ["val_auprc" in record for record in result.history] == [False, False, True]
    assert result.best["epoch"] == 3


def test_double_precision_inputs_give_the_same(planted, z, split):
    wide = HeteroGraph(
        planted.num_nodes, planted.edges, {name: x.double() for name, x in planted.x.items()}
    )
    gae = [train_gae(graph, epochs=2, **GAE_OPTIONS).z for graph in (wide, planted)]
    torch.testing.assert_close(*gae)
    for features in (False, True):
        one = tune(wide, z.double(), split, epochs=2, features=features)
        two = tune(planted, z, split, epochs=2, features=features)
        assert one.scores.dtype == torch.float32
        torch.testing.assert_close(one.scores, two.scores)


def test_widths_per_type_and_labels_on_two_types(planted, z):
    x = {"user": planted.x["user"][:, :5], "product": planted.x["product"][:, :2]}
    promoted = torch.stack([torch.arange(150, 210), (torch.arange(60) < 8).long()], 1)
    labels = torch.cat([planted.labels, promoted])
    graph = HeteroGraph(planted.num_nodes, planted.edges, x, labels)
    assert train_gae(graph, epochs=2, **GAE_OPTIONS).z.isfinite().all()
    split = stratified(labels)
    assert {int(t) for part in split for t in graph.node_type_of(part[:, 0])} == {0, 1}
    result = tune(graph, z, split, features=True, epochs=2)
    assert result.scores.isfinite().all()


def test_one_relation_within_one_type(planted):
    src, dst = torch.randint(80, (2, 300), generator=generator(4))
    for both in (False, True):  # as it is, with its reverse as another stream, and symmetric
        ends = (torch.cat([src, dst]), torch.cat([dst, src])) if both else (src, dst)
        edges = {FOLLOWS: CSR.from_edges(*ends, num_src=80, num_dst=80)}
        graph = HeteroGraph(
            {"user": 80}, edges, {"user": planted.x["user"][:80]}, planted.labels[:80]
        )
        assert len(graph.streams) == 2 - both
        z = train_gae(graph, epochs=2, **GAE_OPTIONS).z
        result = tune(graph, z, stratified(graph.labels), epochs=2)
        assert result.scores.isfinite().all()


def test_all_options_together_depend_on_the_seed_alone(planted, z, split):
    options = TUNED | {"epochs": 3}
    state = torch.get_rng_state()
    one, again, other = (tune(planted, z, split, seed=s, **options) for s in (1, 1, 2))
    assert_identical(one, again)
    assert not torch.equal(one.scores, other.scores)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.fixture(scope="module")
def plain_scores(planted, z, split):
    """plain_scores(options): of two epochs with these, trained once."""
    trained = {}

    def scores(options: dict) -> torch.Tensor:
        name = str(options)
        if name not in trained:
            trained[name] = tune(planted, z, split, epochs=2, **options).scores
        return trained[name]

    return scores


@pytest.mark.parametrize("name", [*TUNED, "label_share"])
def test_every_option_changes_what_is_learned(plain_scores, name):
    plain = {"features": name != "features", "label_input": name == "label_share"}
    other = plain | {name: (TUNED | {"label_share": 0.2})[name]}
    assert not torch.equal(plain_scores(plain), plain_scores(other))


def test_the_published_recipe_is_the_default():
    architecture = Architecture(
        hidden_dim=128,
        heads=1,
        residual=False,
        embeddings=True,
        features=False,
        transform="standard",
        degrees=False,
        bands=0,
        label_input=False,
        dropout=0.0,
    )
    schedule = Schedule(
        epochs=100,
        lr=1e-3,
        weight_decay=0.0,
        smoothness=0.5,
        pos_weight=1.0,
        focal_gamma=0.0,
        drop_edge=0.85,
        keep_edges=0.0,
        eval_every=10,
        patience=None,
    )
    defaults = inspect.signature(finetune_gat).parameters
    assert (architecture, schedule) == PUBLISHED
    assert defaults["architecture"].default == architecture
    assert defaults["schedule"].default == schedule


def test_shown_labels_are_those_of_the_training_alone(planted, z, split):
    options = {"label_input": True, "epochs": 4, "eval_every": 4, "residual": True}
    one = tune(planted, z, split, **options)
    flipped = split._replace(val=flipped_labels(split.val), test=flipped_labels(split.test))
    other = tune(planted, z, flipped, **options)
    assert torch.equal(one.scores, other.scores)  # one epoch is validated, so it is the best
    assert one.best["val_auprc"] != other.best["val_auprc"]
    gat, shown = one.model, torch.zeros(planted.total, dtype=torch.int64)
    shown[split.train[:, 0]] = 1 + split.train[:, 1]
    with torch.no_grad():
        inputs = gat.inputs(planted, z)
        assert torch.equal(gat(planted, inputs, shown=shown), one.logits)
        assert not torch.equal(gat(planted, inputs), one.logits)


def test_training_with_shown_labels_gives_the_same_bytes_on_several_threads(with_threads):
    """With 2,000 nodes the gradient of what labels add is shared out among the threads."""
    draws = generator(0)
    ids, products = torch.arange(1_500), torch.arange(500)
    buys = CSR.from_edges(ids, ids % 500, num_src=1_500, num_dst=500)
    x = {"user": torch.randn(1_500, 3, generator=draws), "product": products[:, None].float()}
    labels = torch.stack([ids, (torch.rand(1_500, generator=draws) < 0.2).long()], 1)
    graph = HeteroGraph({"user": 1_500, "product": 500}, {BUYS: buys}, x, labels)
    options = {"features": True, "embeddings": False, "label_input": True, "hidden_dim": 64}
    options |= {"epochs": 3, "smoothness": 1.0}

    def scores():
        return tune(graph, torch.zeros(graph.total, 1), stratified(labels), **options).scores

    first = with_threads(4, scores)
    assert all(torch.equal(first, with_threads(4, scores)) for _ in range(3))


def test_the_loss_of_a_step_is_on_the_labels_that_were_not_shown(planted, split):
    drawn = [finetune._show_some(planted, split.train, 0.3, generator(seed)) for seed in (1, 1, 2)]
    (shown, left), (shown_again, left_again), (shown_other, _) = drawn
    assert torch.equal(shown, shown_again) and torch.equal(left, left_again)
    assert not torch.equal(shown, shown_other)
    told = shown.nonzero().flatten()
    assert len(told) == int(0.3 * len(split.train))
    both = torch.cat([told, left[:, 0]]).sort().values
    assert torch.equal(both, split.train[:, 0])
    of = dict(split.train.tolist())
    assert all(int(shown[node]) == 1 + of[int(node)] for node in told)
    assert all(of[node] == label for node, label in left.tolist())


def test_one_training_label_at_least_is_left_for_the_loss(planted, split):
    few = split.train[:2]
    shown, left = finetune._show_some(planted, few, 0.99, generator(0))
    assert len(left) == 1 and int((shown > 0).sum()) == 1


def test_label_loss():
    logits, labels = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([[0, 1], [2, 0], [1, 1]])
    p = logits.sigmoid()
    parts = torch.stack([-p[0].log(), -(1 - p[2]).log(), -p[1].log()])
    missed = torch.stack([1 - p[0], p[2], 1 - p[1]])
    loss = finetune._label_loss
    torch.testing.assert_close(loss(logits, labels, 1.0, 0.0), parts.mean())
    weight = torch.tensor([3.0, 1, 3])
    torch.testing.assert_close(loss(logits, labels, 3.0, 0.0), (weight * parts).mean())
    focal = (weight * missed**2 * parts).mean()
    torch.testing.assert_close(loss(logits, labels, 3.0, 2.0), focal)


def test_embeddings_can_be_left_out(planted, z, split):
    options = {"features": True, "epochs": 2, "embeddings": False}
    result = tune(planted, z, split, **options)
    other = tune(planted, z * 2 + 1, split, **options)
    assert torch.equal(result.scores, other.scores)
