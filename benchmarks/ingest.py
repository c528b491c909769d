"""Time and memory of `gadkit ingest` on a synthetic table of purchases: 10 million rows by default.

    python benchmarks/ingest.py [--rows 10000000] [--form csv|jsonl|parquet]

The table is drawn by DuckDB with a fixed seed: Zipf-like users and products, a seller for each
product, rating, time, verified, votes, price. The ingestion runs in a process of its own, so that
its peak of resident memory is its own. Beside it stands what the machine needs to do no more than
read the same file and count its lines.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPY = {"csv": "FORMAT csv, HEADER", "jsonl": "FORMAT json", "parquet": "FORMAT parquet"}


def draw(path: Path, rows: int, form: str) -> None:
    """Write a table of purchases: 22 % as many users as rows, 5 % as many products."""
    import duckdb

    users, products = max(10, rows * 22 // 100), max(5, rows // 20)
    draw = "(hash(i, {salt}) >> 11) / 9007199254740992.0"
    u, p, r = (draw.format(salt=salt) for salt in (1, 2, 3))
    duckdb.execute(
        f"""COPY (SELECT
        'U' || (power({u}, 2.0) * {users})::BIGINT AS user_id,
        'P' || (power({p}, 2.5) * {products})::BIGINT AS product_id,
        'S' || (hash((power({p}, 2.5) * {products})::BIGINT) % {max(2, products // 25)})
            AS seller_id,
        1 + (sqrt({r}) * 5)::BIGINT % 5 AS rating,
        1400000000 + (hash(i, 4) % 63000000)::BIGINT AS timestamp,
        hash(i, 5) % 3 > 0 AS verified,
        hash(i, 6) % 7 AS votes,
        round(hash(i, 7) % 20000 / 100.0, 2) AS price
        FROM range({rows}) AS t(i)) TO '{path}' ({COPY[form]})"""
    )


def count_lines(path: Path) -> float:
    """Return the seconds it takes to read a file and count its lines."""
    begin = time.perf_counter()
    with open(path, "rb") as file:
        while block := file.read(1 << 24):
            block.count(b"\n")
    return time.perf_counter() - begin


def measure(path: Path, out: Path) -> dict:
    """Run the command in a process of its own: seconds, and its peak of memory in GiB."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "gadkit", "ingest", path, "--out", out]
    subprocess.run(command, check=True, cwd=ROOT)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return {"seconds": round(seconds, 1), "peak_gib": round(peak / 2**30, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--form", choices=COPY, default="csv")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"events.{args.form}"
        draw(path, args.rows, args.form)
        found = {
            "rows": args.rows,
            "form": args.form,
            "file_mb": round(path.stat().st_size / 1e6),
            "read_seconds": round(count_lines(path), 2),
            **measure(path, Path(folder) / "out"),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        }
        counts = json.loads((Path(folder) / "out/node_counts.json").read_text())
    print(json.dumps(found | {"nodes": counts}, indent=2))


if __name__ == "__main__":
    main()
