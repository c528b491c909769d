"""Training: what is learned, that seeds decide all of it, and that a killed run ends at the same
bytes."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gadkit import store
from gadkit.datasets import marketplace
from gadkit.evaluation.metrics import auprc_error, average_precision, roc_auc
from gadkit.evaluation.splits import Split, stratified
from gadkit.graph import CSR, HeteroGraph
from gadkit.network import finetune
from gadkit.network.finetune import finetune_gat, sample_pairs, train_gae

BUYS, FOLLOWS = ("user", "buys", "product"), ("user", "follows", "user")
GAE_OPTIONS = {"hidden_dim": 16, "out_dim": 16, "num_pairs": 1_500, "progress": False}
GAT_OPTIONS = {"hidden_dim": 16, "lr": 1e-2, "drop_edge": 0.5, "progress": False}
TUNED = {"features": True, "residual": True, "transform": "quantile", "degrees": True, "bands": 1}
TUNED |= {"label_input": 0.5, "dropout": 0.2, "pos_weight": 2.0, "focal_gamma": 1.0}
TUNED |= {"keep_edges": 4.0, "weight_decay": 1e-3}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Graphs this small are not worth a second thread, which on a busy machine is waited for."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def market(tmp_path_factory) -> HeteroGraph:
    """A generated marketplace: 600 users, 200 products, 20 sellers."""
    folder = tmp_path_factory.mktemp("data") / "market"
    sizes = {"num_users": 600, "num_products": 200, "num_sellers": 20}
    marketplace.generate(folder, **sizes, base_rate=0.1, label_rate=1.0, progress=False)
    return store.load_graph(folder)


def planted_graph(seed: int = 0) -> HeteroGraph:
    """150 users buy 6 of 60 products each; the 30 anomalous ones mostly among the first 8."""
    generator = torch.Generator().manual_seed(seed)
    src = torch.arange(150).repeat_interleave(6)
    dst = torch.randint(60, (900,), generator=generator)
    biased = (src < 30) & (torch.rand(900, generator=generator) < 0.9)
    dst[biased] = torch.randint(8, (int(biased.sum()),), generator=generator)
    edges = {BUYS: CSR.from_edges(src, dst, num_src=150, num_dst=60)}
    x = {name: torch.randn(n, 16, generator=generator) for name, n in SIZES.items()}
    ids = torch.arange(150)
    return HeteroGraph(SIZES, edges, x, torch.stack([ids, (ids < 30).long()], 1))


SIZES = {"user": 150, "product": 60}


@pytest.fixture(scope="module")
def planted() -> HeteroGraph:
    return planted_graph()


@pytest.fixture(scope="module")
def split(planted) -> Split:
    return stratified(planted.labels)


@pytest.fixture(scope="module")
def z(planted) -> torch.Tensor:
    return torch.cat(list(planted.x.values()))


@pytest.fixture(scope="module")
def finetuned(planted, z, split) -> finetune.Finetuned:
    return finetune_gat(planted, z, split, epochs=40, **GAT_OPTIONS)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_sampled_pairs(market):
    src, dst, target = sample_pairs(market, 3_000, generator(0))
    csr = market.homogeneous
    assert torch.equal(csr.contains(src, dst), target.bool())
    assert (src != dst).all()
    positive, negative = target == 1, target == 0
    assert 0.9 < negative.sum() / positive.sum() <= 1
    # The other pairs follow the edges, source by source, and end at the same type.
    of_type = market.node_type_of(src) * 3 + market.node_type_of(dst)
    counts = torch.stack([of_type[mask].bincount(minlength=9) for mask in (positive, negative)])
    assert torch.equal(counts[0] > 0, counts[1] > 0)
    assert (counts[0] >= counts[1]).all()
    assert set(src[negative].tolist()) <= set(src[positive].tolist())


def test_sampled_pairs_depend_on_the_generator_alone(market):
    one, again, other = (sample_pairs(market, 500, generator(seed)) for seed in (1, 1, 2))
    assert all(map(torch.equal, one, again))
    assert not torch.equal(one[0], other[0])


def test_no_pairs_to_sample():
    every = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    loops = torch.arange(4)
    complete = CSR.from_edges(*every.T, num_src=3, num_dst=4)
    graphs = [
        HeteroGraph({"user": 3, "product": 4}, {BUYS: complete}),
        HeteroGraph({"user": 4}, {FOLLOWS: CSR.from_edges(loops, loops, num_src=4, num_dst=4)}),
    ]
    for graph in graphs:
        with pytest.raises(ValueError, match="50 draws gave .* not one pair that is none"):
            sample_pairs(graph, 50, generator(0))


def test_autoencoder_learns_the_links(market):
    result = train_gae(market, epochs=30, **GAE_OPTIONS)
    first, last = result.history[0], result.history[-1]
    assert [record["epoch"] for record in result.history] == list(range(1, 31))
    assert last["loss"] < first["loss"] - 0.1
    assert last["auc"] > first["auc"] + 0.02
    assert result.z.shape == (market.total, 16) and not result.z.requires_grad
    src, dst, target = sample_pairs(market, 1_500, generator(99))  # pairs it was not trained on
    assert roc_auc(target, result.model.decode(result.z, src, dst).detach()) > 0.8


def test_autoencoder_depends_on_the_seed_alone(planted):
    one, again, other = (
        train_gae(planted, epochs=3, seed=seed, **GAE_OPTIONS) for seed in (1, 1, 2)
    )
    assert_identical(one, again)
    assert not torch.equal(one.z, other.z)


def test_autoencoder_without_features(planted):
    with pytest.raises(ValueError, match="the graph has no features x; give it some"):
        train_gae(HeteroGraph(planted.num_nodes, planted.edges), epochs=1)


def test_autoencoder_untrained(planted):
    result = train_gae(planted, epochs=0, **GAE_OPTIONS)
    assert result.history == [] and result.z.shape == (planted.total, 16)


def test_network_learns_a_planted_signal(finetuned, planted, split):
    ids, y_true = split.test.unbind(1)
    assert roc_auc(y_true, finetuned.scores[ids]) > 0.8
    assert finetuned.history[-1]["loss"] < finetuned.history[0]["loss"]
    assert finetuned.z.shape == (planted.total, 16) and finetuned.scores.shape == (planted.total,)
    assert ((finetuned.scores >= 0) & (finetuned.scores <= 1)).all()


def test_best_epoch_is_the_first_to_validate_best(planted, z, split):
    result = finetune_gat(planted, z, split, epochs=10, eval_every=2, **GAT_OPTIONS)
    validated = {r["epoch"]: r["val_auprc"] for r in result.history if "val_auprc" in r}
    assert list(validated) == [2, 4, 6, 8, 10]
    assert result.best["epoch"] == max(validated, key=validated.get)
    assert result.best["val_auprc"] == max(validated.values())
    ids, y_true = split.val.unbind(1)
    assert average_precision(y_true, result.scores[ids]) == pytest.approx(result.best["val_auprc"])
    assert len({str(r) for r in result.history}) == 10


def test_the_best_epoch_is_kept_when_later_ones_are_worse(planted, z, split):
    wrong = split._replace(val=flipped_labels(split.val))  # so learning makes it worse
    options = GAT_OPTIONS | {"epochs": 20, "eval_every": 1}
    result = finetune_gat(planted, z, wrong, **options)
    auprcs = [record["val_auprc"] for record in result.history]
    assert result.best["epoch"] == auprcs.index(max(auprcs)) + 1 < 20
    ids, y_true = wrong.val.unbind(1)
    kept = average_precision(y_true, result.scores[ids])
    assert kept == pytest.approx(max(auprcs)) and kept > auprcs[-1] + 0.01


def test_patience_ends_a_training_that_gains_nothing(planted, z, split, tmp_path):
    options = GAT_OPTIONS | {"epochs": 60, "eval_every": 2, "checkpoint": tmp_path / "run.pt"}
    wrong = split._replace(val=flipped_labels(split.val))
    result = finetune_gat(planted, z, wrong, **options, patience=6)
    assert len(result.history) == result.best["epoch"] + 6 < 60
    again = finetune_gat(planted, z, wrong, **options, patience=6, callback=not_called)
    assert_identical(result, again)  # it knows that it had ended
    assert len(finetune_gat(planted, z, wrong, **options).history) == 60


def test_test_labels_never_reach_the_scores(finetuned, planted, z, split):
    flip = torch.tensor([[1, -1]]), torch.tensor([[0, 1]])
    labels = planted.labels.clone()
    row = torch.isin(labels[:, 0], split.test[:, 0])
    labels[row] = labels[row] * flip[0] + flip[1]
    graph = HeteroGraph(planted.num_nodes, planted.edges, planted.x, labels)
    other = split._replace(test=split.test * flip[0] + flip[1])
    assert not torch.equal(other.test, split.test)
    assert_identical(finetuned, finetune_gat(graph, z, other, epochs=40, **GAT_OPTIONS))


def test_network_depends_on_the_seed_alone(planted, z, split):
    options = GAT_OPTIONS | {"epochs": 3, "heads": 2, "residual": True, "features": True}
    state = torch.get_rng_state()
    one, again, other = (finetune_gat(planted, z, split, seed=s, **options) for s in (1, 1, 2))
    assert_identical(one, again)
    assert not torch.equal(one.scores, other.scores)
    assert torch.equal(torch.get_rng_state(), state)


def roughness(graph: HeteroGraph, scores: torch.Tensor) -> torch.Tensor:
    src, dst = graph.edges[BUYS].indices.long(), graph.edges[BUYS].dst() + graph.offset("product")
    return (scores[src] - scores[dst]).square().mean()


def test_smoothness_makes_neighbors_alike(planted, z, split):
    def run(smoothness):
        options = GAT_OPTIONS | {"epochs": 10, "smoothness": smoothness}
        return finetune_gat(planted, z, split, **options)

    none, some, strong = run(0.0), run({"buys": 5.0}), run(50)
    assert_identical(none, run({}))
    assert_identical(some, run(5.0))
    assert roughness(planted, strong.scores) < 0.5 * roughness(planted, none.scores)


def test_smoothness_per_relation(market):
    degree = market.homogeneous.degrees().float()
    z, split = degree[:, None].repeat(1, 16) / 10, stratified(market.labels)

    def loss(**smoothness):
        options = GAT_OPTIONS | {"epochs": 1, "smoothness": smoothness}
        return finetune_gat(market, z, split, **options).history[0]["loss"]

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
        ({"smoothness": -0.5}, "smoothness must not be negative, got {'buys': -0.5}"),
        ({"smoothness": {"buys": float("nan")}}, "smoothness must not be negative, got .*nan"),
        ({"drop_edge": 1.0}, r"drop_edge must be in \[0, 1\), got 1.0"),
        ({"heads": 3}, "heads must divide out_dim, got 3 heads for 16"),
        ({"epochs": 0}, "epochs and eval_every must be at least 1, got 0 and 10"),
        ({"eval_every": 0}, "epochs and eval_every must be at least 1, got 1 and 0"),
        ({"label_input": 1.0}, r"label_input must be in \[0, 1\), got 1.0"),
        ({"pos_weight": 0.0}, "pos_weight must be positive, got 0.0"),
        ({"focal_gamma": -1.0}, "focal_gamma must be 0 or more, got -1.0"),
        ({"keep_edges": -1.0}, "keep_edges must be 0 or more, got -1.0"),
        ({"weight_decay": -1.0}, "weight_decay must be 0 or more, got -1.0"),
        ({"transform": "log"}, "transform must be one of .* got 'log'"),
        ({"bands": 1}, "change the features; ask for features"),
        ({"dropout": -0.1}, r"dropout must be in \[0, 1\), got -0.1"),
        ({"patience": 9}, "patience must be at least eval_every, .* got 9 and 10"),
    ],
)
def test_wrong_options(planted, z, split, options, message):
    with pytest.raises(ValueError, match=message):
        finetune_gat(planted, z, split, **(GAT_OPTIONS | {"epochs": 1} | options))


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
        finetune_gat(bare, z, split, features=True)
    result = finetune_gat(bare, z, split, epochs=1, **GAT_OPTIONS)  # z is enough without
    assert result.scores.isfinite().all()


def test_one_validation_at_the_end(planted, z, split):
    result = finetune_gat(planted, z, split, epochs=3, eval_every=10, **GAT_OPTIONS)
    assert ["val_auprc" in record for record in result.history] == [False, False, True]
    assert result.best["epoch"] == 3


def test_double_precision_inputs_give_the_same(planted, z, split):
    wide = HeteroGraph(
        planted.num_nodes, planted.edges, {name: x.double() for name, x in planted.x.items()}
    )
    gae = [train_gae(graph, epochs=2, **GAE_OPTIONS).z for graph in (wide, planted)]
    torch.testing.assert_close(*gae)
    for features in (False, True):
        options = GAT_OPTIONS | {"epochs": 2, "features": features}
        one = finetune_gat(wide, z.double(), split, **options)
        two = finetune_gat(planted, z, split, **options)
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
    result = finetune_gat(graph, z, split, features=True, epochs=2, **GAT_OPTIONS)
    assert result.scores.isfinite().all()


def test_one_relation_within_one_type(planted):
    src, dst = generator_pairs(80, 300)
    for both in (False, True):  # as it is, with its reverse as another stream, and symmetric
        ends = (torch.cat([src, dst]), torch.cat([dst, src])) if both else (src, dst)
        edges = {FOLLOWS: CSR.from_edges(*ends, num_src=80, num_dst=80)}
        graph = HeteroGraph(
            {"user": 80}, edges, {"user": planted.x["user"][:80]}, planted.labels[:80]
        )
        assert len(graph.streams) == 2 - both
        z = train_gae(graph, epochs=2, **GAE_OPTIONS).z
        result = finetune_gat(graph, z, stratified(graph.labels), epochs=2, **GAT_OPTIONS)
        assert result.scores.isfinite().all()


def generator_pairs(num_nodes: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.randint(num_nodes, (2, count), generator=generator(4)))


class Killed(Exception):
    """What an impatient user's interrupt raises from the callback."""


