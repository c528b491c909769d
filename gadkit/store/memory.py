"""How much memory is left to this process, and how large the graph of an unread folder is."""

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gadkit.graph import EdgeType
from gadkit.store.files import errors_about, load_npy, read_npz
from gadkit.store.raw import COUNTS, FEATURE_DIM, LABELS, RELATIONS, parse_counts

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
NO_LIMIT = 1 << 60  # bytes; what is higher is how a control group says that there is none


class Available(NamedTuple):
    """What memory this process can still get.

    Attributes:
        size: bytes.
        source: what says so.
    """

    size: int
    source: str


class Size(NamedTuple):
    """How large a graph is.

    Attributes:
        num_nodes: by node type.
        dims: number of features, by node type; 0 where there are none.
        edges: number of edges, by relation; reverses are not among them.
        labels: number of labels by node type, of those that have any.
        mapped: whether features are read from the disk as they are needed.
    """

    num_nodes: dict[str, int]
    dims: dict[str, int]
    edges: dict[EdgeType, int]
    labels: dict[str, int]
    mapped: bool

    @property
    def total(self) -> int:
        """Number of nodes of all types."""
        return sum(self.num_nodes.values())

    @property
    def num_edges(self) -> int:
        """Number of edges of all relations."""
        return sum(self.edges.values())


def available() -> Available | None:
    """Return what memory is left: of the machine, or of the control group that holds this process.

    A control group (as of a container or a batch job) may allow less than the machine has; what it
    uses for files that can be read again counts as free. None where neither can be known.
    """
    sizes = [*_of_machine(), *_of_groups()]
    return min(sizes, default=None)


def peak_of(process: int) -> int | None:
    """Return the most bytes that a process has held at a time; None where nothing says it."""
    try:
        lines = (PROC / str(process) / "status").read_text().splitlines()
    except OSError:  # it has ended, or this is no Linux
        return None
    kib = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return kib[0] << 10 if kib else None


def _of_machine() -> Iterator[Available]:
    meminfo = PROC / "meminfo"
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        if "MemAvailable" in lines:
            yield Available(int(lines["MemAvailable"].split()[0]) << 10, "of this machine")
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:  # as on a Mac
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        yield Available(size, "of this machine, were nothing else running")


def _of_groups() -> Iterator[Available]:
    """Yield what each control group above this process leaves it, of both versions of them."""
    try:
        lines = (PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, usage, reclaimed = CGROUPS, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit = CGROUPS / "memory", "memory.limit_in_bytes"
            usage, reclaimed = "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        # In a container the path may be that outside of it: then the root alone is there.
        place = root / path.lstrip("/")
        for group in (place, *place.parents):
            if group.is_relative_to(root):
                yield from _left_in(group, limit, usage, reclaimed)


def _left_in(group: Path, limit: str, usage: str, reclaimed: str) -> Iterator[Available]:
    try:
        allowed, used = (group / limit).read_text().strip(), int((group / usage).read_text())
        lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
    except OSError:  # no such group, or its files are hidden
        return
    if allowed == "max" or int(allowed) >= NO_LIMIT:
        return
    cached = {name: int(value) for name, value in lines}.get(reclaimed, 0)
    left = max(0, int(allowed) - used + cached)
    yield Available(left, f"of the {int(allowed) / 2**30:.1f} GiB of its control group")


def size_of(folder: Path | str) -> Size:
    """Return how large the graph of a dataset folder is, from its files' sizes and headers.

    Raises:
        FileNotFoundError: the folder holds no graph, or a file of it is missing.
        ValueError: a file is damaged.
    """
    from gadkit import store

    folder = Path(folder)
    if (folder / COUNTS).is_file():
        return _size_of_raw(folder)
    if (folder / store.GRAPH).is_file():
        return _size_of_npz(folder / store.GRAPH)
    raise FileNotFoundError(f"{folder} holds no graph: neither {COUNTS} nor {store.GRAPH} is there")


def _size_of_raw(folder: Path) -> Size:
    with errors_about(folder / COUNTS):
        num_nodes = parse_counts((folder / COUNTS).read_text(encoding="utf-8"))
    num_nodes = {name: count for name, count in num_nodes.items() if count}
    edges = {
        raw.edge_type: (folder / f"{name}_col_idx.bin").stat().st_size // 4
        for name, raw in RELATIONS.items()
        if (folder / f"{name}_col_idx.bin").is_file()
    }
    edges = {key: count for key, count in edges.items() if {key[0], key[2]} <= {*num_nodes}}
    labels = load_npy(folder / LABELS) if (folder / LABELS).is_file() else None
    ids = None if labels is None else labels.numpy()[:, 0]
    dims = dict.fromkeys(num_nodes, FEATURE_DIM)
    return Size(num_nodes, dims, edges, _labels_by_type(ids, num_nodes), True)


def _size_of_npz(path: Path) -> Size:
    shapes = _shapes(path)
    small = {
        name: read_npz(path, only=name).get(name)
        for name in ("node_types", "num_nodes", "edge_types", "labels")
    }
    with errors_about(path):
        if any(small[name] is None for name in ("node_types", "num_nodes", "edge_types")):
            raise ValueError("it is no graph: node_types, num_nodes or edge_types is missing")
        num_nodes = dict(
            zip(small["node_types"].tolist(), small["num_nodes"].tolist(), strict=True)
        )
        edge_types = [tuple(edge_type) for edge_type in small["edge_types"].tolist()]
        counts = [shape[0] for name, shape in shapes.items() if name.endswith("_indices")]
        if len(counts) != len(edge_types):
            raise ValueError(f"{len(edge_types)} relations, but {len(counts)} arrays of indices")
    dims = {name: (*shapes.get(f"x_{name}", ()), 0, 0)[1] for name in num_nodes}
    labels = small["labels"]
    ids = None if labels is None or labels.ndim != 2 else labels[:, 0]
    edges = dict(zip(edge_types, counts, strict=True))
    return Size(num_nodes, dims, edges, _labels_by_type(ids, num_nodes), False)


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of the arrays of an .npz file, and not the arrays."""
    shapes = {}
    with errors_about(path), zipfile.ZipFile(path) as archive:
        for entry in archive.namelist():
            with archive.open(entry) as file:
                version = np.lib.format.read_magic(file)
                read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
                    version, np.lib.format.read_array_header_2_0
                )
                shapes[entry.removesuffix(".npy")] = read(file)[0]
    return shapes


def _labels_by_type(ids: np.ndarray | None, num_nodes: dict[str, int]) -> dict[str, int]:
    if ids is None:
        return {}
    ends = np.cumsum([*num_nodes.values()])
    place = np.searchsorted(ends, ids, side="right")
    counts = np.bincount(place[place < len(ends)], minlength=len(ends))
    return {name: int(count) for name, count in zip(num_nodes, counts, strict=True) if count}
