"""Every CUDA kernel compiles for every kind of GPU, into the machine code that was meant."""

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import nvrtc
import pytest

from gadkit.ops import _cuda

FILES = sorted(path.stem for path in _cuda.KERNELS.glob("*.cu"))
ARCHITECTURES = 75, 80, 86, 89, 90, 100, 120
# How many 16-byte loads a kernel has in flight at least, and how many of its loads need not be
# among so many. Without enough of them a gather waits for memory, row after row.
IN_FLIGHT = {
    "spmm": (4, 0),
    "edge_dot": (8, 0),
    "gat_forward": (4, 0),
    "gat_backward_dst": (3, 0),
    "gat_backward_src": (4, 3),  # the others: facts of edges, which are used first, and a row of h
    "copy": (1, 0),
    "gather": (4, 0),
}
LOCAL_OR_ATOMIC = {"LDL", "STL", "ATOM", "ATOMG", "ATOMS", "RED", "REDG"}


def faults(kernel: nvrtc.Kernel, code: Sequence[str], in_flight: int, others: int) -> list[str]:
    """Return what is wrong with a kernel; in_flight is 0 if it need not load 16 bytes at once."""
    found = []
    if kernel.spilled or kernel.stack:
        found.append(f"spills {kernel.spilled} bytes, has {kernel.stack} bytes of stack")
    opcodes = {nvrtc.opcode(line) for line in code}
    for banned in sorted(name for name in opcodes if name.split(".")[0] in LOCAL_OR_ATOMIC):
        found.append(f"uses {banned}")
    depths = nvrtc.depths(code)
    if in_flight and not depths:
        found.append("loads no 16 bytes at once")
    if sum(depth < in_flight for depth in depths) > others:
        found.append(f"has {depths} loads in flight, not {in_flight}")
    return found


def wanted(name: str) -> tuple[int, int]:
    """Return what IN_FLIGHT says of a kernel, unless it is the one for single numbers."""
    kernel, vector = re.match(r"(\w+)(?:<\w+, (\d+))?", name).groups()
    if vector is None:
        return IN_FLIGHT.get(kernel, (0, 0))
    return IN_FLIGHT[kernel] if vector != "1" else (0, 0)


@pytest.mark.parametrize("file", FILES)
def test_kernels(file):
    source, names = (_cuda.KERNELS / f"{file}.cu").read_text(), _cuda.instances(file)

    def check(arch):
        kernels = nvrtc.compile(source, names, arch)
        code = nvrtc.disassemble(kernels[names[0]].cubin)
        return [
            f"sm_{arch} {name} {fault}"
            for name, kernel in kernels.items()
            for fault in faults(kernel, code[kernel.symbol], *wanted(name))
        ]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [fault for some in pool.map(check, ARCHITECTURES) for fault in some]
    assert not found, "\n".join(found)


def test_only_kernels_that_exist_are_in_the_table():
    names = [name for file in FILES for name in _cuda.instances(file)]
    assert IN_FLIGHT.keys() <= {name.partition("<")[0] for name in names}


# What must not pass. The first is as it should be; each of the others has one thing wrong.
PLANTED = """
struct Scalars { float at[4]; };
struct alignas(16) Vector { float at[4]; };

template <typename Row, int AT_ONCE>
__global__ void sum(const Row* x, float* out, int count) {
    float sum = 0;
#pragma unroll 1
    for (int i = 0; i < count; i += AT_ONCE) {
        Row rows[AT_ONCE];
        for (int u = 0; u < AT_ONCE; u++) rows[u] = x[i + u];
        for (int u = 0; u < AT_ONCE; u++)
            for (int k = 0; k < 4; k++) sum += rows[u].at[k];
    }
    out[threadIdx.x] = sum;
}

__global__ void atomic(const Vector* x, float* out) {
    atomicAdd(out, x[threadIdx.x].at[3] * x[threadIdx.x].at[0]);
}

__global__ void shared_atomic(int* x) {
    __shared__ int sum;
    sum = 0;
    __syncthreads();
    atomicMax(&sum, x[threadIdx.x]);
    __syncthreads();
    x[threadIdx.x] = sum;
}

__global__ void __launch_bounds__(1024) spill(float* x, int count) {
    float at[100];
    for (int i = 0; i < 100; i++) at[i] = x[1024 * i + threadIdx.x];
#pragma unroll 1
    for (int k = 0; k < count; k++)
        for (int i = 0; i < 100; i++) at[i] += at[i] * at[(7 * i + 1) % 100];
    for (int i = 0; i < 100; i++) x[1024 * i + threadIdx.x] = at[i];
}

__global__ void stack(const int* at, float* x) {
    float kept[8];
    for (int i = 0; i < 8; i++) kept[at[i]] = x[i];
    x[threadIdx.x] = kept[threadIdx.x % 8];
}
"""


