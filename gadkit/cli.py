"""The command `gadkit`: events in, notebooks run, models applied, scores out."""

import argparse
import datetime
import sys
from collections.abc import Callable
from pathlib import Path

from gadkit import __version__

# Rooms are imported inside the functions that need them: `gadkit --help` loads neither torch nor
# Numba nor DuckDB.

AUDIT_OUT = "a page, and the same as .json beside it; default: build/DATASET/audit.html"
DATASET_HELP = "a dataset folder, a file to convert, or small, demo, full (default: demo)"
PROTOCOL_HELP = "how labels are split: demo, full, few, official, temporal, new_TYPE; default: demo"
LIST_HELP = "CSV, or .parquet, .xlsx; default: build/DATASET/{}"
BUDGET_HELP = "accounts somebody can look at: how many frauds to expect there (default: 50)"
KNOWN_HELP = "list accounts with a label too, below the new ones"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status.

    It is 1 after an error that the user can mend, and after an audit with a failed check.
    """
    args = _parser().parse_args(argv)
    try:
        return args.command(args) or 0
    except (ValueError, TypeError, OSError) as error:
        return _fail(error)
    except ImportError as error:
        return _fail(f"{error}; install what the notebooks need: pip install -e .[lab]")
    except (MemoryError, RecursionError) as error:
        return _fail(f"{type(error).__name__}: too large, or damaged; {error}")
    except RuntimeError as error:
        if "cannot cache function" not in str(error):
            raise
        return _fail(f"{error}; set NUMBA_CACHE_DIR to a folder that can be written to")
    except KeyboardInterrupt:
        _fail("stopped; nothing is half written, run it again to go on")
        return 130


def _fail(message: object) -> int:
    print(f"gadkit: {message}", file=sys.stderr)
    return 1


class _Parser(argparse.ArgumentParser):
    """A parser that adds its arguments when it is used, since choices come from heavy rooms."""

    def __init__(self, *args, add: Callable[[argparse.ArgumentParser], None] | None = None, **rest):
        super().__init__(*args, **rest)
        self._add = add

    def parse_known_args(self, args=None, namespace=None):
        add, self._add = self._add, None
        if add:
            add(self)
        return super().parse_known_args(args, namespace)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="gadkit", description=__doc__)
    parser.add_argument("--version", action="version", version=f"gadkit {__version__}")
    commands = parser.add_subparsers(required=True)
    for name, add, about in (
        ("ingest", _add_ingest, "make a dataset folder of a table of events"),
        ("run", _add_run, "execute the notebooks, write report and suspects"),
        ("lab", _add_lab, "open copies of the notebooks in JupyterLab"),
        ("score", _add_score, "rank the nodes of a dataset by a saved recipe"),
        ("recommend", _add_recommend, "rank by the recipe alone, in one step"),
        ("export", _add_export, "write what the models say of every node"),
        ("audit", _add_audit, "look for what would make a result untrue"),
        ("data", _add_data, "list, get and add published data sets"),
    ):
        commands.add_parser(name, add=add, help=about)
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", nargs="?", default="demo", help=DATASET_HELP)
    parser.add_argument("--out", type=Path, help="default: build/DATASET")
    parser.add_argument("--force", action="store_true", help="execute even what is up to date")
    _add_listing(parser)
    parser.set_defaults(command=_run)


def _add_listing(parser: argparse.ArgumentParser) -> None:
    """Add what every command takes that writes a list of suspects."""
    parser.add_argument("--budget", type=_count, default=50, metavar="N", help=BUDGET_HELP)
    parser.add_argument("--with-known", action="store_true", help=KNOWN_HELP)


def _count(text: str) -> int:
    """Read a number of accounts; argparse shows the message."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of accounts; give 1 or more")
    return int(text)


