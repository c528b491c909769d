"""A folder in, a ranked list out: by the trees, and with the network beside them; and once more."""

import csv
import os
import re
import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch

from gadkit import cli, network, store
from gadkit import recommend as room
from gadkit.datasets import marketplace
from gadkit.evaluation import splits
from gadkit.evaluation.metrics import average_precision
from gadkit.graph import CSR, HeteroGraph
from gadkit.network import ensemble
from gadkit.recommend import recommend, score
from gadkit.store import node_ids
from gadkit.trees import learners, recipe, saved, views


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


@pytest.fixture
def quick(monkeypatch):
    """Train networks for a moment only."""
    short = {"epochs": 2, "eval_every": 1, "patience": 2, "hidden_dim": 8}
    variant = ensemble.RECIPE.replace(**short)
    monkeypatch.setattr(ensemble, "VARIANTS", (variant, variant.replace(lr=1e-3)))
    for place in (ensemble, network):
        monkeypatch.setattr(place, "train_gae", partial(network.train_gae, epochs=2))


def test_a_folder_is_ranked_with_the_network(folder, quick):
    found = recommend(folder, network=True, progress=False)
    joined = [member for member in found.candidates if member.view == recipe.GIVEN]
    trained = ensemble.train_network(store.load_graph(folder), found.split, progress=False)
    assert [member.name for member in joined] == [
        f"graph network {number}" for number in range(1, len(trained.members) + 1)
    ]
    ids, y = found.split.val.T
    for member, one in zip(joined, trained.members, strict=True):
        assert member.val_auprc == average_precision(y, one.scores[ids])


def test_networks_on_the_committee_are_asked_again(folder, quick, tmp_path, monkeypatch):
    """With two networks and nobody else on the committee, their files make its scores."""
    monkeypatch.setattr(recipe, "auprc_error", lambda *_: 1.0)  # so that all have a seat
    shutil.copytree(folder, tmp_path / "market")
    found = recommend(tmp_path / "market", network=True, save=True, progress=False)
    seated = [member.learner for member in found.members if member.view == recipe.GIVEN]
    files = sorted(path.name for path in (tmp_path / "market").glob("*.pt"))
    assert files == [store.RECIPE_NETWORK.format(k) for k in range(1, len(seated) + 1)] != []
    scored = score(tmp_path / "market", tmp_path / "market")
    assert torch.equal(scored.scores.nan_to_num(-1.0), found.scores.nan_to_num(-1.0))
    shutil.copyfile(folder / store.COUNTS, tmp_path / "market" / files[0])
    with pytest.raises(ValueError, match=r"recipe_network_1.pt is not the graph network 1 that"):
        score(tmp_path / "market", tmp_path / "market")


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


def test_the_network_of_the_notebooks_is_asked_again(folder, tmp_path):
    """As notebooks 4 and 6 do it: one network, with its checkpoint, beside the trees."""
    graph = store.load_graph(folder)
    split = splits.stratified(graph.labels)
    first = network.train_gae(graph, hidden_dim=8, out_dim=8, epochs=2, progress=False)
    options = {"architecture": network.Architecture(hidden_dim=8), "progress": False}
    tuned = network.finetune_gat(
        graph, first.z, split, schedule=network.Schedule(epochs=2, eval_every=1), **options
    )
    store.save_graph(tmp_path, graph)
    store.save_checkpoint(tmp_path / store.GAT_CHECKPOINT, tuned.best | {"gae": first.best})
    tables = views.from_folder(tmp_path, graph, z=first.z)
    fitted = recipe.fit_recipe(tables, split, beside={"two stages": tuned.scores})
    fitted.members = list(fitted.candidates)  # so that the network has a seat
    saved.save(tmp_path, fitted, checkpoints={"two stages": store.GAT_CHECKPOINT})
    scored = score(tmp_path, tmp_path)
    assert torch.equal(scored.scores.nan_to_num(-1.0), fitted.scores.nan_to_num(-1.0))


@pytest.fixture(scope="module")
def ranked(folder, small):
    """Return what was recommended, with recipe and scores left in the folder."""
    return recommend(folder, save=True, progress=False)


def test_the_saved_recipe_gives_the_scores_of_the_list(folder, ranked):
    scored = score(folder, folder)
    assert torch.equal(scored.scores.nan_to_num(-1.0), ranked.scores.nan_to_num(-1.0))
    assert scored.types == ["user", "seller"] and scored.notes == []
    parts = ranked.split.train, ranked.split.val
    assert torch.equal(scored.known, torch.cat([part[:, 0] for part in parts]))


