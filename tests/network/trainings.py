"""Small graphs, short trainings, and what is compared of two of them."""

from pathlib import Path

import torch

from gadkit import store
from gadkit.evaluation.splits import stratified
from gadkit.graph import CSR, HeteroGraph
from gadkit.network import Architecture, Recipe, Schedule, finetune_gat, train_gae

BUYS, FOLLOWS = ("user", "buys", "product"), ("user", "follows", "user")
SIZES = {"user": 150, "product": 60}
GAE_OPTIONS = {"hidden_dim": 16, "out_dim": 16, "num_pairs": 1_500, "progress": False}
QUICK = Recipe(Architecture(hidden_dim=16), Schedule(lr=1e-2, drop_edge=0.5))
# No option as in `QUICK`, but for the weights of the labels, which take labels as input.
TUNED = {"features": True, "residual": True, "transform": "quantile", "degrees": True, "bands": 1}
TUNED |= {"label_input": True, "dropout": 0.2, "pos_weight": 2.0, "focal_gamma": 1.0}
TUNED |= {"keep_edges": 4.0, "weight_decay": 1e-3}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def planted_graph(seed: int = 0) -> HeteroGraph:
    """150 users buy 6 of 60 products each; the 30 anomalous ones mostly among the first 8."""
    draws = generator(seed)
    src = torch.arange(150).repeat_interleave(6)
    dst = torch.randint(60, (900,), generator=draws)
    biased = (src < 30) & (torch.rand(900, generator=draws) < 0.9)
    dst[biased] = torch.randint(8, (int(biased.sum()),), generator=draws)
    edges = {BUYS: CSR.from_edges(src, dst, num_src=150, num_dst=60)}
    x = {name: torch.randn(n, 16, generator=draws) for name, n in SIZES.items()}
    ids = torch.arange(150)
    return HeteroGraph(SIZES, edges, x, torch.stack([ids, (ids < 30).long()], 1))


def tune(graph, z, split, *, seed=0, checkpoint=None, callback=None, **options):
    """Train `QUICK` with other options."""
    run = {"seed": seed, "checkpoint": checkpoint, "callback": callback, "progress": False}
    return finetune_gat(graph, z, split, **QUICK.replace(**options)._asdict(), **run)


def flipped_labels(rows: torch.Tensor) -> torch.Tensor:
    return rows * torch.tensor([1, -1]) + torch.tensor([0, 1])


def not_called(record):
    raise AssertionError(f"trained epoch {record['epoch']} again")


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


def save_models(folder: Path, pretrained, tuned) -> None:
    """Save both stages as a run leaves them."""
    store.save_checkpoint(folder / store.GAE_CHECKPOINT, pretrained.best)
    store.save_checkpoint(folder / store.GAT_CHECKPOINT, tuned.best | {"gae": pretrained.best})


def pipeline(folder: Path | str, callback=None) -> None:
    """Train both stages on the graph beside `folder`, saving everything."""
    folder = Path(folder)
    graph = store.load_graph(folder.parent)
    options = {"checkpoint": folder / "gae_run.pt", "callback": callback}
    pretrained = train_gae(graph, epochs=12, **GAE_OPTIONS, **options)
    store.save_array(folder, store.GAE_EMBEDDINGS, pretrained.z)
    z, split = store.load_array(folder, store.GAE_EMBEDDINGS), stratified(graph.labels)
    options["checkpoint"] = folder / "gat_run.pt"
    tuned = tune(graph, z, split, epochs=12, **options)
    store.save_array(folder, store.GAT_EMBEDDINGS, tuned.z)
    store.save_array(folder, store.GAT_SCORES, tuned.scores)
    save_models(folder, pretrained, tuned)
