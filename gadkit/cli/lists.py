"""What ends in a list: run the notebooks, open them, recommend, score, export, audit."""

import argparse
import sys
from pathlib import Path

from gadkit.cli import needs

AUDIT_OUT = "a page, and the same as .json beside it; default: build/DATASET/audit.html"
DATASET_HELP = (
    "a dataset folder, a file to convert, or small, demo, full, demo_shop (default: demo)"
)
PROTOCOL_HELP = (
    "how labels are split: demo, full, tenth, few, official, temporal, new_TYPE; default: demo"
)
LIST_HELP = "CSV, or .parquet, .xlsx; default: build/DATASET/{}"
BUDGET_HELP = "accounts somebody can look at: how many frauds to expect there (default: 50)"
CARDS_HELP = "a page of case cards; default: build/DATASET/{}, none if --out is given alone"
KNOWN_HELP = "list accounts with a label too, below the new ones"


def fail(message: object) -> int:
    """Say what went wrong; return the exit status."""
    print(f"gadkit: {message}", file=sys.stderr)
    return 1


def add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", nargs="?", default="demo", help=DATASET_HELP)
    parser.add_argument("--out", type=Path, help="default: build/DATASET")
    parser.add_argument("--force", action="store_true", help="execute even what is up to date")
    _add_listing(parser)
    parser.set_defaults(command=_run)


def _add_listing(parser: argparse.ArgumentParser) -> None:
    """Add what every command takes that writes a list of suspects."""
    parser.add_argument("--budget", type=_count, default=50, metavar="N", help=BUDGET_HELP)
    parser.add_argument("--with-known", action="store_true", help=KNOWN_HELP)
    needs.add_anyway(parser)


