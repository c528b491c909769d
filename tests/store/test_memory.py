"""What memory is left, by the files in which Linux says so, and how large an unread graph is."""

import pytest
import torch

from gadkit import store
from gadkit.graph import CSR, HeteroGraph
from gadkit.store import memory

GIB = 1 << 30


@pytest.fixture
def linux(tmp_path, monkeypatch):
    """A machine with 8 GiB available; returns a function that writes its files."""
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "cgroup")

    def write(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    write(proc__meminfo=f"MemTotal: 16777216 kB\nMemAvailable: {8 * GIB >> 10} kB\n")
    return write


def group(limit, usage, stat, names=("memory.max", "memory.current", "memory.stat"), place=""):
    values = (f"{limit}\n", f"{usage}\n", stat)
    return {f"{place}__{name}": value for name, value in zip(names, values, strict=True)}


def test_without_a_group_the_machine_says(linux):
    assert memory.available() == (8 * GIB, "of this machine")


def test_a_group_of_version_2_leaves_its_limit_less_what_cannot_be_taken_back(linux):
    linux(proc__self__cgroup="0::/jobs/mine\n")
    stat = f"anon {2 * GIB}\ninactive_file {GIB}\n"
    linux(**group("max", 5 * GIB, stat, place="cgroup__jobs__mine"))
    assert memory.available().size == 8 * GIB
    linux(**group(4 * GIB, 3 * GIB, stat, place="cgroup__jobs"))  # one above it
    assert memory.available() == (2 * GIB, "of the 4.0 GiB of its control group")


def test_a_group_of_version_1_may_say_that_there_is_no_limit(linux):
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
    linux(proc__self__cgroup="8:pids:/\n4:cpu,memory:/mine\n")
    stat = f"inactive_file 0\ntotal_inactive_file {GIB // 2}\n"
    linux(**group(9223372036854771712, GIB, stat, names, "cgroup__memory__mine"))
    assert memory.available().size == 8 * GIB
    linux(**group(GIB, GIB, stat, names, "cgroup__memory__mine"))
    assert memory.available().size == GIB // 2
    linux(**group(GIB // 4, GIB, "", names, "cgroup__memory__mine"))  # over its limit
    assert memory.available().size == 0


def test_in_a_container_the_group_is_the_root_of_what_is_seen(linux):
    linux(proc__self__cgroup="0::/docker/4f2a\n")
    linux(**group(3 * GIB, GIB, "inactive_file 0\n", place="cgroup"))
    assert memory.available().size == 2 * GIB


def test_the_peak_of_a_process_is_what_it_has_held(linux):
    linux(proc__7__status="Name:\tpython\nVmHWM:\t    2048 kB\nVmRSS:\t 12 kB\n")
    assert memory.peak_of(7) == 2 << 20
    assert memory.peak_of(8) is None


def test_where_nothing_says_it_nothing_is_known(linux, tmp_path, monkeypatch):
    (tmp_path / "proc/meminfo").write_text("MemTotal: 16777216 kB\n")
    assert memory.available() is None


def test_the_size_of_a_marketplace_is_that_of_its_graph(tmp_path):
    from gadkit.datasets import marketplace

    counts = {"num_users": 600, "num_products": 200, "num_sellers": 20}
    folder = marketplace.generate(tmp_path / "m", **counts, base_rate=0.1, progress=False)
    size, graph = memory.size_of(folder), store.load_graph(folder)
    assert size.num_nodes == graph.num_nodes
    assert size.dims == {name: x.shape[1] for name, x in graph.x.items()}
    assert size.mapped
    # The files also hold a self-loop for each row, which only users among users may keep.
    loops = {"buys": 600, "sells": 200, "co_buys": 0}
    for edge_type, csr in graph.edges.items():
        assert size.edges[edge_type] == csr.num_edges + loops[edge_type[1]]
    types = graph.node_type_of(graph.labels[:, 0])
    assert size.labels == {
        name: int((types == graph.node_types.index(name)).sum()) for name in ("user", "seller")
    }


@pytest.mark.parametrize("dims", [{"a": 3, "b": 0}, None])
def test_the_size_of_any_graph_is_that_of_its_arrays(tmp_path, dims):
    csr = CSR.from_edges(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), num_src=4, num_dst=2)
    x = dims and {"a": torch.ones(4, 3), "b": torch.empty(2, 0)}
    labels = torch.tensor([[5, 1], [4, 0]])
    store.save_graph(tmp_path, HeteroGraph({"a": 4, "b": 2}, {("a", "to", "b"): csr}, x, labels))
    size = memory.size_of(tmp_path)
    assert size == (
        {"a": 4, "b": 2}, dims or {"a": 0, "b": 0}, {("a", "to", "b"): 3}, {"b": 2}, False
    )  # fmt: skip
    assert (size.total, size.num_edges) == (6, 3)


def test_a_folder_without_a_graph_has_no_size(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no graph"):
        memory.size_of(tmp_path)