def kill_at(epoch: int):
    def callback(record):
        if record["epoch"] == epoch:
            raise Killed

    return callback


def not_called(record):
    pytest.fail(f"trained epoch {record['epoch']} again")


def gae_run(graph, path=None, **options):
    return train_gae(graph, epochs=20, checkpoint=path, **(GAE_OPTIONS | options))


def gat_run(graph, path=None, **options):
    z, split = torch.cat(list(graph.x.values())), stratified(graph.labels)
    options = GAT_OPTIONS | TUNED | {"heads": 2, "eval_every": 3} | options
    return finetune_gat(graph, z, split, epochs=20, checkpoint=path, **options)


BOTH = pytest.mark.parametrize("run", [gae_run, gat_run])


def assert_identical(one, two) -> None:
    """Same weights, embeddings, scores, history and best checkpoint, bit by bit."""
    weights = one.model.state_dict(), two.model.state_dict()
    assert list(weights[0]) == list(weights[1])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert torch.equal(one.z, two.z)
    assert one.history == two.history
    assert one.best.keys() == two.best.keys()
    for name, value in one.best["model"].items():
        assert torch.equal(value, two.best["model"][name])
    if hasattr(one, "scores"):
        assert torch.equal(one.scores, two.scores)
        assert one.best["epoch"] == two.best["epoch"]


