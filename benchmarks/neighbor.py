"""Time a command alone and beside processes that keep the cores busy.

    python benchmarks/neighbor.py                        # gadkit run small
    python benchmarks/neighbor.py --dataset demo --busy 1
    python benchmarks/neighbor.py -- gadkit recommend demo

By default the command is `gadkit run DATASET --force` into a temporary folder, run once before the
measurement so that no trial has to generate data or compile kernels. Trials alone and beside the
busy processes alternate, so that whatever else the machine does falls on both. CPU seconds are
those of the command and all that it started: where they grow beside others, threads spin. The cores
that others kept busy meanwhile are listed too; alone, they should be close to zero.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

BUSY = [sys.executable, "-c", "while True: pass"]


class Trial(NamedTuple):
    """One run of the command: seconds by the clock, of all cores, and cores used by others."""

    wall: float
    cpu: float
    others: float


@contextmanager
def busy_processes(count: int) -> Iterator[list[subprocess.Popen]]:
    """Keep `count` cores busy; the processes are killed however the block ends."""
    processes = []
    try:
        for _ in range(count):
            # A group of its own: Linux may share the cores among groups, not processes.
            processes.append(subprocess.Popen(BUSY, start_new_session=True))
        yield processes
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def measure(command: Sequence[str]) -> Trial:
    """Run the command once.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    wall, before, machine = time.perf_counter(), os.times(), machine_seconds()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after, machine = time.perf_counter() - wall, os.times(), machine_seconds() - machine
    user, system = (after[i] - before[i] for i in (2, 3))  # of ended children and their own
    return Trial(wall, user + system, max(0.0, machine - user - system) / wall)


def machine_seconds() -> float:
    """Return the seconds that all cores together have worked; NaN where Linux does not tell."""
    try:
        with open("/proc/stat") as file:
            ticks = [int(word) for word in file.readline().split()[1:8]]
    except OSError:
        return float("nan")
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")  # less idle, waiting


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line per trial, then the medians and the ratio of beside to alone."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="small", help="for gadkit run; default: small")
    parser.add_argument("--busy", type=int, default=os.cpu_count(), help="default: one per core")
    parser.add_argument("--trials", type=int, default=3, help="of each kind; default: 3")
    parser.add_argument("command", nargs="*", help="what to run instead, after --")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that busy processes end as well

    trials = {"alone": [], f"beside {args.busy}": []}
    with tempfile.TemporaryDirectory() as out:
        run = [sys.executable, "-m", "gadkit", "run", args.dataset, "--force", "--out", out]
        command = args.command or run
        measure(command)
        print(f"{'':12} {'wall s':>9} {'CPU s':>9}  cores busy with others")
        for _ in range(args.trials):
            for count, (name, measured) in zip((0, args.busy), trials.items(), strict=True):
                with busy_processes(count):
                    measured.append(measure(command))
                print(f"{name:12} {measured[-1].wall:9.1f} {measured[-1].cpu:9.1f} "
                      f"{measured[-1].others:6.1f}", flush=True)  # fmt: skip
    alone, beside = (
        [statistics.median(column) for column in zip(*measured, strict=True)]
        for measured in trials.values()
    )
    print(f"{'ratio':12} {beside[0] / alone[0]:9.2f} {beside[1] / alone[1]:9.2f}")


if __name__ == "__main__":
    main()
