"""Measure what gadkit finds in a made-up export, from the files to the list, beside union-find.

    python benchmarks/shop.py      # six exports of 50,000 orders, three of them with quiet rings
    python benchmarks/shop.py --seeds 0 --buyers 2000

Every export (`gadkit data shop`) is taken as it is, dirt and all, by the commands that a user
types: `gadkit ingest`, `gadkit recommend`, and for the week after `gadkit score`. Union-find is
what a fraud team writes first: accounts that share a device, a card or an address are one group,
the larger the more suspect, or the more frauds are known in it; values of more than 100 accounts
are left out, as gadkit leaves them. It is told which columns to look at, and how to spell them. All
is counted by truth.csv among accounts that nobody has reviewed. "Both
files" is next week made into a folder together with the weeks before. Intervals (95 %) are
Wilson's, of all exports together.
"""

import argparse
import csv
import io
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import binomtest

from gadkit import cli
from gadkit.datasets import export

NO_LINKS = ["--link", ""]
TOP, TOP_NEW, CAP = 200, 50, 100
Count = tuple[int, int]  # hits, of how many
FIRST, NEW = f"frauds in the first {TOP}", f"frauds in next week's first {TOP_NEW} new buyers"
MEMBERS = "ring members in as many places as there are"


def measure(folder: Path, **options) -> Iterable[tuple[str, str, Count]]:
    """Yield who ranked, what was counted, and the count, for one export."""
    files = export.write_export(folder / "files", **options)
    truth = {row["customer_id"]: row for row in _rows(files / export.TRUTH)}
    reviewed = {row["customer_id"] for row in _rows(files / export.REVIEWED)}
    both = folder / "both"
    both.mkdir()
    for name in (export.ORDERS, export.NEXT_WEEK):
        (both / name).write_bytes((files / name).read_bytes())
    labels = ["--labels", str(files / export.REVIEWED)]
    for who, links in (("gadkit, links", []), ("gadkit, --link ''", NO_LINKS)):
        made = str(folder / f"made{len(links)}")
        _gadkit("ingest", str(files / export.ORDERS), *labels, *links, "--out", made)
        _gadkit("recommend", made, "--out", made + ".csv")
        yield from _counts(who, _accounts(made + ".csv"), truth, reviewed, old=True)
        for how, events in (("", files / export.NEXT_WEEK), (", both files", both)):
            week = f"{made}week{len(how)}"
            _gadkit("ingest", str(events), *links, "--out", week)
            _gadkit("score", week, "--models", made, "--out", week + ".csv")
            yield from _counts(who + how, _accounts(week + ".csv"), truth, reviewed, old=False)
    orders = _rows(files / export.ORDERS)
    verdicts = {row["customer_id"]: row["verdict"] for row in _rows(files / export.REVIEWED)}
    for old in (True, False):
        orders += [] if old else _rows(files / export.NEXT_WEEK)
        for how, told in (("by size", {}), ("by verdicts", verdicts)):
            ranked = union_find(orders, told)
            yield from _counts(f"union-find, {how}", ranked, truth, reviewed, old=old)


def union_find(orders: list[dict], verdicts: dict[str, str]) -> list[str]:
    """Rank accounts by the group that shares devices, cards or addresses with them.

    First come groups with the highest rate of frauds among those reviewed (one more counts as ok),
    and of those, or without verdicts, the largest.
    """
    number, holders = {}, defaultdict(set)  # of accounts, by name; the accounts of each value
    for order in orders:
        account = (order["customer_id"] or "").upper()
        for column in export.LINKS if account else ():
            holder = number.setdefault(account, len(number))
            value = " ".join((order[column] or "").lower().replace(",", " ").split())
            for long, short in (("street", "st"), ("st.", "st"), ("apartment", "apt")):
                value = value.replace(long, short)
            if value not in ("", "<na>"):
                holders[column, value].add(holder)
    pairs = [(min(who), other) for who in holders.values() if len(who) <= CAP for other in who]
    src, dst = np.array(pairs).T
    shares = coo_array((np.ones(len(src)), (src, dst)), shape=(len(number), len(number)))
    _, group = connected_components(shares, directed=False)
    frauds, reviewed = np.zeros(group.max() + 1), np.ones(group.max() + 1)
    for name in verdicts.keys() & number.keys():
        frauds[group[number[name]]] += verdicts[name] == "fraud"
        reviewed[group[number[name]]] += 1
    order = np.lexsort((group, -np.bincount(group)[group], -(frauds / reviewed)[group]))
    names = list(number)
    return [names[place] for place in order]


def _counts(
    who: str, ranked: list[str], truth: dict, reviewed: set, *, old: bool
) -> Iterable[tuple[str, str, Count]]:
    """Count frauds at the head of a list, of the accounts that nobody has reviewed."""
    fresh = [name for name in ranked if name not in reviewed and name in truth]
    if not old:
        kinds = [truth[name]["kind"] for name in fresh if truth[name]["is_new"] == "1"]
        yield who, NEW, _share(kinds[:TOP_NEW])
        return
    kinds = [truth[name]["kind"] for name in fresh]
    yield who, FIRST, _share(kinds[:TOP])
    unreviewed = [row for name, row in truth.items() if name not in reviewed]
    members = sum(row["ring"] != "-1" and row["is_new"] == "0" for row in unreviewed)
    yield who, MEMBERS, (sum(kind.endswith("ring") for kind in kinds[:members]), members)


def _share(kinds: Sequence[str]) -> Count:
    return sum(kind != "normal" for kind in kinds), len(kinds)


def _gadkit(*words: str) -> None:
    """Run the command as the user types it; show what it said if it fails."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        status = cli.main(list(words))
    if status:
        sys.exit(f"gadkit {' '.join(words)} failed:\n{said.getvalue()}")


def _rows(path: Path) -> list[dict]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def _accounts(path: str) -> list[str]:
    return [row["name"].upper() for row in _rows(Path(path)) if row["type"] == "user"]


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table: who ranked, what was counted, share, interval, counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--rings", nargs="+", default=["quiet", "bursting"], help="of which kind")
    parser.add_argument("--buyers", type=int, default=9_700, help="of an export; default: 9700")
    args = parser.parse_args(argv)
    for rings in args.rings:
        total = defaultdict(lambda: defaultdict(lambda: (0, 0)))
        for seed in args.seeds:
            begin = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                options = {"num_buyers": args.buyers, "rings": rings, "seed": seed}
                for who, what, (hits, count) in measure(Path(folder), **options):
                    before = total[who][what]
                    total[who][what] = before[0] + hits, before[1] + count
            print(f"{rings} rings, seed {seed}: {time.perf_counter() - begin:.0f} s", flush=True)
        print(f"\n| {rings} rings | {FIRST} | {MEMBERS} | {NEW} |\n| --- | --- | --- | --- |")
        for who, counts in total.items():
            cells = (_with_interval(*counts[what]) for what in (FIRST, MEMBERS, NEW))
            print(f"| {who} | {' | '.join(cells)} |", flush=True)
        print()


def _with_interval(hits: int, count: int) -> str:
    if not count:
        return ""
    ends = binomtest(hits, count).proportion_ci(method="wilson")
    return f"{hits / count:.2f} [{ends.low:.2f}, {ends.high:.2f}]"


if __name__ == "__main__":
    main()
