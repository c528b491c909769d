"""host_cuda.h runs kernels by CUDA's rules, and says so where a kernel breaks them."""

import os
import subprocess
import sys
from pathlib import Path

import host
import numpy as np
import pytest
import torch

CASES = Path(__file__).with_name("host_cases.cu")
MISTAKES = {
    "shuffles_in_a_branch": (
        r"lanes 0x0000ffff wait at __shfl_sync \(host_cases.cu:\d+, mask "
        r"0xffffffff\). lanes 0xffff0000 wait at __syncwarp"
    ),
    "shuffles_after_an_exit": "warp 1: lanes 0xfffffeff wait.*lanes 0x00000100 have exited",
    "is_not_in_its_mask": r"lane (1[6-9]|2\d|3[01]) is not in its own mask at __ballot_sync",
    "reads_a_lane_outside": r"lane \d+ reads lane 16, which is not in __shfl_sync",
    "gives_two_masks": "mask 0xffffffff.*mask 0xffff0001",
    "does_two_things": "lanes 0x55555555 wait at __any_sync.*lanes 0xaaaaaaaa wait at __all_sync",
    "gives_a_wrong_width": r"lane \d+ gives a width of 12",
    "has_a_barrier_in_a_branch": "lanes 0xffffffff wait at __syncthreads.*warp 1.*have exited",
    "has_two_barriers": r"warp 0: .*__syncthreads \(.*warp 1: .*__syncthreads \(",
    "waits_for_a_lane_at_a_barrier": "lanes 0xffffff7f wait at __syncw.*lanes 0x00000080 wait",
}
UNSEEN = {  # kernel: a right argument, a wrong one, what the sanitizer says
    "reads_past_the_end": (0, 1, "heap-buffer-overflow"),
    "indexes_past_the_end": (1, 2, "index 33 out of bounds"),
    "loads_a_vector_beside": (4, 1, "misaligned address"),
    "overflows": (46_000, 47_000, "signed integer overflow"),
}
NAMES = (
    "votes", "halves", "indices", "bits", "finds", "finds_of<double, 7>", "finds_of<float, 32>",
    "reverse<true>", "reverse<false>", "rotate<true>", "rotate<false>", "to_half", "from_half",
    "takes", *(f"shuffles<{t}>" for t in ("int", "unsigned", "long long", "float", "double")),
    *MISTAKES, *UNSEEN,
)  # fmt: skip


@pytest.fixture(scope="module", params=["assembler", "ucontext"])
def launch(request):
    """launch(name, blocks, threads, *args): a kernel of host_cases.cu, on either kind of fiber."""
    defines = ["GK_UCONTEXT"] if request.param == "ucontext" else []
    return host.HostModule(CASES, NAMES, defines=defines).launch


@pytest.fixture
def seeds(monkeypatch):
    """seeds(function): what the function returns under each of eight lane seeds."""

    def run(function) -> list:
        results = []
        for seed in range(8):
            monkeypatch.setattr(host, "lane_seed", seed)
            results.append(function())
        return results

    return run


def test_shuffles_follow_the_table(launch):
    tables = {
        (3, 32): (
            [3] * 32,
            [lane ^ 3 for lane in range(32)],
            [0, 1, 2, *range(29)],
            [*range(3, 32), 29, 30, 31],
        ),
        (3, 8): (
            [3] * 8 + [11] * 8 + [19] * 8 + [27] * 8,
            [lane ^ 3 for lane in range(32)],
            [group + lane for group in (0, 8, 16, 24) for lane in (0, 1, 2, 0, 1, 2, 3, 4)],
            [group + lane for group in (0, 8, 16, 24) for lane in (3, 4, 5, 6, 7, 5, 6, 7)],
        ),
        (17, 16): (  # lane 17 of a group of 16 is its lane 1; xor may read the group before
            [1] * 16 + [17] * 16,
            [*range(16), *[lane ^ 17 for lane in range(16, 32)]],
            [*range(32)],
            [*range(32)],
        ),
    }
    types = {
        "int": torch.arange(32, dtype=torch.int32) - 7,
        "unsigned": torch.arange(32, dtype=torch.int32) - 7,
        "long long": torch.arange(32) * 2**40 - 3,
        "float": torch.linspace(-1, 1, 32),
        "double": torch.linspace(-1, 1, 32, dtype=torch.float64),
    }
    for (by, width), table in tables.items():
        for kind, values in types.items():
            out = torch.zeros(4, 32, dtype=values.dtype)
            launch(f"shuffles<{kind}>", 1, 32, values, out, np.int32(by), np.int32(width))
            assert torch.equal(out, values[torch.tensor(table)]), (kind, by, width)


