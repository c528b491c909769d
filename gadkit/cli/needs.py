"""What memory a command will need, by the size of its graph; refused before it starts, if too much.

An estimate adds up the arrays that are held at the worst moment, and takes `MARGIN` times that.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

GIB = 1 << 30
MARGIN = 1.25  # of estimates; measured peaks lay at 0.5 to 0.95 of them
START = 0.55 * GIB  # Python with torch, Numba, sklearn and xgboost
NOTEBOOK = 0.35 * GIB  # Jupyter's kernel and the figures
WIDTH = 128  # of the networks' layers
FLOAT, LONG = 4, 8  # bytes

HELP = "start even if less memory is left than is estimated to be needed"


def add_anyway(parser: argparse.ArgumentParser) -> None:
    """Add the option that starts a command whatever memory is left."""
    parser.add_argument("--anyway", action="store_true", help=HELP)


def of_graph(size) -> float:
    """Bytes of a loaded graph: edges both ways, all of them as one, and what sorting takes."""
    features = 0 if size.mapped else _features(size)
    both_ways = 2 * size.num_edges + size.total
    held = 6 * FLOAT * both_ways + 6 * LONG * size.total + features
    return held + 4 * LONG * 2 * max(size.edges.values(), default=0)


def of_recommend(size) -> float:
    """Bytes of the recipe: means of neighbors, bands, rates, and tables of some rows at a time."""
    means = sum(
        size.num_nodes[dst] * size.dims[src]
        for src, dst in {pair for a, _, b in size.edges for pair in ((a, b), (b, a))}
    )
    judged = _judged(size)
    bands = sum(
        (2 * size.num_nodes[name] + _reached(size, name)) * (size.dims[name] + 1) for name in judged
    )
    rates = 5 * 22 * size.total
    widths = [_columns(size, name) for name in judged]
    num_labels = max(sum(size.labels.values()), 1_000)
    table = max(widths, default=0) * (6 * (1 << 14) + 4 * min(num_labels, size.total))
    return of_graph(size) + FLOAT * (means + bands + rates + table) + LONG * 4 * size.total


def of_networks(size) -> float:
    """Bytes of both stages of the network: what a step keeps for its gradient, and the gradient."""
    layer = FLOAT * size.total * WIDTH
    wide = FLOAT * sum(n * (WIDTH + size.dims[name]) for name, n in size.num_nodes.items())
    first = _features(size) + 6 * layer
    second = wide + 8 * layer
    return of_graph(size) + max(first, second)


def of_run(size) -> float:
    """Bytes of the largest of the notebooks, beside the command that runs them.

    One trains the networks; one asks recipe and networks about the graph with edges deleted, beside
    the tables and the inputs of the whole one.
    """
    asked = of_audit(size) + 2 * FLOAT * size.total * WIDTH
    return NOTEBOOK + max(of_graph(size) + of_networks(size), asked)


def of_both(size) -> float:
    """Bytes of the recipe with the networks on the committee."""
    return of_networks(size) + of_recommend(size) - of_graph(size)


def of_audit(size) -> float:
    """Bytes of an audit: what tables are made of, of the graph and of one with edges changed."""
    return 2 * of_recommend(size)


def of_ingested(file: Path) -> float:
    """Bytes of making a dataset folder: what DuckDB holds, up to its limit, and columns beside."""
    files = [file] if file.is_file() else [each for each in file.rglob("*") if each.is_file()]
    packed = {".gz": 10, ".zip": 10, ".parquet": 5}  # about what they unpack to
    text = sum(each.stat().st_size * packed.get(each.suffix.lower(), 1) for each in files)
    return 0.1 * GIB + min(2 * GIB, 4 * text) + 4 * text


def of_score(size, models=None) -> float:
    """Bytes of a saved recipe's say about a graph, beside the graph that it learned from."""
    return of_recommend(size) + (0 if models is None else 2 * of_graph(models))


def of_match(size) -> float:
    """Bytes of looking for look-alikes: edges both ways, and what each node is told and believed.

    Of a pattern of 12 nodes and as many edges as were seen around suspects.
    """
    nodes, edges = 12, 72
    links = size.num_edges * (6 * LONG + FLOAT * (3 + len(size.edges)))
    return of_graph(size) + links + size.total * (3 * LONG * edges + 3 * LONG * nodes)


def of_generated(num_users: int, num_products: int, num_sellers: int) -> float:
    """Bytes of making a marketplace: some 11 purchases and 10 links of a user, each several times
    in 64 bits."""
    total = num_users + num_products + num_sellers
    return FLOAT * WIDTH * total + 11 * num_users * 14 * LONG


