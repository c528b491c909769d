"""The answer key of a generated marketplace: planted.npz, which says what was planted where.

For evaluation only. `gadkit.datasets.marketplace` writes it.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from gadkit.store.files import read_npz

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
        edge_relation: (num_planted,) int8; 0 epu, 1 eps, 2 euu.
    """

    kind: np.ndarray
    kind_names: tuple[str, ...]
    node: np.ndarray
    edge_ptr: np.ndarray
    edge_src: np.ndarray
    edge_dst: np.ndarray
    edge_relation: np.ndarray


def load_planted(folder: str | Path) -> Planted:
    """Read planted.npz of a dataset folder.

    Raises:
        FileNotFoundError: the folder holds none, as only generated ones do.
    """
    arrays = read_npz(Path(folder) / PLANTED)
    return Planted(**arrays | {"kind_names": tuple(arrays["kind_names"].tolist())})


def planted_names(folder: Path | str) -> list[str] | None:
    """Return what each node of a generated marketplace really is, by global id; None elsewhere."""
    if not (Path(folder) / PLANTED).is_file():
        return None
    planted = load_planted(folder)
    return [planted.kind_names[kind] for kind in planted.kind]
