import numpy as np
import pytest
import torch

from gadkit.graph import CSR, HeteroGraph
from gadkit.store import node_ids


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_ids_round_trip(tmp_path):
    odd = np.array(["", "007", "a,b", 'say "x"', "two\nlines", "é☃", "NULL", "007"], dtype=object)
    node_ids.save(tmp_path, {"user": odd, "product": np.array(["p1", "p22"])})
    assert sorted(files(tmp_path)) == ["ids_product.parquet", "ids_user.parquet"]
    assert node_ids.load(tmp_path, "user", rows=8).tolist() == odd.tolist()
    assert node_ids.load(tmp_path, "product", rows=2).tolist() == ["p1", "p22"]
    assert node_ids.load(tmp_path, "seller", rows=2) is None
    before = files(tmp_path)
    node_ids.save(tmp_path, {"user": odd})
    assert files(tmp_path) == before


def test_ids_errors(tmp_path):
    node_ids.save(tmp_path, {"user": np.array(["a", "b"])})
    with pytest.raises(ValueError, match="has 2 ids, but the graph has 3 nodes of type 'user'"):
        node_ids.load(tmp_path, "user", rows=3)
    with pytest.raises(ValueError, match="must be strings, but row 1 is 7"):
        node_ids.save(tmp_path, {"user": np.array(["a", 7], dtype=object)})
    with pytest.raises(ValueError, match="cannot be part of a file name"):
        node_ids.save(tmp_path, {"a/b": np.array(["a"])})
    (tmp_path / "ids_user.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(ValueError, match="ids_user.parquet: "):
        node_ids.load(tmp_path, "user", rows=2)


def test_names_of_all_nodes(tmp_path):
    pays = CSR.from_edges(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 2]), num_src=2, num_dst=3)
    graph = HeteroGraph({"account": 2, "payment": 3}, {("account", "pays", "payment"): pays})
    assert node_ids.of_nodes(tmp_path, graph) is None
    node_ids.save(tmp_path, {"payment": np.array(["x", "y", "z"])})
    assert node_ids.of_nodes(tmp_path, graph).tolist() == ["", "", "x", "y", "z"]
    node_ids.save(tmp_path, {"payment": np.array(["x", "y"])})
    with pytest.raises(ValueError, match="ids_payment.parquet has 2 ids"):
        node_ids.of_nodes(tmp_path, graph)
