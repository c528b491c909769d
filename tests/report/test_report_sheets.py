"""Tables of nodes as Excel workbooks."""

import zipfile

import numpy as np
import torch

from gadkit.graph import CSR, HeteroGraph
from gadkit.report import suspects


def test_ids_of_nodes_stay_texts_in_a_workbook(tmp_path):
    nodes = torch.arange(3)
    edges = {("user", "knows", "user"): CSR.from_edges(nodes, nodes, num_src=3, num_dst=3)}
    names = np.array(["=1+1", "007", "c"], object)
    path = tmp_path / "nodes.xlsx"
    scores = torch.tensor([0.1, 0.25, 1])
    suspects.write_nodes(path, HeteroGraph({"user": 3}, edges), {"score": scores}, names=names)
    with zipfile.ZipFile(path) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
        texts = archive.read("xl/sharedStrings.xml").decode()
    assert "<f>" not in sheet and "<v>0.25</v>" in sheet and "<v>0.1</v>" in sheet
    assert "<t>=1+1</t>" in texts and "<t>007</t>" in texts
