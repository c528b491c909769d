"""What a run says: the table, and which goals are met."""

UNIFORM = ("uniform 10M", "uniform 50M")
INFERENCE, FORWARD, BACKWARD, BOTH = (
    "gat inference",
    "gat training forward",
    "gat backward",
    "gat forward + backward",
)
HEAD = ("ms", "GB/s", "of gather", "of copy", "error", "same bits", "extra MB", "times as fast as")


def goals(cases: list[dict], device: str) -> list[dict]:
    """Compare what was measured with what gadkit wants to reach.

    Args:
        cases: as in a result file.
        device: "cuda" or "cpu".

    Returns:
        A dict a goal: "goal" says which, "met" is True, False, or None if nothing was measured,
        "worst" is the number that decides, and "numbers" holds it for every case.
    """
    half = {label(c): c["error"] for c in cases if c["dtype"] == "bfloat16"}
    same = {label(c): int(c["repeatable"]) for c in cases}
    return [
        *(gpu_goals if device == "cuda" else cpu_goals)(cases),
        goal("bfloat16, error against float64", half, "<=", 5e-3),
        goal("two runs give the same bits", same, ">=", 1),
    ]


def gpu_goals(cases: list[dict]) -> list[dict]:
    """Judge what was measured on a GPU."""
    usual = [c for c in cases if (c["dim"], c["heads"], c["drop_edge"]) == (128, 1, 0)]
    uniform = {(c["op"], c["dtype"]): c for c in usual if c["shape"] == UNIFORM[0]}
    flat = [c for c in usual if c["shape"] in UNIFORM]
    large = [c for c in cases if c["shape"] != "tiny"]  # where launches take most of the time
    star = [c for c in usual if c["shape"] == "star" and (c["op"], c["dtype"]) in uniform]

    def gather(*ops):
        return {label(c): c["of_gather"] for c in flat if c["op"] in ops}

    slower = {label(c): c["seconds"] / uniform[c["op"], c["dtype"]]["seconds"] for c in star}
    memory = {label(c): c["of_bound"] for c in large if c["op"] == BOTH and "of_bound" in c}
    ten = list(uniform.values())
    pyg = times(ten, BOTH, "PyG")
    warp = times(ten, INFERENCE, "warp per node", own="gadkit with scores")
    sparse = times(large, "spmm", "torch.sparse") | times(large, "spmm", "cupyx")
    return [
        goal("uniform, forward, of gather", gather(INFERENCE, FORWARD), ">=", 0.7),
        goal("uniform, backward, of gather", gather(BACKWARD), ">=", 0.7),
        goal("star, times as long as uniform", slower, "<=", 1.3),
        goal("forward + backward, times as fast as PyG", pyg, ">=", 5),
        goal("inference with scores, times as fast as warp per node", warp, ">=", 4),
        goal("spmm, times as fast as cuSPARSE", sparse, ">=", 1),
        goal("forward + backward, of the memory allowed", memory, "<=", 1),
    ]


def cpu_goals(cases: list[dict]) -> list[dict]:
    """Judge what was measured on a CPU."""
    large = [c for c in cases if c["shape"] != "tiny"]
    single = [c for c in large if c["dtype"] == "float32"]
    half = [c for c in large if c["dtype"] == "bfloat16"]

    def shares(cases: list[dict], op: str, peer: str) -> dict[str, float]:
        return {name: 1 / ratio for name, ratio in times(cases, op, peer).items()}

    spmm = {label(c): c["of_gather"] for c in single if c["op"] == "spmm"}
    sparse = {}
    for peer in ("torch.sparse", "torch.sparse int64", "torch.sparse.mm reduce"):
        sparse |= times(single, "spmm", peer)
    steps = [c for c in single if c["op"] == BOTH and c["peak_bytes"]]
    rows = {
        label(c): c["peak_bytes"] / (4 * c["dim"] * c["heads"] * c["num_dst"])
        for c in steps
        if not c["drop_edge"]
    }
    dropped = shares(single, BOTH, "gadkit, no edge dropped")
    dots, both = (
        times(single, f"edge_dot{op}", "plain torch") for op in ("", " forward + backward")
    )
    return [
        goal("spmm, of gather", spmm, ">=", 0.95),
        goal("spmm, times as fast as torch.sparse", sparse, ">=", 3.2),
        goal(
            "spmm in bfloat16, time of float32",
            shares(half, "spmm", "gadkit in float32"),
            "<=",
            0.6,
        ),
        goal("forward + backward, times as fast as PyG", times(single, BOTH, "PyG"), ">=", 20),
        goal("85% dropped, time of forward + backward without", dropped, "<=", 0.25),
        goal("edge_dot, times as fast as indexing", dots, ">=", 14),
        goal("edge_dot forward + backward, times as fast as indexing", both, ">=", 8),
        goal("extra memory of forward + backward, rows of features a node", rows, "<=", 3),
    ]


