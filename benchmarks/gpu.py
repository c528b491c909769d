"""Check gadkit's operations on a GPU, and measure them beside what others offer, in one process.

    python benchmarks/gpu.py [--device cuda|cpu] [--scale 1.0] [--budget SECONDS] [--out FILE.json]

First the checks of kernel_checks.py run, on a GPU. With `--device cpu` the timings are those of the
CPU's own kernels: a rehearsal of the run.

Every result is compared with the definition in float64 before it is timed. Times are medians of
rounds in which all take turns. They become rates in bytes that an operation has to move, and these
are set against a copy and against a gather of rows of the same size, measured in the same run.

Cases come in the order of what they tell, as far as the budget reaches; what is left out is named.
Progress goes to stderr, the tables to stdout, all numbers to benchmarks/results/<GPU>.json.
"""

import argparse
import datetime
import gc
import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a bare checkout is enough

import kernel_checks
import launches
import shapes
import torch
from peers import PEERS, SLOW, Absent
from summary import BACKWARD, BOTH, goals, table
from torch import Tensor
from work import BLOCK_BYTES, Config, Gat, Pairs, Results, Spmm, relative_error

from gadkit.graph import CSR
from gadkit.ops import timing
from gadkit.store import write_json

ROOT = Path(__file__).resolve().parents[1]
BUDGET = 330  # seconds; the rest of `make gpu` fits into the other minutes of eight
ROUNDS, SECONDS = (10, 30), 1.0  # rounds of a case: as many as fit into the seconds, within limits
LONG, FEW = 0.1, 3  # what takes longer than these seconds is timed in so many rounds
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 2e-2}  # above it a result is wrong
F32, BF16 = torch.float32, torch.bfloat16
PACKAGES = ("numpy", "numba", "cupy-cuda13x", "cupy-cuda12x", "torch-geometric", "triton")
# Others than torch have an error of their own for it, which is a MemoryError.
OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)


class Case(NamedTuple):
    """A graph, the operations on it, and how they are called."""

    shape: str
    work: type
    config: Config = Config()
    slow: tuple[str, ...] = ()  # peers that are slow, to be timed here nevertheless

    def __str__(self) -> str:
        return f"{self.shape}, {self.work.__name__.lower()}, {self.config}"


CASES = [
    Case("uniform 10M", Gat, slow=("chunked torch",)),
    Case("uniform 10M", Spmm),
    Case("uniform 10M", Pairs),
    Case("uniform 10M", Gat, Config(dtype=BF16)),
    Case("uniform 10M", Spmm, Config(dtype=BF16)),
    Case("uniform 10M", Gat, Config(drop_edge=0.85)),
    Case("star", Gat),
    Case("star", Spmm),
    Case("star", Gat, Config(dtype=BF16)),
    Case("uniform 50M", Gat, Config(dtype=BF16)),
    Case("uniform 50M", Gat),
    Case("uniform 50M", Spmm),
    Case("marketplace buys", Gat),
    Case("marketplace buys", Gat, Config(dtype=BF16, drop_edge=0.85)),
    Case("marketplace rev_sells", Gat),
    Case("power law", Gat),
    Case("power law", Spmm),
    Case("power law", Gat, Config(dtype=BF16)),
    Case("Reddit-like", Gat, Config(dtype=BF16)),
    Case("Reddit-like", Spmm),
    Case("Reddit-like", Gat),
    Case("uniform 10M", Gat, Config(dim=64), slow=("PyG compiled",)),
    Case("uniform 10M", Gat, Config(dim=64, heads=4, dtype=BF16)),
    Case("uniform 10M", Gat, Config(dim=64, heads=4)),
    Case("uniform 10M", Gat, Config(dim=256)),
    Case("uniform 10M", Gat, Config(dim=256, dtype=BF16)),
    Case("uniform 10M", Spmm, Config(dim=64)),
    Case("uniform 10M", Spmm, Config(dim=256)),
    Case("uniform 10M", Pairs, Config(dtype=BF16)),
    Case("uniform 10M", Gat, Config(heads=4, dtype=BF16)),
    Case("tiny", Gat),
    Case("tiny", Spmm),
    Case("tiny", Pairs),
]
ALWAYS = "tiny"  # takes no time worth a budget, and comes last, as a failed capture may do harm
EAGER = {BACKWARD, "edge_dot backward"}  # their forward pass is not captured with them


