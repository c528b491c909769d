#!/usr/bin/env bash
# PyTorch Geometric's ToSparseTensor counts edges that are repeated once.
#
# Versions: torch==2.13.0, torch_geometric==2.8.1, Python 3.11, Linux x86_64, CPU.
# Expected: the transform changes how edges are stored, and a layer gives what it gave before.
# Seen: without torch_sparse, three edges from node 0 to node 1 become one entry of adj_t, whose
#   value is 1 and not 3. A sum over neighbors of 5.0 is 15.0 by edge_index and 5.0 by adj_t.
# Why it matters: repeated purchases and payments are what edges of a marketplace are.
#
# Installs the pinned packages in a temporary folder; fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  torch==2.13.0 torch_geometric==2.8.1

"$folder/venv/bin/python" - <<'PY'
import torch
import torch_geometric
import torch_geometric.transforms as T
from torch_geometric.data import Data
from torch_geometric.nn import SimpleConv

edge_index = torch.tensor([[0, 0, 0], [1, 1, 1]])
data = Data(x=torch.tensor([[5.0], [0.0]]), edge_index=edge_index)
by_edges = SimpleConv(aggr="sum")(data.x, data.edge_index)[1].item()
sparse = T.ToSparseTensor()(data)
by_matrix = SimpleConv(aggr="sum")(data.x, sparse.adj_t)[1].item()
print("torch_geometric", torch_geometric.__version__, "adj_t", type(sparse.adj_t).__name__)
print("values of adj_t", sparse.adj_t.values().tolist())
print(f"sum over the neighbors of node 1: {by_edges} by edge_index, {by_matrix} by adj_t")
assert sparse.adj_t.values().tolist() == [1.0] and (by_edges, by_matrix) == (15.0, 5.0)
print("as described above")
PY
