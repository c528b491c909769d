"""How a case is measured: checked against float64, then timed beside its peers, in turn.

What goes wrong in an operation or a peer is noted, and the next one tried.
"""

import gc
import math
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import launches
import memory
import shapes
import torch
from cases import ALWAYS, BF16, F32, Case
from peers import ASKED, OTHER_RESULT, PEERS, Absent
from summary import BACKWARD, BOTH
from work import Gat, Pairs, Results, Rows, Spmm, relative_error

from gadkit.graph import CSR
from gadkit.ops import timing

TOLERANCE = {F32: 1e-3, BF16: 2e-2}  # above it a result is wrong
EAGER = {BACKWARD, "edge_dot backward"}  # their forward pass is not captured with them
# Others than torch have an error of their own for it, which is a MemoryError.
OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)

Work = Spmm | Gat | Pairs


class Rounds(NamedTuple):
    """How often calls are timed: as often as fits into the seconds, within limits."""

    fewest: int
    most: int
    seconds: float
    warmup: int
    long: float  # seconds; calls that take longer take turns among themselves, `FEW` rounds

    def number(self, seconds: float) -> int:
        """Return how many rounds to time, if one takes some seconds."""
        fitting = int(self.seconds / seconds) if seconds else 0
        return min(max(fitting, self.fewest), self.most)