@BOTH
@pytest.mark.parametrize("epoch", [3, 10, 13, 20])
def test_interrupted_runs_end_at_the_same_bytes(planted, tmp_path, run, epoch):
    whole = run(planted, tmp_path / "whole.pt")
    broken = tmp_path / "broken.pt"
    with pytest.raises(Killed):
        run(planted, broken, callback=kill_at(epoch))
    done = len(store.load_checkpoint(broken)["history"]) if broken.exists() else 0
    assert done == (0 if epoch <= 10 else 10)
    calls = []
    resumed = run(planted, broken, callback=calls.append)
    assert [record["epoch"] for record in calls] == list(range(done + 1, 21))
    assert_identical(resumed, whole)
    assert broken.read_bytes() == (tmp_path / "whole.pt").read_bytes()
    assert_identical(run(planted), whole)  # and no checkpoint, no difference


@BOTH
def test_a_finished_run_is_not_trained_again(planted, tmp_path, run):
    whole = run(planted, tmp_path / "run.pt")
    before = (tmp_path / "run.pt").read_bytes()
    assert_identical(run(planted, tmp_path / "run.pt", callback=not_called), whole)
    assert (tmp_path / "run.pt").read_bytes() == before


@BOTH
def test_a_checkpoint_of_another_run_is_ignored(planted, tmp_path, run):
    path = tmp_path / "run.pt"
    run(planted, path)
    for graph, options in ((planted, {"seed": 1}), (planted_graph(1), {}), (planted, {"lr": 2e-3})):
        calls = []
        result = run(graph, path, callback=calls.append, **options)
        assert len(calls) == 20
        assert_identical(result, run(graph, **options))


