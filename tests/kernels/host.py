"""Build the CUDA kernels with g++ and run them on CPU tensors; host_cuda.h says by which rules.

A Python that is started with `sanitizer_environment()` builds them with AddressSanitizer and
UndefinedBehaviorSanitizer.

    python tests/kernels/host.py WORDS...    the checks of benchmarks/kernel_checks.py, for each
                                             argument those whose name has these words
"""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

TESTS = Path(__file__).parent
ROOT = TESTS.parents[1]
CACHE = ROOT / "build" / "host"
FLAGS = (
    "-std=c++17", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-gnu-unique",
    "-ffp-contract=off", "-fno-strict-aliasing",
)  # fmt: skip
SANITIZE = "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover"
SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")

lane_seed = 0  # of the order of lanes, warps and blocks; 0: in order


class HostModule:
    """A .cu file as a library.

    Args:
        path: the file.
        names: C++ name expressions of its kernels, such as "spmm<float, 4>".
        sanitize: stop the process at accesses out of bounds and undefined behavior; Python must
            have been started with `sanitizer_environment()`.
        defines: macros, such as "GK_UCONTEXT".

    Raises:
        RuntimeError: the file does not compile; the message is the compiler's.
    """

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        *,
        sanitize: bool = SANITIZED,
        defines: Sequence[str] = (),
    ):
        flags = [*FLAGS, *(SANITIZE if sanitize else ()), *(f"-D{macro}" for macro in defines)]
        library = ctypes.PyDLL(_build(path, names, flags))  # keeps the GIL: one launch at a time
        library.gk_types.restype = library.gk_launch.restype = ctypes.c_char_p
        self._library = library
        self._index = {name: i for i, name in enumerate(names)}
        self._types = {
            name: library.gk_types(i).decode().split() for name, i in self._index.items()
        }

    def launch(self, name: str, blocks: int | tuple[int, ...], threads: int, *args) -> None:
        """Run a kernel; the arguments are those of `gadkit.ops._cuda.launch`.

        Raises:
            ValueError: a tensor is not on the CPU, or there are too many threads.
            TypeError: number, kind or size of the arguments is not what the kernel declares.
            RuntimeError: a thread broke a rule of CUDA.
        """
        types = self._types[name]
        if len(args) != len(types):
            raise TypeError(f"{name} takes {len(types)} arguments, not {len(args)}")
        packed = b"".join(
            _pack(arg, kind, f"argument {i} of {name}")
            for i, (arg, kind) in enumerate(zip(args, types, strict=True))
        )
        if not 0 < threads <= 1024:
            raise ValueError(f"a block has 1 to 1024 threads, not {threads}")
        grid = (blocks,) if isinstance(blocks, int) else blocks
        grid = (ctypes.c_uint * 3)(*grid, *[1] * (3 - len(grid)))
        error = self._library.gk_launch(self._index[name], grid, threads, packed, lane_seed)
        if error:
            raise RuntimeError(f"{name}: {error.decode()}")


def _pack(arg, kind: str, what: str) -> bytes:
    """Return an argument as 8 bytes, after a look at the type that the kernel wants.

    A type is a letter and a size, behind a * for a pointer: f8 is a double, *V2 points to a class.
    """
    if isinstance(arg, np.generic):
        letter = "f" if arg.dtype.kind == "f" else "i"
        if kind != f"{letter}{arg.itemsize}":
            raise TypeError(f"{what} is a {arg.dtype}, the kernel wants {kind}")
        return arg.tobytes().ljust(8, b"\0")
    if arg is not None and not isinstance(arg, torch.Tensor):
        raise TypeError(f"{what} is a {type(arg).__name__}: give a tensor, None or a NumPy scalar")
    if not kind.startswith("*"):
        raise TypeError(f"{what} is a pointer, the kernel wants {kind}")
    if arg is None:
        return bytes(8)
    if arg.device.type != "cpu":
        raise ValueError(f"{what} is on {arg.device}")
    letter, size = kind[1], int(kind[2:])
    wide_float = arg.is_floating_point() and arg.itemsize > 2
    fits = {"f": wide_float, "i": not arg.is_floating_point(), "V": size % arg.itemsize == 0}
    if not fits[letter] or letter != "V" and size != arg.itemsize:
        raise TypeError(f"{what} is {arg.dtype}, the kernel wants {kind}")
    return arg.data_ptr().to_bytes(8, "little")


def _build(path: Path, names: Sequence[str], flags: Sequence[str]) -> str:
    """Compile a file, unless that has been done, and return the path of the library."""
    kernels = ", ".join(f"gk::describe<{name}>" for name in names)
    source = (
        f'#include "host_cuda.h"\n#include "{path}"\n'
        f"const gk::Kernel gk::kernels[] = {{{kernels}}};\n"
    )
    # What decides is what the files say, not where they are: a copy need not be compiled again.
    sources = hashlib.sha256(repr((path.name, kernels, flags)).encode())
    for file in (TESTS / "host_cuda.h", path, *sorted(path.parent.glob("*.cuh"))):
        sources.update(file.read_bytes())
    library = CACHE / f"{path.stem}-{sources.hexdigest()[:16]}.so"
    if not shutil.which("g++"):
        raise RuntimeError("g++ is not installed; it builds the CUDA kernels for the CPU")
    if not library.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            made = Path(folder) / library.name
            run = subprocess.run(
                ["g++", *flags, f"-I{TESTS}", "-x", "c++", "-", "-o", made],
                input=source, capture_output=True, text=True,
                env=os.environ | {"LD_PRELOAD": ""},  # the compiler need not be sanitized
            )  # fmt: skip
            if run.returncode:
                raise RuntimeError(f"{path} does not compile:\n{run.stderr}")
            made.replace(library)  # at once, for others may be waiting for it or making it too
    return str(library)


def sanitizer_environment() -> dict[str, str]:
    """Return the environment of a Python in which sanitized kernels run."""
    libraries = [
        subprocess.run(
            ["g++", f"-print-file-name={name}.so"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan", "libubsan")
    ]
    return os.environ | {"LD_PRELOAD": " ".join(libraries), "ASAN_OPTIONS": "detect_leaks=0"}


@functools.cache
def _module(file: str) -> HostModule:
    from gadkit.ops import _cuda

    return HostModule(_cuda.KERNELS / f"{file}.cu", _cuda.instances(file))


def launch(file: str, name: str, blocks: int | tuple[int, ...], threads: int, *args) -> None:
    """Run a kernel of kernels/<file>.cu; what `gadkit.ops._cuda.launch` does on a GPU.

    Raises:
        as `HostModule.launch`.
    """
    _module(file).launch(name, blocks, threads, *args)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
    import kernel_checks

    outcomes = [kernel_checks.run("cpu", words, launch=launch) for words in sys.argv[1:] or [""]]
    sys.exit(any(outcome["failed"] for outcome in outcomes))