def _features(size) -> float:
    return FLOAT * sum(count * size.dims[name] for name, count in size.num_nodes.items())


def _judged(size) -> list[str]:
    return list(size.labels) or list(size.num_nodes)[:1]


def _neighbors(size, name: str) -> set[str]:
    return {
        end for a, _, b in size.edges if name in (a, b) for end in ((b,) if a == name else (a,))
    }


def _reached(size, name: str) -> int:
    return sum(size.num_nodes[end] for end in _neighbors(size, name) | {name})


def _columns(size, name: str) -> int:
    """Count the columns of the widest view of a type, about."""
    around = sum(
        size.dims[middle] + sum(size.dims[far] for far in _neighbors(size, middle))
        for middle in _neighbors(size, name)
    )
    return size.dims[name] + around + 3 * (size.dims[name] + 1) + 100


def generated(name: str):
    """Return how large the marketplace of a name will be, or None if it is no such name."""
    from gadkit.datasets import marketplace
    from gadkit.store import FEATURE_DIM, NODE_TYPES, RELATIONS, memory

    if name not in marketplace.SIZES:
        return None
    num_nodes = dict(zip(NODE_TYPES.values(), marketplace.SIZES[name], strict=True))
    per_row = {"epu": 12.5 * num_nodes["user"], "eps": 2.5 * num_nodes["product"]}
    per_row["euu"] = 11.5 * num_nodes["user"]
    edges = {RELATIONS[key].edge_type: int(count) for key, count in per_row.items()}
    labels = {"user": 16_400, "seller": 300}
    return memory.Size(num_nodes, dict.fromkeys(num_nodes, FEATURE_DIM), edges, labels, True)


def check(args: argparse.Namespace, estimate: Callable, *datasets: str | Path) -> None:
    """Refuse a command whose graph needs more memory than is left.

    Args:
        args: of the command; `args.anyway` lets it start.
        estimate: a function of this module, of the sizes of the datasets.
        datasets: folders, or names of what is generated.

    Raises:
        ValueError: too little is left; the message says how much, and what can be done.
    """
    from gadkit import published

    sizes = []
    for dataset in datasets:
        folders = [
            folder for folder in (Path(dataset), published.DATA / dataset) if _is_there(folder)
        ]
        size = _size_of(folders[0]) if folders else generated(str(dataset))
        if size is None:  # a file to convert, or nothing: whoever opens it says so
            return
        sizes.append(size)
        if not folders:
            refuse(args, of_generated(*size.num_nodes.values()), f"to generate {dataset}", [size])
    refuse(args, estimate(*sizes), f"for {' and '.join(map(str, datasets))}", sizes)


def _is_there(folder: Path) -> bool:
    from gadkit import store

    return store.is_dataset(folder)


def _size_of(folder: Path):
    import zipfile

    from gadkit.store import memory

    try:
        return memory.size_of(folder)
    except (ValueError, TypeError, OSError, zipfile.BadZipFile):
        return None  # damaged: to be said by what reads all of it


def refuse(args: argparse.Namespace, needed: float, what: str, sizes: Sequence = ()) -> None:
    """Raise a ValueError if more is needed than is left, unless the user wants it anyway.

    Args:
        args: of the command.
        needed: bytes, by one of the estimates.
        what: needs them, in words.
        sizes: of the graphs that it is about.
    """
    from gadkit.store import memory

    left, needed = memory.available(), START + MARGIN * needed
    if left is None or needed <= left.size or args.anyway:
        return
    nodes, edges = sum(size.total for size in sizes), sum(size.num_edges for size in sizes)
    shape = f" ({nodes:,} nodes, {edges:,} edges)" if sizes else ""
    raise ValueError(
        f"{needed / GIB:.1f} GiB of memory are needed {what}{shape}, by an estimate on the high "
        f"side, but {left.size / GIB:.1f} GiB are left {left.source}: close other programs, take a "
        "machine or a limit with more, or fewer events or features"
        f"{_less(sizes, needed, left)}; --anyway starts it all the same"
    )


def _less(sizes: Sequence, needed: float, left) -> str:
    """Name the command that would fit, where there is one."""
    less = START + MARGIN * of_recommend(sizes[-1]) if sizes else needed
    if less < needed and less <= left.size:
        return f"; or rank by `gadkit recommend`, which needs {less / GIB:.1f} GiB"
    return ""
