"""`gadkit match`: places that look like the surroundings of a suspect."""

import argparse
from pathlib import Path

from gadkit.cli import needs
from gadkit.cli.lists import DATASET_HELP

LIKE_HELP = "id of a suspect, as in the events; its number where the dataset keeps no ids"
OUT_HELP = "a figure of the places; default: build/DATASET/match.png"


def add_match(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", help=DATASET_HELP)
    parser.add_argument("--like", required=True, metavar="ID", help=LIKE_HELP)
    parser.add_argument("--type", help="node type of the id, where two types have it")
    parser.add_argument("--hops", type=int, default=2, help="how far around to look (default: 2)")
    most = "nodes to look for together, the suspect's (default: 12)"
    parser.add_argument("--nodes", type=int, default=12, help=most)
    parser.add_argument("--top", type=int, default=20, help="places to list (default: 20)")
    parser.add_argument("--out", type=Path, help=OUT_HELP)
    needs.add_anyway(parser)
    parser.set_defaults(command=_match)


def _match(args: argparse.Namespace) -> None:
    from gadkit import datasets, match, store
    from gadkit.report import place
    from gadkit.store import node_ids

    needs.check(args, needs.of_match, args.dataset)
    folder = datasets.prepare(args.dataset)
    graph = store.load_graph(folder)
    ids = node_ids.of_nodes(folder, graph)
    node = node_ids.node_called(graph, ids, args.like, node_type=args.type)
    scored = (folder / store.RECIPE_SCORES).exists()
    scores = store.load_array(folder, store.RECIPE_SCORES, rows=graph.total) if scored else None
    if scored:  # 0 for types without labels
        scores = scores.masked_fill(scores == 0, float("nan"))
    options = {"hops": args.hops, "max_nodes": args.nodes, "k": args.top}
    alike = match.look_alikes(graph, node, scores=scores, **options)

    def names(nodes) -> list[str]:
        called = match.named(graph, nodes)
        return [
            (ids is not None and ids[n]) or f"{t} {i}"
            for n, (t, i) in zip(nodes, called, strict=True)
        ]

    print(f"pattern   {', '.join(names(alike.nodes))}")
    told = (
        "degrees, and scores of the recipe" if scored else "degrees; `gadkit recommend` adds scores"
    )
    print(f"by        {told}")
    for rank, each in enumerate(alike.places, start=1):
        missing = f"{int(each.missing.sum())} of {len(each.missing)} edges missing"
        print(f"{rank:7}   mismatch {each.mismatch:.2f}, {missing}: {', '.join(names(each.nodes))}")
    for note in alike.result.notes:
        print(f"note      {note}")
    out = args.out or place.of_dataset(folder) / "match.png"
    match.draw.save_places(out, graph, alike, names)
    print(f"figure    {out}")
