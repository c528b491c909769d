"""Where the time of `gadkit run` goes: elapsed and CPU seconds and memory, by notebook and cell.

    python benchmarks/run.py demo [--force]      # arguments as of gadkit run; prints a table

On a machine that does other work at the same time, read the CPU seconds. "starts" is what a kernel
and its first cells of imports cost before anything is computed; "around" what this process does
beside the kernel, such as rendering the page.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psutil
from nbclient import NotebookClient

from gadkit import cli
from gadkit.report import notebooks

SHOWN = 1.0  # CPU seconds; shorter cells are left out of the table


@dataclass
class Cell:
    """What one cell of code took: its place in the notebook, and resident memory after it."""

    index: int
    elapsed: float
    cpu: float
    megabytes: float


@dataclass
class Run:
    """What one notebook took, from before its kernel starts until its page is written."""

    name: str
    elapsed: float = 0.0
    starts: float = 0.0  # CPU seconds of the kernel before its first cell
    around: float = 0.0  # CPU seconds of this process
    cells: list[Cell] = field(default_factory=list)

    @property
    def cpu(self) -> float:
        """CPU seconds of kernel and process."""
        return self.starts + self.around + sum(cell.cpu for cell in self.cells)

    @property
    def megabytes(self) -> float:
        """The most that was resident after a cell."""
        return max((cell.megabytes for cell in self.cells), default=0.0)


@contextlib.contextmanager
def watched() -> Iterator[list[Run]]:
    """Note what each notebook takes that is executed within."""
    runs: list[Run] = []
    run_one, execute_cell = notebooks._run_one, NotebookClient.async_execute_cell

    def watched_run(source, target, **options) -> None:
        runs.append(Run(source.stem))
        began, cpu = time.perf_counter(), time.process_time()
        try:
            run_one(source, target, **options)
        finally:
            runs[-1].elapsed = time.perf_counter() - began
            runs[-1].around = time.process_time() - cpu

    async def watched_cell(self, cell, cell_index: int, **options):
        kernel = psutil.Process(self.km.provisioner.pid)
        began, cpu = time.perf_counter(), _cpu_of(kernel)
        if not runs[-1].cells:
            runs[-1].starts = cpu
        result = await execute_cell(self, cell, cell_index, **options)
        elapsed, memory = time.perf_counter() - began, kernel.memory_info().rss / 1e6
        runs[-1].cells.append(Cell(cell_index, elapsed, _cpu_of(kernel) - cpu, memory))
        return result

    notebooks._run_one, NotebookClient.async_execute_cell = watched_run, watched_cell
    try:
        yield runs
    finally:
        notebooks._run_one, NotebookClient.async_execute_cell = run_one, execute_cell


def _cpu_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def table(runs: list[Run]) -> str:
    """Return a line for each notebook, and one for each of its cells that took long."""
    head = f"{'':24}{'elapsed s':>10}{'CPU s':>8}{'starts':>8}{'around':>8}{'MB':>8}"
    lines = [head]
    for run in runs:
        parts = (run.elapsed, run.cpu, run.starts, run.around)
        lines.append(f"{run.name:24}" + _numbers(parts) + f"{run.megabytes:8.0f}")
        for cell in run.cells:
            if cell.cpu >= SHOWN:
                name = f"    cell {cell.index}"
                lines.append(f"{name:24}" + _numbers((cell.elapsed, cell.cpu)))
    total = sum(run.elapsed for run in runs), sum(run.cpu for run in runs)
    return "\n".join([*lines, f"{'all notebooks':24}" + _numbers(total)])


def _numbers(values: tuple[float, ...]) -> str:
    columns = zip(values, (10, 8, 8, 8), strict=False)
    return "".join(f"{value:{width}.1f}" for value, width in columns)


def main(arguments: list[str], run: Callable[[list[str]], int] = cli.main) -> int:
    """Run the notebooks, print the table, and return the exit status of the run."""
    began = time.perf_counter()
    with watched() as runs:
        status = run(["run", *arguments])
    print(table(runs))
    print(f"the whole command took {time.perf_counter() - began:.1f} s in this process")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
