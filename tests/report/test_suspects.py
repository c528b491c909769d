"""Suspects, scores and embeddings as CSV and Parquet."""

import csv
import zipfile

import duckdb
import numpy as np
import pytest
import torch

from gadkit import store
from gadkit.graph import CSR, HeteroGraph
from gadkit.report import queue, suspects
from gadkit.store import tables


def small_graph() -> HeteroGraph:
    """Two accounts, three payments; two payments have a label."""
    pays = CSR(torch.tensor([0, 1, 2, 3]), torch.tensor([0, 0, 1]), 2)
    num_nodes, labels = {"account": 2, "payment": 3}, torch.tensor([[2, 1], [4, 0]])
    return HeteroGraph(num_nodes, {("account", "pays", "payment"): pays}, labels=labels)


NOBODY = torch.empty(0, dtype=torch.int64)
HELD_OUT = torch.tensor([[0.9, 1.0], [0.1, 0.0]], dtype=torch.float64)
SUSPECTS = """\
rank,node,type,id,score,group
1,0,account,0,0.5,
2,1,account,1,0,
1,3,payment,1,0.5,
"""


def listed(graph, scores, *, types=("account", "payment"), with_known=False, top=None, **changes):
    options = {"learned_from": NOBODY, "held_out": HELD_OUT[:0]} | changes
    evidence = queue.Evidence(scores=torch.tensor(scores), types=types, **options)
    queues = queue.queues(graph, evidence, with_known=with_known, top=top)
    return lambda **rest: suspects.table_of(graph, evidence, queues, **rest)


SCORES = [0.5, 0.0, 0.9, 0.5, 0.25]


def test_suspects_by_hand(tmp_path):
    for name in ("a.csv", "b.csv"):
        suspects.write_suspects(tmp_path / name, listed(small_graph(), SCORES)())
        assert (tmp_path / name).read_text() == SUSPECTS


NAMES = np.array(["A-1", "A,2", "", 'p"1', "007"], dtype=object)


