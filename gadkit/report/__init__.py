"""What is shown and handed out: executed notebooks, one page of them, the list of suspects."""

from gadkit import lazy

_HOME = {
    "NotebookError": "notebooks",
    "run_notebooks": "notebooks",
    "needing_labels": "notebooks",
    "write_report": "index",
    "write_suspects": "suspects",
    "write_nodes": "suspects",
    "case_page": "pages",
    "case_frame": "pages",
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
