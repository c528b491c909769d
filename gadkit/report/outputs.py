"""What is kept of the outputs of cells: the same bytes in every run, and what a page can show.

Warnings are evidence and stay; progress bars, widgets, addresses in memory and random ids go.
"""

import re
from collections.abc import Callable, Mapping, Sequence

WIDGET = "application/vnd.jupyter.widget-view+json"  # shown by a script of another site, if at all
_STATES = "application/vnd.jupyter.widget-state+json"
_CURSOR = re.compile(r"\x1b\[\d*[A-HJK]")  # bars below each other move up and down
_BAR = re.compile(r"\d%\||\[\d+:\d\d")  # a share and its bar, or the time it has taken
_ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,16}(?=>|&gt;)")
_THREAD = re.compile(r"(?<=Exception in thread )Thread-\d+")  # others begin when they do
_CELL_FILE = re.compile(
    r"(?<![^\s\"'(])[^\s\"'(]*[/\\]ipykernel_\d+[/\\]\d+\.py"
)  # where IPython keeps a cell
_ID = re.compile(r"""\bid=["']?([\w:.-]+)""")
_ID_IN_SCRIPT = re.compile(  # as Bokeh's name documents and their places
    r"""(?:getElementById\(\s*|"docid":\s*|"roots":\s*\{"\w+":\s*)["']([\w:.-]+)"""
)
_SCRIPTS = ("application/javascript", "application/vnd.bokehjs")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_RANDOM = re.compile(  # pandas' Styler; a UUID; one without hyphens
    r"(?<![0-9a-zA-Z])T_[0-9a-f]{5,32}(?![0-9a-zA-Z])"
    rf"|{_UUID.pattern}"
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
    states = notebook.metadata.pop("widgets", {}).get(_STATES, {}).get("state", {})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            shown = [each for output in cell.outputs for each in _caught(output, states)]
            cell.outputs = _merged([output for output in shown if not _is_bar(output)])
            for output in cell.outputs:
                _tidy_output(output, names)


def _caught(output, states: Mapping[str, dict]) -> list:
    """Return what a widget of outputs has caught in place of the widget; any other output as is."""
    import nbformat

    model = output.get("data", {}).get(WIDGET, {}).get("model_id")
    caught = states.get(model, {}).get("state", {}).get("outputs")
    return [output] if caught is None else [nbformat.from_dict(each) for each in caught]


def _is_bar(output) -> bool:
    """Whether an output is a progress bar that a widget shows."""
    data = output.get("data", {})
    return (
        WIDGET in data
        and {*data} <= {WIDGET, "text/plain"}
        and bool(_BAR.search(data.get("text/plain", "")))
    )


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
        if "text/plain" in data:  # may name what only the running widget knows
            data["text/plain"] = _numbered_ids(data["text/plain"], _UUID.findall, names)
        if not data:
            data["text/plain"] = "(a widget, which only a running notebook can show)"
    for kind, value in data.items():
        if not isinstance(value, str):
            continue
        if kind.startswith(_SCRIPTS):
            data[kind] = _numbered_ids(value, _ID_IN_SCRIPT.findall, names)
        elif kind.startswith("text/") or kind == "image/svg+xml":
            data[kind] = _numbered_ids(_without_places(value), _ID.findall, names)


def _without_places(text: str) -> str:
    """Leave out addresses in memory, numbers of threads, and where on the disk a cell lay."""
    return _CELL_FILE.sub("<cell>", _THREAD.sub("Thread", _ADDRESS.sub("at 0x...", text)))


def _numbered_ids(text: str, ids: Callable[[str], list[str]], names: dict[str, str]) -> str:
    """Give random ids of elements numbers in place of what was drawn; other text stays."""
    for drawn in (match for name in ids(text) for match in _RANDOM.findall(name)):
        if drawn not in names:
            names[drawn] = _numbered(drawn)(len(names) + 1)
    for drawn, name in names.items():
        text = text.replace(drawn, name)
    return text


def _numbered(drawn: str) -> Callable[[int], str]:
    """Return what makes an id of the same form out of a number."""
    if drawn.startswith("T_"):
        return "T_{:05x}".format
    if "-" in drawn:
        return "{:08x}-0000-4000-8000-000000000000".format
    return "{:032x}".format
