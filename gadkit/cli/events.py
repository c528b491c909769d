"""`gadkit ingest`: a table of events becomes a dataset folder, and what was made of it is said."""

import argparse
import datetime
import sys
from pathlib import Path

from gadkit.cli import needs


def add_ingest(parser: argparse.ArgumentParser) -> None:
    from gadkit import ingest
    from gadkit.ingest import columns, ids, links

    what = "CSV, JSON lines (both also .gz, .zip) or Parquet; or a folder of parts of one table"
    parser.add_argument("events", type=Path, help=what)
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument("--products", type=Path, metavar="TABLE", help="names sellers of products")
    parser.add_argument("--labels", type=Path, metavar="TABLE", help="ids and verdicts")
    _add_label_options(parser)
    for role in columns.ROLES:
        help = "column, '' for none; else guessed"
        if role in columns.JOINED:
            help += "; repeat to join several"
        parser.add_argument(f"--{role}", action="append", metavar="COL", help=help)
    help = (
        "column that users share, as a device or a card; may be repeated, '' for none; else guessed"
    )
    parser.add_argument("--link", action="append", metavar="COL", help=help)
    help = f"most users that a shared value may have (default: {links.CAP})"
    parser.add_argument("--link-cap", type=int, default=links.CAP, metavar="N", help=help)
    parser.add_argument("--no-guess", action="store_true", help="use the columns named here only")
    help = "as strptime has it: %%d.%%m.%%Y; or what a number counts: seconds, hours, days, excel"
    parser.add_argument("--time-format", metavar="FORMAT", help=help)
    help = "whether ids that differ only in case are one; default: guess, and say so"
    parser.add_argument("--same-id", choices=ids.SAME_ID, default="guess", help=help)
    _add_layout(parser)
    cap = f"links per purchase to the next ones of its product (default: {ingest.CO_PURCHASE_CAP})"
    parser.add_argument("--co-purchase-cap", type=int, default=ingest.CO_PURCHASE_CAP, help=cap)
    needs.add_anyway(parser)
    parser.set_defaults(command=_ingest)


def _add_layout(parser: argparse.ArgumentParser) -> None:
    """Add what says how the file of events is laid out, where that is not to be seen from it."""
    from gadkit.store import layouts

    group = parser.add_argument_group("how the events are laid out (seen from the file, and said)")
    group.add_argument(
        "--encoding", choices=layouts.ENCODINGS, default="utf-8", help="of all tables"
    )
    group.add_argument("--delimiter", metavar="CHAR", help="what parts the fields")
    group.add_argument("--skip-lines", type=int, metavar="N", help="lines before the header")
    header = {"action": argparse.BooleanOptionalAction, "default": None}
    group.add_argument("--header", help="whether a line names the columns", **header)
    group.add_argument("--columns", metavar="A,B,...", help="names, for a table without a header")
    group.add_argument("--escape", metavar="CHAR", help="before a quote; '' for none")
    group.add_argument("--comment", metavar="TEXT", help="how comments begin; '' for none")
    copies = "rows that repeat an earlier one; default: keep them where times are whole days"
    group.add_argument("--copies", choices=layouts.COPIES, help=copies)


def _layout_of(args: argparse.Namespace):
    """Return the layout that the user describes."""
    from gadkit.store import layouts

    delimiter = {"\\t": "\t", "tab": "\t"}.get(args.delimiter, args.delimiter)
    return layouts.Layout(
        args.encoding, delimiter, args.skip_lines, args.header,
        layouts.names_in(args.columns), args.escape, args.comment, args.copies,
    )  # fmt: skip


def _add_label_options(parser: argparse.ArgumentParser) -> None:
    whom = "column of --labels that names whom; repeat to join several; else guessed"
    parser.add_argument("--label-id", action="append", default=[], metavar="COL", help=whom)
    verdict = (
        "column of --labels with the verdict, '' if whoever is listed is a fraud; else guessed"
    )
    parser.add_argument("--label-value", metavar="COL", help=verdict)
    says = "value of a label that says fraud, every other one then normal; may be repeated"
    parser.add_argument("--positive", action="append", default=[], metavar="VALUE", help=says)
    says = "value of a label that says normal, '' for none; may be repeated"
    parser.add_argument("--negative", action="append", default=[], metavar="VALUE", help=says)


def _ingest(args: argparse.Namespace) -> None:
    from gadkit import ingest, store
    from gadkit.ingest import columns, guesses, labels, said, transfers
    from gadkit.ingest import links as links_of

    if args.events.exists():
        needs.refuse(args, needs.of_ingested(args.events), f"to ingest {args.events}")
    given = {role: getattr(args, role) for role in columns.ROLES if getattr(args, role)}
    given = {role: [name for name in names if name] for role, names in given.items()}
    if args.no_guess:
        given = dict.fromkeys(columns.ROLES, ()) | given
    guess = guesses.guess(args.events, given, _layout_of(args))
    roles = guess.roles
    for role, names in roles.items():
        print(f"{role:9} {', '.join(names)}{'' if given.get(role) else '  (guessed)'}")
    for note in guess.notes:
        print(f"note      {note}")
    folder = ingest.ingest(
        args.events, args.out, roles=given,
        products=args.products, labels=args.labels, co_purchase_cap=args.co_purchase_cap,
        time_format=args.time_format, same_id=args.same_id, layout=_layout_of(args),
        label_options=labels.LabelOptions(
            args.label_id, args.label_value, args.positive, args.negative
        ),
        links=links_of.LinkOptions(
            None if args.link is None else [name for name in args.link if name], args.link_cap
        ),
    )  # fmt: skip
    about = store.read_about(folder)
    taken = {name for names in [*about["roles"].values(), about.get("links", ())] for name in names}
    ignored = [name for name in guess.columns if name not in taken]
    print(f"not used  {', '.join(ignored) or 'no column'}")
    print("how it was read:")
    for line in [*said.lines(about), *transfers.lines(about), *links_of.lines(about)]:
        print(line)
    for line in labels.said(about["labels"]) if "labels" in about else []:
        print(f"labels    {line}")
    for name, notes in about.get("notes", {}).items():
        for note in notes:
            if note not in guess.notes:
                print(f"note      {name}: {note}")
    for name, rows in {args.events.name: about["rows"], **about.get("tables", {})}.items():
        print(f"{name}: {rows['read']:,} rows read, {rows['used']:,} used")
        for reason, count in rows["unused"].items():
            print(f"  {count:,} not used: {reason}")
    print(f"every row not used is listed in {folder / ingest.UNUSED}")
    print(f"dataset   {folder}")
    for warning in said.warnings(about, datetime.date.today()):
        print(f"warning: {warning}", file=sys.stderr)
