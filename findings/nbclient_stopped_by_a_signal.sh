#!/usr/bin/env bash
# A notebook that is stopped, by Ctrl-C or SIGTERM, ends in an AssertionError out of nbclient.
#
# Versions: nbclient==0.11.0, nbformat==5.11.1, jupyter_client==8.10.0, ipykernel==7.4.0,
#   Python 3.11, Linux.
# Expected: NotebookClient.execute ends the kernel and raises KeyboardInterrupt, as Python does, or
#   an error that says that the run was stopped.
# Seen: it ends the kernel, takes that for a kernel that died, and while it cleans up once more
#   asserts that there still is a kernel manager: AssertionError without a message.
# Why it matters: a caller cannot tell a stopped run from a fault, and a handler of KeyboardInterrupt
#   is never reached; the user reads a traceback of library code.
#
# Installs the pinned packages in a temporary folder; fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  nbclient==0.11.0 nbformat==5.11.1 jupyter_client==8.10.0 ipykernel==7.4.0
export HOME=$folder PATH=$folder/venv/bin:$PATH

cat > "$folder/stopped.py" <<'PY'
import os
import signal
import sys
import threading

import nbclient
from nbformat.v4 import new_code_cell, new_notebook

number = signal.Signals[sys.argv[1]]


def stop(**_):
    """Send the signal to this process once the first cell has begun."""
    threading.Timer(1, os.kill, (os.getpid(), number)).start()


notebook = new_notebook(cells=[new_code_cell("import time\ntime.sleep(20)")])
client = nbclient.NotebookClient(notebook, kernel_name="python3", on_cell_execute=stop)
try:
    client.execute()
except BaseException as error:
    print(f"{number.name}: {type(error).__name__}({error}), after {type(error.__context__).__name__}")
else:
    print(f"{number.name}: executed to the end")
PY

for name in SIGINT SIGTERM; do
  python "$folder/stopped.py" "$name" 2> "$folder/stderr" | tee "$folder/said"
  grep -qx "$name: AssertionError(), after DeadKernelError" "$folder/said"
done
echo "as described above"