def test_a_checkpoint_of_other_labels_is_ignored(planted, z, split, tmp_path):
    options = GAT_OPTIONS | {"epochs": 2, "checkpoint": tmp_path / "run.pt"}
    finetune_gat(planted, z, split, **options)
    for other in (stratified(planted.labels, seed=1), split):
        calls = []
        finetune_gat(planted, z, other, **options, callback=calls.append)
        assert len(calls) == 2


@BOTH
def test_a_damaged_checkpoint_is_refused(planted, tmp_path, run):
    path = tmp_path / "run.pt"
    run(planted, path)
    path.write_bytes(path.read_bytes()[:-1_000])
    with pytest.raises(
        ValueError, match="run.pt is damaged, cut off or no checkpoint; delete it to start again"
    ):
        run(planted, path)


def pipeline(folder: Path | str, pause: float | str = 0) -> None:
    """Train both stages on the graph beside `folder`, saving everything; rest after every epoch."""
    folder = Path(folder)
    graph = store.load_graph(folder.parent)

    def callback(record):
        time.sleep(float(pause))

    options = {"callback": callback}
    pretrained = train_gae(
        graph, epochs=30, checkpoint=folder / "gae_run.pt", **GAE_OPTIONS, **options
    )
    store.save_array(folder, store.GAE_EMBEDDINGS, pretrained.z)
    store.save_checkpoint(folder / store.GAE_CHECKPOINT, pretrained.best)
    z, split = store.load_array(folder, store.GAE_EMBEDDINGS), stratified(graph.labels)
    result = finetune_gat(
        graph, z, split, epochs=30, checkpoint=folder / "gat_run.pt", **GAT_OPTIONS, **options
    )
    store.save_array(folder, store.GAT_EMBEDDINGS, result.z)
    store.save_array(folder, store.GAT_SCORES, result.scores)
    store.save_checkpoint(folder / store.GAT_CHECKPOINT, result.best | {"gae": pretrained.best})


