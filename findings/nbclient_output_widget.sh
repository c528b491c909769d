#!/usr/bin/env bash
# A cell that prints into an Output widget takes nbclient down, if widget states are not to be kept.
#
# Versions: nbclient==0.11.0, nbformat==5.11.1, ipykernel==7.4.0, ipywidgets==8.1.9, Python 3.11,
#   Linux.
# Expected: store_widget_state says whether the states of widgets end up in the notebook's metadata;
#   what a cell may do is the same with and without.
# Seen: with store_widget_state=False, `with Output(): print(...)` raises KeyError (the widget's id)
#   out of nbclient itself; with True it runs. What is printed there is in the states alone, and in no
#   output of the cell, so whoever drops them from the notebook drops it too.
# Why it matters: the option is a natural one for whoever wants the same bytes in every run, as the
#   states hold random ids.
#
# Installs the pinned packages in a temporary folder; fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  nbclient==0.11.0 nbformat==5.11.1 ipykernel==7.4.0 ipywidgets==8.1.9
export HOME=$folder PATH=$folder/venv/bin:$PATH

"$folder/venv/bin/python" - <<'PY'
import nbclient
from nbformat.v4 import new_code_cell, new_notebook

CELL = "from ipywidgets import Output\nout = Output()\nwith out:\n    print('within')\nout"


def execute(**options):
    notebook = new_notebook(cells=[new_code_cell(CELL)])
    nbclient.NotebookClient(notebook, kernel_name="python3", **options).execute()
    return notebook


print("nbclient", nbclient.__version__)
kept = execute()
print("kept:", [output.output_type for output in kept.cells[0].outputs])
assert "within" not in str(kept.cells[0].outputs)
assert "within" in str(kept.metadata.widgets)
try:
    execute(store_widget_state=False)
except KeyError as error:
    print("not kept: KeyError", error)
else:
    raise SystemExit("not kept: it runs now")
print("as described above")
PY
