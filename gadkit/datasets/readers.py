"""The files of published fraud data sets, as their authors wrote them, read as `Converted`.

Nothing is downloaded here: licenses differ, so the authors' own files are converted where they lie.
"""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gadkit import store
from gadkit.datasets.layout import ENTITIES, Arrays, Converted, from_arrays

_CSV_COLUMNS = ("Time", "Source", "Target", "Amount", "Location", "Type", "Labels")
_MAT_HEADER = {"__header__", "__version__", "__globals__"}


def care_gnn_mat(path: Path) -> Converted:
    """Read YelpChi.mat or another .mat with `net_*` matrices."""
    with store.errors_about(path):
        return Converted(from_arrays(_read_mat(path)))


def s_ffsd(path: Path) -> Converted:
    """Read S-FFSD.csv."""
    with store.errors_about(path):
        return Converted(from_arrays(_read_csv(path)))


def npz(path: Path) -> Converted:
    """Read an .npz in the import layout."""
    with store.errors_about(path):
        return Converted(from_arrays(store.read_npz(path)))


def _read_mat(path: Path) -> Arrays:
    """Read the CARE-GNN layout: sparse `net_<relation>`, `features`, `label`."""
    from scipy.io import loadmat
    from scipy.sparse import csr_matrix

    try:
        content = loadmat(path)
    except (ValueError, TypeError, EOFError, OSError, NotImplementedError) as error:
        raise ValueError(f"not a readable MATLAB 5 file, or cut off: {error}") from error
    arrays = {}
    for key in sorted(content):
        if key.startswith("net_"):
            matrix = csr_matrix(content[key])
            matrix.sum_duplicates()
            matrix.eliminate_zeros()
            name = key.removeprefix("net_")
            arrays[f"{name}_row_ptr"] = matrix.indptr.astype(np.int64)
            arrays[f"{name}_col_idx"] = matrix.indices.astype(np.int32)
    if not arrays:
        raise ValueError(
            f"no sparse matrix named net_<relation>; found {sorted(set(content) - _MAT_HEADER)}"
        )
    if "features" in content:
        features = content["features"]
        arrays["x"] = features.toarray() if hasattr(features, "toarray") else features
    if "label" in content:
        arrays["y"] = content["label"].ravel()
    return arrays


def _read_csv(path: Path) -> Arrays:
    """Read S-FFSD.csv: Time, Source, Target, Amount, Location, Type, Labels (2 = unlabelled)."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        header, *table = [*csv.reader(file)] or [[]]
    if not set(_CSV_COLUMNS) <= set(header):
        raise ValueError(
            f"the columns are {', '.join(header)}; S-FFSD.csv has {', '.join(_CSV_COLUMNS)}, "
            "and no other table is understood"
        )
    for line, row in enumerate(table, start=2):
        if len(row) != len(header):
            raise ValueError(f"line {line} has {len(row)} fields, the header {len(header)}")
    column = {name: [row[at] for row in table] for at, name in enumerate(header)}
    y = _numbers(column["Labels"], "Labels")
    arrays = {
        "x": np.stack([_numbers(column[name], name) for name in ("Time", "Amount")], axis=1),
        "y": np.where(y == 2, -1, y),
    }
    for name in ENTITIES:
        arrays[name] = np.unique(np.array(column[name.title()]), return_inverse=True)[1]
    return arrays


def _numbers(texts: list[str], column: str) -> np.ndarray:
    numbers = np.empty(len(texts))
    for row, text in enumerate(texts):
        try:
            numbers[row] = float(text)
        except ValueError:
            raise ValueError(f"line {row + 2}: {column} is {text!r}, not a number") from None
    return numbers


READERS: dict[str, Callable[[Path], Converted]] = {
    "care_gnn_mat": care_gnn_mat,
    "s_ffsd": s_ffsd,
    "npz": npz,
}