def start(folder: Path, pause: float) -> subprocess.Popen:
    code = "import sys, test_train as t; t.torch.set_num_threads(2); t.pipeline(*sys.argv[1:])"
    return subprocess.Popen(
        [sys.executable, "-c", code, folder, str(pause)], cwd=Path(__file__).parent
    )


def kill_when(process: subprocess.Popen, path: Path) -> None:
    """Kill a process, with no chance to tidy up, as soon as a file is there."""
    deadline = time.monotonic() + 60
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -9  # killed, not ended by itself
    assert path.exists()


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")  # what a kill in the middle of a write left behind
    }


def test_killed_processes_end_at_the_same_files(planted, tmp_path, with_threads):
    store.save_graph(tmp_path, planted)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with_threads(2, lambda: pipeline(whole))
    for name in ("gae_run.pt", "gat_run.pt"):
        kill_when(start(killed, 0.05), killed / name)
        assert len(store.load_checkpoint(killed / name)["history"]) in (10, 20)
    with_threads(2, lambda: pipeline(killed))
    assert digests(killed) == digests(whole)
    assert len(digests(whole)) == 7


@pytest.fixture(scope="module")
def models(planted, tmp_path_factory) -> tuple[Path, torch.Tensor, finetune.Finetuned]:
    """A folder with both trained models, the embeddings and the result they came from."""
    folder = tmp_path_factory.mktemp("models")
    pretrained = train_gae(planted, epochs=5, **GAE_OPTIONS)
    options = GAT_OPTIONS | {"features": True, "residual": True, "epochs": 5}
    result = finetune_gat(planted, pretrained.z, stratified(planted.labels), **options)
    store.save_checkpoint(folder / store.GAE_CHECKPOINT, pretrained.best)
    store.save_checkpoint(folder / store.GAT_CHECKPOINT, result.best | {"gae": pretrained.best})
    return folder, pretrained.z, result


@torch.no_grad()
def test_loaded_models_give_the_same(planted, models):
    folder, z, result = models
    gae = finetune.load_gae(folder / store.GAE_CHECKPOINT)
    assert torch.equal(gae.encode(planted.homogeneous, gae.standardize(planted.x)), z)
    gat = finetune.load_gat(folder / store.GAT_CHECKPOINT)
    assert torch.equal(gat(planted, gat.inputs(planted, z)).sigmoid(), result.scores)
    assert torch.equal(finetune.score(planted, folder), result.scores)


