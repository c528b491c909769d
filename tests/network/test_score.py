"""Saved networks: what is loaded scores as what was trained."""

from pathlib import Path

import pytest
import torch
from trainings import GAE_OPTIONS, TUNED, planted_graph, save_models, tune

from gadkit import store
from gadkit.evaluation.splits import stratified
from gadkit.graph import HeteroGraph
from gadkit.network import Finetuned, load_gae, load_gat, score_graph, train_gae


@pytest.fixture(scope="module")
def models(planted, pretrained, split, tmp_path_factory) -> tuple[Path, torch.Tensor, Finetuned]:
    """A folder with both trained models, the embeddings and the result they came from."""
    folder = tmp_path_factory.mktemp("models")
    options = {"features": True, "residual": True, "epochs": 5}
    result = tune(planted, pretrained.z, split, **options)
    save_models(folder, pretrained, result)
    return folder, pretrained.z, result


@torch.no_grad()
def test_loaded_models_give_the_same(planted, models):
    folder, z, result = models
    gae = load_gae(folder / store.GAE_CHECKPOINT)
    assert torch.equal(gae.encode(planted.homogeneous, gae.standardize(planted.x)), z)
    gat = load_gat(folder / store.GAT_CHECKPOINT)
    assert gat.architecture == result.model.architecture
    assert torch.equal(gat(planted, gat.inputs(planted, z)), result.logits)
    assert torch.equal(score_graph(planted, folder), result.scores)


def test_wrong_model_files(planted, models, tmp_path):
    folder, *_ = models
    train_gae(planted, epochs=1, checkpoint=tmp_path / "run.pt", **GAE_OPTIONS)
    with pytest.raises(ValueError, match="holds no GAE"):
        load_gae(folder / store.GAT_CHECKPOINT)
    with pytest.raises(ValueError, match="holds no HeteroGAT"):
        load_gat(folder / store.GAE_CHECKPOINT)
    with pytest.raises(ValueError, match="run.pt holds no GAE: it lacks 'architecture'; .* train"):
        load_gae(tmp_path / "run.pt")
    with pytest.raises(
        FileNotFoundError,
        match="is missing, which the training of the graph attention network leaves",
    ):
        load_gat(tmp_path / store.GAT_CHECKPOINT)


def halve(state):
    state["model"]["head"] = state["model"]["head"].half()


def spoil(state):
    state["model"]["head"] = state["model"]["head"] * torch.nan


def add_option(state):
    state["architecture"]["of_tomorrow"] = 3


def add_weight(state):
    state["model"]["of_tomorrow"] = torch.zeros(3)


def lose_weight(state):
    del state["model"]["head"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (halve, "its head is torch.float16, not torch.float32"),
        (spoil, "its head has values that are no numbers"),
        (add_option, ".*unexpected keyword argument 'of_tomorrow'"),
        (add_weight, '.*Unexpected key.* "of_tomorrow"'),
        (lose_weight, '.*Missing key.* "head"'),
    ],
)
def test_models_of_another_version_say_so_in_a_line(models, tmp_path, change, reason):
    state = store.load_checkpoint(models[0] / store.GAT_CHECKPOINT)
    change(state)
    path = tmp_path / store.GAT_CHECKPOINT
    store.save_checkpoint(path, state)
    content = path.read_bytes()
    with pytest.raises(ValueError, match=f"best.pt holds no HeteroGAT: {reason}") as error:
        load_gat(path)
    assert "another gadkit" in str(error.value) and "\n" not in str(error.value)
    assert path.read_bytes() == content


def test_scores_of_another_graph(market, models):
    folder, *_ = models
    unseen = planted_graph(1)
    scores = score_graph(unseen, folder)
    assert scores.shape == (unseen.total,) and scores.isfinite().all()
    turned = {name: unseen.num_nodes[name] for name in ("product", "user")}
    bare = HeteroGraph(unseen.num_nodes, unseen.edges)
    for graph in (market, bare, HeteroGraph(turned, unseen.edges, unseen.x)):
        with pytest.raises(ValueError, match="were trained on features .* but the graph has"):
            score_graph(graph, folder)


def test_scores_of_a_marketplace(market, tmp_path):
    pretrained = train_gae(market, epochs=1, **GAE_OPTIONS)
    result = tune(market, pretrained.z, stratified(market.labels), epochs=1)
    save_models(tmp_path, pretrained, result)
    assert torch.equal(score_graph(market, tmp_path), result.scores)


def test_scores_of_a_network_without_embeddings(planted, pretrained, split, tmp_path):
    options = {"features": True, "epochs": 2, "embeddings": False}
    result = tune(planted, pretrained.z, split, **options)
    save_models(tmp_path, pretrained, result)
    assert torch.equal(score_graph(planted, tmp_path), result.scores)


def test_scores_of_a_network_that_takes_labels(planted, pretrained, split, tmp_path):
    result = tune(planted, pretrained.z, split, **TUNED, epochs=2)
    save_models(tmp_path, pretrained, result)
    assert torch.equal(score_graph(planted, tmp_path, labels=split.train), result.scores)
    unseen = planted_graph(1)
    scores = score_graph(unseen, tmp_path)  # of which no label is known
    assert scores.shape == (unseen.total,) and scores.isfinite().all()
    assert not torch.equal(score_graph(planted, tmp_path), result.scores)