PLANTED_FAULTS = [
    ("sum<Vector, 4>", 4, None),
    ("sum<Vector, 2>", 4, r"has \[2, 2\] loads in flight, not 4"),
    ("sum<Vector, 1>", 4, r"has \[1\] loads in flight, not 4"),
    ("sum<Scalars, 4>", 4, "loads no 16 bytes at once"),
    ("atomic", 0, r"uses REDG?\.E\.ADD.*"),
    ("shared_atomic", 0, r"uses ATOMS\..*"),
    ("spill", 0, r"spills [1-9]\d* bytes, .*"),
    ("stack", 0, r"spills 0 bytes, has 32 bytes of stack"),
]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_bad_kernel_is_noticed(arch):
    kernels = nvrtc.compile(PLANTED, [name for name, _, _ in PLANTED_FAULTS], arch)
    code = nvrtc.disassemble(kernels["spill"].cubin)
    for name, in_flight, fault in PLANTED_FAULTS:
        found = faults(kernels[name], code[kernels[name].symbol], in_flight, 0)
        assert (len(found) > 0) == (fault is not None), name
        assert fault is None or re.fullmatch(fault, found[0])


LOADS = [
    "LDG.E.128 R4, desc[UR4][R2.64]",
    "@P0 LDG.E.128.CONSTANT R8, desc[UR4][R2.64+0x10]",
    "LDG.E.128.SYS R12, [R12]",
    "LDG.E.128 R16, desc[UR16][R18.64]",
]
USES = ["FADD R0, R4, R0", "FADD R0, R9.reuse, R0", "DADD R20, R14, R20", "STG.E [R2.64], -R19"]


@pytest.mark.parametrize(
    ("code", "depths"),
    [
        ([*LOADS, *USES], [4, 4, 4, 4]),
        ([line for pair in zip(LOADS, USES, strict=True) for line in pair], [1, 1, 1, 1]),
        ([*LOADS[:2], USES[0], *LOADS[2:], *USES[1:]], [2, 3, 3, 3]),
        ([*LOADS[:2], "MOV R5, 0x1", *LOADS[2:]], [2, 3, 3, 3]),  # must not be overwritten later
        ([*LOADS[:2], "@P1 BRA `(.L_x_1)", ".L_x_2:", *LOADS[2:]], [4, 4, 4, 4]),
        ([*LOADS[:2], "BRA `(.L_x_1)", *LOADS[2:]], [2, 2, 2, 2]),
        (["BRA.DIV UR6, `(.L_x_1)", *LOADS, "BRA `(.L_x_2)", ".L_x_1:", *LOADS], [4, 4, 4, 4]),
        (["LDG.E.ENL2.256.CONSTANT R8, R4, desc[UR4][R2.64]", *USES, LOADS[3]], [2, 2, 1]),
        (["LDG.E R4, desc[UR4][R2.64]", "LDS.128 R8, [R2]"], []),
    ],
)
def test_loads_in_flight(code, depths):
    assert nvrtc.depths(code) == depths


def test_registers_and_shared_memory_are_read():
    source = """extern "C" __global__ void turn(double* x) {
        __shared__ double kept[100];
        kept[threadIdx.x] = x[threadIdx.x];
        __syncthreads();
        x[threadIdx.x] = kept[99 - threadIdx.x];
    }"""
    kernel = nvrtc.compile(source, ["turn"], 80)["turn"]
    assert kernel.symbol == "turn" and kernel.shared == 800 and 6 <= kernel.registers <= 32
    assert kernel.spilled == kernel.stack == 0


def test_what_the_compiler_says_is_raised():
    with pytest.raises(RuntimeError, match='for sm_75:\n.*error: identifier "y" is undefined'):
        nvrtc.compile("__global__ void set(int* x) { *x = y; }", ["set"], 75)
    with pytest.raises(RuntimeError, match='variable "y" was declared but never referenced'):
        nvrtc.compile("__global__ void set(int* x) { int y; }", ["set"], 75)


def test_what_was_compiled_is_kept(monkeypatch):
    source = 'extern "C" __global__ void set(int* x) { *x = 1; }'
    first = nvrtc.compile(source, ["set"], 80)
    code = nvrtc.disassemble(first["set"].cubin)
    assert first.keys() == {"set"} and code.keys() == {"set"}
    with monkeypatch.context() as patch:
        patch.setattr(nvrtc, "_nvrtc", lambda: pytest.fail("compiled again"))
        patch.setattr(nvrtc, "_find", lambda *_: pytest.fail("disassembled again"))
        assert nvrtc.compile(source, ["set"], 80) == first
        assert nvrtc.disassemble(first["set"].cubin) == code
    other = nvrtc.compile(source.replace("1", "x[1]"), ["set"], 80)["set"]
    assert other.cubin != first["set"].cubin and nvrtc.compile(source, ["set"], 90) != first
    for _ in range(2):  # an error is not kept
        with pytest.raises(RuntimeError):
            nvrtc.compile("wrong", ["set"], 80)


def test_a_missing_wheel_is_named():
    with pytest.raises(FileNotFoundError, match=r"no-such-wheel, .* pip install -e '\.\[test\]'"):
        nvrtc._find("no-such-wheel", "lib.so")
