"""What the name of a dataset means, and how little it takes to open one."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from gadkit import datasets, published, store
from gadkit.datasets import marketplace


@pytest.fixture
def plain_file(tmp_path):
    path = tmp_path / "ring.npz"
    arrays = {"edge_row_ptr": np.arange(4), "edge_col_idx": np.array([1, 2, 0], np.int32)}
    np.savez(path, **arrays, y=np.array([0, 1, -1]))
    return path


@pytest.mark.parametrize("source", ["yelp", "nowhere.mat", "README.md", "empty"])
def test_unknown_source(tmp_path, source, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(published, "DATA", tmp_path / "data")
    (tmp_path / "README.md").write_text("not a graph")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError,
        match=rf"'{source}' is no dataset; expected small, demo, full, demo_shop .* node_counts"
        r".json or graph.npz, here or under .*data, or a file ending in .mat, .csv, .npz",
    ):
        datasets.prepare(source)


def test_names_generate_a_marketplace_once(tmp_path, monkeypatch):
    folder = datasets.prepare("small", root=tmp_path, progress=False)
    assert store.load_graph(folder).num_nodes["user"] == marketplace.SIZES["small"][0]
    monkeypatch.setattr(marketplace, "generate", None)
    assert datasets.prepare("small", root=tmp_path) == folder


def test_a_file_cannot_take_a_generated_name(tmp_path, plain_file):
    impostor = plain_file.with_name("demo.npz")
    shutil.copy(plain_file, impostor)
    with pytest.raises(ValueError, match="take the name of the generated 'demo'; rename it"):
        datasets.prepare(impostor, root=tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_open_dataset_reads_the_environment(tmp_path, plain_file, monkeypatch):
    monkeypatch.setattr(published, "DATA", tmp_path / "data")
    monkeypatch.setenv("GADKIT_DATASET", str(plain_file))
    folder = datasets.open_dataset()
    assert folder.resolve() == (tmp_path / "data" / "ring").resolve()
    shutil.move(folder, tmp_path / "data" / "demo")
    monkeypatch.delenv("GADKIT_DATASET")
    assert (tmp_path / datasets.open_dataset()).resolve() == tmp_path.resolve() / "data" / "demo"


LOADED = """
import json, sys
from gadkit import datasets
before = {name for name in sys.modules if name.startswith("gadkit.")}
datasets.prepare(sys.argv[1])
after = {name for name in sys.modules if name.startswith("gadkit.")}
print(json.dumps([sorted(before), sorted(after)]))
"""


def test_opening_a_folder_takes_no_reader(tmp_path, plain_file):
    folder = datasets.prepare(plain_file, root=tmp_path / "data")
    python = [sys.executable, "-c", LOADED, str(folder)]
    printed = subprocess.run(python, capture_output=True, text=True, check=True).stdout
    imported, opened = map(set, json.loads(printed))
    rooms = {name.split(".")[1] for name in imported}
    assert rooms <= {"datasets", "store", "graph"}
    asked = {"gadkit.datasets.marketplace", "gadkit.store.planted", "gadkit.published"}
    assert opened - imported <= asked