def test_wrong_model_files(planted, models, tmp_path):
    folder, *_ = models
    gae_run(planted, tmp_path / "run.pt")
    with pytest.raises(ValueError, match="holds no GAE"):
        finetune.load_gae(folder / store.GAT_CHECKPOINT)
    with pytest.raises(ValueError, match="holds no HeteroGAT"):
        finetune.load_gat(folder / store.GAE_CHECKPOINT)
    with pytest.raises(ValueError, match="run.pt holds no GAE: 'architecture'"):
        finetune.load_gae(tmp_path / "run.pt")
    with pytest.raises(
        FileNotFoundError,
        match="is missing, which the training of the graph attention network leaves",
    ):
        finetune.load_gat(tmp_path / store.GAT_CHECKPOINT)


def test_scores_of_another_graph(market, models):
    folder, *_ = models
    unseen = planted_graph(1)
    scores = finetune.score(unseen, folder)
    assert scores.shape == (unseen.total,) and scores.isfinite().all()
    turned = {name: unseen.num_nodes[name] for name in ("product", "user")}
    bare = HeteroGraph(unseen.num_nodes, unseen.edges)
    for graph in (market, bare, HeteroGraph(turned, unseen.edges, unseen.x)):
        with pytest.raises(ValueError, match="were trained on features .* but the graph has"):
            finetune.score(graph, folder)


def test_scores_of_a_marketplace(market, tmp_path):
    pretrained = train_gae(market, epochs=1, **GAE_OPTIONS)
    split = stratified(market.labels)
    result = finetune_gat(market, pretrained.z, split, epochs=1, **GAT_OPTIONS)
    store.save_checkpoint(tmp_path / store.GAE_CHECKPOINT, pretrained.best)
    store.save_checkpoint(tmp_path / store.GAT_CHECKPOINT, result.best | {"gae": pretrained.best})
    assert torch.equal(finetune.score(market, tmp_path), result.scores)


def test_all_options_together_depend_on_the_seed_alone(planted, z, split):
    options = GAT_OPTIONS | TUNED | {"epochs": 3}
    state = torch.get_rng_state()
    one, again, other = (finetune_gat(planted, z, split, seed=s, **options) for s in (1, 1, 2))
    assert_identical(one, again)
    assert not torch.equal(one.scores, other.scores)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("option", [{name: TUNED[name]} for name in TUNED], ids=list(TUNED))
def test_every_option_changes_what_is_learned(planted, z, split, option):
    options = GAT_OPTIONS | {"epochs": 2, "features": True, "residual": False}
    if option == {"features": True}:
        options["features"] = False
    plain, other = (finetune_gat(planted, z, split, **(options | o)) for o in ({}, option))
    assert not torch.equal(plain.scores, other.scores)


def test_the_published_recipe_is_the_default(planted, z, split):
    options = {"transform": "standard", "degrees": False, "bands": 0, "label_input": 0.0}
    options |= {"dropout": 0.0, "pos_weight": 1.0, "focal_gamma": 0.0, "patience": None}
    options |= {"keep_edges": 0.0, "weight_decay": 0.0}
    options |= {"smoothness": 0.5, "drop_edge": 0.85, "lr": 1e-3, "residual": False}
    one = finetune_gat(planted, z, split, epochs=3, progress=False, **options)
    assert_identical(one, finetune_gat(planted, z, split, epochs=3, progress=False))


def flipped_labels(rows: torch.Tensor) -> torch.Tensor:
    return rows * torch.tensor([1, -1]) + torch.tensor([0, 1])


def test_shown_labels_are_those_of_the_training_alone(planted, z, split):
    options = GAT_OPTIONS | {"label_input": 0.5, "epochs": 4, "eval_every": 4, "residual": True}
    one = finetune_gat(planted, z, split, **options)
    other = finetune_gat(
        planted,
        z,
        split._replace(val=flipped_labels(split.val), test=flipped_labels(split.test)),
        **options,
    )
    assert torch.equal(one.scores, other.scores)  # one epoch is validated, so it is the best
    assert one.best["val_auprc"] != other.best["val_auprc"]
    gat, shown = one.model, torch.zeros(planted.total, dtype=torch.int64)
    shown[split.train[:, 0]] = 1 + split.train[:, 1]
    with torch.no_grad():
        inputs = gat.inputs(planted, z)
        assert torch.equal(gat(planted, inputs, shown=shown).sigmoid(), one.scores)
        assert not torch.equal(gat(planted, inputs).sigmoid(), one.scores)