@pytest.mark.parametrize(
    ("yes", "mask", "ballot", "any_", "all_"),
    [
        (0xF0F0F0F1, 0xFFFFFFFF, 0xF0F0F0F1, 1, 0),
        (0xF0F0F0F1, 0x0000FF01, 0x0000F001, 1, 0),  # lanes outside the mask have no vote
        (0xF0F0F0F1, 0x10000001, 0x10000001, 1, 1),
        (0xF0F0F0F1, 0x00000E00, 0x00000000, 0, 0),
    ],
)
def test_votes_count_the_lanes_of_the_mask(launch, yes, mask, ballot, any_, all_):
    out = torch.full((3, 32), 77, dtype=torch.int32)
    launch("votes", 1, 32, out, *np.array([yes, mask], np.uint32))
    inside = torch.tensor([bool(mask >> lane & 1) for lane in range(32)])
    assert (out[:, ~inside] == 77).all()
    for row, vote in zip(out.numpy().view(np.uint32), (ballot, any_, all_), strict=True):
        assert (row[inside.numpy()] == vote).all()


def test_parts_of_a_warp_may_part_and_meet_again(launch, seeds):
    lower, upper = torch.arange(16), torch.arange(16, 32)
    for _ in range(5):
        lower = lower + lower.flip(0)
    total = lower + upper.flip(0)
    expected = total[torch.arange(16) ^ 1].int()

    def run():
        out = torch.zeros(16, dtype=torch.int32)
        launch("halves", 1, 32, out)
        return out

    assert all(torch.equal(out, expected) for out in seeds(run))


def test_a_thread_knows_where_it_is(launch, seeds):
    def run():
        out = torch.zeros(4, 3, 2, 4, 3, dtype=torch.int32)
        launch("indices", (2, 3, 4), 40, out)
        return out

    for out in seeds(run):
        for z, y, x in np.ndindex(4, 3, 2):
            assert out[z, y, x].tolist() == [[39, 0, 0], [x, y, z], [40, 1, 1], [2, 3, 4]]


def test_functions(launch):
    x = torch.tensor([3.5])
    out = torch.zeros(21, dtype=torch.int32)
    launch("bits", 1, 32, x, out)
    bits = x.view(torch.int32).item()
    expected = [8, 8, 0, 4, 32, 31, 2, -1, 1, -1, bits, bits, 3, 3, 3, 5, 2, 20, 2, 20, 2]
    assert out.tolist() == expected


def test_shared_memory_is_poisoned_in_every_block(launch):
    out = torch.zeros(4, 32, dtype=torch.int32)
    launch("finds", 4, 32, out)
    assert (out == -1).all()
    for name, out in {
        "finds_of<double, 7>": torch.zeros(3, 7, dtype=torch.float64),
        "finds_of<float, 32>": torch.zeros(3, 32),
    }.items():
        launch(name, 3, out.shape[1], out)
        assert out.isnan().all()


@pytest.mark.parametrize("threads", [256, 100])
def test_barriers_make_the_order_of_threads_irrelevant(launch, seeds, threads):
    numbers = torch.arange(threads, dtype=torch.int32)

    def reverse(name):
        out = torch.zeros_like(numbers)
        launch(name, 2, threads, numbers, out)
        return out

    expected = numbers.flip(0) + 1
    assert all(torch.equal(out, expected) for out in seeds(lambda: reverse("reverse<true>")))
    assert not all(torch.equal(out, expected) for out in seeds(lambda: reverse("reverse<false>")))


def test_a_warp_barrier_makes_the_order_of_lanes_irrelevant(launch, seeds):
    numbers = torch.arange(32, dtype=torch.int32)

    def rotate(name):
        out = numbers.clone()
        launch(name, 1, 32, out)
        return out

    expected = numbers.roll(-1)
    assert all(torch.equal(out, expected) for out in seeds(lambda: rotate("rotate<true>")))
    assert not all(torch.equal(out, expected) for out in seeds(lambda: rotate("rotate<false>")))


