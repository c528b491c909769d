#!/usr/bin/env bash
# JAX reads int64 ids over DLPack as int32, modulo 2^32, without a word.
#
# Versions: jax==0.10.2, jaxlib==0.10.2, numpy==2.4.6, Python 3.11, Linux x86_64, CPU.
# Expected: DLPack hands over memory as it is, so jax.numpy.from_dlpack of an int64 array is int64;
#   or it refuses, or warns of, a dtype that JAX has switched off.
# Seen: unless jax_enable_x64 is set, the result is int32, and 2^32 + 7 has become 7. No warning,
#   even where warnings are errors; jax.numpy.asarray of the same array does the same.
# Why it matters: ids of nodes, hashes and times in nanoseconds are int64, and other ones come out.
#
# Installs the pinned packages in a temporary folder; fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6

JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W error - <<'PY'
import jax
import jax.numpy as jnp
import numpy as np

ids = np.array([5, 2**31 + 5, 2**32 + 7])
taken = jnp.from_dlpack(ids)
print("jax", jax.__version__, "numpy", np.__version__)
print(ids.dtype, ids.tolist(), "->", taken.dtype, taken.tolist())
print("by asarray ->", jnp.asarray(ids).tolist())
assert taken.dtype == np.int32 and taken.tolist() == [5, 5 - 2**31, 7]
assert jnp.asarray(ids).tolist() == taken.tolist()
print("as described above")
PY