FEW = 3
# On a CPU others disturb more, and what is compared must take turns however long it takes.
ROUNDS = {"cuda": Rounds(10, 30, 1.0, 1, 0.1), "cpu": Rounds(3, 30, 8.0, 0, math.inf)}


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
            memory.free(self.cuda)
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

    def clock(self, function: Callable[[], Results]) -> tuple[float, Results]:
        """Call a function; return the seconds until its work was done, and what it made."""
        memory.sync(self.cuda)
        start = time.perf_counter()
        made = function()
        memory.sync(self.cuda)
        return time.perf_counter() - start, made

    def peak(self, function: Callable[[], Results]) -> tuple[int | None, float, Results]:
        """Call a function; return the bytes it took, seconds, what it made."""
        num_bytes, (seconds, made) = memory.extra(lambda: self.clock(function), self.cuda)
        return num_bytes, seconds, made

    def case(self, case: Case) -> None:
        """Measure every operation of a case; what goes wrong is noted, and the next one tried."""
        csr = self.graph(case.shape)
        generator = torch.Generator(self.device).manual_seed(0)
        config = case.config
        config = config._replace(pairs=math.ceil(self.scale * config.pairs))
        work = case.work(csr, config, generator)
        exact = work.exact()
        for op in case.ops or case.work.ops:
            memory.free(self.cuda)
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

    def operation(self, case: Case, op: str, work: Work, exact: tuple) -> dict:
        """Check and measure an operation; return what is written of it."""
        csr, config = work.csr, work.config
        function = work.call(op)
        first_call, made = self.clock(function)
        error = relative_error(made, exact)
        if not error <= TOLERANCE[config.dtype]:
            raise ValueError(f"the result is wrong: its error is {error:.1e}")
        peak, seconds, again = self.peak(function)
        repeatable = all(map(torch.equal, made, again))
        del made, again

        medians, rounds, others = self.beside(case, op, work, exact, function, seconds)
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
            **({"num_pairs": work.num_pairs} if isinstance(work, Pairs) else {}),
            "seconds": medians["gadkit"],
            "rounds": rounds["gadkit"],
            "rate": rate,
            "of_copy": rate / self.copy,
            "of_gather": rate / self.gather(table_rows, row_bytes),
            "error": error,
            "checked_rows": checked_rows(exact),
            "repeatable": repeatable,
            "first_call_seconds": first_call,
            "peak_bytes": peak,
            "peers": others,
        }
        if peak and op == BOTH:
            held = memory.num_bytes(csr) + sum(x.nbytes for x in work.inputs)
            found["of_bound"] = (held + peak) / memory.bound(csr, row_bytes)
        if case.shape == ALWAYS and self.cuda and op not in EAGER:
            found.update(replay(function))
        print_progress(f"  {op}: {1e3 * medians['gadkit']:.3f} ms, {rate:,.0f} GB/s")
        return found

    def beside(
        self, case: Case, op: str, work: Work, exact: tuple, function: Callable, seconds: float
    ) -> tuple[dict[str, float], dict[str, int], dict[str, dict]]:
        """Time an operation and its peers; return medians, rounds, and what to write of peers.

        Args:
            case: which peers to take.
            op: the operation.
            work: its inputs.
            exact: its results in float64.
            function: gadkit's call.
            seconds: that it took.
        """
        calls, lasted, others = {"gadkit": function}, {"gadkit": seconds}, {}
        for name, peer in PEERS[op].items():
            if name in ASKED and name not in case.also:
                continue
            if work.config.drop_edge and name not in OTHER_RESULT:
                continue  # it would have to drop the same edges
            others[name], call = self.peer(peer, work, op, None if name in OTHER_RESULT else exact)
            if call:
                calls[name], lasted[name] = call, others[name].pop("lasted")
        medians, rounds = self.medians(calls, lasted)
        for name, other in others.items():
            if name in medians:
                times = medians[name] / medians["gadkit"]
                other.update(seconds=medians[name], times=times, rounds=rounds[name])
        return medians, rounds, others

    def peer(
        self, peer: Callable, work: Work, op: str, exact: tuple | None
    ) -> tuple[dict, Callable | None]:
        """Prepare a peer, and look at its result; one that is absent or wrong is not timed.

        `exact` is None for a peer that computes something else.
        """
        try:
            call = peer(work, op)
            first_call, made = self.clock(call)
            noted = {"first_call_seconds": first_call}
            if exact is not None:
                error = noted["error"] = relative_error(made, exact)
                if not error <= TOLERANCE[work.config.dtype]:
                    return {"status": "wrong", "why": f"error {error:.1e}"}, None
            del made
            noted["peak_bytes"], noted["lasted"], _ = self.peak(call)
            return {"status": "other result" if exact is None else "right", **noted}, call
        except Absent as error:
            return {"status": "absent", "why": str(error)}, None
        except OUT_OF_MEMORY:
            why = {"status": "out of memory"}
        except Exception as error:
            why = {"status": "failed", "why": message(error)}
        memory.free(self.cuda)  # only here, where the error no longer holds what was allocated
        return why, None

    def medians(self, calls: dict, lasted: dict) -> tuple[dict[str, float], dict[str, int]]:
        """Time the calls in turn, the long ones among themselves; return medians and rounds."""
        plan = ROUNDS[self.device]
        short = {name: call for name, call in calls.items() if lasted[name] <= plan.long}
        long = {name: call for name, call in calls.items() if name not in short}
        rounds = plan.number(sum(lasted[name] for name in short))
        options = {"repeats": rounds, "warmup": plan.warmup, "device": self.device}
        retries = self.retries()
        try:
            medians = timing.measure(short, **options)
        except OUT_OF_MEMORY:
            medians = {}
        if not medians or self.retries() > retries:  # they took memory from each other
            for name, call in short.items():
                memory.free(self.cuda)
                medians |= timing.measure({name: call}, **options)
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
            memory.sync(self.cuda)
        except RuntimeError:
            return True
        return False

    def why_not(self, case: Case) -> str | None:
        """Return why a case cannot be run here, or None."""
        needed, left = case.memory_needed(self.scale, self.device), memory.left(self.cuda)
        if left and needed > left[0]:
            return (
                f"memory: about {needed / 1e9:.0f} GB needed, {left[0] / 1e9:.0f} GB left {left[1]}"
            )
        return None


def checked_rows(exact: tuple) -> int | None:
    """Return how many rows of a result were checked, or None for all."""
    return len(exact[0].ids) if isinstance(exact[0], Rows) else None


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
