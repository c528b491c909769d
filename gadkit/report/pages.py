"""Every template in one place: notebooks, the report's index, case cards and audits as HTML pages.

No page needs another file, a script or the network, and every text on it is escaped.
"""

import base64
import copy
import html
import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from gadkit import __version__, store
from gadkit.audit.finding import LEVEL, Finding, as_json, verdicts
from gadkit.evaluation.metrics import Interval
from gadkit.explain import cases

# JupyterLab's own look, less the scripts it would fetch from elsewhere (require.js, MathJax,
# Mermaid), with the figures' alt texts, which that template ignores, and links between the pages.
NOTEBOOK = """\
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block body_header -%}{{ super() }}
<p style="margin: 1rem; font: 14px sans-serif">
<a href="index.html">&larr; Report</a></p>{%- endblock -%}
"""
_FIGURE = """\
{%- block data_NAME scoped -%}
<div class="jp-RenderedImage jp-OutputArea-output"><img
 alt="{{ output | get_metadata('alt', 'KIND') | escape_html_keep_quotes }}"
 src="{{ output.data | figure_url }}"></div>{%- endblock -%}
"""
FIGURES = {"image/png": "png", "image/svg+xml": "svg", "image/jpeg": "jpg"}  # nbconvert's names
NOTEBOOK += "".join(
    _FIGURE.replace("NAME", name).replace("KIND", kind) for kind, name in FIGURES.items()
)


# What would be run, and what would be fetched by whoever opens a page.
_SCRIPT = re.compile(r"<script\b.*?(</script\s*>|\Z)", flags=re.IGNORECASE | re.DOTALL)
_FETCHED = re.compile(
    r"<(link|img|iframe|embed|object|video|audio|source|track|image|use)\b[^>]*?"
    r"\b(src|srcset|href|data|poster)\s*=\s*[\"']?\s*(https?:)?//"
    r"|@import|url\(\s*[\"']?\s*(https?:)?//",
    flags=re.IGNORECASE,
)
TEXT_TAGS = {"table", "caption", "thead", "tbody", "tr", "th", "td"}
TEXT_TAGS |= {"p", "ul", "ol", "li", "strong", "b", "em", "i", "code", "pre", "br"}
_ELSEWHERE = re.compile(  # a figure that Markdown fetches
    r"<img\b[^>]*?\bsrc=\"(?P<address>(https?:)?//[^\"]*)\"[^>]*>", flags=re.IGNORECASE
)
_SCRIPTED = ("application/javascript", "text/vnd.mermaid")
_STILL = "(shown by a script, in a running notebook only)"


