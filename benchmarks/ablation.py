"""What each element of the two detectors adds: one is taken away, or put in, at a time.

    python benchmarks/ablation.py GRAPH [--splits 2]   demo, a dataset folder, or a file to convert

The same splits for all rows, 40/20/40. The numbers go to docs/ablation.json, and the
page docs/ablation.md is made of them.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from tqdm import tqdm

from gadkit import datasets, network, store
from gadkit.evaluation import metrics, splits
from gadkit.evaluation.bootstrap import nested_paired_interval
from gadkit.evaluation.metrics import Interval
from gadkit.evaluation.splits import Detector
from gadkit.trees import recipe, views

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "docs" / "ablation.json"
PAGE = HERE.parent / "docs" / "ablation.md"

NETWORK = {  # what differs from `network.RECIPE`, which is the first row
    "the network's recipe, with embeddings": {},
    "without embeddings of stage 1": {"embeddings": False},
    "without features": {"features": False, "transform": "standard", "degrees": False},
    "without self/neighbor separation": {"residual": False},
    "without degrees": {"degrees": False},
    "without label input": {"label_input": False},
    "without dropout and weight decay": {"dropout": 0.0, "weight_decay": 0.0},
    "standardized, not quantile-normal": {"transform": "standard"},
    "with smoothness 0.5": {"smoothness": 0.5},
    "with band-pass inputs": {"bands": 2},
    "with class weight 3": {"pos_weight": 3.0},
    "with focal loss, gamma 2": {"focal_gamma": 2.0},
    "85 % of the edges dropped, none kept": {"drop_edge": 0.85, "keep_edges": 0.0},
}
PUBLISHED = "the published recipe: the defaults of finetune_gat"
ENSEMBLE = "three seeds of the recipe"
WIDEST = ("own", "hops", "structure", "labels", "bands")
TREES = {
    "boosted trees: own features, two hops, degrees, label rates, bands": WIDEST,
    "without bands": WIDEST[:4],
    "without label rates": ("own", "hops", "structure", "bands"),
    "without degrees and PageRank": ("own", "hops", "labels", "bands"),
    "without hops": ("own", "structure", "labels", "bands"),
    "with spread of the neighbors": (*WIDEST, "spread"),
    "with embeddings of stage 1": (*WIDEST, "embedding"),
    "own features alone": ("own",),
}


def detectors(graph, z, seen) -> dict[str, Detector]:
    """Return every row of the table."""
    found = {
        name: _network(z, network.RECIPE.replace(**options)) for name, options in NETWORK.items()
    }
    found[PUBLISHED] = _network(z, network.PUBLISHED)
    found[ENSEMBLE] = lambda graph, split: (
        network.train_ensemble(
            graph, z, split, seeds=(0, 1, 2), progress=False, **network.RECIPE._asdict()
        ).scores
    )
    for name, blocks in TREES.items():
        found[name] = recipe.table_detector(seen, blocks, "boosted trees")
    return found


def _network(z, options: network.Recipe) -> Detector:
    return lambda graph, split: (
        network.finetune_gat(graph, z, split, progress=False, **options._asdict()).scores
    )


def measure(source: str, num_splits: int) -> dict:
    """Train every row on every split, and compare it with the first of its kind."""
    folder = datasets.prepare(source)
    graph = store.load_graph(folder)
    z = network.train_gae(graph).z
    rows = detectors(graph, z, views.from_folder(folder, graph, z=z))
    cases: dict[str, list] = {name: [] for name in rows}
    for seed in splits.SEEDS[:num_splits]:
        split = splits.stratified(graph.labels, fractions=splits.FULL, seed=seed)
        ids, y_true = split.test.unbind(1)
        for name, detector in tqdm(rows.items(), desc=f"{folder.name}, split {seed}"):
            cases[name].append((ids, y_true, detector(graph, split)[ids].double()))
    return {"graph": folder.name, "splits": num_splits, "rows": dict(_compared(cases))}


def _compared(cases: dict[str, list]) -> Iterator[tuple[str, dict]]:
    for name, of in cases.items():
        first = next(iter(TREES if name in TREES else NETWORK))
        pairs = [(*a, b[2]) for a, b in zip(of, cases[first], strict=True)]
        change = nested_paired_interval(metrics.average_precision, pairs)
        values = [
            [function(y_true, y_score) for _, y_true, y_score in of]
            for function in (metrics.average_precision, metrics.roc_auc)
        ]
        auprc, auroc = torch.tensor(values).mean(1).tolist()
        yield name, {"auprc": auprc, "auroc": auroc, "change": None if name == first else change}


def page(found: dict) -> str:
    """Write the page."""
    lines = [
        "# What each element adds",
        "",
        f"Made by `python benchmarks/ablation.py {found['graph']} --splits {found['splits']}`:",
        f"{found['graph']}, split 40/20/40 at random, splits: {found['splits']}, one seed. AUPRC",
        "and AUROC of the test part in percent, and the change of AUPRC against the first row",
        "of the network or of the trees, with the interval over splits and nodes. Another split",
        "moves all rows by a point or two.",
        "",
        "| model | AUPRC | AUROC | change of AUPRC |",
        "| --- | --- | --- | --- |",
    ]
    for name, row in found["rows"].items():
        change = row["change"]
        text = format(Interval(*(100 * n for n in change)), "+.1f") if change else ""
        lines.append(f"| {name} | {100 * row['auprc']:.1f} | {100 * row['auroc']:.1f} | {text} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph")
    parser.add_argument("--splits", type=int, default=2)
    args = parser.parse_args()
    store.write_json(RESULTS, measure(args.graph, args.splits))
    with store.atomic_path(PAGE) as temporary:
        temporary.write_text(page(json.loads(RESULTS.read_text())), encoding="utf-8")
    print(f"results   {RESULTS}\npage      {PAGE}")


if __name__ == "__main__":
    main()
