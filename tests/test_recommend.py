"""A folder in, a ranked list out: by the trees, and with the network beside them."""

import shutil
from functools import partial

import numpy as np
import pytest
import torch

from gadkit import store
from gadkit.datasets import marketplace
from gadkit.evaluation import splits
from gadkit.evaluation.metrics import average_precision
from gadkit.network import ensemble
from gadkit.recommend import recommend
from gadkit.trees import learners, recipe


@pytest.fixture(autouse=True, scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learners, "TREES", 20)
        patch.setattr(learners, "_PATIENCE", 10)
        patch.setattr(learners, "_ROUNDS_FEW", 30)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    sizes = {"num_users": 600, "num_products": 240, "num_sellers": 60}
    path = tmp_path_factory.mktemp("data") / "market"
    return marketplace.generate(path, **sizes, base_rate=0.2, camouflage=0.0, progress=False)


def test_a_folder_is_ranked(folder):
    found = recommend(folder, progress=False)
    graph = store.load_graph(folder)
    ids, y = splits.stratified(graph.labels, seed=0).test.T
    assert torch.equal(found.split.test[:, 0], ids)
    assert average_precision(y, found.scores[ids]) > 2 * float(y.double().mean())
    assert found.scores[graph.span("product")].isnan().all()
    assert len(found.ranked()) == 660


def test_a_folder_is_ranked_with_the_network(folder, monkeypatch):
    short = {"epochs": 2, "eval_every": 1, "patience": 2, "hidden_dim": 8}
    quick = ensemble.RECIPE.replace(**short)
    monkeypatch.setattr(ensemble, "VARIANTS", (quick, quick.replace(lr=1e-3)))
    monkeypatch.setattr(ensemble, "train_gae", partial(ensemble.train_gae, epochs=2))
    found = recommend(folder, network=True, progress=False)
    joined = [member for member in found.candidates if member.view == recipe.GIVEN]
    network = ensemble.train_network(store.load_graph(folder), found.split, progress=False)
    assert [member.name for member in joined] == [
        f"graph network {number}" for number in range(1, len(network.members) + 1)
    ]
    ids, y = found.split.val.T
    for member, one in zip(joined, network.members, strict=True):
        assert member.val_auprc == average_precision(y, one.scores[ids])


def test_the_network_does_not_look_at_the_past_alone(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "timed")
    graph = store.load_graph(folder)
    np.save(tmp_path / "timed" / store.TIME, np.arange(graph.total, dtype=np.float64))
    with pytest.raises(ValueError, match="the network sees the whole graph, later nodes too"):
        recommend(tmp_path / "timed", protocol="temporal", network=True, progress=False)


def test_a_folder_is_ranked_under_its_protocols_only(folder, capsys):
    with pytest.raises(ValueError, match="no protocol 'temporal' for this graph; there are demo"):
        recommend(folder, protocol="temporal", progress=False)
    recommend(folder, protocol="few")
    assert "trees" in capsys.readouterr().err
