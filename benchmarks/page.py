"""The page of what benchmarks/operations.py and benchmarks/scaling.py have measured.

python benchmarks/page.py    # docs/benchmarks.md and docs/scaling.png anew, of benchmarks/results/
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a bare checkout is enough

from summary import beside, label, megabytes

from gadkit import store
from gadkit.ops import timing

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
PICTURE = ROOT / "docs" / "scaling.png"

COMMANDS = {
    "cuda": "python benchmarks/operations.py",
    "cpu": "python benchmarks/operations.py --device cpu",
    "scaling": "python benchmarks/scaling.py",
}
HEADER = """# Benchmarks

How fast the operations are, beside others and beside what the memory allows. Made by the commands
that each section names; all numbers are in [benchmarks/results/](../benchmarks/results). How the
kernels work is in [kernels.md](kernels.md).
"""
READING = """
Times are medians of rounds in which an operation and its peers take turns in one process, each
checked against its definition in float64 before. *GB/s* is the bytes that an operation has to move,
as if every edge read its row from memory, over the time; *of gather* is its share of what a loop
reaches that only reads such rows at random, of as large a table. Where popular rows stay in the
caches it may pass 100 %. *Extra* is the most memory that a call takes beside its inputs, its result
included: on a CPU the growth of the resident memory, on a GPU that of torch's allocator. *Times as
fast as* is the time of the other over gadkit's; in brackets what a step of the other takes.
"""
SCALING = """
R-MAT graphs with 24 edges for each node, 128 numbers of float32 a row. Time and memory for an edge
should not depend on how many there are. Where a table of features no longer fits into the caches,
an edge takes longer: so does the gather of as many random rows, which does nothing else. In a small
graph few edges share the fixed costs of a call, and Linux counts memory in pages of 4 KiB, some of
them late.
"""
WORDS = {True: "met", False: "not met", None: "not measured"}


def page(operations: list[dict], scaling: list[dict]) -> str:
    """Return the page as Markdown.

    Args:
        operations: results of benchmarks/operations.py, as `timing.committed_results` gives them.
        scaling: those of benchmarks/scaling.py; the picture is that of the first.
    """
    parts = [HEADER]
    if operations:
        parts.append(READING)
    parts += map(section, operations)
    if scaling:
        parts += ["\n## Time and memory for an edge\n", SCALING]
        parts.append(
            f"\n![nanoseconds and bytes for an edge, by the number of edges]({PICTURE.name})\n"
        )
    for result in scaling:
        parts.append(f"\n### {title(result)}\n\n{made_by(result, 'scaling')}\n")
        parts.append(f"\n{scaling_tables(result)}\n" + left_out(result))
    return "".join(parts)


def title(result: dict) -> str:
    """Name a machine."""
    described = result["machine"]
    return f"{described['name']}" + (
        f", {described['threads']} threads" if result["device"] == "cpu" else ""
    )


def made_by(result: dict, command: str) -> str:
    """Say what has made a result, of which code, when, on what."""
    described = result["machine"]
    words = [f"{described['memory_bytes'] / 2**30:.0f} GiB"]
    words += [f"{name} {described[name]}" for name in ("vectors", "driver") if described.get(name)]
    words += [f"Python {described['python']}"]
    words += [f"{name} {described[name]}" for name in ("torch", "numba", "torch-geometric")]
    return (
        f"`{COMMANDS[command]}`, commit {result['commit']}, {result['date']}, "
        f"{result['seconds']} s; {', '.join(words)}."
    )


def section(result: dict) -> str:
    """Return the section of a machine."""
    cases = result["cases"]
    graphs = {c["shape"]: (c["num_dst"], c["num_src"], c["num_edges"]) for c in cases}
    lines = ["", f"## {title(result)}", "", made_by(result, result["device"])]
    lines += [f"Copy {result['copy']:,.1f} GB/s; gather of random rows:"]
    lines += [
        f"{g['rate']:,.1f} GB/s of {g['row_bytes']} bytes from {g['num_rows']:,} rows,"
        for g in result["gather"]
    ]
    lines[-1] = lines[-1].rstrip(",") + "."
    lines += ["", "| graph | destinations | sources | edges |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {name} | {' | '.join(f'{n:,}' for n in sizes)} |" for name, sizes in graphs.items()
    ]
    lines += ["", "| | ms | GB/s | of gather | extra, MB | times as fast as |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    lines += map(row, cases)
    lines += ["", "| goal | worst | |", "| --- | --- | --- |"]
    for g in result["goals"]:
        worst = f"{g['worst']:.3g}" if g["numbers"] else ""
        lines.append(f"| {g['goal']} | {worst} | {WORDS[g['met']]} |")
    sampled = sorted({c["shape"] for c in cases if c["checked_rows"]})
    if sampled:
        lines += ["", f"Checked for some nodes drawn at random: {', '.join(sampled)}."]
    return "\n".join(lines) + "\n" + left_out(result)


def row(case: dict) -> str:
    """Return the row of a case."""
    milliseconds = 1e3 * case["seconds"]
    shown = f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"
    numbers = shown, f"{case['rate']:,.1f}", f"{case['of_gather']:.0%}"
    return f"| {' | '.join([label(case), *numbers, megabytes(case), beside(case)])} |"


def left_out(result: dict) -> str:
    """Name what was not measured, and why."""
    items = [*result["skipped"], *result.get("failed", ())]
    return "".join(f"\nNot measured: {item['case']} ({item['why']}).\n" for item in items)


def scaling_tables(result: dict) -> str:
    """Return two tables: of nanoseconds and of bytes for an edge."""
    cases = result["cases"]
    sizes = list(dict.fromkeys(case["num_edges"] for case in cases))
    lines = []
    for key, unit in (("ns_per_edge", "nanoseconds"), ("bytes_per_edge", "extra bytes")):
        numbers = {}
        for case in cases:
            if case.get(key) is not None:
                numbers.setdefault((case["op"], case["threads"]), {})[case["num_edges"]] = case[key]
        lines += ["", f"| {unit} for an edge | threads | {' | '.join(f'{n:,}' for n in sizes)} |"]
        lines += ["| --- " * (2 + len(sizes)) + "|"]
        for (op, threads), by_size in numbers.items():
            texts = [f"{by_size[n]:.1f}" if n in by_size else "" for n in sizes]
            lines.append(f"| {op} | {threads} | {' | '.join(texts)} |")
    return "\n".join(lines[1:])


def draw(result: dict) -> None:
    """Draw a result of benchmarks/scaling.py into `PICTURE`."""
    from matplotlib import rc_context  # not needed where a GPU is measured
    from matplotlib.figure import Figure

    from gadkit import plot

    with rc_context():
        plot.style()
        figure = Figure(figsize=(9.5, 3.9))
        plot.scaling(*figure.subplots(1, 2), result["cases"])
        with store.atomic_path(PICTURE) as temporary:
            figure.savefig(temporary, format="png", dpi=110)


def write() -> Path:
    """Write the page of all results; return where it is."""
    kinds = [
        timing.committed_results(timing.RESULTS, kind=kind) for kind in ("operations", "scaling")
    ]
    with store.atomic_path(PAGE) as temporary:
        temporary.write_text(page(*kinds), encoding="utf-8")
    return PAGE


if __name__ == "__main__":
    for newest in timing.committed_results(kind="scaling")[:1]:
        draw(newest)
    print(write())