def test_half_precision_is_that_of_torch(launch):
    halves = torch.arange(-(2**15), 2**15).to(torch.int16)
    floats = torch.empty(2**16)
    launch("from_half", 64, 1024, halves, floats)
    expected = halves.view(torch.float16).float()
    nan = expected.isnan()
    assert torch.equal(floats.view(torch.int32)[~nan], expected.view(torch.int32)[~nan])
    assert floats[nan].isnan().all()

    finite = expected[~nan].sort().values  # halfway between neighbors, and a float to each side
    ties = (finite[1:-2] / 2 + finite[2:-1] / 2).view(torch.int32)
    generator = torch.Generator().manual_seed(0)
    anything = torch.randint(-(2**31), 2**31, (200_000,), generator=generator).int()
    x = torch.cat([expected.view(torch.int32), ties - 1, ties, ties + 1, anything])
    x = torch.cat([x.view(torch.float32), torch.tensor([65519.99, 65520.0, -65520.0, 1e-45])])
    out = torch.empty(len(x), dtype=torch.int16)
    launch("to_half", -(-len(x) // 256), 256, x, out, np.int32(len(x)))
    nan = x.isnan()
    assert torch.equal(out[~nan], x.half().view(torch.int16)[~nan])
    assert out.view(torch.float16)[nan].isnan().all()


@pytest.mark.parametrize("kernel", MISTAKES)
def test_mistakes_stop_the_launch(launch, seeds, kernel):
    def run():
        with pytest.raises(
            RuntimeError, match=rf"^{kernel}: block \([01], 0, 0\).*{MISTAKES[kernel]}"
        ):
            launch(kernel, 2, 64)

    seeds(run)
    out = torch.zeros(4, 32, dtype=torch.int32)
    launch("finds", 4, 32, out)  # nothing is left behind
    assert (out == -1).all()


def arguments() -> list:
    return [
        torch.ones(1), torch.ones(1, dtype=torch.int64), torch.ones(2), np.int32(1), np.int64(1),
        np.uint64(1), np.float32(1), np.float64(1), torch.zeros(1, dtype=torch.float64),
    ]  # fmt: skip


def test_arguments_arrive(launch):
    args = arguments()
    launch("takes", 1, 32, *args)
    assert args[-1].item() == 8
    launch("takes", (1, 1), 32, None, *args[1:])
    assert args[-1].item() == 7
    launch("takes", (3, 0), 32, *[None] * 3, *args[3:])  # no blocks: nothing is read


@pytest.mark.parametrize(
    ("position", "argument", "message"),
    [
        (0, torch.ones(1, dtype=torch.float64), r"is torch.float64, the kernel wants \*f4"),
        (0, torch.ones(1, dtype=torch.int32), r"is torch.int32, the kernel wants \*f4"),
        (1, torch.ones(1, dtype=torch.int32), r"is torch.int32, the kernel wants \*i8"),
        (1, torch.ones(1, dtype=torch.float64), r"is torch.float64, the kernel wants \*i8"),
        (0, np.float32(1), r"is a float32, the kernel wants \*f4"),
        (0, np.ones(1), "is a ndarray"),
        (3, torch.ones(1, dtype=torch.int32), "is a pointer, the kernel wants i4"),
        (3, None, "is a pointer, the kernel wants i4"),
        (3, 1, "is a int"),
        (3, np.int64(1), "is a int64, the kernel wants i4"),
        (4, np.int32(1), "is a int32, the kernel wants i8"),
        (6, 1.0, "is a float"),
        (6, np.float64(1), "is a float64, the kernel wants f4"),
        (6, np.int32(1), "is a int32, the kernel wants f4"),
    ],
)
def test_arguments_of_another_type_are_refused(launch, position, argument, message):
    args = arguments()
    args[position] = argument
    with pytest.raises(TypeError, match=f"^argument {position} of takes {message}"):
        launch("takes", 1, 32, *args)


def test_launches_that_make_no_sense_are_refused(launch):
    with pytest.raises(TypeError, match="takes takes 9 arguments, not 8"):
        launch("takes", 1, 32, *arguments()[1:])
    with pytest.raises(ValueError, match="argument 0 of takes is on meta"):
        launch("takes", 1, 32, torch.ones(1, device="meta"), *arguments()[1:])
    for threads in (0, 1025):
        with pytest.raises(ValueError, match=f"1 to 1024 threads, not {threads}"):
            launch("halves", 1, threads, torch.zeros(16, dtype=torch.int32))


def test_a_file_is_compiled_once(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "CACHE", tmp_path / "cache")
    source = tmp_path / "twice.cu"
    source.write_text('#include "part.cuh"\n__global__ void twice(int* x) { *x *= FACTOR; }\n')
    (tmp_path / "part.cuh").write_text("#define FACTOR 2\n")
    x = torch.ones(1, dtype=torch.int32)
    host.HostModule(source, ["twice"]).launch("twice", 1, 1, x)
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("compiled again"))
        host.HostModule(source, ["twice"]).launch("twice", 1, 1, x)
    (tmp_path / "part.cuh").write_text("#define FACTOR 3\n")
    host.HostModule(source, ["twice"]).launch("twice", 1, 1, x)
    assert x.item() == 12
    with pytest.raises(RuntimeError, match="(?s)twice.cu does not compile:.*thrice"):
        host.HostModule(source, ["thrice"])
    assert len(os.listdir(tmp_path / "cache")) == 2


SANITIZED = """
import os, sys, numpy as np, torch, host, test_host
launch = host.HostModule(test_host.CASES, test_host.NAMES).launch
x = torch.zeros(32)
for name, counts in test_host.UNSEEN.items():
    for count in counts[:2]:
        child = os.fork()
        if not child:
            os.dup2(1, 2)
            launch(name, 1, 32, x, x, np.int32(count))
            os._exit(0)
        print(f"status {os.waitpid(child, 0)[1]}\\n---", flush=True)
"""


def test_sanitizers_stop_what_the_rules_of_cuda_do_not():
    run = subprocess.run(
        [sys.executable, "-c", SANITIZED],
        cwd=CASES.parent, env=host.sanitizer_environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    reports = run.stdout.split("\n---\n")
    for i, (*_, message) in enumerate(UNSEEN.values()):
        assert reports[2 * i] == "status 0"
        assert message in reports[2 * i + 1] and not reports[2 * i + 1].endswith("status 0")