def _count(text: str) -> int:
    """Read a number of accounts; argparse shows the message."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of accounts; give 1 or more")
    return int(text)


def add_lab(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", nargs="?", default="demo", help=DATASET_HELP)
    parser.add_argument("jupyter", nargs="*", help="after --, options of jupyter lab")
    parser.set_defaults(command=_lab)


def add_score(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", nargs="?", default="demo", help=DATASET_HELP)
    parser.add_argument("--models", help="dataset whose recipe to use (default: the same)")
    parser.add_argument("--out", type=Path, help=LIST_HELP.format("scored.csv"))
    parser.add_argument("--cards", type=Path, help=CARDS_HELP.format("scored.html"))
    parser.add_argument("--top", type=_count, help="list this many of each type only")
    _add_listing(parser)
    parser.set_defaults(command=_score)


def add_recommend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", nargs="?", default="demo", help=DATASET_HELP)
    parser.add_argument("--protocol", default="demo", help=PROTOCOL_HELP)
    slow = "train the graph network too; takes several times as long as the trees"
    parser.add_argument("--network", action="store_true", help=slow)
    kept = "leave no recipe and no scores in the dataset folder"
    parser.add_argument("--no-save", dest="save", action="store_false", help=kept)
    parser.add_argument("--out", type=Path, help=LIST_HELP.format("recommended.csv"))
    parser.add_argument("--cards", type=Path, help=CARDS_HELP.format("recommended.html"))
    parser.add_argument("--top", type=_count, help="list this many of each type only")
    _add_listing(parser)
    parser.set_defaults(command=_recommend)


def add_export(parser: argparse.ArgumentParser) -> None:
    from gadkit.report import suspects

    parser.add_argument("dataset", help="a dataset folder, or its name")
    parser.add_argument("--out", type=Path, required=True, help=".parquet, .csv or .xlsx")
    what = "default: scores, of the recipe; network: its scores; stage1: made without labels"
    parser.add_argument("--what", choices=suspects.EXPORTS, default="scores", help=what)
    parser.add_argument("--type", action="append", help="of this node type only; may be repeated")
    parser.set_defaults(command=_export)


def add_audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", nargs="?", default="demo", help=DATASET_HELP)
    parser.add_argument("--protocol", default="demo", help=PROTOCOL_HELP)
    parser.add_argument("--out", type=Path, help=AUDIT_OUT)
    needs.add_anyway(parser)
    parser.set_defaults(command=_audit)


def _run(args: argparse.Namespace) -> int | None:
    # Before anything heavy is imported: an empty terminal looks like a command that hangs.
    print(f"run       {args.dataset}: the notebooks, then the list and the report", flush=True)
    from gadkit import datasets, network, recommend, store
    from gadkit.evaluation import splits
    from gadkit.report import index, notebooks, place, suspects

    needs.check(args, needs.of_run, args.dataset)
    folder = datasets.prepare(args.dataset)
    graph = store.load_graph(folder)
    network.check_trainable(graph)  # now, and not after minutes of training
    too_few = None if graph.labels is None else splits.too_few(graph.labels)
    labelled = graph.labels is not None and not too_few
    told = {"why": too_few} if too_few else {}
    out = args.out or place.of_dataset(folder)
    place.check_room(folder, graph, out)
    print(f"pages     {out / 'pages'}  (each with its figures, when its notebook ends)", flush=True)
    try:
        executed = notebooks.run_notebooks(
            folder, out=out, force=args.force, labelled=labelled, **told
        )
    except notebooks.NotebookError as error:
        return fail(error)
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


def _cards_out(args: argparse.Namespace, path: Path) -> Path | None:
    """Return the page of cards that a command is to write beside a list, tried as well."""
    from gadkit import store

    page = args.cards or (None if args.out else path.with_suffix(".html"))
    if page is not None:
        if page.is_dir():
            raise ValueError(f"{page} is a folder; name a file in it")
        store.check_place(page.parent)
    return page


def _write_cards(page: Path | None, folder: Path, make) -> None:
    """Write the cards that `make` makes, unless there is no page or nobody to look at."""
    from gadkit.report import pages

    cards = [] if page is None else make()
    if cards:
        pages.write(page, pages.case_page(cards, dataset=folder.name))
        print(f"cards     {page}  (why the first {len(cards)} are on the list)")


def _recommend(args: argparse.Namespace) -> None:
    from gadkit import datasets, recommend, store
    from gadkit.report import cards, suspects

    needs.check(args, needs.of_both if args.network else needs.of_recommend, args.dataset)
    folder = datasets.prepare(args.dataset)
    path = _out(args, folder, "recommended.csv")
    page = _cards_out(args, path)
    options = {"protocol": args.protocol, "network": args.network, "save": args.save}
    fitted = recommend.recommend(folder, **options)
    _print_learned(fitted)
    if args.save and fitted.is_calibrated:
        print(f"recipe    {folder / store.RECIPE}")
    evidence = suspects.evidence_of_recipe(fitted)
    listing = _listing(args, folder, fitted.views.graph, evidence)
    suspects.write_suspects(path, listing.table)
    print(f"suspects  {path}")
    _write_cards(page, folder, lambda: cards.of_fitted(folder, fitted, listing.queues))
    print(f"next      gadkit run {args.dataset}  (the whole report: how good, audit, notebooks)")
    if args.save and fitted.is_calibrated:
        print(f"          gadkit score NEXT --models {args.dataset}  (a later export, same recipe)")


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
    from gadkit.report import cards, suspects

    needs.check(args, needs.of_score, args.dataset, *([args.models] if args.models else []))
    folder = datasets.prepare(args.dataset)
    models = datasets.prepare(args.models) if args.models else folder
    path = _out(args, folder, "scored.csv")
    page = _cards_out(args, path)
    by_recipe = (models / store.RECIPE).exists() or not (models / store.GAT_CHECKPOINT).is_file()
    if by_recipe:
        scored, evidence = _score_by_recipe(folder, models)
        graph = scored.graph
    else:
        graph, evidence = _score_by_network(folder, models)
    listing = _listing(args, folder, graph, evidence)
    suspects.write_suspects(path, listing.table)
    print(f"suspects  {path}")
    if by_recipe:
        _write_cards(
            page, folder, lambda: cards.of_scored(folder, scored, listing.queues, models=models)
        )


def _score_by_recipe(folder: Path, models: Path) -> tuple:
    """Return what a saved recipe says of the graph of a folder, and what that is worth."""
    from gadkit import recommend, store
    from gadkit.report import suspects

    print(f"recipe    {models / store.RECIPE}")
    scored = recommend.score(folder, models)
    for subject, note in scored.notes:
        print(f"{subject:9} {note}")
    evidence = suspects.evidence_of_scored(scored)
    if len(evidence.held_out[:, 1].unique()) < 2:
        print(
            f"odds      cannot be known: {folder} has no labels of both kinds that the recipe has "
            "not seen, and those that it learned from say nothing of other events; review some of "
            "this list, and ingest again with --labels"
        )
    return scored, evidence


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

    needs.check(args, needs.of_audit, args.dataset)
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
