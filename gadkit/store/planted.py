"""The answer key of a generated data set: planted.npz, which says what was planted where.

For evaluation only. `gadkit.datasets` writes it.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from gadkit.store.files import atomic_path, read_npz
from gadkit.store.raw import RELATIONS

PLANTED = "planted.npz"


class Planted(NamedTuple):
    """Who is a planted fraud, of which kind, and which edges make it one.

    Attributes:
        kind: (total,) int8; index into kind_names, 0 = normal.
        kind_names: names of the kinds.
        node: (num_fraud,) int64; global ids of the fraudulent nodes, ascending.
        edge_ptr: (num_fraud + 1,) int64; node[i] owns the edges edge_ptr[i]:edge_ptr[i + 1].
        edge_src: (num_planted,) int64; row of the stored entry, a global id.
        edge_dst: (num_planted,) int64; column of the stored entry, a global id.
        edge_relation: (num_planted,) int8; index into relation_names.
        relation_names: names of the relations; those of the marketplace layout unless said.
    """

    kind: np.ndarray
    kind_names: tuple[str, ...]
    node: np.ndarray
    edge_ptr: np.ndarray
    edge_src: np.ndarray
    edge_dst: np.ndarray
    edge_relation: np.ndarray
    relation_names: tuple[str, ...] = tuple(name for (_, name, _), *_ in RELATIONS.values())


def save_planted(folder: str | Path, planted: Planted) -> None:
    """Write planted.npz; names of relations only if they are not those of the marketplace layout.

    So folders in that layout stay what they were.
    """
    arrays = planted._asdict()
    if planted.relation_names == Planted._field_defaults["relation_names"]:
        del arrays["relation_names"]
    with atomic_path(Path(folder) / PLANTED) as path:
        np.savez(path, **arrays)


def load_planted(folder: str | Path) -> Planted:
    """Read planted.npz of a dataset folder.

    Raises:
        FileNotFoundError: the folder holds none, as only generated ones do.
    """
    arrays = read_npz(Path(folder) / PLANTED)
    names = {key: tuple(value.tolist()) for key, value in arrays.items() if key.endswith("_names")}
    return Planted(**arrays | names)


def planted_names(folder: Path | str) -> list[str] | None:
    """Return what each node of a generated marketplace really is, by global id; None elsewhere."""
    if not (Path(folder) / PLANTED).is_file():
        return None
    planted = load_planted(folder)
    return [planted.kind_names[kind] for kind in planted.kind]
