"""How fast patterns are matched, beside the published algorithm in plain NumPy, and in what memory.

    python benchmarks/matching.py [--scale 1.0] [--memory-scale 1.0] [--out FILE.json]

Three graphs of the sizes that the published program was measured on, R-MAT edges and random
attributes, so that no pattern is there to settle on: all rounds are run. The two modes and the
plain rendering take turns in one process, and the published mode is compared with the rendering
before it is timed. Memory is that of one call beside the graph, on 6 million nodes and 18 million
edges.

At full scale the numbers go to benchmarks/results/<machine>-matching.json.
"""

import argparse
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a bare checkout is enough

import memory
import numpy as np
import shapes
import torch
from harness import Rounds, print_progress
from machine import about, file_name

from gadkit.match import AttributedGraph, Pattern, match
from gadkit.ops import timing
from gadkit.store import write_json


class Size(NamedTuple):
    """A graph and a pattern to draw: nodes, edges, and how many attributes either has."""

    name: str
    num_nodes: int
    num_edges: int
    pattern_nodes: int
    pattern_edges: int
    dim: int = 3
    edge_dim: int = 3


SIZES = (
    Size("small", 1_000, 20_135, 10, 21),
    Size("dense", 5_157, 186_572, 21, 67, 13, 17),
    Size("R-MAT", 262_145, 2_008_660, 10, 21),
)
LARGE = Size("large", 6_000_000, 18_000_000, 10, 20)
ROUNDS = Rounds(3, 30, 3.0, 1, 10.0)
TOLERANCE = 1e-8  # of log beliefs, between the published mode and its rendering


def draw(size: Size, scale: float = 1.0, seed: int = 0) -> tuple[AttributedGraph, Pattern]:
    """Draw a graph and a pattern of random attributes; the scale is that of nodes and edges."""
    num_nodes = max(size.pattern_nodes, round(scale * size.num_nodes))
    num_edges = max(1, round(scale * size.num_edges))
    csr = shapes.build(shapes.power_law, num_nodes, num_nodes, num_edges, device="cpu", seed=seed)
    generator = np.random.default_rng(seed)
    attr = generator.random((num_edges, size.edge_dim))
    graph = AttributedGraph(generator.random((num_nodes, size.dim)), *csr.pairs(), attr)
    src = generator.integers(size.pattern_nodes, size=size.pattern_edges)
    step = 1 + generator.integers(size.pattern_nodes - 1, size=size.pattern_edges)
    x = generator.random((size.pattern_nodes, size.dim))
    attr = generator.random((size.pattern_edges, size.edge_dim))
    return graph, Pattern(x, src, (src + step) % size.pattern_nodes, attr)


def plain(graph: AttributedGraph, pattern: Pattern) -> np.ndarray:
    """Match as the published algorithm is written: arrays of edges x pattern edges, in NumPy.

    Edges are kept in order both ways, so that a maximum over those of a node is one `reduceat`.
    """
    links, asked = graph.links, pattern.asked(np.ones(pattern.edge_attr.shape[1]))
    src, s, t = graph.src, asked.src, asked.dst
    apart, costs = _distances(graph.x, pattern.x), _distances(graph.edge_attr, pattern.edge_attr)
    belief = _normalized(-apart)
    to_dst = to_src = _normalized(-costs)
    vf, vr = belief[:, t], belief[:, s]
    for number in range(pattern.num_nodes + 1):
        if number:
            to_dst, to_src = _normalized(vr[src] - costs), _normalized(vf[src] - costs)
        forward = np.broadcast_to(vr.max(0), vr.shape).copy()
        backward = np.broadcast_to(vf.max(0), vf.shape).copy()
        _raise_by_rows(forward, to_dst[links.in_edge], links.in_ptr)
        _raise_by_rows(backward, to_src, links.ptr)
        if number:
            belief = -apart
            for m in range(len(s)):
                belief[:, t[m]] += forward[:, m]
                belief[:, s[m]] += backward[:, m]
            belief = _normalized(belief)
        vf, vr = belief[:, t] - forward, belief[:, s] - backward
    return belief


def _distances(there: np.ndarray, asked: np.ndarray) -> np.ndarray:
    total = np.zeros((len(there), len(asked)))
    for column in range(there.shape[1]):
        total += (there[:, column, None] - asked[:, column]) ** 2
    return np.sqrt(total)


def _normalized(values: np.ndarray) -> np.ndarray:
    """Take log-softmax over the rows."""
    values = values - values.max(0)
    return values - np.log(np.exp(values).sum(0))


