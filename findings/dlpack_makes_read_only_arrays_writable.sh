#!/usr/bin/env bash
# torch.from_dlpack makes a read-only NumPy array writable, and a masked array unmasked.
#
# Versions: torch==2.13.0, numpy==2.4.6, Python 3.11, Linux x86_64, CPU.
# Expected: NumPy marks what it hands over as read-only (DLPack 1.0 has a flag for that); torch
#   refuses it, copies it, or at least warns, as torch.from_numpy does. A mask, which cannot be
#   handed over, is refused.
# Seen: no warning, even where warnings are errors. Writing into the tensor changes the array whose
#   writeable flag is off; the number that a masked array hides is an ordinary one in the tensor.
# Why it matters: a file that is mapped for reading ends the process when it is written to, and
#   what was masked because it is wrong takes part in every sum.
#
# Installs the pinned packages in a temporary folder; fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6

"$folder/venv/bin/python" -W error - <<'PY'
import numpy as np
import torch

array = np.arange(4)
array.setflags(write=False)
tensor = torch.from_dlpack(array)
tensor[0] = 9
print("torch", torch.__version__, "numpy", np.__version__)
print("read-only array after a write into the tensor:", array.tolist(), array.flags.writeable)
masked = np.ma.masked_array([1.0, 1e9], mask=[False, True])
taken = torch.from_dlpack(masked).tolist()
print("masked array", masked, "->", taken)
assert array.tolist() == [9, 1, 2, 3] and not array.flags.writeable
assert taken == [1.0, 1e9]
print("as described above")
PY