class Run:
    """One run: what the cases share, and what they have found.

    Args:
        device: "cuda" or "cpu".
        scale: factor to the numbers of nodes and edges of all graphs.
    """

    def __init__(self, device: str, scale: float):
        self.device, self.scale, self.cuda = device, scale, device == "cuda"
        self._graph = None, None
        self.copy = timing.copy_rate(num_bytes=max(1 << 16, int(scale * 2**30)), device=device)
        self.gathers, self.cases, self.failed, self.launches = {}, [], [], []

    def graph(self, shape: str) -> CSR:
        """Make a graph, or return the last one: they come in a row, and only one has to fit."""
        if self._graph[0] != shape:
            self._graph = None, None
            self.free()
            self._graph = shape, shapes.make(shape, device=self.device, scale=self.scale)
        return self._graph[1]

    def gather(self, num_rows: int, row_bytes: int) -> float:
        """Measure the gather of random rows, once for every size of table and row."""
        if not self.cuda:
            row_bytes = min(row_bytes, 1024)  # more is not offered there
        if (num_rows, row_bytes) not in self.gathers:
            self.gathers[num_rows, row_bytes] = timing.gather_rate(
                num_rows=num_rows,
                row_bytes=row_bytes,
                num_gathers=max(1000, int(self.scale * 10_000_000)),
                device=self.device,
            )
        return self.gathers[num_rows, row_bytes]

    def sync(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def free(self) -> None:
        """Give back memory that nobody holds, so that the next finds it in one piece."""
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()
            if "cupy" in sys.modules:
                sys.modules["cupy"].get_default_memory_pool().free_all_blocks()

    def clock(self, function: Callable[[], Results]) -> tuple[float, Results]:
        """Call a function; return the seconds until its work was done, and what it made."""
        self.sync()
        start = time.perf_counter()
        made = function()
        self.sync()
        return time.perf_counter() - start, made

    def peak(self, function: Callable[[], Results]) -> tuple[int | None, float, Results]:
        """Call a function; return the bytes it took of torch's memory, seconds, what it made."""
        if not self.cuda:
            return None, *self.clock(function)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        seconds, made = self.clock(function)
        return (torch.cuda.max_memory_allocated() - before) or None, seconds, made

    def case(self, case: Case) -> None:
        """Measure every operation of a case; what goes wrong is noted, and the next one tried."""
        csr = self.graph(case.shape)
        generator = torch.Generator(self.device).manual_seed(0)
        work = case.work(csr, case.config, generator)
        exact = work.exact()
        for op in case.work.ops:
            self.free()
            try:
                self.cases.append(self.operation(case, op, work, exact[op]))
            except Exception as error:
                self.fail(f"{case}, {op}", error)

    def launch_costs(self) -> None:
        """Measure what the arguments of a launch cost, on a GPU; where CuPy cannot, note why."""
        for dtype in (F32, BF16) if self.cuda else ():
            try:
                self.launches.append(launches.cost(self.graph(ALWAYS), dtype))
            except Exception as error:
                self.launches.append({"dtype": str(dtype), "why": message(error)})

    def operation(self, case: Case, op: str, work: Spmm | Gat | Pairs, exact: Results) -> dict:
        csr, config = work.csr, case.config
        function = work.call(op)
        first_call, made = self.clock(function)
        error = relative_error(made, exact)
        if not error <= TOLERANCE[config.dtype]:
            raise ValueError(f"the result is wrong: its error is {error:.1e}")
        peak, seconds, again = self.peak(function)
        repeatable = all(map(torch.equal, made, again))
        del made, again

        calls, lasted, others = {"gadkit": function}, {"gadkit": seconds}, {}
        comparable = {} if config.drop_edge else PEERS[op]  # the same edges would have to drop
        for name, peer in comparable.items():
            if name not in SLOW or name in case.slow:
                others[name], call = self.peer(peer, work, op, exact)
                if call:
                    calls[name], lasted[name] = call, others[name].pop("lasted")
        medians, rounds = self.medians(calls, lasted)
        for name, other in others.items():
            if name in medians:
                times = medians[name] / medians["gadkit"]
                other.update(seconds=medians[name], times=times, rounds=rounds[name])

        row_bytes = config.heads * config.dim * config.dtype.itemsize
        table_rows = csr.num_dst if op == BACKWARD else csr.num_src
        rate = work.traffic(op) / medians["gadkit"] / 1e9
        found = {
            "shape": case.shape,
            "op": op,
            "num_dst": csr.num_dst,
            "num_src": csr.num_src,
            "num_edges": csr.num_edges,
            "dim": config.dim,
            "heads": config.heads,
            "dtype": str(config.dtype).removeprefix("torch."),
            "drop_edge": config.drop_edge,
            "seconds": medians["gadkit"],
            "rounds": rounds["gadkit"],
            "rate": rate,
            "of_copy": rate / self.copy,
            "of_gather": rate / self.gather(table_rows, row_bytes),
            "error": error,
            "repeatable": repeatable,
            "first_call_seconds": first_call,
            "peak_bytes": peak,
            "peers": others,
        }
        if peak and op == BOTH:
            held = num_bytes(csr) + sum(x.nbytes for x in work.inputs)
            found["of_bound"] = (held + peak) / memory_bound(csr, row_bytes)
        if case.shape == ALWAYS and self.cuda and op not in EAGER:
            found.update(replay(function))
        print_progress(f"  {op}: {1e3 * medians['gadkit']:.3f} ms, {rate:,.0f} GB/s")
        return found

    def peer(
        self, peer: Callable, work: Spmm | Gat | Pairs, op: str, exact: Results
    ) -> tuple[dict, Callable | None]:
        """Prepare a peer, and look at its result; one that is absent or wrong is not timed."""
        try:
            call = peer(work, op)
            first_call, made = self.clock(call)
            error = relative_error(made, exact)
            del made
            if not error <= TOLERANCE[work.config.dtype]:
                return {"status": "wrong", "why": f"error {error:.1e}"}, None
            peak, lasted, _ = self.peak(call)
            found = {"error": error, "first_call_seconds": first_call, "peak_bytes": peak}
            return {"status": "right", **found, "lasted": lasted}, call
        except Absent as error:
            return {"status": "absent", "why": str(error)}, None
        except OUT_OF_MEMORY:
            why = {"status": "out of memory"}
        except Exception as error:
            why = {"status": "failed", "why": message(error)}
        self.free()  # only here, where the error no longer holds what was allocated
        return why, None

    def medians(self, calls: dict, lasted: dict) -> tuple[dict[str, float], dict[str, int]]:
        """Time the calls in turn, the long ones among themselves; return medians and rounds."""
        short = {name: call for name, call in calls.items() if lasted[name] <= LONG}
        long = {name: call for name, call in calls.items() if name not in short}
        total = sum(lasted[name] for name in short)
        rounds = min(max(int(SECONDS / total) if total else 0, ROUNDS[0]), ROUNDS[1])
        retries = self.retries()
        try:
            medians = timing.measure(short, repeats=rounds, device=self.device)
        except OUT_OF_MEMORY:
            medians = {}
        if not medians or self.retries() > retries:  # they took memory from each other
            for name, call in short.items():
                self.free()
                alone = {name: call}
                medians |= timing.measure(alone, repeats=rounds, device=self.device)
        medians |= timing.measure(long, repeats=FEW, warmup=0, device=self.device)
        return medians, {name: rounds if name in short else FEW for name in calls}

    def retries(self) -> int:
        return torch.cuda.memory_stats().get("num_alloc_retries", 0) if self.cuda else 0

    def fail(self, what: str, error: Exception) -> None:
        self.failed.append({"case": what, "why": message(error)})
        print_progress(f"  FAILED: {what}: {message(error)}")

    def lost(self) -> bool:
        """Tell whether the GPU takes no more work, as after an access outside its memory."""
        try:
            self.sync()
        except RuntimeError:
            return True
        return False

    def why_not(self, case: Case) -> str | None:
        """Return why a case cannot be run here, or None."""
        if self.cuda:
            needed, free = memory_needed(case, self.scale), torch.cuda.mem_get_info()[0]
            if needed > free:
                return f"memory: about {needed / 1e9:.0f} GB needed, {free / 1e9:.0f} GB free"
        return None


def memory_needed(case: Case, scale: float) -> int:
    """Estimate the bytes of a case: the graph, its nodes' rows, and the results in float64."""
    _, num_dst, num_src, num_edges = shapes.sizes(case.shape, scale)
    rows = 32 * (num_dst + num_src) * case.config.heads * case.config.dim
    pairs = 64 * num_edges if case.work is Pairs else 0
    return shapes.memory(case.shape, scale) + rows + pairs + 8 * BLOCK_BYTES["cuda"]


def memory_bound(csr: CSR, row_bytes: int) -> int:
    """Return what a training step may take: the graph both ways and 6 rows of features a node."""
    pointers = (csr.num_dst + 1 + csr.num_src + 1) * csr.indptr.element_size()
    indices = 2 * csr.num_edges * csr.indices.element_size()
    return pointers + indices + 3 * (csr.num_dst + csr.num_src) * row_bytes


def num_bytes(graph: CSR) -> int:
    """Return the bytes of all tensors that a graph keeps, those of its transpose included."""
    tensors, seen, todo = {}, set(), [graph]
    while todo:
        item = todo.pop()
        if isinstance(item, Tensor):
            tensors[item.data_ptr()] = item.nbytes
        elif isinstance(item, CSR) and id(item) not in seen:
            seen.add(id(item))
            todo += vars(item).values()
        elif isinstance(item, list | tuple):
            todo += item
    return sum(tensors.values())


def replay(function: Callable[[], Results]) -> dict:
    """Capture a call in a CUDA graph; return the seconds of its replay, or why there are none."""
    try:
        gc.collect()  # a graph of autograd that is still alive would draw in its own stream
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                function()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = function()
        expected = function()
        graph.replay()
        torch.cuda.synchronize()
        if not all(map(torch.equal, captured, expected)):
            return {"replay_why": "the replay gives another result"}
        seconds = timing.measure({"replay": graph.replay}, repeats=30, device="cuda")["replay"]
        return {"replay_seconds": seconds}
    except Exception as error:
        return {"replay_why": message(error)}


def message(error: Exception) -> str:
    first = str(error).strip().splitlines()
    return f"{type(error).__name__}: {first[0][:200] if first else 'no message'}"


def print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def output_of(*command: str) -> str | None:
    """Return the first line that a command prints, or None if it cannot be run."""
    if not shutil.which(command[0]):
        return None
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout else None


def machine(device: str) -> dict:
    """Describe what the numbers hold for."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = "absent"
    described = {"python": platform.python_version(), "torch": torch.__version__, **packages}
    if device == "cpu":
        return {"name": platform.processor() or platform.machine(), **described}
    gpu = torch.cuda.get_device_properties(device)
    return {
        "name": gpu.name,
        "capability": f"{gpu.major}.{gpu.minor}",
        "multiprocessors": gpu.multi_processor_count,
        "memory_bytes": gpu.total_memory,
        "l2_bytes": getattr(gpu, "L2_cache_size", None),
        "driver": output_of("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "cuda": torch.version.cuda,
        **described,
    }


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
    described = {
        "format": timing.FORMAT,
        "machine": machine(device),
        "date": datetime.date.today().isoformat(),
        # Whoever owns the checkout: a copy may belong to somebody else.
        "commit": output_of("git", "-c", "safe.directory=*", "describe", "--always", "--dirty"),
        "device": device,
        "scale": scale,
        "budget": budget,
    }
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
            "goals": goals(run.cases),
            "seconds": round(time.perf_counter() - start),
        }

    for number, case in enumerate(cases, 1):
        elapsed = time.perf_counter() - start
        run.free()
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--scale", type=float, default=1.0, help="of the graphs")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds")
    parser.add_argument("--out", type=Path, help="JSON file; without it none on a CPU")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            "torch sees no CUDA device here. `make test` checks the kernels without one; "
            "python benchmarks/gpu.py --device cpu --scale 0.001 rehearses this run.",
            file=sys.stderr,
        )
        return 1
    checks = {"run": 0, "failed": []}
    if options.device == "cuda" or emulate:
        checks = kernel_checks.run(options.device, launch=emulate)
    out = options.out
    if out is None and options.device == "cuda":
        slug = re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()).strip("-")
        out = timing.RESULTS / f"{slug}.json"

    def keep(found: dict) -> None:
        if out:
            write_json(out, found | {"checks": checks})

    settings = {name: getattr(options, name) for name in ("device", "scale", "budget")}
    found = measure_all(CASES, keep=keep, **settings)
    keep(found)
    print("\n".join([table(found), *map(launches.line, found["launches"])]))
    if out:
        print(f"\nwritten: {out}")
    return 1 if found["failed"] or checks["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
