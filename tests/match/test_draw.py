"""Figures of matches, and the command that draws them."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from gadkit import cli, store
from gadkit.graph import CSR, HeteroGraph
from gadkit.match import Pattern, draw, from_hetero, look_alikes, match, planting
from gadkit.match.pattern import nodes_around
from gadkit.store import memory, node_ids


@pytest.fixture
def ax():
    return Figure().subplots()


def texts(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


def arrows(ax):
    patches = [getattr(text, "arrow_patch", None) for text in ax.texts]
    return [patch.get_linestyle() for patch in patches if patch is not None]


def test_a_place_is_drawn_with_what_is_missing(ax, planted_once):
    graph, pattern, planted = planted_once
    worst = match(graph, pattern).subgraphs(5)[-1]
    assert draw.small_graph(ax, pattern, worst) is ax
    assert texts(ax) == list(map(str, worst.nodes))
    assert arrows(ax).count(":") == worst.missing.sum() > 0 and len(arrows(ax)) == 15
    missing = f"{worst.missing.sum()} of 15 edges missing"
    assert ax.get_xlabel() == f"mismatch {worst.mismatch:.1f}, {missing}"


def test_edges_both_ways_are_one_line_and_long_names_are_cut(ax):
    both = Pattern(np.empty((2, 0)), [0, 1], [1, 0])
    draw.small_graph(ax, both, names=["a", "an account with a long name"])
    assert texts(ax) == ["a", "an account …"]
    assert arrows(ax) == ["solid"]


def test_numbers_are_drawn_as_they_are(ax, planted_once):
    graph, pattern, planted = planted_once
    result = match(graph, pattern)
    draw.convergence(ax, {"maxsum": result})
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), np.maximum(result.history.max(1), 1e-6))
    ax = draw.precision(Figure().subplots(), {"a": np.array([True, False, True])})
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [1, 1 / 2, 2 / 3])
    ax = draw.prices(Figure().subplots(), [0.5, 1, 2], {"a": [0, 1, 1]})
    assert ax.lines[0].get_xdata().tolist() == [0.5, 1, 2]
    ax = draw.beliefs(Figure().subplots(), result, k=2)
    labels = [int(label.get_text()) for label in ax.get_yticklabels()]
    assert set(result.top(2).nodes.flat) == set(labels)
    np.testing.assert_allclose(ax.images[0].get_array(), np.exp(result.log_belief[labels]))


def test_look_alikes_are_the_steps_in_one(small_shop):
    alike = look_alikes(small_shop, 0, max_nodes=4, k=3)
    graph = from_hetero(small_shop)
    nodes = nodes_around(graph, 0, max_nodes=4)
    assert alike.nodes.tolist() == nodes.tolist()
    places = match(graph, Pattern.from_subgraph(graph, nodes)).subgraphs(3)
    assert [p.nodes.tolist() for p in alike.places] == [p.nodes.tolist() for p in places]


def test_look_alikes_of_a_suspect_are_suspects():
    """Three products with two buyers each: of the other two, the suspects' fits."""
    src, dst = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 2, 2]])
    buys = CSR.from_edges(src, dst, num_src=6, num_dst=3)
    graph = HeteroGraph({"user": 6, "product": 3}, {("user", "buys", "product"): buys})
    scores = torch.tensor([0.9, 0.9, 0.1, 0.1, 0.9, 0.9, torch.nan, torch.nan, torch.nan])
    places = look_alikes(graph, 0, scores=scores, max_nodes=3, k=3).places
    assert [sorted(each.nodes.tolist()) for each in places[:2]] == [[0, 1, 6], [4, 5, 8]]
    assert [each.mismatch == 0 for each in places] == [True, True, False]
    plain = look_alikes(graph, 0, max_nodes=3, k=3).places
    assert [each.mismatch for each in plain] == [0, 0, 0]
    with pytest.raises(ValueError, match="scores must have 9 rows"):
        look_alikes(graph, 0, scores=scores[:6])


@pytest.fixture
def folder(tmp_path, small_shop):
    """The shop, whose users have ids; two of its products are called alike."""
    store.save_graph(tmp_path / "shop", small_shop)
    users = np.array(["ann", "bob", "eve", "kim"], object)
    ids = {"user": users, "product": np.array(["hat", "cup", "kim"], object)}
    node_ids.save(tmp_path / "shop", ids)
    return tmp_path / "shop"


def test_the_command_lists_and_draws_by_the_users_ids(folder, tmp_path, capsys):
    out = tmp_path / "out" / "alike.png"
    options = ["--like", "ann", "--nodes", "4", "--top", "3", "--out", str(out)]
    assert cli.main(["match", str(folder), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("pattern   ann, ")
    assert lines[1] == "by        degrees; `gadkit recommend` adds scores"
    assert lines[2].startswith("      1   mismatch 0.00, 0 of ") and ": ann, " in lines[2]
    assert lines[-1] == f"figure    {out}"
    assert out.read_bytes()[:4] == b"\x89PNG"


def test_the_command_takes_scores_that_are_there(folder, tmp_path, capsys):
    store.save_array(folder, store.RECIPE_SCORES, torch.tensor([0.9, 0.8, 0.1, 0.2, 0, 0, 0]))
    out = ["--out", str(tmp_path / "alike.png")]
    assert cli.main(["match", str(folder), "--like", "ann", "--nodes", "4", *out]) == 0
    assert "by        degrees, and scores of the recipe" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, message",
    [
        (["--like", "zoe"], "no node is called 'zoe'"),
        (["--like", "kim"], "2 nodes are called 'kim', of types ['product', 'user']; say which"),
        (["--like", "kim", "--type", "seller"], "there is no node type 'seller'"),
    ],
)
def test_the_command_says_which_id_is_wrong(folder, capsys, options, message):
    assert cli.main(["match", str(folder), *options]) == 1
    assert message in capsys.readouterr().err


def test_the_command_needs_room(folder, capsys, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: memory.Available(1 << 20, "of this machine"))
    assert cli.main(["match", str(folder), "--like", "ann"]) == 1
    assert "GiB of memory are needed" in capsys.readouterr().err


def test_nodes_without_ids_are_numbers(small_shop):
    assert node_ids.node_called(small_shop, None, "5") == 5
    for name in ("7", "-1", "ann"):
        with pytest.raises(ValueError, match=r"give a number in \[0, 7\)"):
            node_ids.node_called(small_shop, None, name)


def test_planting_keeps_its_word():
    planted = planting.plant(copies=2, decoys=3, num_nodes=100, num_edges=300, seed=4)
    assert planted.copies.shape == (2, 7) and planted.decoys.shape == (3, 7)
    assert planted.graph.num_edges == 300 + 2 * 15
    ends = set(zip(planted.graph.src.tolist(), planted.graph.dst.tolist(), strict=True))
    for copy in planted.copies:
        assert {(copy[s], copy[t]) for s, t in planting.COLLUSION} <= ends