def goal(name: str, numbers: dict[str, float], sign: str, limit: float) -> dict:
    """Judge numbers by their worst."""
    judged = {"goal": f"{name} {sign} {limit:g}", "met": None, "numbers": numbers}
    if numbers:
        worst = max(numbers.values()) if sign == "<=" else min(numbers.values())
        judged |= {"met": worst <= limit if sign == "<=" else worst >= limit, "worst": worst}
    return judged


def times(cases: list[dict], op: str, peer: str, own: str | None = None) -> dict[str, float]:
    """Return how many times as fast as a peer gadkit is, or the peer of the name `own`."""
    found = {}
    for c in cases:
        ours = c["peers"].get(own, {}) if own else c
        other = c["peers"].get(peer, {})
        if c["op"] == op and "seconds" in ours and "seconds" in other:
            found[f"{peer}: {label(c)}"] = other["seconds"] / ours["seconds"]
    return found


def label(case: dict) -> str:
    """Name a case: shape, operation, how it was called."""
    pairs = case.get("num_pairs", case.get("num_edges"))
    counted = "" if pairs == case.get("num_edges") else f", {pairs:,} pairs"
    heads = f" x {case['heads']}" if case["heads"] > 1 else ""
    dropped = f", {case['drop_edge']:.0%} dropped" if case["drop_edge"] else ""
    return f"{case['shape']}, {case['op']}, {case['dim']}{heads} {case['dtype']}{dropped}{counted}"


def table(result: dict) -> str:
    """Set a result as text: the machine, a line a case, the goals, and what is missing."""
    about = {**result["machine"], "commit": result["commit"], "date": result["date"]}
    lines = [", ".join(f"{key} {value}" for key, value in about.items())]
    lines += ["", f"copy {result['copy']:,.0f} GB/s; gather of random rows, GB/s:"]
    lines += [
        f"  {g['row_bytes']:>5} bytes of {g['num_rows']:>9,} rows: {g['rate']:,.0f}"
        for g in result["gather"]
    ]
    width = max([len(label(case)) for case in result["cases"]], default=0)
    lines += ["", f"{'':{width}}" + "".join(f"{word:>11}" for word in HEAD[:-1]) + f"  {HEAD[-1]}"]
    lines += [f"{label(case):{width}}{columns(case)}" for case in result["cases"]]
    lines += ["", "goals (of gather, of copy: share of that rate; the worst number decides)"]
    for g in result["goals"]:
        met = {True: "met", False: "not met", None: "not measured"}[g["met"]]
        worst = f": {g['worst']:.3g}, worst of {len(g['numbers'])}" if g["numbers"] else ""
        lines.append(f"  {met:<13} {g['goal']}{worst}")
    lines += sorted({f"absent: {why}" for case in result["cases"] for why in absent(case)})
    for word in ("skipped", "failed"):
        lines += [f"{word}: {item['case']} ({item['why']})" for item in result[word]]
    return "\n".join(lines)


def columns(case: dict) -> str:
    """Set the numbers of a case under `HEAD`."""
    numbers = (
        f"{1e3 * case['seconds']:,.3f}",
        f"{case['rate']:,.0f}",
        f"{case['of_gather']:.0%}",
        f"{case['of_copy']:.0%}",
        f"{case['error']:.1e}",
        "yes" if case["repeatable"] else "NO",
        megabytes(case) or "-",
    )
    others = [beside(case)] if beside(case) else []
    if "replay_seconds" in case:
        others.append(f"as a CUDA graph {1e3 * case['replay_seconds']:.3f} ms")
    if "replay_why" in case:
        others.append(f"no CUDA graph ({case['replay_why']})")
    return "".join(f"{number:>11}" for number in numbers) + "  " + "; ".join(others)


def megabytes(measured: dict) -> str:
    """Return the extra memory of a case or a peer as text, empty where it was not measured."""
    peak = measured.get("peak_bytes")
    return f"{peak / 1e6:,.1f}" if peak else ""


def beside(case: dict) -> str:
    """Say how many times as fast as its peers a case is, and what memory those of a step take."""
    texts = []
    for name, peer in case["peers"].items():
        if "times" in peer:
            taken = f" ({megabytes(peer)} MB)" if case["op"] == BOTH and megabytes(peer) else ""
            texts.append(f"{name} {peer['times']:.1f}{taken}")
        elif peer["status"] != "absent":
            texts.append(
                ": ".join([name, peer["status"], *([peer["why"]] if "why" in peer else [])])
            )
    return "; ".join(texts)


def absent(case: dict) -> list[str]:
    """Return which peers of a case could not run, and why."""
    peers = case["peers"].items()
    return [f"{name} ({p['why']})" for name, p in peers if p["status"] == "absent"]
