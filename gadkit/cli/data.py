"""`gadkit data`: published data sets, and an export that is made up."""

import argparse
from pathlib import Path


def add_data(parser: argparse.ArgumentParser) -> None:
    from gadkit.datasets import export

    commands = parser.add_subparsers(required=True)

    listed = commands.add_parser("list", help="what there is, or all about one")
    listed.add_argument("name", nargs="?")
    listed.set_defaults(command=_data_list)

    get = commands.add_parser("get", help="download from the authors, check and convert")
    add = commands.add_parser("add", help="the same from a file or folder that is here")
    for command in (get, add):
        command.add_argument("name")
        command.add_argument("--positive", metavar="CLASS", help="default: the rarest class")
    add.add_argument("path", type=Path)
    add.add_argument("--as", dest="as_name", metavar="FOLDER", help="default: the name")
    add.add_argument("--unchecked", action="store_true", help="accept another checksum")
    made = commands.add_parser("shop", help="make up an export, to try ingest with")
    made.add_argument("folder", type=Path, help="for orders, verdicts, next week and the truth")
    made.add_argument("--buyers", type=int, default=9_700, help="default: 9700")
    made.add_argument("--rings", choices=export.RINGS, default="both", help="default: both")
    made.add_argument("--seed", type=int, default=0)
    made.set_defaults(command=_data_shop)
    get.set_defaults(command=_data_get)
    add.set_defaults(command=_data_add)


def _data_list(args: argparse.Namespace) -> None:
    from gadkit.published import library

    rows = library.describe(args.name) if args.name else library.table()
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numbers = {"nodes", "edges"} if not args.name else set()
    for row in rows:
        cells = zip(rows[0], row, widths, strict=True)
        texts = (t.rjust(w) if name in numbers else t.ljust(w) for name, t, w in cells)
        print("  ".join(texts).rstrip())


def _data_get(args: argparse.Namespace) -> None:
    from gadkit.published import library

    _print_terms(library.get(args.name, positive=args.positive))


def _data_add(args: argparse.Namespace) -> None:
    from gadkit.published import library

    options = {"positive": args.positive, "as_name": args.as_name, "unchecked": args.unchecked}
    _print_terms(library.add(args.name, args.path, **options))


def _data_shop(args: argparse.Namespace) -> None:
    from gadkit.datasets import export

    options = {"num_buyers": args.buyers, "rings": args.rings, "seed": args.seed}
    folder = export.write_export(args.folder, **options)
    for name in (export.ORDERS, export.REVIEWED, export.NEXT_WEEK, export.TRUTH):
        print(folder / name)


def _print_terms(folder: Path) -> None:
    from gadkit import store

    about = store.read_about(folder)
    print(f"dataset   {folder}")
    if "license" in about:  # a file of the user's own says nothing
        print(f"license   {about['license']}")
        print(f"cite      {about['citation']}")
