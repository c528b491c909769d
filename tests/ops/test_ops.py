"""What all operations share: arrays of other libraries, and how the package hands them on."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from gadkit import ops
from gadkit.graph import CSR


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


@pytest.mark.parametrize("seed", [-7, 2**63 + 5, 2**64 + 5, np.int32(5)])
def test_any_whole_number_is_a_seed(mixed, arrays, seed):
    inputs = [torch.from_numpy(arrays[name].copy()) for name in ("h", "score_src", "score_dst")]
    out = ops.gat_aggregate(mixed, *inputs, drop_edge=0.5, seed=seed)
    expected = ops.gat_aggregate_reference(mixed, *inputs, drop_edge=0.5, seed=int(seed))
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


def test_a_seed_that_is_no_whole_number_is_refused(mixed, arrays):
    inputs = arrays["h"], arrays["score_src"], arrays["score_dst"]
    for seed in (1.5, None, "3"):
        with pytest.raises(TypeError, match="^seed must be a whole number, not"):
            ops.gat_aggregate(mixed, *inputs, drop_edge=0.5, seed=seed)


PAIRS = torch.tensor([0, 1, 1, 4]), torch.tensor([2, 0, 0, 3])


@pytest.fixture
def small():
    """A graph with a repeated edge and an empty row, and functions of (5, 3) on it.

    By name the operation and its definition.
    """
    csr = CSR.from_edges(
        torch.tensor([0, 1, 1, 2, 3, 4, 4]), torch.tensor([0, 0, 0, 1, 1, 3, 1]), num_src=5,
        num_dst=4,
    )  # fmt: skip
    csr.prepare()
    score_src, score_dst = torch.linspace(-1, 1, 5).double(), torch.linspace(1, -1, 4).double()
    score_src[2] = -torch.inf

    def attend(aggregate):
        return lambda x: aggregate(csr, x, score_src + x[:, 0], score_dst)

    def weigh(attention):
        return lambda x: attention(csr, score_src + x[:, 0], score_dst)

    return {
        "spmm": [lambda x: ops.spmm(csr, x), lambda x: ops.spmm_reference(csr, x)],
        "edge_dot": [
            lambda x: ops.edge_dot(x, x, *PAIRS), lambda x: ops.edge_dot_reference(x, x, *PAIRS)
        ],
        "gat": [attend(ops.gat_aggregate), attend(ops.gat_aggregate_reference)],
        "attention": [weigh(ops.attention), weigh(ops.attention_reference)],
    }  # fmt: skip


def squared(function):
    return lambda x: (function(x) ** 2).sum()


def three(x):
    return torch.stack([x, 2 * x, -x])


def gradient(function):
    """Return the gradient by autograd of the squares of a function."""

    def first(x):
        x = x.clone().requires_grad_()
        return torch.autograd.grad(squared(function)(x), x)[0]

    return first


def of_gradient(function):
    """Return the gradient of a function of the gradient."""

    def second(x):
        x = x.clone().requires_grad_()
        (first,) = torch.autograd.grad((function(x) ** 3).sum(), x, create_graph=True)
        return torch.autograd.grad((first**2).sum(), x)[0]

    return second


def batched_gradients(function):
    """Return several gradients of one graph at once."""

    def first(x):
        x = x.clone().requires_grad_()
        out = function(x)
        (batch,) = torch.autograd.grad(out, x, three(torch.ones_like(out)), is_grads_batched=True)
        return batch

    return first


def dual(function):
    """Return the tangent in an autograd level of forward mode."""

    def tangent(x):
        with torch.autograd.forward_ad.dual_level():
            moving = torch.autograd.forward_ad.make_dual(x, x.cos())
            return torch.autograd.forward_ad.unpack_dual(function(moving)).tangent

    return tangent


def carried(function):
    """Return the derivative along a direction."""
    return lambda x: torch.func.jvp(function, (x,), (x.cos(),))[1]


def compiled(transform):
    """Transform a function inside of torch.compile."""

    def wrapped(function):
        torch._dynamo.reset()
        return torch.compile(transform(function), backend="aot_eager")

    return wrapped


def func_grad(function):
    return torch.func.grad(squared(function))


def forward_jacobian(function):
    return lambda x: torch.autograd.functional.jacobian(
        function, x, strategy="forward-mode", vectorize=True
    )


TRANSFORMS = {
    "gradient of a gradient": of_gradient,
    "batched gradients": batched_gradients,
    "func.grad": func_grad,
    "func.vjp": lambda function: lambda x: torch.func.vjp(function, x)[1](function(x).sin())[0],
    "jacrev": torch.func.jacrev,
    "jacfwd": torch.func.jacfwd,
    "jvp": carried,
    "dual numbers": dual,
    "dual numbers without gradients": lambda function: torch.no_grad()(dual(function)),
    "hessian": lambda function: torch.func.hessian(squared(function)),
    "Hessian times a vector": lambda function: (
        lambda x: torch.autograd.functional.hvp(squared(function), x, x.cos())[1]
    ),
    "Jacobian": lambda function: lambda x: torch.autograd.functional.jacobian(function, x),
    "Jacobian, rows at once": lambda function: (
        lambda x: torch.autograd.functional.jacobian(function, x, vectorize=True)
    ),
    "Jacobian, columns at once": forward_jacobian,
    "vmap": lambda function: lambda x: torch.vmap(function)(three(x)),
    "vmap of nothing": lambda function: lambda x: torch.vmap(function)(three(x)[:0]),
    "vmap twice": lambda function: lambda x: torch.vmap(torch.vmap(function))(three(three(x))),
    "vmap of func.grad": lambda function: lambda x: torch.vmap(func_grad(function))(three(x)),
    "vmap of jvp": lambda function: lambda x: torch.vmap(carried(function))(three(x)),
    "gradient of vmap": lambda function: gradient(lambda x: torch.vmap(function)(three(x))),
    "compiled gradient": lambda function: gradient(compiled(lambda same: same)(function)),
    "compiled func.grad": compiled(func_grad),
    "compiled jvp": compiled(carried),
    "checkpointed": lambda function: gradient(
        lambda x: torch.utils.checkpoint.checkpoint(function, x, use_reentrant=False)
    ),
    "inference mode": torch.inference_mode(),
}


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("operation", ["spmm", "edge_dot", "gat", "attention"])
def test_transforms_do_what_they_do_to_the_definition(small, operation, transform):
    x = torch.linspace(-1, 2, 15, dtype=torch.float64).view(5, 3)
    made, expected = (TRANSFORMS[transform](function)(x) for function in small[operation])
    torch.testing.assert_close(made, expected)
    assert made.any() or made.numel() == 0


@pytest.mark.parametrize("operation", ["spmm", "edge_dot", "gat", "attention"])
def test_gradients_in_transforms_do_not_depend_on_the_threads(large, operation, with_threads):
    """The definition computes them; advanced indexing would add as threads come."""
    x = torch.linspace(-1, 2, 20 * large.num_src).view(-1, 20).sin()
    ids = torch.arange(60_000) * 7 % large.num_src
    score_dst = torch.linspace(1, -1, large.num_dst)
    functions = {
        "spmm": lambda x: ops.spmm(large, x),
        "edge_dot": lambda x: ops.edge_dot(x, x, ids, ids.flip(0)),
        "gat": lambda x: ops.gat_aggregate(large, x, x[:, 0].contiguous(), score_dst),
        "attention": lambda x: ops.attention(large, x[:, 0].contiguous(), score_dst),
    }
    both = func_grad(functions[operation]), of_gradient(functions[operation])

    def step():
        return [transform(x) for transform in both]

    for first, *others in zip(*(with_threads(n, step) for n in (1, 2, 3)), strict=True):
        assert first.any()
        for other in others:
            assert torch.equal(first, other)


def test_what_is_no_array_is_named(mixed, arrays):
    x, scores = arrays["x"], (arrays["score_src"], arrays["score_dst"])
    calls = {
        "x": lambda: ops.spmm(mixed, iter(x)),
        "scale_dst": lambda: ops.spmm(mixed, x, scale_dst={1.0}),
        "z_dst": lambda: ops.edge_dot(x, iter(x), *arrays["src"][:2]),
        "src": lambda: ops.edge_dot(x, x, {0}, {1}),
        "h": lambda: ops.gat_aggregate(mixed, None, *scores),
        "score_dst": lambda: ops.attention(mixed, scores[0], 1.0),
        "rows": lambda: ops.attention(mixed, *scores, rows={1}),
    }
    for name, call in calls.items():
        with pytest.raises(TypeError, match=f"^{name} is a builtins.*; give a torch tensor or an"):
            call()
    with pytest.raises(ValueError, match="x is not contiguous"):
        ops.spmm(mixed, np.asfortranarray(x))


DENSE = r"is a torch\.(sparse_coo|sparse_csr|_mkldnn) tensor; pass it \.to_dense\(\)"
REFUSED = {  # what an operation is given for its features, and what it says
    "transposed": (lambda x: x.T.contiguous().T, ValueError, "is not contiguous.*call .contiguous"),
    "every second column": (lambda x: x.repeat_interleave(2, 1)[:, ::2], ValueError, "contiguous"),
    "expanded": (lambda x: x[:1].expand(len(x), -1), ValueError, "is not contiguous"),
    "no columns": (lambda x: x[:, :0], ValueError, "has no columns"),
    "integers": (lambda x: x.long(), TypeError, r"not torch.int64; convert it with .float\(\)"),
    "truth values": (lambda x: x > 0, TypeError, r"not torch.bool; convert it with .float\(\)"),
    "complex": (lambda x: x.to(torch.complex64), TypeError, "not torch.complex64$"),
    "sparse": (lambda x: x.to_sparse(), TypeError, DENSE),
    "sparse rows": (lambda x: x.to_sparse_csr(), TypeError, DENSE),
    "nested": (lambda x: torch.nested.nested_tensor(list(x)), TypeError, "is a nested tensor"),
    "of MKL-DNN": (lambda x: x.to_mkldnn(), TypeError, DENSE),
    "without memory": (lambda x: x.to("meta"), ValueError, "is on meta"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # that nested tensors and sparse rows are young
@pytest.mark.parametrize("kind", REFUSED)
def test_features_that_cannot_be_read_are_refused(mixed, kind):
    make, error, message = REFUSED[kind]
    x = torch.linspace(-1, 1, mixed.num_src * 3).view(-1, 3)
    wrong, scores = make(x), (x[:, 0].contiguous(), torch.zeros(mixed.num_dst))
    ids = torch.arange(4)
    for name, call in (
        ("x", lambda: ops.spmm(mixed, wrong)),
        ("h", lambda: ops.gat_aggregate(mixed, wrong, *scores)),
        ("z_src", lambda: ops.edge_dot(wrong, wrong, ids, ids)),
    ):
        with pytest.raises(error, match=f"^{name} .*{message}"):
            call()


@pytest.mark.parametrize("name", ["negative_slope", "drop_edge"])
def test_an_option_that_would_lose_its_derivative_is_refused(mixed, arrays, name):
    h, *scores = (torch.from_numpy(arrays[k].copy()) for k in ("h", "score_src", "score_dst"))

    def of_option(value):
        return ops.gat_aggregate(mixed, h, *scores, **{name: value})

    for call in (
        lambda: of_option(torch.tensor(0.5, requires_grad=True)),
        lambda: torch.func.jvp(of_option, (torch.tensor(0.5),), (torch.tensor(1.0),)),
    ):
        with pytest.raises(TypeError, match=rf"^{name} is a tensor.*give a number: float\({name}"):
            call()


def test_scales_of_spmm_that_want_a_gradient_are_refused(mixed, arrays):
    x, scale = torch.from_numpy(arrays["x"].copy()), torch.ones(mixed.num_dst, requires_grad=True)

    def scaled(scale):
        return ops.spmm(mixed, x, scale_dst=scale)

    for call in (
        lambda: scaled(scale),
        lambda: torch.vmap(scaled)(torch.stack([scale, scale])),
        lambda: torch.func.grad(lambda s: scaled(s).sum())(scale.detach()),
    ):
        with pytest.raises(ValueError, match=r"^scale_dst requires a.*pass scale_dst.detach\(\)"):
            call()


@pytest.mark.parametrize("transform", ["func.grad", "jvp", "vmap", "gradient of a gradient"])
def test_transforms_of_empty_graphs(empties, transform):
    for csr in empties:
        scores = torch.ones(csr.num_src), torch.ones(csr.num_dst)
        none = torch.empty(0, dtype=torch.int64)
        for function in (
            lambda x, csr=csr: ops.spmm(csr, x),
            lambda x, csr=csr, scores=scores: ops.gat_aggregate(csr, x, *scores),
            lambda x, none=none: ops.edge_dot(x, x, none, none),
        ):
            x = torch.ones(csr.num_src, 3)
            made = TRANSFORMS[transform](function)(x)
            assert not made.any()
            if "grad" in transform:
                assert made.shape == x.shape


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["spmm", "edge_dot"])
def test_what_is_not_finite_goes_where_the_definition_says(operations, name, bad):
    """Forward and backward, in what hears it and nowhere else."""
    compute, define, inputs = operations[name]
    inputs = [x.clone() for x in inputs]
    inputs[0][5, 2], inputs[0][-1] = bad, bad
    results = []
    for function in (compute, define):
        x = inputs[0].clone().requires_grad_()
        out = function(x, *inputs[1:])
        g = torch.ones_like(out)
        g[3] = bad
        results.append([out, *torch.autograd.grad(out, x, g)])
    for made, expected in zip(*results, strict=True):
        assert not expected.isfinite().all() and expected.isfinite().any()
        torch.testing.assert_close(made, expected, equal_nan=True)


def tangents(function, *primals) -> torch.Tensor:
    """The derivative of a function along a direction, carried forward."""
    generator = torch.Generator().manual_seed(3)
    directions = [torch.randn(p.shape, dtype=p.dtype, generator=generator) for p in primals]
    return torch.func.jvp(function, primals, tuple(directions))[1]


@pytest.fixture
def operations(mixed, arrays):
    """By name an operation of float64 tensors, its definition, and those tensors."""
    made = {name: torch.from_numpy(array.copy()).double() for name, array in arrays.items()}
    pairs, csr = (made["src"].long(), made["dst"].long()), mixed
    options = {"drop_edge": 0.5, "seed": 2}
    return {
        "spmm": (
            lambda x, dst, src: ops.spmm(csr, x, scale_dst=dst, scale_src=src),
            lambda x, dst, src: ops.spmm_reference(csr, x, scale_dst=dst, scale_src=src),
            (made["x"], made["scale_dst"], made["scale_src"]),
        ),
        "edge_dot": (
            lambda x, y: ops.edge_dot(x, y, *pairs),
            lambda x, y: ops.edge_dot_reference(x, y, *pairs),
            (made["x"], made["x"].flip(0).contiguous()),
        ),
        "gat_aggregate": (
            lambda *inputs: ops.gat_aggregate(csr, *inputs, **options),
            lambda *inputs: ops.gat_aggregate_reference(csr, *inputs, **options),
            (made["h"], made["score_src"], made["score_dst"]),
        ),
    }


@pytest.mark.parametrize("name", ["spmm", "edge_dot", "gat_aggregate"])
def test_forward_mode_is_right(name, operations, close):
    compute, define, inputs = operations[name]
    expected = tangents(define, *inputs)
    assert expected.abs().sum() > 1
    close(tangents(compute, *inputs), expected)
    level = torch.autograd.forward_ad
    with level.dual_level():
        dual = compute(level.make_dual(inputs[0], torch.ones_like(inputs[0])), *inputs[1:])
        found_tangent = level.unpack_dual(dual).tangent
    ones = torch.ones_like(inputs[0])
    whole = torch.func.jvp(lambda x: define(x, *inputs[1:]), (inputs[0],), (ones,))[1]
    close(found_tangent, whole)


def test_forward_mode_of_halves_and_of_jacobians(mixed):
    x = torch.randn(mixed.num_src, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    tangent = torch.func.jvp(lambda x: ops.spmm(mixed, x), (x,), (torch.ones_like(x),))[1]
    assert tangent.dtype == torch.bfloat16
    assert (tangent[:, 0].float() - mixed.degrees()).abs().max() <= mixed.degrees().max() / 100
    ids = torch.tensor([0, 1])
    jacobian = torch.func.jacfwd(lambda z: ops.edge_dot(z, z, ids, ids.flip(0)))(torch.eye(2))
    assert jacobian.tolist() == [[[0, 1], [1, 0]], [[0, 1], [1, 0]]]
    with pytest.raises(ValueError, match=r"src\[1\] is 7, outside"):
        torch.func.jvp(
            lambda z: ops.edge_dot(z, z, torch.tensor([0, 7]), ids), (torch.eye(2),),
            (torch.ones(2, 2),),
        )  # fmt: skip


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
