"""Time and memory of `gadkit ingest` on a synthetic table of purchases: 10 million rows by default.

    python benchmarks/ingest.py [--rows 10000000] [--form csv|jsonl|parquet] [--links | --dirty]
        [--repeats 1]

The table is drawn by DuckDB with a fixed seed: Zipf-like users and products, a seller for each
product, rating, time, verified, votes, price; with --links also a device and a card, each of which
is shared by few users. Every ingestion runs in a process of its own, so that its peak of resident
memory is its own. Beside it stands what the machine needs to do no more than read the same file and
count its lines. With --links the same file is ingested without links and with two, one after the
other; with --repeats each so often in turn, of which the fastest counts. With --dirty the same
purchases are written twice, clean and as people export them, and both are ingested in turn.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPY = {"csv": "FORMAT csv, HEADER", "jsonl": "FORMAT json", "parquet": "FORMAT parquet"}
LINKS = ("device_id", "card_hash")
NO_LINKS, TWO_LINKS = "without links", "with two links"
CLEAN, DIRTY = "clean", "dirty"


def dirty(salt: int, *ways: str) -> str:
    """Choose in SQL one of some ways to write a value, by row."""
    listed = " ".join(f"WHEN {number} THEN {way}" for number, way in enumerate(ways))
    return f"CASE hash(i, {salt}) % {len(ways)} {listed} END"


def soiled(user: str, product: str, moment: str, amount: str) -> str:
    """Write SQL of the columns that differ in a dirty export, of what they hold in a clean one."""

    def spoiled(salt: int, value: str) -> str:
        word = f"['N/A', 'null', '-', ''][1 + (hash(i, {salt + 1}) % 4)::INTEGER]"
        return f"if(hash(i, {salt}) % 200 = 0, {word}, {value})"

    ids = dirty(22, user, user, user, f"lower({user})", f"' ' || {user} || '  '")
    stamp = f"to_timestamp({moment})::TIMESTAMP"
    forms = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%m/%d/%Y %I:%M %p", "%d %b %Y %H:%M:%S")
    times = dirty(23, *(f"strftime({stamp}, '{form}')" for form in forms))
    paid = f"printf('%.2f', {amount})"
    amounts = dirty(
        24, paid, paid, f"'$' || {paid}", f"'USD ' || {paid}", f"printf('€%,.2f', {amount} * 50)",
        f"'(' || {paid} || ')'", f"{paid} || '-'",
    )  # fmt: skip
    return (
        f"{spoiled(31, ids)} AS user_id, {product} AS product_id, "
        f"{spoiled(33, times)} AS timestamp, {spoiled(35, amounts)} AS price"
    )


def draw(path: Path, rows: int, form: str, *, links: bool = False, is_dirty: bool = False) -> None:
    """Write a table of purchases: 22 % as many users as rows, 5 % as many products.

    Where there are links, 2 % of the rows have a device that belongs to another user, every user
    has one or two cards, a tenth of which is another one's too, and 5 % of the rows have none.
    A dirty table holds the same, its times in four styles, its amounts with currencies, thousands
    and brackets, its users in either case and with spaces, and words for nothing in every column.
    """
    import duckdb

    users, products = max(10, rows * 22 // 100), max(5, rows // 20)
    draw = "(hash(i, {salt}) >> 11) / 9007199254740992.0"
    u, p, r = (draw.format(salt=salt) for salt in (1, 2, 3))
    user = f"(power({u}, 2.0) * {users})::BIGINT"
    device = f"if(hash(i, 8) % 50 = 0, hash(i, 9) % {users}, {user})"
    card = f"hash({user} * 2 + (hash(i, 11) % 2)::BIGINT) % {users * 9}"
    linked = (
        f", 'dev-' || lower(hex(hash({device}))) AS device_id, "
        f"if(hash(i, 10) % 20 = 0, NULL, md5(({card})::VARCHAR)) AS card_hash"
    )
    user_id = f"'U' || {user}"
    product_id = f"'P' || (power({p}, 2.5) * {products})::BIGINT"
    moment = "1400000000 + (hash(i, 4) % 63000000)::BIGINT"
    price = "round(hash(i, 7) % 20000 / 100.0, 2)"
    plain = (
        f"{user_id} AS user_id, {product_id} AS product_id, {moment} AS timestamp, {price} AS price"
    )
    columns = soiled(f"({user_id})", product_id, f"({moment})", price) if is_dirty else plain
    duckdb.execute(
        f"""COPY (SELECT
        {columns},
        'S' || (hash((power({p}, 2.5) * {products})::BIGINT) % {max(2, products // 25)})
            AS seller_id,
        1 + (sqrt({r}) * 5)::BIGINT % 5 AS rating,
        hash(i, 5) % 3 > 0 AS verified,
        hash(i, 6) % 7 AS votes{linked if links else ""}
        FROM range({rows}) AS t(i)) TO '{path}' ({COPY[form]})"""
    )


def count_lines(path: Path) -> float:
    """Return the seconds it takes to read a file and count its lines."""
    begin = time.perf_counter()
    with open(path, "rb") as file:
        while block := file.read(1 << 24):
            block.count(b"\n")
    return time.perf_counter() - begin


def measure(path: Path, out: Path, *options: str) -> dict:
    """Run the command in a process of its own: seconds, and its peak of memory in GiB."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "gadkit", "ingest", path, "--out", out, *options]
    process = subprocess.Popen(command, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    seconds = time.perf_counter() - begin
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # bytes there, KiB elsewhere
    return {"seconds": round(seconds, 1), "peak_gib": round(peak / 2**30, 2)}


def compare(commands: dict[str, list], folder: Path, repeats: int) -> dict:
    """Ingest in two ways, by turns, each named with its file and options: the second to the first.

    Of each way there are the runs, and by the fastest of them rows and bytes of the file a second.
    """
    runs = {name: [] for name in commands}
    for _ in range(repeats):
        for name, (path, *said) in commands.items():
            out = folder / name
            shutil.rmtree(out, ignore_errors=True)
            runs[name].append(measure(path, out, *said))
    best = {name: min(run["seconds"] for run in some) for name, some in runs.items()}
    speeds = {}
    for name, (path, *_) in commands.items():
        rows = json.loads((folder / name / "about.json").read_text())["rows"]["read"]
        size = path.stat().st_size
        speeds[f"{name}, a second"] = {
            "rows": round(rows / best[name]), "bytes": round(size / best[name])
        }  # fmt: skip
    first, second = best.values()
    return {**runs, **speeds, "ratio": round(second / first, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--form", choices=COPY, default="csv")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--links", action="store_true", help="without links and with two")
    ways.add_argument("--dirty", action="store_true", help="a clean table and a dirty one")
    parser.add_argument("--repeats", type=int, default=1, help="of two ways, in turn")
    parser.add_argument("--folder", type=Path, help="for temporary files")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        folder = Path(folder)
        path = folder / f"events.{args.form}"
        draw(path, args.rows, args.form, links=args.links)
        result = {
            "rows": args.rows,
            "form": args.form,
            "file_mb": round(path.stat().st_size / 1e6),
            "read_seconds": round(count_lines(path), 2),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        }
        if args.links:
            options = {NO_LINKS: ["--link", ""], TWO_LINKS: [f"--link={name}" for name in LINKS]}
            commands = {name: [path, *said] for name, said in options.items()}
            result |= compare(commands, folder, args.repeats)
            about = json.loads((folder / TWO_LINKS / "about.json").read_text())
            result["links"] = {name: link["values"] for name, link in about["links"].items()}
            counts = folder / NO_LINKS / "node_counts.json"
        elif args.dirty:
            dirty_path = folder / f"dirty.{args.form}"
            draw(dirty_path, args.rows, args.form, is_dirty=True)
            result["dirty_file_mb"] = round(dirty_path.stat().st_size / 1e6)
            result |= compare({CLEAN: [path], DIRTY: [dirty_path]}, folder, args.repeats)
            counts = folder / CLEAN / "node_counts.json"
        else:
            result |= measure(path, folder / "out")
            counts = folder / "out" / "node_counts.json"
        result["nodes"] = json.loads(counts.read_text())
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
