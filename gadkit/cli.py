"""The command `gadkit`: events in, notebooks run, models applied, scores out."""

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

from gadkit import __version__, audit, datasets, ingest, network, store
from gadkit.audit import data
from gadkit.graph import HeteroGraph
from gadkit.ingest import columns
from gadkit.published import library
from gadkit.report import notebooks, suspects
from gadkit.store import node_ids, tables
from gadkit.trees import baselines, recipe

AUDIT_OUT = "a page, and the same as .json beside it; default: build/audit.html"
DATASET_HELP = "a dataset folder, a file to convert, or small, demo, full (default: demo)"
SCORES = {"scores": store.RECIPE_SCORES, "network": store.GAT_SCORES}
EMBEDDINGS = {"embeddings": store.GAT_EMBEDDINGS, "stage1": store.GAE_EMBEDDINGS}


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status.

    It is 1 after an error that the user can mend, and after an audit with a failed check.
    """
    args = _parser().parse_args(argv)
    try:
        return args.command(args) or 0
    except (ValueError, TypeError, OSError, notebooks.NotebookError) as error:
        print(f"gadkit: {error}", file=sys.stderr)
        return 1
    except ImportError as error:
        print(
            f"gadkit: {error}; install what the notebooks need: pip install -e .[lab]",
            file=sys.stderr,
        )
        return 1
    except (MemoryError, RecursionError) as error:
        print(f"gadkit: {type(error).__name__}: too large, or damaged; {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("gadkit: stopped; nothing is half written, run it again to go on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gadkit", description=__doc__)
    parser.add_argument("--version", action="version", version=f"gadkit {__version__}")
    commands = parser.add_subparsers(required=True)

    _add_ingest(commands.add_parser("ingest", help="make a dataset folder of a table of events"))

    run = commands.add_parser("run", help="execute the notebooks, write report and suspects")
    run.add_argument("dataset", nargs="?", default="demo", help=DATASET_HELP)
    run.add_argument("--out", type=Path, default=Path("build"), help="default: build")
    run.add_argument("--force", action="store_true", help="execute even what is up to date")
    run.set_defaults(command=_run)

    score = commands.add_parser("score", help="rank the nodes of a dataset with trained models")
    score.add_argument("dataset", nargs="?", default="demo", help=DATASET_HELP)
    score.add_argument("--models", help="dataset whose models to use (default: the same)")
    where = "CSV, or .parquet; default: suspects.csv"
    score.add_argument("--out", type=Path, default=Path("suspects.csv"), help=where)
    score.add_argument("--top", type=int, help="list this many only")
    score.set_defaults(command=_score)

    known = "how labels are split: demo, full, few, official, temporal, new_TYPE; default: demo"
    recommend = commands.add_parser("recommend", help="rank by the recipe alone, in one step")
    recommend.add_argument("dataset", nargs="?", default="demo", help=DATASET_HELP)
    recommend.add_argument("--protocol", default="demo", help=known)
    slow = "train the graph network too; takes several times as long as the trees"
    recommend.add_argument("--network", action="store_true", help=slow)
    recommend.add_argument("--out", type=Path, default=Path("suspects.csv"), help=where)
    recommend.add_argument("--top", type=int, help="list this many only")
    recommend.set_defaults(command=_recommend)

    export = commands.add_parser("export", help="write what the models say of every node")
    export.add_argument("dataset", help="a dataset folder, or its name")
    export.add_argument("--out", type=Path, required=True, help=".parquet or .csv")
    what = "default: scores, of the recipe; network: its scores; stage1: made without labels"
    export.add_argument("--what", choices=[*SCORES, *EMBEDDINGS], default="scores", help=what)
    export.add_argument("--type", action="append", help="of this node type only; may be repeated")
    export.set_defaults(command=_export)

    audited = commands.add_parser("audit", help="look for what would make a result untrue")
    audited.add_argument("dataset", nargs="?", default="demo", help=DATASET_HELP)
    audited.add_argument("--protocol", default="demo", help=known)
    audited.add_argument("--out", type=Path, default=Path("build/audit.html"), help=AUDIT_OUT)
    audited.set_defaults(command=_audit)

    _add_data_commands(commands.add_parser("data", help="list, get and add published data sets"))
    return parser


def _add_ingest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("events", type=Path, help="CSV, JSON lines (both also .gz) or Parquet")
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument("--products", type=Path, metavar="TABLE", help="names sellers of products")
    parser.add_argument("--labels", type=Path, metavar="TABLE", help="ids and verdicts")
    for role in columns.ROLES:
        help = "column, '' for none; else guessed"
        if role in (*columns.NODE_TYPES, "time"):
            help += "; repeat to join several"
        parser.add_argument(f"--{role}", action="append", metavar="COL", help=help)
    parser.add_argument("--no-guess", action="store_true", help="use the columns named here only")
    parser.add_argument("--time-format", metavar="FORMAT", help="as strptime has it: %%d.%%m.%%Y")
    parser.add_argument(
        "--encoding", choices=tables.ENCODINGS, default="utf-8", help="of all tables"
    )
    cap = f"links per purchase to the next ones of its product (default: {ingest.CO_PURCHASE_CAP})"
    parser.add_argument("--co-purchase-cap", type=int, default=ingest.CO_PURCHASE_CAP, help=cap)
    parser.set_defaults(command=_ingest)


def _ingest(args: argparse.Namespace) -> None:
    given = {role: getattr(args, role) for role in columns.ROLES if getattr(args, role)}
    given = {role: [name for name in names if name] for role, names in given.items()}
    if args.no_guess:
        given = dict.fromkeys(columns.ROLES, ()) | given
    found = tables.columns_of(args.events, encoding=args.encoding)
    with store.errors_about(args.events):
        roles = columns.guess_roles(found, given)
    for role, names in roles.items():
        print(f"{role:9} {', '.join(names)}{'' if given.get(role) else '  (guessed)'}")
    ignored = [name for name in found if not any(name in names for names in roles.values())]
    print(f"not used  {', '.join(ignored) or 'no column'}")
    folder = ingest.ingest(
        args.events, args.out, roles=roles | dict.fromkeys(set(columns.ROLES) - set(roles), ()),
        products=args.products, labels=args.labels, co_purchase_cap=args.co_purchase_cap,
        time_format=args.time_format, encoding=args.encoding,
    )  # fmt: skip
    about = store.read_about(folder)
    for name, rows in {args.events.name: about["rows"], **about.get("tables", {})}.items():
        print(f"{name}: {rows['read']:,} rows read, {rows['used']:,} used")
        for reason, count in rows["unused"].items():
            print(f"  {count:,} not used: {reason}")
    print(f"every row not used is listed in {folder / ingest.UNUSED}")
    print(f"dataset   {folder}")


def _add_data_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True)

    known = commands.add_parser("list", help="what there is, or all about one")
    known.add_argument("name", nargs="?")
    known.set_defaults(command=_data_list)

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
    rows = library.describe(args.name) if args.name else library.table()
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numbers = {"nodes", "edges"} if not args.name else set()
    for row in rows:
        cells = zip(rows[0], row, widths, strict=True)
        texts = (t.rjust(w) if name in numbers else t.ljust(w) for name, t, w in cells)
        print("  ".join(texts).rstrip())


def _data_get(args: argparse.Namespace) -> None:
    _print_terms(datasets.get(args.name, positive=args.positive))


def _data_add(args: argparse.Namespace) -> None:
    options = {"positive": args.positive, "as_name": args.as_name, "unchecked": args.unchecked}
    _print_terms(datasets.add(args.name, args.path, **options))


def _print_terms(folder: Path) -> None:
    about = store.read_about(folder)
    print(f"dataset   {folder}")
    if "license" in about:  # a file of the user's own says nothing
        print(f"license   {about['license']}")
        print(f"cite      {about['citation']}")


def _run(args: argparse.Namespace) -> None:
    folder = datasets.prepare(args.dataset)
    graph = store.load_graph(folder)
    network.check_trainable(graph)  # now, and not after minutes of training
    labelled = graph.labels is not None
    executed = notebooks.run_notebooks(folder, out=args.out, force=args.force, labelled=labelled)
    if labelled:
        scores = store.load_array(folder, store.RECIPE_SCORES, rows=graph.total)
        _write_suspects(args.out / "suspects.csv", folder, graph, scores, models=folder)
    else:
        _write_unusual(args.out / "suspects.csv", folder, graph)
    skipped = [] if labelled else notebooks.needing_labels()
    page = notebooks.write_index(args.out, executed, dataset=folder.name, skipped=skipped)
    print(f"report    {page}")


def _recommend(args: argparse.Namespace) -> None:
    folder = datasets.prepare(args.dataset)
    found = recipe.recommend(folder, protocol=args.protocol, network=args.network)
    for member in found.candidates:
        seat = "on the committee" if member in found.members else ""
        print(f"validation AUPRC {member.val_auprc:.3f}  {member.name:45} {seat}".rstrip())
    graph = found.views.graph
    suspects.write_suspects(
        args.out,
        graph,
        found.scores.nan_to_num(0.0),
        node_types=found.views.types,
        top=args.top,
        names=node_ids.of_nodes(folder, graph),
        learned_from=torch.cat([part[:, 0] for part in found.split[:2]]),
        planted=datasets.planted_names(folder),
    )
    print(f"suspects  {args.out}")


def _score(args: argparse.Namespace) -> None:
    folder = datasets.prepare(args.dataset)
    models = datasets.prepare(args.models) if args.models else folder
    graph = store.load_graph(folder)
    _check_same_features(folder, models)
    scores = network.score_graph(graph, models)
    _write_suspects(args.out, folder, graph, scores, models=models, top=args.top)


def _check_same_features(folder: Path, models: Path) -> None:
    """Refuse models that learned from other columns; as many of them is not enough."""
    ours, theirs = (store.read_about(one).get("features", {}) for one in (folder, models))
    for node_type in ours.keys() & theirs.keys():
        for column, pair in enumerate(zip(ours[node_type], theirs[node_type], strict=False)):
            if pair[0] != pair[1]:
                raise ValueError(
                    f"feature {column} of a {node_type} is {pair[0]} in {folder}, but the models "
                    f"in {models} have learned from {pair[1]}; make both of tables with the same "
                    "roles"
                )


def _write_suspects(
    path: Path, folder: Path, graph: HeteroGraph, scores: Tensor, *, models: Path, top=None
) -> None:
    """List the node types that the models were taught about."""
    best = store.load_checkpoint(models / store.GAT_CHECKPOINT)
    suspects.write_suspects(
        path,
        graph,
        scores,
        node_types=best["labelled_types"],
        top=top,
        names=node_ids.of_nodes(folder, graph),
        learned_from=best["learned_from"] if models == folder else None,
        planted=datasets.planted_names(folder),
    )
    print(f"suspects  {path}")


def _write_unusual(path: Path, folder: Path, graph: HeteroGraph) -> None:
    """List the first node type by the first stage alone, which needs no labels."""
    suspects.write_suspects(
        path,
        graph,
        baselines.stage1_scores(graph, folder),
        node_types=graph.node_types[:1],
        names=node_ids.of_nodes(folder, graph),
        planted=datasets.planted_names(folder),
        score=suspects.UNLABELLED_SCORE,
    )
    print(f"suspects  {path} (ranked without labels: what the first stage cannot explain)")


def _export(args: argparse.Namespace) -> None:
    folder = datasets.prepare(args.dataset)
    graph = store.load_graph(folder)
    if args.what in EMBEDDINGS:
        values = {"z": store.load_array(folder, EMBEDDINGS[args.what], rows=graph.total)}
    elif graph.labels is not None:
        values = {suspects.SCORE: store.load_array(folder, SCORES[args.what], rows=graph.total)}
    else:
        values = {suspects.UNLABELLED_SCORE: baselines.stage1_scores(graph, folder)}
    names = node_ids.of_nodes(folder, graph)
    suspects.write_nodes(args.out, graph, values, node_types=args.type, names=names)
    print(f"{args.what:<9} {args.out}")


def _audit(args: argparse.Namespace) -> int:
    folder = datasets.prepare(args.dataset)
    findings = audit.of_folder(folder, protocol=args.protocol, progress=True)
    for one in findings:
        print(f"{one.verdict:8}  {one.check:28} {one.number}".rstrip())
        if one.remedy:
            print(f"          {one.detail} {one.remedy}")
    subject = f"{folder.name}, protocol {args.protocol}"
    print(f"audit     {audit.write(findings, args.out, subject=subject)}")
    return int(any(one.verdict == data.FAILED for one in findings))
