"""What is kept of the outputs of cells: the same bytes in every run, and what a page can show.

Warnings are evidence and stay; progress bars, widgets, addresses in memory and random ids go.
"""

import re
from collections.abc import Callable, Sequence

WIDGET = "application/vnd.jupyter.widget-view+json"  # shown by a script of another site, if at all

_CURSOR = re.compile(r"\x1b\[\d*[A-HJK]")  # bars below each other move up and down
_BAR = re.compile(r"\d+%\||\[\d+:\d\d")  # a share and its bar, or the time it has taken
_ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,16}(?=>|&gt;)")
_CELL_FILE = re.compile(r"[^\s\"'(]*[/\\]ipykernel_\d+[/\\]\d+\.py")  # where IPython keeps a cell
_ID = re.compile(r"""\bid=["']?([\w:.-]+)""")
_RANDOM = re.compile(  # pandas' Styler; a UUID; one without hyphens
    r"(?<![0-9a-zA-Z])T_[0-9a-f]{5,32}(?![0-9a-zA-Z])"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])"
)


class Stderr:
    """What a cell says on stderr besides its progress bars, which tell the time.

    A bar is drawn over itself: it begins with a carriage return, is sent at once, and so ends where
    the piece of text does, or at a newline.
    """

    def __init__(self):
        self._after_bar = False

    def keep(self, text: str) -> str:
        """Take the next piece of text; return what of it is no bar."""
        plain, *drawn = _CURSOR.sub("", text.replace("\r\n", "\n")).split("\r")
        kept = [plain.removeprefix("\n") if self._after_bar else plain]
        self._after_bar = self._after_bar and plain == ""
        for piece in drawn:
            line, newline, rest = piece.partition("\n")
            self._after_bar = not newline
            if newline and line.strip() and not _BAR.search(line):
                kept.append(line + newline)  # written over a bar that was wiped away for it
            kept.append(rest)
        return "".join(kept)


def tidy(notebook) -> None:
    """Rid the outputs of a notebook (an `nbformat` node) of what changes from run to run."""
    names: dict[str, str] = {}  # of random ids, in the order of the notebook
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _merged(cell.outputs)
            for output in cell.outputs:
                _tidy_output(output, names)


def _merged(outputs: Sequence) -> list:
    """Join what was printed between two other outputs, which the clock cuts into pieces."""
    merged, streams = [], {}
    for output in outputs:
        if output.output_type != "stream":
            merged.extend(streams[name] for name in sorted(streams, reverse=True))
            merged.append(output)
            streams = {}
        elif output.name in streams:
            streams[output.name].text += output.text
        else:
            streams[output.name] = output
    merged.extend(streams[name] for name in sorted(streams, reverse=True))  # stdout, stderr
    return merged


def _tidy_output(output, names: dict[str, str]) -> None:
    if output.output_type == "stream":
        output.text = _without_places(output.text)
        return
    if output.output_type == "error":  # of a cell that is meant to raise
        output.evalue = _without_places(output.evalue)
        output.traceback = [_without_places(part) for part in output.traceback]
        return
    data = output.get("data", {})
    if WIDGET in data:
        del data[WIDGET]
        if not data:
            data["text/plain"] = "(a widget, which only a running notebook can show)"
    for kind, value in data.items():
        if isinstance(value, str) and (kind.startswith("text/") or kind == "image/svg+xml"):
            data[kind] = _with_names(_without_places(value), names)


def _without_places(text: str) -> str:
    """Leave out addresses in memory, and where on the disk a cell lay."""
    return _CELL_FILE.sub("<cell>", _ADDRESS.sub("at 0x...", text))


def _with_names(html: str, names: dict[str, str]) -> str:
    """Give random ids of elements numbers in place of what was drawn; other text stays."""
    for drawn in (match for name in _ID.findall(html) for match in _RANDOM.findall(name)):
        if drawn not in names:
            names[drawn] = _numbered(drawn)(len(names) + 1)
    for drawn, name in names.items():
        html = html.replace(drawn, name)
    return html


def _numbered(drawn: str) -> Callable[[int], str]:
    """Return what makes an id of the same form out of a number."""
    if drawn.startswith("T_"):
        return "T_{:05x}".format
    if "-" in drawn:
        return "{:08x}-0000-4000-8000-000000000000".format
    return "{:032x}".format
