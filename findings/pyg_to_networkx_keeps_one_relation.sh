#!/usr/bin/env bash
# PyTorch Geometric's to_networkx keeps one relation of several between two nodes.
#
# Versions: torch==2.13.0, torch_geometric==2.8.1, networkx==3.6.1, Python 3.11, Linux x86_64, CPU.
# Expected: a HeteroData of two relations, one edge each from node 0 to node 1, becomes a graph that
#   has both, since every edge is given its relation as `type`; or an error that asks for to_multi.
# Seen: the graph is a DiGraph unless to_multi=True is said, which holds one edge for each pair of
#   nodes. The relation that was added last overwrites the `type` of those before, without a word.
# Why it matters: "pays" is gone from a graph in which everybody who pays also follows.
#
# Installs the pinned packages in a temporary folder; fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  torch==2.13.0 torch_geometric==2.8.1 networkx==3.6.1

"$folder/venv/bin/python" - <<'PY'
import torch
import torch_geometric
from torch_geometric.data import HeteroData
from torch_geometric.utils import to_networkx

data = HeteroData()
data["user"].num_nodes = 2
for relation in ("pays", "follows"):
    data["user", relation, "user"].edge_index = torch.tensor([[0], [1]])
print("torch_geometric", torch_geometric.__version__)
relations = {}
for to_multi in (False, True):
    graph = to_networkx(data, to_multi=to_multi)
    relations[to_multi] = [edge["type"][1] for _, _, edge in graph.edges(data=True)]
    print(f"to_multi={to_multi}: {type(graph).__name__} of {relations[to_multi]}")
assert relations == {False: ["follows"], True: ["pays", "follows"]}
print("as described above")
PY