def test_a_copy_of_the_folder_gets_the_same_scores(folder, ranked, tmp_path):
    store.save_graph(tmp_path, store.load_graph(folder))
    store.write_about(tmp_path, store.read_about(folder))
    scored = score(tmp_path, folder)
    assert torch.equal(scored.scores.nan_to_num(-1.0), ranked.scores.nan_to_num(-1.0))


def test_another_marketplace_is_ranked_by_the_recipe(folder, ranked, tmp_path):
    sizes = {"num_users": 600, "num_products": 240, "num_sellers": 60, "base_rate": 0.2}
    marketplace.generate(tmp_path / "next", **sizes, camouflage=0.0, seed=5, progress=False)
    scored = score(tmp_path / "next", folder)
    ids, y = store.load_graph(tmp_path / "next").labels.T
    assert average_precision(y, scored.scores[ids]) > 2 * float(y.double().mean())
    assert len(scored.known) == 0
    said = dict(scored.notes)
    assert "no ids in common" in said["known"]
    assert scored.scores[scored.graph.span("product")].isnan().all()


def week(num_users: int, first: int, rings: list[str], seed: int) -> tuple[HeteroGraph, dict, set]:
    """Make users with a device each, but for rings of six that share the devices named.

    Nothing but a device that is shared tells a fraud, and as many honest families share one too.
    """
    rng = np.random.default_rng(seed)
    users = [f"U{first + k}" for k in range(num_users)]
    device_of = {name: f"own-{name}" for name in users}
    order, frauds = rng.permutation(num_users), set()
    for number, device in enumerate(rings):
        for k in order[6 * number : 6 * number + 6]:
            device_of[users[k]] = device
            frauds.add(users[k])
    for k in range(6 * len(rings), min(12 * len(rings), num_users)):
        device_of[users[order[k]]] = f"family-{first}-{k // 6}"
    devices = sorted(set(device_of.values()))
    src = torch.tensor([devices.index(device_of[name]) for name in users])
    used = CSR.from_edges(src, torch.arange(num_users), num_src=len(devices), num_dst=num_users)
    x = {"user": torch.from_numpy(rng.normal(size=(num_users, 2))).float()}
    x["device"] = torch.zeros(len(devices), 1)
    labels = torch.tensor([[k, name in frauds] for k, name in enumerate(users)]).long()
    sizes = {"user": num_users, "device": len(devices)}
    edges = {("device", "used_by", "user"): used}
    graph = HeteroGraph(sizes, edges, x, labels if frauds else None)
    return graph, {"user": users, "device": devices}, frauds


@pytest.fixture(scope="module")
def weeks(tmp_path_factory, small):
    """Return a folder with a recipe, one of the week after, and the frauds among its new users."""
    root = tmp_path_factory.mktemp("weeks")
    old, ids, _ = week(900, 0, [f"ring-{k}" for k in range(30)], seed=0)
    new, new_ids, frauds = week(300, 1000, ["ring-3", "ring-8", "ring-12"], seed=1)
    for name, graph, names in (("old", old, ids), ("new", new, new_ids)):
        labels = graph.labels if name == "old" else None
        store.save_graph(root / name, HeteroGraph(graph.num_nodes, graph.edges, graph.x, labels))
        node_ids.save(root / name, names)
    recommend(root / "old", save=True, progress=False)
    return root / "old", root / "new", frauds


def test_a_device_of_last_weeks_frauds_finds_next_weeks(weeks):
    old, new, frauds = weeks
    scored = score(new, old)
    users = node_ids.load(new, "user", rows=300)
    top = scored.scores[:300].argsort(descending=True, stable=True)[: len(frauds)]
    assert {users[k] for k in top.tolist()} == frauds
    said = [note for subject, note in scored.notes if subject == "known"]
    assert said[0] == "seen again, by id: 0 of 300 user, 3 of 270 device"
    assert "labels of 0 of them" in said[1] and "(18 anomalies)" in said[1]


def test_cards_of_next_week_name_the_frauds_of_last_week(weeks, tmp_path, monkeypatch, capsys):
    old, new, frauds = weeks
    monkeypatch.chdir(tmp_path)
    assert cli.main(["score", str(new), "--models", str(old), "--budget", "5"]) == 0
    said = capsys.readouterr().out
    assert "odds      cannot be known: " in said and "frauds" not in said.split("user  ")[-1]
    assert "probability" not in (tmp_path / "build/new/scored.csv").read_text()
    page = (tmp_path / "build/new/scored.html").read_text()
    first = rows_of(tmp_path / "build/new/scored.csv")[0]
    card = page.split("<section")[1]
    assert f'id="case-{first["node"]}"' in card and first["name"] in frauds
    # Five other users of this week have the device, and six frauds of the last one had.
    assert re.search(
        r"Shares device ring-\d+ \(used by\) with 11 accounts, 6 of them confirmed frauds", card
    )
    mates = re.findall(r'(U\d+)\s+<span class="fraud">', card)
    assert len(mates) == 6 and all(int(name[1:]) < 900 for name in mates)


