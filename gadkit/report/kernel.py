"""Kernels that are the same for everybody: this interpreter, and no settings of whoever runs it.

A notebook must say the same on a machine without a screen, in a container without a home, and on
the laptop of somebody who has thick lines in a matplotlibrc.
"""

import importlib
import os
from pathlib import Path

INLINE = "module://matplotlib_inline.backend_inline"  # whose figures become outputs of a cell
# The ids within an SVG are hashes with this salt; without, they are drawn anew in every run.
MATPLOTLIBRC = "svg.hashsalt: gadkit\n"
# They change what is run before the first cell and after the last, which warnings are seen, whether
# assertions hold, and how wide tables are printed.
NOT_INHERITED = (
    "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONWARNINGS", "PYTHONDEVMODE", "PYTHONOPTIMIZE",
    "COLUMNS", "LINES",
)  # fmt: skip
LONGEST = 90  # bytes of a connection file's path; a Unix socket beside it may have some 100


def environment(private: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a kernel.

    Args:
        private: an empty folder, for its settings; it must last as long as the kernel.
        variables: added to it.
    """
    # Where there is no home, matplotlib looks for fonts in a folder of its own, and tells its
    # children; it says so once and here, not in the first figure of every notebook.
    importlib.import_module("gadkit.plot")
    settings = private / "matplotlibrc"
    settings.write_text(MATPLOTLIBRC, encoding="utf-8")
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    return inherited | {
        "IPYTHONDIR": str(private),
        "MATPLOTLIBRC": str(settings),
        "MPLBACKEND": INLINE,
        "PYTHONHASHSEED": "0",  # the order of sets
        "SOURCE_DATE_EPOCH": "0",  # the date that an SVG or a PDF carries
        **variables,
    }


def connection(private: Path) -> dict[str, str]:
    """Return how to reach a kernel: by Unix sockets in its folder, or by ports of this machine.

    Ports are taken where the folder's path is too long for the name of a socket, as it may be where
    TMPDIR is the scratch folder of a job.
    """
    file = str(private / "kernel.json")
    transport = "ipc" if len(os.fsencode(file)) <= LONGEST else "tcp"
    return {"transport": transport, "connection_file": file}


def manager_class() -> type:
    """Return a manager that starts this interpreter, whatever kernels the user has installed, and
    whichever one an editor has written into a notebook."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    class Manager(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(**get_kernel_dict())

    return Manager
