"""How time and memory per edge change with the size of the graph, on one thread and on all.

    python benchmarks/scaling.py [--scale 1.0] [--budget SECONDS] [--out FILE.json]

R-MAT graphs of 10^4 to 10^7.5 edges, 24 of them for each node, 128 numbers of float32 a row. Each
result is compared with the definition in float64 for some nodes before it is timed; an operation,
what is set beside it, and the numbers of threads take turns. The gather of as many random rows of
as large a table is measured too: what it takes of more time for an edge of a larger graph, the
caches have saved for the smaller one.

At full scale the numbers go to benchmarks/results/<machine>-scaling.json, the picture to
docs/scaling.png, and the page docs/benchmarks.md is made anew.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a bare checkout is enough

import memory
import page
import peers
import shapes
import torch
from harness import TOLERANCE, Rounds, print_progress
from machine import about, file_name
from work import Config, Gat, Pairs, Spmm, relative_error

from gadkit.graph import CSR
from gadkit.ops import timing
from gadkit.store import write_json

SIZES = tuple(round(10 ** (half / 2)) for half in range(8, 16))
EDGES_OF_A_NODE = 24
DIM = 128
ROW = 4 * DIM  # bytes
GATHER = "gather of random rows"
MEASURED = ((Spmm, "spmm"), (Gat, "gat forward + backward"), (Pairs, "edge_dot"))
BESIDE = {"spmm": {"torch.sparse": peers.torch_sparse}}
ROUNDS = Rounds(3, 50, 1.5, 0, float("inf"))
BUDGET = 330  # seconds after which no size is begun


def measure(
    scale: float, budget: float, keep: Callable[[dict], None] = lambda result: None
) -> dict:
    """Measure all sizes, from the smallest.

    Args:
        scale: factor to the numbers of edges.
        budget: seconds after which no size is begun.
        keep: called after each size with what there is.

    Returns:
        What is written to the result file. A case holds "op", "threads", "num_nodes", "num_edges",
        "seconds", "rounds", "ns_per_edge", and, except of the gather, "bytes_per_edge" (at most,
        beside the inputs; None where nothing tells) and "error".
    """
    start = time.perf_counter()
    threads = sorted({1, torch.get_num_threads()})
    result = about("scaling", "cpu") | {"scale": scale, "budget": budget, "dim": DIM}
    result |= {"threads": threads, "cases": [], "skipped": []}
    for size in SIZES:
        num_edges = max(1, round(scale * size))
        elapsed, why = time.perf_counter() - start, lacking(num_edges)
        if elapsed > budget:
            why = f"budget: {budget:g} s were over"
        if why:
            result["skipped"].append({"case": f"{num_edges:,} edges", "why": why})
            continue
        print_progress(f"[{elapsed:4.0f} s] {num_edges:,} edges")
        num_nodes = max(2, num_edges // EDGES_OF_A_NODE)
        csr = shapes.build(shapes.power_law, num_nodes, num_nodes, num_edges, device="cpu")
        for work, op in MEASURED:
            memory.free(False)
            result["cases"] += operation(work, op, csr, threads)
        result["cases"] += gather(csr, threads)
        result["seconds"] = round(time.perf_counter() - start)
        keep(result)
    return result


def lacking(num_edges: int) -> str | None:
    """Return why there is too little memory for a size, or None."""
    needed = 6 * shapes.KEY * num_edges + 8 * ROW * num_edges // EDGES_OF_A_NODE
    left = memory.left(False)
    if left and needed > left[0]:
        return f"memory: about {needed / 1e9:.0f} GB needed, {left[0] / 1e9:.0f} GB left {left[1]}"
    return None


def operation(work: type, op: str, csr: CSR, threads: list[int]) -> list[dict]:
    """Check and measure an operation, and what is set beside it; return their cases."""
    inputs = work(csr, Config(dim=DIM), torch.Generator().manual_seed(0))
    exact = inputs.exact_sample()[op]
    calls = {op: inputs.call(op)}
    calls |= {name: peer(inputs, op) for name, peer in BESIDE.get(op, {}).items()}
    errors = {name: relative_error(call(), exact) for name, call in calls.items()}
    wrong = {name: error for name, error in errors.items() if not error <= TOLERANCE[torch.float32]}
    if wrong:
        raise ValueError(f"wrong results on {csr.num_edges:,} edges, with these errors: {wrong}")
    del exact
    timed = {(name, n): on_threads(n, call) for name, call in calls.items() for n in threads}
    return [
        case | {"bytes_per_edge": taken and taken / csr.num_edges, "error": errors[case["op"]]}
        for case, taken in in_turn(timed, csr)
    ]


def gather(csr: CSR, threads: list[int]) -> list[dict]:
    """Measure the gather of a row of a table of the nodes' size for each edge."""
    size = {"num_rows": csr.num_src, "row_bytes": ROW, "num_gathers": csr.num_edges}
    cases = []
    for n in threads:
        torch.set_num_threads(n)
        repeats = ROUNDS.number(csr.num_edges * ROW / 1e10)  # at 10 GB/s
        rate = timing.gather_rate(**size, repeats=repeats)
        seconds = csr.num_edges * (ROW + 4) / rate / 1e9
        cases.append(described(GATHER, n, csr, seconds, repeats))
    return cases


def in_turn(timed: dict, csr: CSR) -> Iterator[tuple[dict, int | None]]:
    """Time calls in turn; yield for each its case and the bytes that it takes."""
    taken, lasted = {}, 0.0
    for key, call in timed.items():
        start = time.perf_counter()
        taken[key] = memory.extra(call, False)[0]
        lasted += time.perf_counter() - start
    rounds = ROUNDS.number(lasted)
    seconds = timing.measure(timed, repeats=rounds, warmup=0)
    for (name, n), median in seconds.items():
        yield described(name, n, csr, median, rounds), taken[name, n]


def described(op: str, threads: int, csr: CSR, seconds: float, rounds: int) -> dict:
    """Return a case."""
    return {
        "op": op,
        "threads": threads,
        "num_nodes": csr.num_dst,
        "num_edges": csr.num_edges,
        "seconds": seconds,
        "rounds": rounds,
        "ns_per_edge": 1e9 * seconds / csr.num_edges,
    }


def on_threads(threads: int, call: Callable[[], object]) -> Callable[[], object]:
    """Return the call on a number of threads."""

    def run() -> object:
        torch.set_num_threads(threads)
        return call()

    return run


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="of the graphs")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds")
    parser.add_argument(
        "--out", type=Path, help="JSON file; default: that of the machine, at scale 1"
    )
    options = parser.parse_args(arguments)
    out = options.out
    if out is None and options.scale == 1:
        out = timing.RESULTS / file_name(about("scaling", "cpu"))

    def keep(result: dict) -> None:
        if out:
            write_json(out, result)

    result = measure(options.scale, options.budget, keep)
    keep(result)
    print(page.scaling_tables(result))
    if out:
        print(f"\nwritten: {out}")
    if out and out.parent == timing.RESULTS:
        page.draw(result)
        print(f"page: {page.write()}")


if __name__ == "__main__":
    main()
