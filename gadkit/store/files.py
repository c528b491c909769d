"""Files that are replaced in one step, and errors that name the file."""

import errno
import glob
import json
import os
import pickle
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gadkit import __version__
from gadkit.graph.arrays import native

# What readers of zip files and pickles raise when bytes are not what they should be.
DAMAGE = (
    ValueError,
    RuntimeError,
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    pickle.UnpicklingError,
)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write to; it replaces `path` if the block ends well.

    After an error, or a kill at any moment, `path` is what it was before. The sibling keeps the
    suffix, because writers such as `savefig` choose the format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in _NO_ROOM or "requested and" in str(error):  # as numpy says
            raise OSError(
                f"{path} could not be written ({error.strerror or error}): make room, or choose a "
                "folder on another disk; what was there before is whole"
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def is_free(folder: Path) -> bool:
    """Whether nothing is there, or an empty folder."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


@contextmanager
def appearing(folder: Path | str, *, aside: bool = False) -> Iterator[Path]:
    """Yield a temporary sibling, which becomes `folder` in one step if the block ends well.

    Args:
        folder: what is to appear.
        aside: rename what is there already to `<name>.old1`, or the next number that is free.

    Raises:
        FileExistsError: the folder holds something already, and that may not be set aside.
        OSError: nothing can be written beside it.
    """
    folder = Path(folder)
    if not aside and not is_free(folder):
        raise FileExistsError(f"{folder} exists already: delete it or choose another folder")
    target = folder.resolve()
    partial = target.with_name(f".{os.getpid()}.{target.name}")
    check_place(target.parent)
    _clear_abandoned(target)
    partial.mkdir()
    try:
        yield partial
        _sync(partial)
        if not is_free(target):
            names = (target.with_name(f"{target.name}.old{number}") for number in count(1))
            target.rename(next(name for name in names if not name.exists()))
        partial.rename(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def replacing(folder: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling, which takes the place of `folder` if the block ends well.

    What was there is removed, but only then: after an error, or a kill in the block, it is whole.
    """
    target = Path(folder).resolve()
    partial, former = (
        target.with_name(f".{os.getpid()}{mark}.{target.name}") for mark in ("", "-")
    )
    check_place(target.parent)
    _put_back(target)
    _clear_abandoned(target)
    partial.mkdir()
    try:
        yield partial
        _sync(partial)
        if target.exists():
            target.rename(former)
        partial.rename(target)
        _sync(target.parent)
    finally:
        _put_back(target)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)


def _put_back(target: Path) -> None:
    """Give a folder its name back that lost it to one which then did not take its place."""
    for former in sorted(target.parent.glob(f".*-.{glob.escape(target.name)}")):
        if not target.exists():
            former.rename(target)


def check_place(folder: Path | str, room: int = 0) -> None:
    """Try that files can be written to a folder, and that there is room: before minutes of work.

    Args:
        folder: it is made if it is not there.
        room: bytes that will be needed.

    Raises:
        OSError: one of the two fails; the message names the folder, and how much room is missing.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"gadkit")
    except OSError as error:
        raise OSError(
            f"nothing can be written to {folder} ({error.strerror}); make it writable, or choose "
            "another folder"
        ) from error
    free = shutil.disk_usage(folder).free
    if free < room:
        raise OSError(
            f"the disk of {folder} has {free / 1e6:,.0f} MB free, but some {room / 1e6:,.0f} MB "
            "will be written; make room, or choose a folder on another disk"
        )


def _clear_abandoned(target: Path) -> None:
    """Remove the temporary siblings of processes that were killed, and so could not."""
    for sibling in target.parent.glob(f".*.{glob.escape(target.name)}"):
        pid = sibling.name[1 : -len(target.name) - 1].removesuffix("-")
        if pid.isdigit() and (int(pid) == os.getpid() or not _is_running(int(pid))):
            shutil.rmtree(sibling, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _sync(folder: Path) -> None:
    """Make the names in a folder durable; `store` has done so for the content of its files."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def errors_about(where: Path | str) -> Iterator[None]:
    """Put the file or array that a block reads in front of its ValueErrors and TypeErrors."""
    try:
        yield
    except (ValueError, TypeError) as error:
        if str(error).startswith(str(where)):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{where}: {error}") from error


def check_format(number: object, newest: int, otherwise: str) -> None:
    """Check the number that says how a file is laid out.

    Args:
        number: what the file says.
        newest: the highest that this gadkit reads; 1 is the first.
        otherwise: what to do, other than to update gadkit.

    Raises:
        ValueError: it is higher, or no such number.
    """
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError(f"its format is {number!r}, and not a number from 1 on; {otherwise}")
    if number > newest:
        raise ValueError(
            f"it is of format {number}, which a newer gadkit has written; this is gadkit "
            f"{__version__}, which reads formats up to {newest}: update gadkit, or {otherwise}"
        )


def write_json(path: Path | str, content: dict) -> None:
    """Write a dict as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_npz(path: Path | str, only: str | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz file, all or the one of a name, never unpickling.

    Raises:
        ValueError: it is no .npz file, or an array is damaged or pickled; the message names it.
    """
    arrays, what = {}, "no .npz file, or cut off"
    with open(path, "rb") as file:
        try:
            archive = np.lib.npyio.NpzFile(file, allow_pickle=False)
            for name in archive.files if only is None else {only} & {*archive.files}:
                what = f"array {name!r} cannot be read"
                arrays[name] = native(archive[name])
        except DAMAGE as error:
            raise ValueError(f"{path}: {what}: {error}; make or download it again") from error
    return arrays


def write_npz(path: Path | str, arrays: dict[str, np.ndarray]) -> None:
    """Write an .npz file, atomically; with a fixed date, so equal arrays give equal bytes."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)


def load_npy(path: Path) -> Tensor:
    """Map an array of numbers into memory; writing to the tensor does not change the file.

    Raises:
        ValueError: it is damaged, or holds no numbers.
    """
    try:
        with open(path, "rb") as file:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
                raise ValueError("it does not begin as one")
        return torch.from_numpy(native(np.load(path, mmap_mode="c", allow_pickle=False)))
    except (ValueError, EOFError, TypeError) as error:
        raise ValueError(
            f"{path} is no .npy array of numbers, or is cut off: {error}; make it again"
        ) from error


def save_array(folder: Path | str, name: str, array: Tensor | np.ndarray) -> None:
    """Write one output, such as `GAE_EMBEDDINGS`, as .npy."""
    array = array.numpy(force=True) if isinstance(array, Tensor) else array
    with atomic_path(Path(folder) / name) as temporary, open(temporary, "wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)
