"""Check gadkit's operations and measure them beside what others offer, in one process.

    python benchmarks/operations.py [--device cuda|cpu] [--scale 1.0] [--budget SECONDS]

On a GPU the checks of kernel_checks.py run first. With `--device cpu` the CPU is measured, on as
many threads as torch uses. `--cases cuda --device cpu --scale 0.001` rehearses the GPU's run on the
CPU's kernels.

Every result is compared with the definition in float64 before it is timed. Times are medians of
rounds in which all take turns. They become rates in bytes that an operation has to move, and these
are set against a copy and against a gather of rows of the same size, measured in the same run.

Cases come in the order of what they tell, as far as the budget reaches; what is left out is named.
Progress goes to stderr, the tables to stdout, all numbers at full scale to
benchmarks/results/<machine>.json, of which the page docs/benchmarks.md is made.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a bare checkout is enough

import kernel_checks
import launches
import memory
import page
import torch
from cases import ALWAYS, CASES, Case
from harness import Run, print_progress
from machine import about, file_name
from summary import goals, table

from gadkit.ops import timing
from gadkit.store import write_json

# Seconds. The rest of `make gpu` fits into the other minutes of eight.
BUDGET = {"cuda": 330, "cpu": 900}


def measure_all(
    cases: list[Case],
    *,
    device: str,
    scale: float,
    budget: float,
    keep: Callable[[dict], None] = lambda found: None,
) -> dict:
    """Run the cases in order.

    Args:
        cases: what to measure.
        device: "cuda" or "cpu".
        scale: factor to the numbers of nodes and edges of all graphs.
        budget: seconds after which no case is begun, save those of the tiny graph.
        keep: called after each case with what there is, lest a run that is killed leave nothing.

    Returns:
        What is written to the result file.
    """
    start = time.perf_counter()
    described = about("operations", device) | {"scale": scale, "budget": budget}
    run, skipped = Run(device, scale), []

    def found() -> dict:
        gathers = [{"num_rows": n, "row_bytes": b, "rate": r} for (n, b), r in run.gathers.items()]
        return described | {
            "copy": run.copy,
            "gather": gathers,
            "cases": run.cases,
            "launches": run.launches,
            "skipped": skipped,
            "failed": run.failed,
            "goals": goals(run.cases, device),
            "seconds": round(time.perf_counter() - start),
        }

    for number, case in enumerate(cases, 1):
        elapsed = time.perf_counter() - start
        memory.free(run.cuda)
        why = run.why_not(case)
        if elapsed > budget and case.shape != ALWAYS:
            why = f"budget: {budget:g} s were over"
        if why:
            skipped.append({"case": str(case), "why": why})
            continue
        print_progress(f"[{elapsed:4.0f} s] {number} of {len(cases)}: {case}")
        try:
            run.case(case)
        except Exception as error:
            run.fail(str(case), error)
        if run.lost():
            left = cases[number:]
            skipped += [{"case": str(case), "why": "the GPU takes no more work"} for case in left]
            break
        keep(found())
    else:
        run.launch_costs()
    return found()


def main(arguments: list[str] | None = None, *, emulate: Callable[..., None] | None = None) -> int:
    """Run the command; return 1 if a check or a case of gadkit's failed.

    Args:
        arguments: of the command line.
        emulate: runs kernels on CPU tensors, so that `--device cpu` checks them too; see
            `kernel_checks.on_the_host`.
    """
    options = parse(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            "torch sees no CUDA device here. `make test` checks the kernels without one; "
            "python benchmarks/operations.py --device cpu --cases cuda --scale 0.001 rehearses "
            "this run, and with --device cpu alone the CPU is measured.",
            file=sys.stderr,
        )
        return 1
    checks = {"run": 0, "failed": []}
    if options.device == "cuda" or emulate:
        checks = kernel_checks.run(options.device, launch=emulate)
    out = options.out
    if out is None and options.scale == 1 and options.cases in (None, options.device):
        out = timing.RESULTS / file_name(about("operations", options.device))

    def keep(found: dict) -> None:
        if out:
            write_json(out, found | {"checks": checks})

    settings = {name: getattr(options, name) for name in ("device", "scale")}
    budget = BUDGET[options.device] if options.budget is None else options.budget
    found = measure_all(
        CASES[options.cases or options.device], keep=keep, budget=budget, **settings
    )
    keep(found)
    print("\n".join([table(found), *map(launches.line, found["launches"])]))
    if out:
        print(f"\nwritten: {out}")
    if out and out.parent == timing.RESULTS:
        print(f"page: {page.write()}")
    return 1 if found["failed"] or checks["failed"] else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--cases", choices=CASES, help="list of cases; default: the device's")
    parser.add_argument("--scale", type=float, default=1.0, help="of the graphs")
    parser.add_argument("--budget", type=float, help="seconds after which no case is begun")
    parser.add_argument(
        "--out", type=Path, help="JSON file; default: that of the machine, at scale 1"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
