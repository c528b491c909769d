"""How fast the operations are, and how fast the memory of this machine would let them be.

A sparse operation does little arithmetic per byte, so its ceiling is the memory system (Williams,
Waterman and Patterson, Roofline: An Insightful Visual Performance Model for Multicore
Architectures, CACM 2009). Two rates bound it: that of a copy, which reads and writes in order, and
that of a gather, which reads whole rows in random order, as edges do. `traffic` counts the bytes an
operation has to move, so that its time becomes a rate which can be set against the two.

What was measured with benchmarks/ and kept is read by `committed_results`.
"""

import contextlib
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from gadkit.graph import CSR
from gadkit.ops import _cpu, _cuda
from gadkit.store import errors_about

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
FORMAT = 2  # of a result file
FLOAT = 4  # bytes
VECTOR = 16  # bytes that a lane of a GPU reads at once
ID = 8  # bytes of an int64
BLOCK = 16_384  # rows a task of the gather adds up, as many as edges in a task of the operations
WARP_ROWS = 64  # rows a warp adds up: some rounds of what it keeps in flight, and little to write
COPY_THREADS = 256  # of a block


def measure(
    functions: dict[str, Callable[[], object]],
    *,
    repeats: int = 7,
    warmup: int = 1,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Time functions in turn (a, b, c, a, b, c, ...), so that noise hits all of them alike.

    Args:
        functions: what to call, by name.
        repeats: timed rounds.
        warmup: rounds before them, which compile kernels and touch memory.
        device: where they work. On a GPU the time is that between two events on the current
            stream, so a function is not charged what the host does while the GPU is still busy.

    Returns:
        The median of each function in seconds, in the order given.

    Raises:
        ValueError: there is no timed round.
    """
    if repeats < 1 or warmup < 0:
        raise ValueError(
            f"repeats must be at least 1 and warmup at least 0, got {repeats} and {warmup}"
        )
    cuda = torch.device(device).type == "cuda"
    rounds = {name: [] for name in functions}
    with torch.cuda.device(device) if cuda else contextlib.nullcontext():
        for round_number in range(warmup + repeats):
            for name, function in functions.items():
                start = _now(cuda)
                function()
                if round_number >= warmup:
                    rounds[name].append((start, _now(cuda)))
        if cuda:
            torch.cuda.synchronize()
    return {
        name: statistics.median(_between(*ends) for ends in pairs) for name, pairs in rounds.items()
    }


def _now(cuda: bool) -> "float | torch.cuda.Event":
    if not cuda:
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _between(start, end) -> float:
    """Return the seconds between two marks of `_now`."""
    return end - start if isinstance(start, float | int) else start.elapsed_time(end) / 1e3


def copy_rate(
    *, num_bytes: int = 1 << 29, repeats: int = 7, device: torch.device | str = "cpu"
) -> float:
    """Measure a copy in memory; on a GPU the faster of torch's and a kernel's.

    Args:
        num_bytes: size of the source; several times the caches to measure memory and not them. On a
            GPU rounded up to whole 16 bytes.
        repeats: timed rounds.
        device: whose memory. A CPU copies with as many threads as torch uses.

    Returns:
        GB/s (10^9 bytes), bytes read plus bytes written.

    Raises:
        ValueError: there is nothing to copy.
    """
    if num_bytes < 1:
        raise ValueError(f"num_bytes must be positive, got {num_bytes}")
    cuda = torch.device(device).type == "cuda"
    if cuda:
        num_bytes += -num_bytes % VECTOR
    source = torch.ones(num_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copies = {"torch": lambda: target.copy_(source)}
    if cuda:
        copies["kernel"] = lambda: _copy_cuda(source, target)
    seconds = min(measure(copies, repeats=repeats, device=device).values())
    return 2 * num_bytes / seconds / 1e9


def _copy_cuda(source: torch.Tensor, target: torch.Tensor) -> None:
    num_vectors = len(source) // VECTOR
    blocks = -(-num_vectors // COPY_THREADS)
    floats = source.view(torch.float32), target.view(torch.float32)
    _cuda.launch("probe", "copy", blocks, COPY_THREADS, *floats, np.int64(num_vectors))


def gather_rate(
    *,
    num_rows: int = 1_000_000,
    row_bytes: int = 512,
    num_gathers: int = 4_000_000,
    ahead: int | None = None,
    seed: int = 0,
    repeats: int = 7,
    device: torch.device | str = "cpu",
) -> float:
    """Measure reading whole rows at random: a loop that does nothing else.

    Args:
        num_rows: rows to choose from; as many as the graph has nodes, since a smaller table sits in
            a faster cache.
        row_bytes: size of a row of float32: on a CPU a multiple of 4 up to 1024 (more does not fit
            in registers), on a GPU a multiple of 16.
        num_gathers: rows read in a round.
        ahead: gathers between the prefetch of a row and its use; 0 leaves it to the processor, None
            takes what the operations take. A GPU has no use for it.
        seed: of the random order.
        repeats: timed rounds.
        device: whose memory.

    Returns:
        GB/s (10^9 bytes) of rows and of the int32 ids that name them.

    Raises:
        ValueError: a size is not positive or the row does not fit.
    """
    cuda = torch.device(device).type == "cuda"
    unit, largest = (VECTOR, 1 << 20) if cuda else (FLOAT, FLOAT * _cpu.REGISTERS)
    if row_bytes % unit or not unit <= row_bytes <= largest:
        raise ValueError(
            f"row_bytes must be a multiple of {unit} in [{unit}, {largest}], got {row_bytes}"
        )
    if num_rows < 1 or num_gathers < 1 or (ahead or 0) < 0:
        raise ValueError(
            "num_rows and num_gathers must be positive and ahead not negative, "
            f"got {num_rows}, {num_gathers} and {ahead}"
        )
    generator = torch.Generator(device).manual_seed(seed)
    drawn = {"generator": generator, "device": device}
    rows = torch.randint(num_rows, (num_gathers,), dtype=torch.int32, **drawn)
    x = torch.rand(num_rows, row_bytes // FLOAT, **drawn)  # a GPU may be faster on equal numbers
    gather = (lambda: _gather_cuda(x, rows)) if cuda else (lambda: _gather(x, rows, ahead))
    seconds = measure({"gather": gather}, repeats=repeats, device=device)["gather"]
    return num_gathers * (row_bytes + rows.element_size()) / seconds / 1e9


def _gather_cuda(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Add up the rows of each warp, (num_warps, dim)."""
    num_warps = -(-len(rows) // WARP_ROWS)
    sums = x.new_empty(num_warps, x.shape[1])
    sizes = np.int64(len(rows)), np.int32(x.shape[1]), np.int32(WARP_ROWS)
    _cuda.launch_warps("probe", "gather", num_warps, x, rows, sums, *sizes)
    return sums


def _gather(x: torch.Tensor, rows: torch.Tensor, ahead: int | None) -> torch.Tensor:
    """Add up the rows of each block, (num_blocks, dim), so that no read can be left out."""
    num_blocks = -(-len(rows) // BLOCK)
    sums = x.new_empty(num_blocks, x.shape[1])
    kernel = _cpu.gather_kernel(x.shape[1])
    ahead = _cpu.ahead(x) if ahead is None else ahead
    _cpu.run(kernel, num_blocks, BLOCK, rows, x, ahead, sums)
    return sums


def traffic(
    csr: CSR,
    dim: int,
    *,
    heads: int = 1,
    itemsize: int = FLOAT,
    kept: float = 1.0,
    num_pairs: int | None = None,
) -> dict[str, int]:
    """Count the bytes that the operations move on a graph if every edge reads its row from memory.

    Caches can only lower the count: a popular node's row stays in them, so a rate computed from it
    may exceed `gather_rate`. Reading what was just written or read within a row is not counted.

    Args:
        csr: num_dst x num_src.
        dim: numbers of a row and head.
        heads: of the attention; the other operations have none.
        itemsize: bytes of a feature, 4 for float32 and 2 for half precision, whose scores stay
            float32.
        kept: share of the edges that DropEdge leaves to `gat_aggregate`.
        num_pairs: of `edge_dot`; as many as edges if None.

    Returns:
        Bytes of "spmm" (without scales), "gat_inference", "gat_forward" (in training),
        "gat_backward", "edge_dot" and "edge_dot_backward".
    """
    edges, rows, sources = csr.num_edges, csr.num_dst, csr.num_src
    index = csr.indices.element_size()
    row, score = heads * dim * itemsize, heads * max(itemsize, FLOAT)  # of one node
    left = round(kept * edges)

    structure = 8 * (rows + 1) + index * edges  # row pointers, and every index once
    spmm = structure
    spmm += edges * dim * itemsize  # the source row of every edge
    spmm += rows * dim * itemsize  # the output, written

    inference = structure  # dropped edges are read too: their ids decide
    inference += left * (row + score)  # the source row and score of every kept edge
    inference += rows * (score + row + 2 * score)  # score_dst read; out, top and 1 / mass written

    forward = inference + rows * (row + score)  # c and a_pos written

    backward = rows * 3 * row  # g, out and c in order
    backward += rows * 2 * score  # <g, out> and d_score_dst written
    backward += rows * (4 + 4) * score  # score_dst, top, 1 / mass, <g, out> read and put together
    backward += 8 * (sources + 1) + index * edges  # the transpose
    backward += left * (row + 4 * score)  # the row of g and the four facts of every kept edge
    backward += sources * 2 * (row + score)  # h and score_src read, their gradients written

    ends, vector = 2 * ID, dim * itemsize  # of a pair
    pairs = edges if num_pairs is None else num_pairs
    dots = pairs * (ends + 2 * vector + itemsize)  # both rows read, one number written
    dots_backward = 2 * pairs * (ends + itemsize + vector)  # for either side: g and the other's row
    dots_backward += (rows + sources) * vector  # the gradients, written
    return {
        "spmm": spmm,
        "gat_inference": inference,
        "gat_forward": forward,
        "gat_backward": backward,
        "edge_dot": dots,
        "edge_dot_backward": dots_backward,
    }


def committed_results(
    folder: Path | str = RESULTS, *, kind: str = "operations", device: str | None = None
) -> list[dict]:
    """Read what benchmarks/operations.py or benchmarks/scaling.py has written, the newest first.

    Args:
        folder: of JSON files, one a machine and kind; it need not exist.
        kind: "operations" or "scaling".
        device: "cuda" or "cpu" to have those of GPUs or of CPUs alone.

    Returns:
        One dict a file, with the keys "kind", "device", "machine", "date", "commit" and "cases",
        and those of operations also "copy", "gather", "skipped", "failed" and "goals".

    Raises:
        ValueError: a file is no such result; the message names it.
    """
    results = []
    for path in sorted(Path(folder).glob("*.json")):
        with errors_about(path):
            result = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(result, dict) or result.get("format") != FORMAT:
                raise ValueError(f"not a result of benchmarks/ in format {FORMAT}")
            results.append(result)
    chosen = [r for r in results if r["kind"] == kind and device in (None, r["device"])]
    return sorted(chosen, key=lambda result: result["date"], reverse=True)