def test_suspects_have_the_names_of_the_user(tmp_path):
    table = listed(
        small_graph(), SCORES, types=["payment"], with_known=True, held_out=HELD_OUT,
        learned_from=torch.tensor([2]),
    )  # fmt: skip
    suspects.write_suspects(tmp_path / "s.csv", table(names=NAMES))
    with open(tmp_path / "s.csv", newline="", encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    columns = "rank,node,type,id,name,score,probability,group,label,learned_from"
    assert ",".join(rows[0]) == columns
    assert [row["name"] for row in rows] == ['p"1', "", "007"]  # a new one, then those with a label
    assert [row["label"] for row in rows] == ["", "1", "0"]
    assert [row["learned_from"] for row in rows] == ["0", "1", "0"]
    assert float(rows[0]["probability"]) > 0
    assert [row["probability"] for row in rows[1:]] == ["", ""]


def test_suspects_as_parquet(tmp_path):
    table = listed(
        small_graph(), SCORES, with_known=True, held_out=HELD_OUT, learned_from=torch.tensor([2])
    )
    for name in ("a.parquet", "b.parquet"):
        content = table(names=NAMES, planted=list("vwxyz"))
        suspects.write_suspects(tmp_path / name, content)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    columns = duckdb.read_parquet(str(tmp_path / "a.parquet")).fetchnumpy()
    assert [*columns][5:] == ["score", "probability", "group", "label", "learned_from", "planted"]
    assert columns["node"].tolist() == [0, 1, 3, 2, 4]
    assert columns["name"].tolist() == ["A-1", "A,2", 'p"1', "", "007"]
    assert columns["label"].tolist() == [None, None, None, 1, 0]
    assert columns["score"].dtype == np.float32
    assert columns["score"].tolist() == torch.tensor(SCORES)[[0, 1, 3, 2, 4]].tolist()
    assert columns["probability"].mask.tolist() == [False, False, False, True, True]


def test_suspects_as_a_workbook(tmp_path):
    suspects.write_suspects(tmp_path / "s.xlsx", listed(small_graph(), SCORES)(names=NAMES))
    with zipfile.ZipFile(tmp_path / "s.xlsx") as archive:
        texts = archive.read("xl/sharedStrings.xml").decode()
    assert "<t>A,2</t>" in texts and "<t>group</t>" in texts


def test_suspects_of_one_type_without_labels(tmp_path):
    graph = small_graph()
    graph = HeteroGraph(graph.num_nodes, graph.edges)
    table = listed(graph, [i / 4 for i in range(5)], types=["payment"], top=2)
    suspects.write_suspects(tmp_path / "s.csv", table())
    assert (tmp_path / "s.csv").read_text().splitlines()[1:] == [
        "1,4,payment,2,1,",
        "2,3,payment,1,0.75,",
    ]


def test_suspects_say_that_no_label_was_used():
    table = listed(small_graph(), [0.0] * 5, unlabelled=True, held_out=HELD_OUT)()
    assert [*table] == ["rank", "node", "type", "id", "score_without_labels", "group"]


def test_an_order_has_no_probability_whatever_labels_say():
    table = listed(small_graph(), SCORES, is_order=True, held_out=HELD_OUT)()
    assert [*table] == ["rank", "node", "type", "id", "score_against_the_rest", "group"]


def numbers_of_all_sizes(num_nodes: int, dim: int) -> torch.Tensor:
    """Return float32 of any bits, less NaN and infinity."""
    bits = np.random.default_rng(0).integers(0, 2**32, (num_nodes, dim), dtype=np.uint32)
    values = bits.view(np.float32)
    return torch.from_numpy(np.where(np.isfinite(values), values, 0.1).astype(np.float32))


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_nodes_round_trip(tmp_path, suffix):
    z = numbers_of_all_sizes(5, 3)
    store.save_array(tmp_path, store.GAT_EMBEDDINGS, z)
    mapped = store.load_array(tmp_path, store.GAT_EMBEDDINGS)
    path = tmp_path / f"nodes.{suffix}"
    suspects.write_nodes(path, small_graph(), {"score": z[:, 0], "z": mapped}, names=NAMES)
    assert tables.columns_of(path) == ["node", "type", "id", "name", "score", "z0", "z1", "z2"]
    numbers = dict.fromkeys(["score", "z0", "z1", "z2"], "FLOAT")
    table = tables.load(path, {"node": "BIGINT", "id": "BIGINT", "name": "VARCHAR"} | numbers)
    assert table["node"].tolist() == [0, 1, 2, 3, 4]
    assert table["id"].tolist() == [0, 1, 0, 1, 2]
    assert table["name"].tolist() == NAMES.tolist()
    for name, column in zip(numbers, [0, 0, 1, 2], strict=True):
        assert table[name].tobytes() == z[:, column].numpy().tobytes()


def test_many_nodes_of_chosen_types_round_trip(tmp_path):
    num_nodes = {"user": 3_000, "product": 2_500, "seller": 7}
    loops = {name: torch.arange(count) for name, count in num_nodes.items()}
    edges = {
        (name, f"knows_{name}", name): CSR.from_edges(ids, ids, num_src=len(ids), num_dst=len(ids))
        for name, ids in loops.items()
    }
    graph = HeteroGraph(num_nodes, edges)
    z = numbers_of_all_sizes(graph.total, 2)
    for types in (["product"], ["seller", "user"], None):
        path = tmp_path / "nodes.parquet"
        suspects.write_nodes(path, graph, {"z": z}, node_types=types)
        table = duckdb.read_parquet(str(path)).fetchnumpy()
        assert {*table["type"]} == {*(types or graph.node_types)}
        assert len(table["node"]) == sum(num_nodes[name] for name in types or graph.node_types)
        for column in range(2):
            assert table[f"z{column}"].dtype == np.float32
            expected = z[torch.from_numpy(table["node"]), column].numpy()
            assert table[f"z{column}"].tobytes() == expected.tobytes()


def test_nodes_errors(tmp_path):
    graph, z = small_graph(), torch.zeros(5, 2)
    with pytest.raises(ValueError, match=r"z must be \(5,\) or \(5, dim\), got \(4, 2\)"):
        suspects.write_nodes(tmp_path / "n.csv", graph, {"z": z[:4]})
    with pytest.raises(ValueError, match=r"node types \['shop'\] are not in"):
        suspects.write_nodes(tmp_path / "n.csv", graph, {"z": z}, node_types=["shop"])
    with pytest.raises(ValueError, match="n.txt must end in .parquet, .csv or .xlsx"):
        suspects.write_nodes(tmp_path / "n.txt", graph, {"z": z})
    assert not any(tmp_path.iterdir())
