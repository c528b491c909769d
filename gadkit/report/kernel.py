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
# Of the variables that Python reads, those that say where things lie. The others change what is run
# before the first cell and after the last, which warnings are seen, and whether assertions hold.
OF_PYTHON = (
    "PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE",
    "PYTHONPYCACHEPREFIX", "PYTHONEXECUTABLE",
)  # fmt: skip
# How wide tables are printed, in which colors and which language.
NOT_INHERITED = ("COLUMNS", "LINES", "NO_COLOR", "LANG", "LANGUAGE")
FIXED = {
    "LC_ALL": "C",  # how numbers and dates are written
    "PYTHONUTF8": "1",  # and yet texts are UTF-8
    "PYTHONHASHSEED": "0",  # the order of sets
    "SOURCE_DATE_EPOCH": "0",  # the date that an SVG or a PDF carries
    "TZ": "UTC",
    "MPLBACKEND": INLINE,
}
LONGEST = 90  # bytes of a connection file's path; a Unix socket beside it may have some 100


def environment(private: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a kernel.

    Args:
        private: an empty folder, for its settings; it must last as long as the kernel.
        variables: added to it.
    """
    fonts = _find_fonts(private)
    settings = private / "matplotlibrc"
    settings.write_text(MATPLOTLIBRC, encoding="utf-8")
    inherited = {name: value for name, value in os.environ.items() if _is_inherited(name)}
    return inherited | {
        "IPYTHONDIR": str(private),
        "MATPLOTLIBRC": str(settings),
        **FIXED,
        **fonts,
        **variables,
    }


def _is_inherited(name: str) -> bool:
    if name.startswith("PYTHON"):
        return name in OF_PYTHON
    return name not in NOT_INHERITED and not name.startswith("LC_")


def _find_fonts(private: Path) -> dict[str, str]:
    """Let matplotlib look for fonts once and here, where there is no home to keep the list in.

    It does so in a folder of its own, of which it tells its children; otherwise the first figure of
    every notebook would say it. Where it refuses what the user has set, each kernel has to look.
    """
    try:
        importlib.import_module("gadkit.plot")
    except (ValueError, OSError):  # as of a backend that there is not
        return {"MPLCONFIGDIR": str(private)}
    return {}


def connection(private: Path) -> dict[str, str]:
    """Return how to reach a kernel: by Unix sockets in its folder, or by ports of this machine.

    Ports are taken where the folder's path is too long for the name of a socket, as it may be where
    TMPDIR is the scratch folder of a job.
    """
    file = str(private / "kernel.json")
    transport = "ipc" if len(os.fsencode(file)) <= LONGEST else "tcp"
    return {"transport": transport, "connection_file": file}


def manager_class(folder: Path) -> type:
    """Return a manager that starts this interpreter, whatever kernels the user has installed, and
    whichever one an editor has written into a notebook.

    Args:
        folder: where the cells are to run. Before it reads any settings, matplotlib looks for a
            matplotlibrc in the current folder: where there is one, it is loaded elsewhere first.
    """
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    code = f"import os, matplotlib; os.chdir({str(folder)!r}); del os, matplotlib"
    options = [f"--IPKernelApp.exec_lines={code}"] if has_settings(folder) else []

    class Manager(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(**get_kernel_dict(extra_arguments=options))

    return Manager


def has_settings(folder: Path) -> bool:
    """Whether settings of matplotlib lie in a folder."""
    return (folder / "matplotlibrc").is_file()
