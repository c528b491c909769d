"""What all operations share: arrays of other libraries, and how the package hands them on."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from gadkit import ops


@pytest.fixture
def arrays(mixed):
    """The inputs of all operations on `mixed` as NumPy arrays, read-only every second one."""
    random = np.random.default_rng(0)
    num_src, num_dst = mixed.num_src, mixed.num_dst
    made = {
        "h": random.normal(size=(num_src, 4, 20)),
        "x": random.normal(size=(num_src, 20)),
        "score_src": random.normal(size=(num_src, 4)),
        "score_dst": random.normal(size=(num_dst, 4)),
        "scale_src": random.uniform(size=num_src),
        "scale_dst": random.uniform(size=num_dst),
    }
    made = {name: array.astype(np.float32) for name, array in made.items()}
    made["src"], made["dst"] = random.integers(0, num_src, (2, 500))
    made["rows"] = random.integers(0, num_dst, 7)
    for array in list(made.values())[::2]:
        array.setflags(write=False)
    return made


def test_results_are_those_of_tensors(mixed, arrays):
    def compute(h, x, score_src, score_dst, scale_src, scale_dst, src, dst, rows):
        return [
            ops.spmm(mixed, x, scale_src=scale_src, scale_dst=scale_dst),
            ops.spmm(mixed, x),
            ops.edge_dot(x, x, src, dst),
            ops.gat_aggregate(mixed, h, score_src, score_dst, drop_edge=0.5, seed=2),
            ops.attention(mixed, score_src, score_dst),
            ops.attention(mixed, score_src, score_dst, rows=rows),
        ]

    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    for made, expected in zip(compute(**arrays), compute(**tensors), strict=True):
        assert isinstance(made, torch.Tensor) and torch.equal(made, expected)


def test_gradients_flow_to_the_tensors_beside_arrays(mixed, arrays):
    def gradient(score_src, score_dst):
        h = torch.from_numpy(arrays["h"].copy()).requires_grad_()
        return torch.autograd.grad(ops.gat_aggregate(mixed, h, score_src, score_dst).sum(), h)[0]

    scores = arrays["score_src"], arrays["score_dst"]
    tensors = [torch.from_numpy(score.copy()) for score in scores]
    assert torch.equal(gradient(*scores), gradient(*tensors))


def test_the_seed_may_be_an_array(mixed, arrays):
    inputs = arrays["h"], arrays["score_src"], arrays["score_dst"]
    outs = [
        ops.gat_aggregate(mixed, *inputs, drop_edge=0.5, seed=seed) for seed in (3, np.array(3))
    ]
    assert torch.equal(*outs)


def test_what_is_no_array_is_named(mixed, arrays):
    x, scores = arrays["x"], (arrays["score_src"], arrays["score_dst"])
    calls = {
        "x": lambda: ops.spmm(mixed, x.tolist()),
        "scale_dst": lambda: ops.spmm(mixed, x, scale_dst=[1.0]),
        "z_dst": lambda: ops.edge_dot(x, x.tolist(), *arrays["src"][:2]),
        "src": lambda: ops.edge_dot(x, x, [0], [1]),
        "h": lambda: ops.gat_aggregate(mixed, None, *scores),
        "score_dst": lambda: ops.attention(mixed, scores[0], 1.0),
        "rows": lambda: ops.attention(mixed, *scores, rows=[1]),
    }
    for name, call in calls.items():
        with pytest.raises(TypeError, match=f"^{name} is a builtins.*; give a torch tensor or an"):
            call()
    with pytest.raises(ValueError, match="x is not contiguous"):
        ops.spmm(mixed, np.asfortranarray(x))


def test_no_module_has_the_name_of_an_operation():
    """Importing gadkit.ops.spmm, say, would put the module where the operation was."""
    for name in ops.__all__:
        with pytest.raises(ModuleNotFoundError):
            __import__(f"gadkit.ops.{name}")
        assert callable(getattr(ops, name)) and name in dir(ops)
    with pytest.raises(AttributeError, match="module 'gadkit.ops' has no attribute 'spmv'"):
        _ = ops.spmv


def test_importing_the_package_is_cheap():
    """Numba comes with the first operation."""
    code = (
        "import sys, gadkit.ops as ops; before = 'numba' in sys.modules; ops.spmm;"
        "print(before, 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
