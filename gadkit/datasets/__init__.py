"""What the name of a dataset means: a generated marketplace, a folder, or a file to convert.

What one of them takes is imported only for it: a folder that is there takes `store` alone.
"""

import os
from pathlib import Path

from gadkit import store

SHOP = "demo_shop"


def open_dataset() -> Path:
    """Prepare what the environment variable GADKIT_DATASET names, "demo" by default."""
    return prepare(os.environ.get("GADKIT_DATASET", "demo"))


def prepare(source: str | Path, *, root: Path | str | None = None, progress: bool = True) -> Path:
    """Make a dataset ready for `store.load_graph`; what is there already is not made again.

    Args:
        source: "small", "demo" or "full" (a generated marketplace), "demo_shop" (one whose users
            share devices, cards and addresses), a dataset folder or its name under `root`, or a
            file to convert (.mat, .csv or .npz, see `library.convert`).
        root: where new folders go; by default data/ of this repository.
        progress: show a progress bar while generating.

    Returns:
        The dataset folder. A converted file gets the folder `root/<stem>`; when the file has
        changed, the folder made from the old one is set aside as `<stem>.old1` and so on, with all
        that was trained on it.

    Raises:
        ValueError: `source` is none of these, or its content is not what it should be.
    """
    from gadkit import published
    from gadkit.datasets import marketplace

    name, path, root = str(source), Path(source), Path(root or published.DATA)
    if name in marketplace.SIZES:
        if not store.is_dataset(root / name):
            marketplace.generate(root / name, size=name, progress=progress)
        return root / name
    if name == SHOP:
        if not store.is_dataset(root / name):
            from gadkit.datasets import shop

            shop.generate(root / name, progress=progress)
        return root / name
    for folder in (path, root / path):
        if store.is_dataset(folder):
            return folder
    return _convert(path, root, taken=(*marketplace.SIZES, SHOP))


def _convert(path: Path, root: Path, taken: tuple[str, ...]) -> Path:
    """Make a folder of a file; the names of generated ones are taken."""
    from gadkit.published import library

    if path.is_file() and path.suffix.lower() in library.SUFFIXES:
        if path.stem in taken:
            raise ValueError(
                f"{path} would take the name of the generated {path.stem!r}; rename it"
            )
        return library.convert_to(root / path.stem, path)
    if str(path) in library.PUBLISHED:
        raise ValueError(f"{path} is published but not here: gadkit data get {path}")
    raise ValueError(
        f"{str(path)!r} is no dataset; expected {', '.join(taken)} (generated), "
        f"a folder holding {store.COUNTS} or {store.GRAPH}, here or under {root}, "
        f"or a file ending in {', '.join(library.SUFFIXES)}; a table of events comes in by "
        "gadkit ingest"
    )
