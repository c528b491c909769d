"""Where a run leaves its results: one folder for each dataset, and a copy of the notebooks to edit.

The folder is build/<dataset>/ under the current one, and says which dataset it belongs to.
"""

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

from gadkit import store
from gadkit.graph import HeteroGraph
from gadkit.report.notebooks import ROOT
from gadkit.store import atomic_path

BUILD = Path("build")
OWNER = "dataset.txt"  # path of the dataset folder that the results are of
NODE_BYTES = 4_000  # that a run leaves in a dataset folder, per node: embeddings, scores
PAGES_BYTES = 64_000_000  # that it leaves elsewhere: notebooks and pages with their figures
RESULTS = (store.GAE_SCORES, store.GAT_SCORES, store.RECIPE_SCORES)


def of_dataset(folder: Path) -> Path:
    """Return the folder for results of a dataset, made and tried.

    It is build/<name>, or where that holds results of another dataset of the same name, the first
    of build/<name>-2, build/<name>-3, ... that does not.

    Args:
        folder: the dataset folder.

    Raises:
        OSError: nothing can be written there.
    """
    folder = Path(folder).resolve()
    names = (folder.name if number == 1 else f"{folder.name}-{number}" for number in count(1))
    place = next(BUILD / name for name in names if _owner(BUILD / name) in (None, str(folder)))
    store.check_place(place)
    with atomic_path(place / OWNER) as temporary:
        temporary.write_text(f"{folder}\n", encoding="utf-8")
    return place


def _owner(place: Path) -> str | None:
    """Return the dataset folder whose results a place holds; None if it belongs to nobody."""
    path = place / OWNER
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def check_room(folder: Path, graph: HeteroGraph, place: Path) -> None:
    """Try that a run can write to a dataset folder and its place, before minutes of work.

    Raises:
        OSError: one cannot be written to, or has no room.
    """
    store.check_place(folder, room=NODE_BYTES * graph.total + PAGES_BYTES)
    store.check_place(place, room=PAGES_BYTES)


def copy_notebooks(place: Path, *, notebooks: Path | None = None) -> tuple[Path, list[str]]:
    """Copy the notebooks to a place where they may be changed; those that are there stay.

    Args:
        place: of a dataset.
        notebooks: folder to copy from; by default that of this repository.

    Returns:
        The folder of the copies, and the names of those that differ from what would be copied.
    """
    lab, kept = place / "lab", []
    for source in sorted((notebooks or ROOT / "notebooks").glob("*.ipynb")):
        copy = lab / source.name
        if not copy.exists():
            with atomic_path(copy) as temporary:
                shutil.copyfile(source, temporary)
        elif copy.read_bytes() != source.read_bytes():
            kept.append(source.name)
    return lab, kept


def lab_notes(folder: Path, place: Path, log: Callable[[str], None] = print) -> Path:
    """Copy the notebooks, say what running them writes over, and return the folder of the copies.

    Args:
        folder: the dataset folder.
        place: of the dataset.
        log: receives each line.
    """
    lab, kept = copy_notebooks(place)
    log(f"notebooks {lab} (copies: change them freely, nothing here writes over them)")
    if kept:
        log(f"changed   {', '.join(kept)} (delete a copy to have it as it came)")
    if any((folder / name).is_file() for name in RESULTS):
        log(
            f"caution   {folder} holds scores, and notebooks that train write over them; to keep "
            "these, copy the folder and open the copy"
        )
    return lab
