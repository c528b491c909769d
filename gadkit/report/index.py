"""The report of a run, in the order of whoever has to act on it.

First what there is and how many frauds to expect, then the list and the cards, then how good it is
and what the audit says of that, and last the notebooks.
"""

import json
import re
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gadkit import store
from gadkit.audit import finding
from gadkit.datasets import describe
from gadkit.evaluation import budget
from gadkit.explain import cases
from gadkit.report import notebooks, pages, suspects
from gadkit.report.queue import JUDGED, Queue

SUSPECTS_SHOWN, CASES_SHOWN = 20, 5  # of each queue
LIST = "suspects.csv"
EVALUATION = "evaluation"  # tag of the notebook that says how good the list is
HIDDEN = ("node", "type", "id", suspects.LEARNED)  # columns of the list that the page leaves out

# What a check that did not pass means for whoever reads the cards.
_COLUMNS = "Do not act on a card for a column that it names: it may tell the verdict, not the deed."
_NUMBERS = "The cards stay as they are; the numbers of how good the list is may be too good."
_LABELS = (
    "Scores and cards may repeat verdicts that were given before: look for a reason of your own."
)
_EDGES = "The neighbors on a card may have little to do with its score: check them first."
MEANING = {
    "overlap": _NUMBERS,
    "base rates": "Probabilities, and the frauds to expect, are those of another share of fraud.",
    "node types": _NUMBERS,
    "duplicates": _NUMBERS,
    "same entity": _NUMBERS,
    "single column": _COLUMNS,
    "value artefact": _COLUMNS,
    "time column": _COLUMNS,
    "test labels in features": _LABELS,
    "own label in features": _LABELS,
    "label decoded from features": _LABELS,
    "future in features": "For new accounts the columns are poorer than those that were learned "
    "from: scores may be less sure than they look.",
    "test labels in scores": _LABELS,
    "permuted labels": _LABELS,
    "rewired edges": _EDGES,
    "half the edges": _EDGES,
    "shuffled nodes": _EDGES,
}


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The list of suspects of a run.

    Attributes:
        queues: one for each node type.
        table: columns of all of them, of `suspects.table_of`.
        learned: what scores that are an order alone were learned from, in lines.
    """

    queues: Sequence[Queue] = ()
    table: dict[str, np.ndarray] = field(default_factory=dict)
    learned: Sequence[str] = ()


def write_report(
    out: Path,
    executed: Sequence[Path],
    *,
    dataset: str,
    about: dict | None = None,
    listing: Listing | None = None,
    skipped: Sequence[Path] = (),
    why: str = "the dataset has none",
) -> Path:
    """Write the list out/suspects.csv and the report out/report/, both in one step at the end.

    Until then, and after an error, those of an earlier run are whole. The page index.html holds a
    table of the first suspects of each type, what the executed notebooks have left (case cards, the
    findings of the audit), and a card for each notebook: its first heading, the sentence under it,
    the figure of the cell tagged `key-figure` (else the first figure), and the output of the cell
    tagged `summary` (an HTML table, Markdown or text). The pages need no other file and no
    network, and are the same for the same results.

    Args:
        out: the folder given to `run_notebooks`.
        executed: executed notebooks, in the order of the page.
        dataset: its name, the title of the page.
        about: what `store.read_about` says of the dataset.
        listing: the list of suspects; none is written without.
        skipped: notebooks that were not executed, for want of labels.
        why: they want them, in words.

    Returns:
        The path of index.html.
    """
    out, listing = Path(out), listing or Listing()
    report = out / "report"
    with store.atomic_path(out / LIST) if listing.table else nullcontext() as path:
        if path:
            suspects.write_suspects(path, listing.table)
        with store.replacing(report) as folder:
            _write_pages(folder, out, executed, dataset, about or {}, listing, skipped, why)
    return report / "index.html"


def _write_pages(
    folder: Path,
    out: Path,
    executed: Sequence[Path],
    dataset: str,
    about: dict,
    listing: Listing,
    skipped: Sequence[Path],
    why: str,
) -> None:
    cards = [_card(path) for path in executed]
    cards += [_card(path) | {"skipped": True} for path in skipped]
    cards.sort(key=lambda card: card["name"])
    made = _made_cases(out, executed)
    findings = _findings(out, executed)
    page = pages.render(
        "report.html",
        dataset=dataset,
        why=why,
        facts=_facts(about),
        queues=[_shown(queue, listing.table, made or []) for queue in listing.queues],
        learned=listing.learned,
        href=f"../{LIST}",
        level=f"{budget.LEVEL:.0%}",
        cases=made,
        cases_shown=(made or [])[:CASES_SHOWN],
        findings=findings,
        meanings=list(dict.fromkeys(row["meaning"] for row in findings["concerns"])),
        evaluations=[card for card in cards if card["evaluates"] and not card["skipped"]],
        cards=[card for card in cards if not card["evaluates"] or card["skipped"]],
        executed=[Path(path).stem for path in executed],
    )
    pages.write(folder / "index.html", page)
    if made is not None:
        pages.write(
            folder / "cases.html", pages.case_page(made, dataset=dataset, back="index.html")
        )
    for path in executed:
        _write_notebook_page(Path(path), folder)


def _write_notebook_page(executed: Path, folder: Path) -> None:
    import nbformat

    page, target = notebooks.page_of(executed), folder / f"{executed.stem}.html"
    if page.is_file():
        shutil.copyfile(page, target)
    else:
        notebook = nbformat.read(executed, as_version=4)
        pages.write(target, pages.notebook_page(notebook, name=executed.stem))


def _left_by(out: Path, executed: Sequence[Path], name: str) -> Path | None:
    """Return a file of `out`, if one of the executed notebooks has written it."""
    path = (out / name).resolve()
    written = any(path in notebooks.written_by(notebook) for notebook in executed)
    return path if written and path.is_file() else None


def _made_cases(out: Path, executed: Sequence[Path]) -> list[dict] | None:
    path = _left_by(out, executed, cases.FILE)
    return None if path is None else cases.load(path)


def _findings(out: Path, executed: Sequence[Path]) -> dict:
    """Return how many checks of the audit came out how, and those that somebody has to look at."""
    path = _left_by(out, executed, finding.FILE)
    if path is None:
        return {"verdicts": {}, "concerns": [], "gravest": ""}
    audit = json.loads(path.read_text(encoding="utf-8"))
    concerns = [
        row for row in audit["findings"] if row["verdict"] in (finding.FAILED, finding.WARNING)
    ]
    concerns.sort(key=lambda row: row["verdict"] != finding.FAILED)
    return {
        "verdicts": {name: count for name, count in audit["verdicts"].items() if count},
        "concerns": [row | {"meaning": MEANING[row["check"]]} for row in concerns],
        "gravest": concerns[0]["verdict"] if concerns else "",
    }


def _facts(about: dict) -> list[dict]:
    """Return what ingest has said of the data: names, texts, and which are warnings."""
    facts = [
        {"name": name, "text": " ".join(cells), "warning": False}
        for name, cells in describe.rows_read(about).items()
    ]
    if "read" in about:
        from gadkit.ingest import labels, links, said

        lines = [line.partition(": ")[::2] for line in said.lines(about)]
        lines += [("link", line) for line in links.lines(about)]
        if "labels" in about:
            lines += [("labels", line) for line in labels.said(about["labels"])]
        for name, text in lines:
            facts.append({"name": " ".join(name.split()), "text": text, "warning": False})
        for text in said.warnings(about):
            facts.append({"name": "Look at this", "text": text, "warning": True})
    return facts


def _shown(queue: Queue, table: dict[str, np.ndarray], made: Sequence[dict]) -> dict:
    """Return what the page shows of a queue; rows of cases link to their cards."""
    rows = np.flatnonzero(table["type"] == queue.node_type)[: min(SUSPECTS_SHOWN, queue.size)]
    hidden = HIDDEN if "name" in table else [name for name in HIDDEN if name != "id"]
    names = [name for name in table if name not in hidden]
    if queue.listed != JUDGED:
        names = [name for name in names if name != "label"]
    why = {card["node"]: "; ".join(card["why"][:1]) for card in made}
    nodes = [int(table["node"][row]) for row in rows]
    return {
        "type": queue.node_type,
        "judged": queue.listed == JUDGED,
        "size": queue.size,
        "left_out": queue.left_out,
        "budget": queue.budget,
        "unlabelled": suspects.UNLABELLED_SCORE in table,
        "columns": [
            {"name": name.replace("_", " "), "numeric": table[name].dtype.kind in "iuf"}
            for name in names
        ],
        "explained": any(why.get(node) for node in nodes),
        "rows": [
            {
                "cells": [_text(name, table[name][row]) for name in names],
                "card": node if node in why else None,
                "why": why.get(node, ""),
            }
            for row, node in zip(rows.tolist(), nodes, strict=True)
        ],
    }


def _text(column: str, value: object) -> str:
    """Write a cell of the list such that a column of them lines up."""
    if value is np.ma.masked:
        return ""
    if column == "probability":  # never certain
        return "> 99%" if value > 0.99 else "< 1%" if value < 0.01 else f"{value:.0%}"
    return f"{value:.4f}" if isinstance(value, np.floating) else str(value)


def _card(path: Path) -> dict:
    """Return what the page shows of one executed notebook."""
    import nbformat

    cells = nbformat.read(path, as_version=4).cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    heading = pages.first_match(r"^# +(.+)$", text) or path.stem
    number, title = re.fullmatch(r"(?:(\d+)\. +)?(.*)", heading).groups()
    paragraph = pages.first_match(r"\A\s*# .+\n+([^#\n](?:.|\n(?!\n))*)", text) or ""
    figures = _figures(_outputs(cells, "key-figure")) or _figures(_outputs(cells))
    return {
        "name": path.stem,
        "skipped": False,
        "evaluates": any(EVALUATION in cell.metadata.get("tags", []) for cell in cells),
        "number": number,
        "title": title,
        "question": " ".join(paragraph.split()),
        "figure": figures[0] if figures else None,
        "numbers": _numbers(_outputs(cells, "summary")),
    }


def _outputs(cells: Sequence, tag: str | None = None) -> list[dict]:
    """Return the output of the cells with a tag, or of all, as dicts from MIME type to content."""
    tagged = [cell for cell in cells if tag is None or tag in cell.metadata.get("tags", [])]
    outputs = [output for cell in tagged for output in cell.get("outputs", [])]
    return [output.get("data", {"text/plain": output.get("text", "")}) for output in outputs]


def _figures(outputs: Sequence[dict]) -> list[str]:
    """Return figures of any format as URLs that hold them."""
    return [url for data in outputs if (url := pages.figure_url(data)) is not None]


def _numbers(outputs: Sequence[dict]) -> str:
    """Return outputs as HTML that is known to hold text and tables only."""
    import bleach
    from markupsafe import Markup
    from nbconvert.filters import markdown2html

    html = ""  # of whoever wrote the notebook, or a table's cells: not to be trusted until cleaned
    for data in outputs:
        if "text/html" in data:
            html += data["text/html"]
        elif "text/markdown" in data:
            html += markdown2html(data["text/markdown"])
        elif pages.figure_url(data) is None:
            html += f"<pre>{bleach.clean(data['text/plain'], tags=[])}</pre>"
    return Markup(pages.text_and_tables(html))