def render(template: str, **values) -> str:
    """Fill in a template of the folder `templates`; it is an error to leave a name of it out."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(version=__version__, **values)


def write(path: Path, text: str) -> Path:
    """Write a text file such that nobody ever sees half of it; return its path."""
    with store.atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def notebook_page(executed, *, name: str) -> str:
    """Render an executed notebook (an `nbformat` node), its figures named by their headings.

    What needs a script or another site is left out: the figure beside it is shown, or its text.
    """
    from nbconvert import HTMLExporter

    class Exporter(HTMLExporter):
        def get_prefix_root_dirs(self) -> list[str]:
            return _templates() or super().get_prefix_root_dirs()

    heading = name
    for cell in executed.cells:
        if cell.cell_type == "markdown":
            heading = first_match(r"^#+ +(.+)$", cell.source) or heading
        for output in cell.get("outputs", []):
            for kind in FIGURES:
                if kind in output.get("data", {}):
                    output.metadata[kind] = {"alt": f"Figure: {heading}"}
    shown = copy.deepcopy(executed)
    for cell in shown.cells:
        for output in cell.get("outputs", []):
            if "data" in output:
                _hold_still(output.data)
    resources = {"metadata": {"name": name}}
    exporter = Exporter(raw_template=NOTEBOOK, filters={"figure_url": figure_url})
    page = exporter.from_notebook_node(shown, resources=resources)[0]
    return _ELSEWHERE.sub(r'<a href="\g<address>">(a figure elsewhere)</a>', page)


def _templates() -> list[str]:
    """Return where the templates lie that came with nbconvert, and not those of the user."""
    installed = importlib.metadata.files("nbconvert") or []
    place = "share/jupyter/nbconvert/templates/lab/index.html.j2"
    files = [file for file in installed if file.as_posix().endswith(place)]
    return [str(Path(file.locate()).resolve().parents[3]) for file in files]


def _hold_still(data: dict) -> None:
    """Leave out of the formats of an output those that need a script, or another site."""
    scripted = [kind for kind in _SCRIPTED if kind in data]
    markup = data.get("text/html", "")
    if _SCRIPT.search(markup) or _FETCHED.search(markup):
        scripted.append("text/html")
    for kind in scripted:
        del data[kind]
    if "text/html" in scripted and figure_url(data) is None:
        kept = text_and_tables(markup)
        if re.sub(r"<[^>]*>|\s", "", kept):
            data["text/html"] = kept
    if not {*FIGURES, "text/html", "text/markdown", "text/latex", "text/plain"} & {*data}:
        data["text/plain"] = _STILL


def text_and_tables(markup: str) -> str:
    """Return what a piece of HTML says: text and tables, and nothing that does or fetches."""
    import bleach

    markup = re.sub(r"(?is)<style\b.*?</style\s*>", "", _SCRIPT.sub("", markup))
    markup = re.sub(r'style="text-align: *right;?"', 'class="numeric"', markup)
    attributes = ["class", "colspan", "rowspan", "scope"]
    return bleach.clean(markup, tags=TEXT_TAGS, attributes=attributes, strip=True).strip()


def figure_url(data: Mapping[str, str]) -> str | None:
    """Return the figure among the formats of an output as a URL that holds it; None without one.

    As an image an SVG runs no script, and its ids are its own.
    """
    for kind in FIGURES:
        if kind in data:
            content = data[kind].replace("\n", "")
            if kind == "image/svg+xml":
                content = base64.b64encode(data[kind].encode()).decode()
            return f"data:{kind};base64,{content}"
    return None


def first_match(pattern: str, text: str) -> str | None:
    """Return the first group of a pattern's first match, stripped; ^ and $ match at lines."""
    match = re.search(pattern, text, flags=re.MULTILINE)
    return match.group(1).strip() if match else None


def case_page(cards: Sequence[dict], *, dataset: str, back: str | None = None) -> str:
    """Render case cards.

    Args:
        cards: of `gadkit.explain.cases.build`.
        dataset: its name, in the title.
        back: where a link on top leads; none if None.
    """
    return render("cases.html", cases=cards, dataset=dataset, back=back, level=cases.LEVEL)


def case_frame(cards: Sequence[dict], *, dataset: str, height: int = 1000) -> str:
    """Return `case_page` in a frame, to be shown within a notebook; height in pixels."""
    content = html.escape(case_page(cards, dataset=dataset))
    style = f"width: 100%; height: {height}px; border: 0"
    return f'<div><iframe title="Case cards" style="{style}" srcdoc="{content}"></iframe></div>'


def write_audit(findings: Sequence[Finding], path: Path | str, *, subject: str = "") -> Path:
    """Write the findings as a page that needs no other file, and as JSON beside it.

    Args:
        findings: of `audit`.
        path: of the page, such as build/demo/audit.html; the JSON has the suffix .json.
        subject: what was audited, the title of the page.

    Returns:
        The path of the page.
    """
    page = render(
        "audit.html",
        subject=subject,
        findings=findings,
        counts=verdicts(findings),
        places={finding.check: _places(finding) for finding in findings},
        level=f"{LEVEL:.0%}",
    )
    store.write_json(Path(path).with_suffix(".json"), as_json(findings, subject=subject))
    return write(Path(path), page)


def _places(finding: Finding) -> dict[str, float] | None:
    """Where number, ends and expectation lie on a line from -0.2 to 1, in percent of its length.

    Counts and ratios have no place there.
    """
    if not isinstance(finding.value, Interval) or finding.expected == 1:
        return None
    marks = finding.value._asdict() | {"expected": finding.expected}
    return {name: round(100 * (max(mark, -0.2) + 0.2) / 1.2, 2) for name, mark in marks.items()}