def test_cards_stand_beside_the_list_or_where_they_are_wanted(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder, tmp_path / "market", ignore=shutil.ignore_patterns("*recipe*"))
    assert cli.main(["recommend", "market"]) == 0
    places = [tmp_path / "build/market/recommended.html", tmp_path / "cards.html"]
    assert cli.main(["score", "market", "--out", "a.csv"]) == 0
    assert not (tmp_path / "a.html").exists()
    assert cli.main(["score", "market", "--out", "a.csv", "--cards", "cards.html"]) == 0
    for place in places:
        assert place.read_text().count("<section") == 31  # 20 users, and all 11 sellers
    assert "What raised the score" in places[0].read_text()
    assert cli.main(["score", "market", "--out", "a.csv", "--cards", "."]) == 1


def test_without_ids_the_frauds_look_like_families(weeks, tmp_path):
    """Against the test above: it is what is remembered that finds them."""
    old, new, frauds = weeks
    store.save_graph(tmp_path, store.load_graph(new))
    scored = score(tmp_path, old)
    users = node_ids.load(new, "user", rows=300)
    top = scored.scores[:300].argsort(descending=True, stable=True)[: len(frauds)]
    assert len(frauds & {users[k] for k in top.tolist()}) < len(frauds)


def test_accounts_seen_again_are_known(weeks, tmp_path):
    old, _, _ = weeks
    graph, ids, _ = week(60, 0, [], seed=2)  # users U0 to U59 again
    store.save_graph(tmp_path, HeteroGraph(graph.num_nodes, graph.edges, graph.x))
    node_ids.save(tmp_path, ids)
    scored = score(tmp_path, old)
    assert sorted(scored.known.tolist()) == [*range(60)]
    assert "labels of 60 of them are carried over" in dict(scored.notes)["known"]


def rows_of(path):
    with open(path, newline="") as file:
        return [*csv.DictReader(file)]


def test_the_commands_go_together(folder, tmp_path, capsys):
    """Recommend, and then score and export, without any notebook."""
    shutil.copytree(folder, tmp_path / "market", ignore=shutil.ignore_patterns("*recipe*"))
    market, first, second = (str(tmp_path / name) for name in ("market", "a.csv", "b.csv"))
    assert cli.main(["recommend", market, "--out", first, "--with-known"]) == 0
    assert "recipe.npz" in capsys.readouterr().out
    assert cli.main(["score", market, "--out", second, "--with-known"]) == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert cli.main(["export", market, "--out", str(tmp_path / "x.csv"), "--type", "user"]) == 0
    exported = {row["node"]: float(row["score"]) for row in rows_of(tmp_path / "x.csv")}
    listed = {row["node"]: float(row["score"]) for row in rows_of(first) if row["type"] == "user"}
    assert exported == pytest.approx(listed, rel=1e-6) and len(listed) == 600


def test_nothing_is_left_behind_where_that_is_asked_for(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "market", ignore=shutil.ignore_patterns("*recipe*"))
    before = sorted(path.name for path in (tmp_path / "market").iterdir())
    out = ["--out", str(tmp_path / "a.csv")]
    assert cli.main(["recommend", str(tmp_path / "market"), "--no-save", *out]) == 0
    assert sorted(path.name for path in (tmp_path / "market").iterdir()) == before
    assert cli.main(["score", str(tmp_path / "market"), *out]) == 1
    assert "recipe.npz is missing, the saved recipe; `gadkit recommend" in capsys.readouterr().err


def test_a_folder_that_may_not_be_written_to_is_refused_at_once(folder, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(room, "fit_recipe", lambda *_, **__: pytest.fail("it was fitted first"))
    with pytest.raises(PermissionError, match="may not be written to; copy the folder, or .*-save"):
        recommend(folder, save=True, progress=False)


def test_scoring_loads_what_it_needs(folder, ranked):
    code = f"""
import sys
from gadkit import recommend
recommend.score({str(folder)!r}, {str(folder)!r})
heavy = {{"gadkit.network", "gadkit.ingest", "gadkit.report", "matplotlib", "duckdb", "jinja2"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
