"""One page about a run: the suspects first, then a card for each executed notebook."""

import csv
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from gadkit.explain import cases
from gadkit.report import notebooks, pages, suspects

SUSPECTS_SHOWN = 20
SUMMARY_TAGS = {"table", "caption", "thead", "tbody", "tr", "th", "td"}
SUMMARY_TAGS |= {"p", "ul", "ol", "li", "strong", "b", "em", "i", "code", "pre", "br"}


def write_index(
    out: Path,
    executed: Sequence[Path],
    *,
    dataset: str,
    skipped: Sequence[Path] = (),
    why: str = "the dataset has none",
    learned: Sequence[str] = (),
) -> Path:
    """Write out/report/index.html: the suspects, and a card for each executed notebook.

    A card shows the notebook's first heading, the sentence under it, the figure of the cell tagged
    `key-figure` (else the first figure), and the output of the cell tagged `summary` (an HTML
    table, Markdown or text). The suspects are the first rows of out/suspects.csv, if that exists;
    where its column of scores says that no label was used, so does the page. Beside it stands
    cases.html, if one of the executed notebooks has made case cards. The pages need no other file
    and no network, and are the same for the same results.

    Args:
        out: the folder given to `run_notebooks`.
        executed: executed notebooks, in the order of the page.
        dataset: its name, the title of the page.
        skipped: notebooks that were not executed, for want of labels.
        why: they want them, in words.
        learned: lines about what the list was learned from, shown where it stands.

    Returns:
        The page's path.
    """
    cards = [_card(path) for path in executed]
    cards += [_card(path) | {"skipped": True} for path in skipped]
    page = pages.render(
        "report.html",
        dataset=dataset,
        cards=sorted(cards, key=lambda card: card["name"]),
        why=why,
        learned=learned,
        executed=[Path(path).stem for path in executed],
        suspects=_read_suspects(Path(out) / "suspects.csv"),
        num_cases=_write_cases(Path(out), executed, dataset),
    )
    return pages.write(Path(out) / "report" / "index.html", page)


def _write_cases(out: Path, executed: Sequence[Path], dataset: str) -> int:
    """Write out/report/cases.html, or delete it where nobody made cards; return their number."""
    page, kept = out / "report" / "cases.html", (out / cases.FILE).resolve()
    if not any(kept in notebooks.written_by(path) for path in executed) or not kept.is_file():
        page.unlink(missing_ok=True)
        return 0
    cards = cases.load(kept)
    pages.write(page, pages.case_page(cards, dataset=dataset, back="index.html"))
    return len(cards)


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

    html = ""  # of whoever wrote the notebook, or a table's cells: not to be trusted until `clean`
    for data in outputs:
        if "text/html" in data:
            html += re.sub(r"(?s)<style.*?</style>", "", data["text/html"])
        elif "text/markdown" in data:
            html += markdown2html(data["text/markdown"])
        elif pages.figure_url(data) is None:
            html += f"<pre>{bleach.clean(data['text/plain'], tags=[])}</pre>"
    html = re.sub(r'style="text-align: *right;?"', 'class="numeric"', html)
    attributes = ["class", "colspan", "rowspan", "scope"]
    return Markup(bleach.clean(html, tags=SUMMARY_TAGS, attributes=attributes, strip=True).strip())


def _read_suspects(path: Path) -> dict:
    """Return the first suspects as text, in columns of numbers and others.

    Cases that the model has learned from are passed over: nobody need look at them.
    """
    if not path.is_file():
        return {"columns": [], "rows": [], "href": "", "filtered": False, "unlabelled": False}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        names = next(reader)
        learned = names.index(suspects.LEARNED) if suspects.LEARNED in names else None
        rows = (row for row in reader if learned is None or row[learned] != "1")
        first = [*itertools.islice(rows, SUSPECTS_SHOWN)]
    unlabelled = suspects.UNLABELLED_SCORE in names
    left_out = {suspects.LEARNED, "label"} if unlabelled else {suspects.LEARNED}
    keep = [i for i, name in enumerate(names) if name not in left_out]
    names, rows = [names[i] for i in keep], [[row[i] for i in keep] for row in first]
    columns = [
        {"name": name.replace("_", " "), "numeric": all(_is_number(row[i]) for row in rows)}
        for i, name in enumerate(names)
    ]
    scores = [name in suspects.SCORE_NAMES for name in names]
    rows = [
        [_shorten(value) if score else value for value, score in zip(row, scores, strict=True)]
        for row in rows
    ]
    return {
        "columns": columns,
        "rows": rows,
        "href": f"../{path.name}",
        "filtered": learned is not None,
        "unlabelled": unlabelled,
    }


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?(e[-+]?\d+)?", text) is not None


def _shorten(text: str) -> str:
    """Round a number with many decimals such that a column of them lines up."""
    return f"{float(text):.6f}" if re.fullmatch(r"-?\d+\.\d{7,}", text) else text