def _add_lab(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", nargs="?", default="demo", help=DATASET_HELP)
    parser.add_argument("jupyter", nargs="*", help="after --, options of jupyter lab")
    parser.set_defaults(command=_lab)


def _add_score(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", nargs="?", default="demo", help=DATASET_HELP)
    parser.add_argument("--models", help="dataset whose recipe to use (default: the same)")
    parser.add_argument("--out", type=Path, help=LIST_HELP.format("scored.csv"))
    parser.add_argument("--top", type=_count, help="list this many of each type only")
    _add_listing(parser)
    parser.set_defaults(command=_score)


def _add_recommend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", nargs="?", default="demo", help=DATASET_HELP)
    parser.add_argument("--protocol", default="demo", help=PROTOCOL_HELP)
    slow = "train the graph network too; takes several times as long as the trees"
    parser.add_argument("--network", action="store_true", help=slow)
    kept = "leave no recipe and no scores in the dataset folder"
    parser.add_argument("--no-save", dest="save", action="store_false", help=kept)
    parser.add_argument("--out", type=Path, help=LIST_HELP.format("recommended.csv"))
    parser.add_argument("--top", type=_count, help="list this many of each type only")
    _add_listing(parser)
    parser.set_defaults(command=_recommend)


def _add_export(parser: argparse.ArgumentParser) -> None:
    from gadkit.report import suspects

    parser.add_argument("dataset", help="a dataset folder, or its name")
    parser.add_argument("--out", type=Path, required=True, help=".parquet, .csv or .xlsx")
    what = "default: scores, of the recipe; network: its scores; stage1: made without labels"
    parser.add_argument("--what", choices=suspects.EXPORTS, default="scores", help=what)
    parser.add_argument("--type", action="append", help="of this node type only; may be repeated")
    parser.set_defaults(command=_export)


def _add_audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", nargs="?", default="demo", help=DATASET_HELP)
    parser.add_argument("--protocol", default="demo", help=PROTOCOL_HELP)
    parser.add_argument("--out", type=Path, help=AUDIT_OUT)
    parser.set_defaults(command=_audit)


def _add_ingest(parser: argparse.ArgumentParser) -> None:
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


def _add_data(parser: argparse.ArgumentParser) -> None:
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


def _print_terms(folder: Path) -> None:
    from gadkit import store

    about = store.read_about(folder)
    print(f"dataset   {folder}")
    if "license" in about:  # a file of the user's own says nothing
        print(f"license   {about['license']}")
        print(f"cite      {about['citation']}")


def _run(args: argparse.Namespace) -> int | None:
    from gadkit import datasets, network, recommend, store
    from gadkit.evaluation import splits
    from gadkit.report import index, notebooks, place, suspects

    folder = datasets.prepare(args.dataset)
    graph = store.load_graph(folder)
    network.check_trainable(graph)  # now, and not after minutes of training
    too_few = None if graph.labels is None else splits.too_few(graph.labels)
    labelled = graph.labels is not None and not too_few
    told = {"why": too_few} if too_few else {}
    out = args.out or place.of_dataset(folder)
    place.check_room(folder, graph, out)
    try:
        executed = notebooks.run_notebooks(
            folder, out=out, force=args.force, labelled=labelled, **told
        )
    except notebooks.NotebookError as error:
        return _fail(error)
    if too_few:
        fitted = recommend.recommend(folder)
        store.save_array(folder, store.RECIPE_SCORES, fitted.scores.nan_to_num(0.0).float())
        _print_learned(fitted)
        evidence = suspects.evidence_of_recipe(fitted)
    else:
        evidence = suspects.evidence_of_run(folder, graph)
    listing = _listing(args, folder, graph, evidence, fitted.said() if too_few else ())
    page = index.write_report(
        out, executed, dataset=folder.name, about=store.read_about(folder), listing=listing,
        skipped=[] if labelled else notebooks.needing_labels(), **told,
    )  # fmt: skip
    note = " (ranked without labels: what the first stage cannot explain)"
    print(f"suspects  {out / index.LIST}{note if graph.labels is None else ''}")
    print(f"report    {page}")


def _lab(args: argparse.Namespace) -> int:
    import os
    import subprocess

    from gadkit import datasets
    from gadkit.report import place

    folder = datasets.prepare(args.dataset).resolve()
    lab = place.lab_notes(folder, place.of_dataset(folder))
    # Jupyter refuses to work as root, since a server that others reach would let them be root. This
    # one listens to this machine only, and asks for its token.
    local = ["--ServerApp.ip=127.0.0.1"] + (["--allow-root"] if os.geteuid() == 0 else [])
    command = [sys.executable, "-m", "jupyterlab", *local, *args.jupyter, str(lab)]
    return subprocess.call(command, env={**os.environ, "GADKIT_DATASET": str(folder)})


def _listing(args: argparse.Namespace, folder: Path, graph, evidence, learned=()):
    """Make the queues that the options ask for, and print what to expect of each."""
    from gadkit.report import index, queue, suspects

    options = {"size": args.budget, "top": getattr(args, "top", None)}
    queues = queue.queues(graph, evidence, with_known=args.with_known, **options)
    for each in queues:
        print(each.summary)
    table = suspects.table_in(folder, graph, evidence, queues)
    return index.Listing(queues=queues, table=table, learned=learned)


def _out(args: argparse.Namespace, folder: Path, name: str) -> Path:
    """Return the file that a command is to write, tried before anything is computed."""
    from gadkit import store
    from gadkit.report import place

    path = args.out or place.of_dataset(folder) / name
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file in it")
    store.check_place(path.parent)
    return path


def _recommend(args: argparse.Namespace) -> None:
    from gadkit import datasets, recommend, store
    from gadkit.report import suspects

    folder = datasets.prepare(args.dataset)
    path = _out(args, folder, "recommended.csv")
    options = {"protocol": args.protocol, "network": args.network, "save": args.save}
    fitted = recommend.recommend(folder, **options)
    _print_learned(fitted)
    if args.save and fitted.is_calibrated:
        print(f"recipe    {folder / store.RECIPE}")
    evidence = suspects.evidence_of_recipe(fitted)
    suspects.write_suspects(path, _listing(args, folder, fitted.views.graph, evidence).table)
    print(f"suspects  {path}")


def _print_learned(fitted) -> None:
    """Say who is on a committee, or what a bag has learned from."""
    if not fitted.is_calibrated:
        for line in fitted.said():
            print(f"learned   {line}")
        return
    for member in fitted.candidates:
        seat = "on the committee" if member in fitted.members else ""
        print(f"validation AUPRC {member.val_auprc:.3f}  {member.name:45} {seat}".rstrip())


def _score(args: argparse.Namespace) -> None:
    from gadkit import datasets, store
    from gadkit.report import suspects

    folder = datasets.prepare(args.dataset)
    models = datasets.prepare(args.models) if args.models else folder
    path = _out(args, folder, "scored.csv")
    if not (models / store.RECIPE).is_file() and (models / store.GAT_CHECKPOINT).is_file():
        graph, evidence = _score_by_network(folder, models)
    else:
        graph, evidence = _score_by_recipe(folder, models)
    suspects.write_suspects(path, _listing(args, folder, graph, evidence).table)
    print(f"suspects  {path}")


def _score_by_recipe(folder: Path, models: Path) -> tuple:
    """Return the graph, and what a saved recipe says of it."""
    from gadkit import recommend, store
    from gadkit.report import suspects

    print(f"recipe    {models / store.RECIPE}")
    scored = recommend.score(folder, models)
    for subject, note in scored.notes:
        print(f"{subject:9} {note}")
    return scored.graph, suspects.evidence_of_scored(folder, scored, models=models)


def _score_by_network(folder: Path, models: Path) -> tuple:
    """Return the graph, and what the graph network says of it."""
    from gadkit import network, store
    from gadkit.report import suspects

    graph = store.load_graph(folder)
    suspects.check_same_features(folder, models)
    scores = network.score_graph(graph, models)
    print(f"network   {models / store.GAT_CHECKPOINT} alone: {models} has no recipe")
    print(f"          `gadkit recommend {models}` makes one, which mostly ranks better")
    return graph, suspects.evidence_of_models(folder, graph, scores, models=models)


def _export(args: argparse.Namespace) -> None:
    from gadkit import datasets, store
    from gadkit.report import suspects
    from gadkit.store import node_ids

    folder = datasets.prepare(args.dataset)
    graph = store.load_graph(folder)
    values = suspects.exported(folder, graph, args.what)
    names = node_ids.of_nodes(folder, graph)
    suspects.write_nodes(args.out, graph, values, node_types=args.type, names=names)
    print(f"{args.what:<9} {args.out}")


def _audit(args: argparse.Namespace) -> int:
    from gadkit import audit, datasets
    from gadkit.audit.finding import FAILED
    from gadkit.report import pages

    folder = datasets.prepare(args.dataset)
    out = _out(args, folder, "audit.html")
    findings = audit.from_folder(folder, protocol=args.protocol, progress=True)
    for finding in findings:
        print(f"{finding.verdict:8}  {finding.check:28} {finding.number}".rstrip())
        if finding.remedy:
            print(f"          {finding.detail} {finding.remedy}")
    subject = f"{folder.name}, protocol {args.protocol}"
    print(f"audit     {pages.write_audit(findings, out, subject=subject)}")
    return int(any(finding.verdict == FAILED for finding in findings))