def _raise_by_rows(best: np.ndarray, values: np.ndarray, ptr: np.ndarray) -> None:
    """Raise each row of `best` to the largest of its rows of `values`."""
    rows = np.flatnonzero(np.diff(ptr))
    best[rows] = np.maximum(best[rows], np.maximum.reduceat(values, ptr[rows], axis=0))


def measure(
    scale: float, memory_scale: float, keep: Callable[[dict], None] = lambda result: None
) -> dict:
    """Measure all sizes, then the memory.

    Args:
        scale: factor to the numbers of nodes and edges of the graphs that are timed.
        memory_scale: factor to those of the one whose memory is measured; 0 leaves it out.
        keep: called after each with what there is.

    Returns:
        What is written to the result file.
    """
    result = about("matching", "cpu") | {"scale": scale, "memory_scale": memory_scale}
    result |= {"threads": torch.get_num_threads(), "cases": []}
    for size in SIZES:
        print_progress(f"{size.name}: {scale * size.num_edges:,.0f} edges")
        result["cases"].append(timed(size, scale))
        keep(result)
    if memory_scale:
        print_progress(f"memory: {memory_scale * LARGE.num_edges:,.0f} edges")
        result["memory"] = remembered(memory_scale)
        keep(result)
    return result


def timed(size: Size, scale: float) -> dict:
    """Check the published mode against its rendering, and time both and the max-sum mode."""
    graph, pattern = draw(size, scale)
    exact = plain(graph, pattern)
    error = float(np.abs(match(graph, pattern, mode="pnnl", scale=None).log_belief - exact).max())
    if not error <= TOLERANCE:
        raise ValueError(f"{size.name}: the published mode is off by {error:.1e}")
    del exact
    calls = {
        "maxsum": lambda: match(graph, pattern, tol=0),
        "pnnl": lambda: match(graph, pattern, mode="pnnl", scale=None),
    }
    seconds = timing.measure(calls, repeats=ROUNDS.most if scale * size.num_edges < 1e6 else 5)
    rest = {"pnnl beside": calls["pnnl"], "plain": lambda: plain(graph, pattern)}
    rounds = ROUNDS.fewest if scale * size.num_edges < 1e6 else 1
    beside = timing.measure(rest, repeats=rounds, warmup=0)
    found = size._asdict() | {"num_nodes": graph.num_nodes, "num_edges": graph.num_edges}
    return found | {
        "seconds": seconds,
        "plain_seconds": beside["plain"],
        "times_faster": {name: beside["plain"] / value for name, value in seconds.items()},
        "times_faster_in_turn": beside["plain"] / beside["pnnl beside"],
        "error": error,
    }


def remembered(scale: float) -> dict:
    """Measure the peak of memory, beside the graph, of matching in the large one."""
    small = draw(LARGE, 1e-4)
    match(*small)  # compile first
    graph, pattern = draw(LARGE, scale)
    gc.collect()
    held = sum(array.nbytes for array in (graph.x, graph.rows, *graph.links))
    taken, result = memory.extra(lambda: match(graph, pattern, tol=0), False)
    found = LARGE._asdict() | {"num_nodes": graph.num_nodes, "num_edges": graph.num_edges}
    return found | {"graph_bytes": held, "peak_bytes": taken, "iterations": len(result.history)}


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="of the graphs that are timed")
    parser.add_argument("--memory-scale", type=float, default=1.0, help="0 leaves it out")
    parser.add_argument("--out", type=Path, help="JSON file; default: that of the machine, at 1")
    options = parser.parse_args(arguments)
    out = options.out
    if out is None and options.scale == options.memory_scale == 1:
        out = timing.RESULTS / file_name(about("matching", "cpu"))
    result = measure(
        options.scale, options.memory_scale, lambda told: write_json(out, told) if out else None
    )
    for case in result["cases"]:
        took = ", ".join(f"{name} {1e3 * value:.1f} ms" for name, value in case["seconds"].items())
        print(
            f"{case['name']}: {took}; plain NumPy {1e3 * case['plain_seconds']:,.0f} ms, "
            f"{case['times_faster_in_turn']:.1f} times the published mode in turn with it"
        )
    if "memory" in result:
        peak, held = result["memory"]["peak_bytes"], result["memory"]["graph_bytes"]
        print(f"memory: {(peak or 0) / 1e9:.2f} GB beside a graph of {held / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
