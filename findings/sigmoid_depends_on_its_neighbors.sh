#!/usr/bin/env bash
# torch.sigmoid rounds the same number differently, depending on how many numbers stand beside it.
#
# Versions: torch==2.13.0 (CPU), numpy==2.4.6, Python 3.11, Linux x86_64; seen with AVX512 kernels.
# Expected: an elementwise function gives each number the same result, alone or among others, as
#   torch.exp and torch.tanh do here.
# Seen: of 100,000 numbers, 2,650 in float64 have another last bit when they are passed in threes
#   instead of all at once. Numbers that fill a whole vector register take one formula, those left
#   over at the end another.
# Why it matters: scores that are made in blocks, or again for one node, are not bit for bit those
#   in the list. scipy.special.expit does not do this.
#
# Installs the pinned packages in a temporary folder; fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6

"$folder/venv/bin/python" - <<'PY'
import torch

x = 4 * torch.randn(100_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def changed(function, block):
    """Count the numbers whose result differs between one call and calls on blocks."""
    blocks = torch.cat([function(part) for part in x.split(block)])
    return int((blocks != function(x)).sum())


print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability())
counts = {f.__name__: [changed(f, block) for block in (3, 33, 500)] for f in (torch.sigmoid, torch.exp, torch.tanh)}
for name, values in counts.items():
    print(f"{name:8} differs in blocks of 3, 33, 500: {values} of {len(x):,}")
assert all(counts["sigmoid"]), "torch.sigmoid no longer depends on its neighbors"
assert not any(counts["exp"] + counts["tanh"]), "now exp or tanh depend on theirs"
print("as described above")
PY