def test_the_loss_of_a_step_is_on_the_labels_that_were_not_shown(planted, split):
    drawn = [finetune._masked(planted, split.train, 0.3, generator(seed)) for seed in (1, 1, 2)]
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
    shown, left = finetune._masked(planted, few, 0.99, generator(0))
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


def test_ensemble_is_the_mean_of_its_members(planted, z, split, tmp_path):
    options = GAT_OPTIONS | {"epochs": 4, "eval_every": 2}
    result = finetune.ensemble(
        planted, z, split, seeds=(0, 3), checkpoint=tmp_path / "run.pt", **options
    )
    members = [finetune_gat(planted, z, split, seed=seed, **options) for seed in (0, 3)]
    for one, two in zip(result.members, members, strict=True):
        assert_identical(one, two)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run_0.pt", "run_3.pt"]
    logits = (members[0].logits + members[1].logits) / 2
    torch.testing.assert_close(result.logits, logits)
    assert torch.equal(result.scores, result.logits.sigmoid())
    assert torch.equal(result.z, torch.cat([member.z for member in members], 1))
    ids, y_true = split.val.unbind(1)
    assert result.best["val_auprc"] == average_precision(y_true, result.logits[ids])
    assert result.best["members"][1]["epoch"] == members[1].best["epoch"]
    assert [record["member"] for record in result.history] == [0] * 4 + [1] * 4
    with pytest.raises(ValueError, match="an ensemble needs at least one seed"):
        finetune.ensemble(planted, z, split, seeds=())


def test_network_is_the_mean_of_the_variants_that_validate_well(planted, z, split, monkeypatch):
    small = {"epochs": 4, "eval_every": 2, "patience": 4}
    monkeypatch.setattr(finetune, "RECIPE", finetune.RECIPE | small)
    monkeypatch.setattr(finetune, "VARIANTS", ({}, {"embeddings": False}, {"lr": 1e-9}))
    options = finetune.RECIPE | {"progress": False, "seed": 5}
    all_three = [finetune_gat(planted, z, split, **(options | of)) for of in finetune.VARIANTS]
    values = [member.best["val_auprc"] for member in all_three]
    enough = max(values) - auprc_error(max(values), int(split.val[:, 1].sum()))
    members = [member for member in all_three if member.best["val_auprc"] >= enough]
    assert 1 <= len(members) < 3
    result = finetune.network(planted, split, z=z, seed=5, progress=False)
    torch.testing.assert_close(
        result.logits, torch.stack([member.logits for member in members]).mean(0)
    )
    assert len(result.members) == len(members)
    own = finetune.network(planted, split, progress=False)
    given = finetune.network(planted, split, z=train_gae(planted, progress=False).z, progress=False)
    assert torch.equal(own.logits, given.logits)


def test_embeddings_can_be_left_out(planted, z, split, tmp_path):
    options = GAT_OPTIONS | {"features": True, "epochs": 2, "embeddings": False}
    result = finetune_gat(planted, z, split, **options)
    other = finetune_gat(planted, z * 2 + 1, split, **options)
    assert torch.equal(result.scores, other.scores)
    pretrained = train_gae(planted, epochs=1, **GAE_OPTIONS)
    store.save_checkpoint(tmp_path / store.GAT_CHECKPOINT, result.best | {"gae": pretrained.best})
    assert torch.equal(finetune.score(planted, tmp_path), result.scores)
    with pytest.raises(ValueError, match="embeddings or features; there are neither"):
        finetune_gat(planted, z, split, **(options | {"features": False}))


def test_network_with_the_recipe_finds_what_is_planted(planted, split):
    result = finetune.network(planted, split, progress=False)
    ids, y_true = split.test.unbind(1)
    assert average_precision(y_true, result.scores[ids]) > 0.7


def test_scores_of_a_network_that_takes_labels(planted, split, tmp_path):
    pretrained = train_gae(planted, epochs=2, **GAE_OPTIONS)
    options = GAT_OPTIONS | TUNED | {"epochs": 2}
    result = finetune_gat(planted, pretrained.z, split, **options)
    store.save_checkpoint(tmp_path / store.GAT_CHECKPOINT, result.best | {"gae": pretrained.best})
    assert torch.equal(finetune.score(planted, tmp_path, known=split.train), result.scores)
    unseen = planted_graph(1)
    scores = finetune.score(unseen, tmp_path)  # of which no label is known
    assert scores.shape == (unseen.total,) and scores.isfinite().all()
    assert not torch.equal(finetune.score(planted, tmp_path), result.scores)
