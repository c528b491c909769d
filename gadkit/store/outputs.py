"""What training and ranking leave in a dataset folder: embeddings, scores, checkpoints."""

import io
import sys
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from gadkit import __version__
from gadkit.store.files import DAMAGE, atomic_path, check_format, errors_about, load_npy

GAE_EMBEDDINGS = "Z_embeddings_stage1.npy"
GAE_SCORES = "anomaly_scores_stage1.npy"  # made without labels
GAT_EMBEDDINGS = "Z_stage2.npy"
GAT_SCORES = "anomaly_scores_stage2.npy"
RECIPE_SCORES = "anomaly_scores_recipe.npy"  # of `gadkit.trees.recipe`; 0 for types without labels
RECIPE = "recipe.npz"  # the detector that made these scores, see `gadkit.trees.saved`
RECIPE_NETWORK = "recipe_network_{}.pt"  # a graph network on its committee, by number from 1
GAE_CHECKPOINT = "gae_stage1.pt"
GAT_CHECKPOINT = "gat_stage2_best.pt"
GAE_RUN, GAT_RUN = "gae_stage1_run.pt", "gat_stage2_run.pt"  # where a training stands
FORMAT = 1  # of checkpoints; those without a number are of the time before, and are read as well
MADE_BY = {  # what makes a file, for whom it is missing
    GAE_EMBEDDINGS: "the training of the graph autoencoder",
    GAE_CHECKPOINT: "the training of the graph autoencoder",
    GAE_SCORES: "the training of the graph autoencoder",
    GAT_EMBEDDINGS: "the training of the graph attention network",
    GAT_SCORES: "the training of the graph attention network",
    GAT_CHECKPOINT: "the training of the graph attention network",
    RECIPE_SCORES: "the evaluation of the default recipe",
    RECIPE: "the evaluation of the default recipe",
}
AXES = {GAE_EMBEDDINGS: 2, GAT_EMBEDDINGS: 2, GAE_SCORES: 1, GAT_SCORES: 1, RECIPE_SCORES: 1}
_SAID = "gadkit"  # what a checkpoint says of itself


def load_array(folder: Path | str, name: str, *, rows: int | None = None) -> Tensor:
    """Read one output, memory-mapped; writing to the tensor does not change the file.

    Args:
        folder: dataset folder.
        name: file name, such as `GAE_EMBEDDINGS`.
        rows: number of rows it must have, if given: the nodes of the graph it is used with.

    Raises:
        FileNotFoundError: it was not made yet.
        ValueError: it is damaged, holds no such numbers, or was made from a graph of another size.
    """
    path = Path(folder) / name
    if not path.is_file():
        raise _missing(path)
    array = load_npy(path)
    axes = AXES.get(name, array.dim())
    if array.dim() != axes or not array.dim() or (name in AXES and not array.is_floating_point()):
        raise ValueError(
            f"{path} is {tuple(array.shape)} {array.dtype}, but it must have {axes or 1} axes of "
            "floating-point numbers; make it again"
        )
    if rows is not None and len(array) != rows:
        raise ValueError(
            f"{path} has {len(array)} rows, but the graph has {rows} nodes; make it again"
        )
    return array


def _missing(path: Path) -> FileNotFoundError:
    maker = MADE_BY.get(path.name, "the step that makes it")
    how = "its notebook, or `gadkit run`" if path.name in MADE_BY else "that"
    if path.name in (RECIPE, RECIPE_SCORES):
        how = "`gadkit recommend`, or `gadkit run`"
    return FileNotFoundError(f"{path} is missing, which {maker} leaves; run {how} first")


def save_checkpoint(path: Path | str, state: dict) -> None:
    """Write nested dicts and lists of tensors, numbers, strings; same content, same bytes.

    The file also says its format, and which gadkit has written it.
    """
    said = {_SAID: {"format": FORMAT, "version": __version__}}
    buffer = io.BytesIO()  # torch.save to a path would write the file's name into the archive
    torch.save(_canonical(said | state), buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def _canonical(value):
    """Copy nested dicts, lists and tuples, with equal strings made one object.

    A pickle refers back to an object it has met, so its bytes would tell a string that was loaded
    from one that was not, and a resumed run from an uninterrupted one.
    """
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_canonical, value))
    return value


def load_checkpoint(path: Path | str) -> dict:
    """Read a checkpoint onto the CPU; only what `save_checkpoint` writes is unpickled, never code.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged, cut off, no checkpoint, or of a newer gadkit.
    """
    path = Path(path)
    if not path.is_file():
        raise _missing(path)
    with open(path, "rb") as file:
        try:
            damaged = zipfile.ZipFile(file).testzip()  # torch does not look at the checksums
            if damaged is not None:
                raise ValueError(f"the checksum of {damaged} is wrong")
            file.seek(0)
            state = torch.load(file, map_location="cpu", weights_only=True)
        except DAMAGE as error:
            raise ValueError(
                f"{path} is damaged, cut off or no checkpoint; delete it to start again"
            ) from error
    if not isinstance(state, dict):
        raise ValueError(
            f"{path} holds a {type(state).__name__}, not a checkpoint; delete it to start again"
        )
    said = state.pop(_SAID, {"format": 1})
    with errors_about(path):
        number = said.get("format") if isinstance(said, dict) else said
        check_format(number, FORMAT, "move it away to start again")
    return state
