"""Compile CUDA kernels to machine code and read it. Needs no GPU and no driver.

NVRTC and nvdisasm come from wheels, see pyproject.toml. NVRTC is called through ctypes: Python
packages around it are made for one major version of CUDA, which need not be that of torch.
"""

import ctypes
import functools
import re
import subprocess
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from gadkit.ops import _cuda

# What CuPy 14 adds to the options that it is given; and report registers and spills.
OPTIONS = "-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v"
ENTRY = re.compile(
    r"Compiling entry function '(?P<symbol>\S+)' for .*\n"
    r".*Function properties for .*\n"
    r".* (?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads\n"
    r".*Used (?P<registers>\d+) registers(?:.*? (?P<shared>\d+) bytes smem)?"
)


def kept(function):
    """Call a function once for the same arguments; nothing is kept of a call that raises."""
    results = {}

    @functools.wraps(function)
    def call(*args):
        key = repr(args)
        if key not in results:
            results[key] = function(*args)
        return results[key]

    return call


class Kernel(NamedTuple):
    """What became of a kernel.

    Attributes:
        symbol: its name in the machine code.
        registers: of a thread.
        stack: bytes of a thread's stack frame.
        spilled: bytes of instructions that save registers to local memory or restore them.
        shared: bytes of a block.
        cubin: the program that the kernel is part of.
    """

    symbol: str
    registers: int
    stack: int
    spilled: int
    shared: int
    cubin: bytes


@kept
def compile(source: str, names: Sequence[str], arch: int) -> dict[str, Kernel]:
    """Compile kernels as CuPy would.

    NVRTC lets other Python threads run, and compiles for them as well.

    Args:
        source: of a .cu file; it may include files of kernels/.
        names: C++ name expressions of its kernels, such as "spmm<float, 4>".
        arch: compute capability, such as 90.

    Raises:
        FileNotFoundError: the wheel is not installed; the message says what to install.
        RuntimeError: NVRTC has an error or a warning to report, which is the message.
    """
    nvrtc, program = _nvrtc(), ctypes.c_void_p()
    options = [*_cuda.OPTIONS, *OPTIONS, f"--gpu-architecture=sm_{arch}"]
    encoded = [option.encode() for option in options]
    _check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), None, 0, None, None))
    try:
        for name in names:
            _check(nvrtc.nvrtcAddNameExpression(program, name.encode()))
        array = (ctypes.c_char_p * len(encoded))(*encoded)
        status = nvrtc.nvrtcCompileProgram(program, len(encoded), array)
        log = _read(program, "ProgramLog").decode().rstrip("\0")
        if status or "warning" in log:
            raise RuntimeError(f"for sm_{arch}:\n{log or _message(status)}")
        symbols = {name: _symbol(program, name) for name in names}
        cubin = _read(program, "CUBIN")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    found = {match["symbol"]: match for match in ENTRY.finditer(log)}
    return {name: _kernel(found[symbol], cubin) for name, symbol in symbols.items()}


def _kernel(match: re.Match, cubin: bytes) -> Kernel:
    keys = "registers", "stack", "stores", "loads", "shared"
    registers, stack, stores, loads, shared = (int(match[key] or 0) for key in keys)
    return Kernel(match["symbol"], registers, stack, stores + loads, shared, cubin)


def _symbol(program: ctypes.c_void_p, name: str) -> str:
    symbol = ctypes.c_char_p()
    _check(_nvrtc().nvrtcGetLoweredName(program, name.encode(), ctypes.byref(symbol)))
    return symbol.value.decode()


def _read(program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(getattr(_nvrtc(), f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(getattr(_nvrtc(), f"nvrtcGet{what}")(program, buffer))
    return buffer.raw


def _check(status: int) -> None:
    if status:
        raise RuntimeError(_message(status))


def _message(status: int) -> str:
    describe = _nvrtc().nvrtcGetErrorString
    describe.restype = ctypes.c_char_p
    return describe(status).decode()


@functools.cache
def _nvrtc() -> ctypes.CDLL:
    # Loaded first, as NVRTC 13.0 does not look for it where it is itself.
    ctypes.CDLL(_find("nvidia-cuda-nvrtc", "libnvrtc-builtins.so.*"))
    return ctypes.CDLL(_find("nvidia-cuda-nvrtc", "libnvrtc.so.*"))


@functools.cache
def _find(package: str, pattern: str) -> str:
    """Return the path of a file of an installed package."""
    try:
        files = metadata.files(package) or ()
    except metadata.PackageNotFoundError:
        files = ()
    for file in files:
        if file.match(pattern) and Path(file.locate()).exists():
            return str(file.locate())
    raise FileNotFoundError(
        f"the checks of the CUDA kernels need {pattern} of {package}, which is not installed: "
        "pip install -e '.[test]'"
    )


@kept
def disassemble(cubin: bytes) -> dict[str, list[str]]:
    """Return the machine code of each kernel, by symbol, with that of the functions it calls.

    The lines are instructions, "@!P0 LDG.E.128 R12, [R12.64]", and labels, ".L_x_1:".
    """
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [_find("nvidia-cuda-nvdisasm", "nvdisasm"), "-c", file.name]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    _, *sections = re.split(r"^\.text\.(\S+):\n", done.stdout, flags=re.MULTILINE)
    return {
        symbol: re.findall(r"^(?:\s*/\*\w+\*/)?\s*(\.L\S+:|.*?(?= *;$))", code, flags=re.MULTILINE)
        for symbol, code in zip(sections[::2], sections[1::2], strict=True)
    }


def opcode(line: str) -> str:
    """Return the opcode of an instruction, without what makes it conditional."""
    return re.sub(r"^@\S+ ", "", line).split(maxsplit=1)[0]


def depths(code: Sequence[str]) -> list[int]:
    """Return for each 16-byte load of a kernel how many are in flight with it at most, itself too.

    A load is in flight from its instruction to the first that names a register it loads to: there
    the warp waits. The path looked at is the one that takes no conditional jump, and it ends at an
    unconditional one. Left out is what runs only when the lanes of a warp have parted before an
    operation of the whole warp. A load of 32 bytes counts as two.
    """
    apart = {f"{target}:" for line in code for target in re.findall(r"BRA\.DIV .*`\((.*)\)", line)}
    found, flying, skipping = [], {}, False
    for line in code:
        skipping = skipping or line in apart
        named = [int(number) for number in re.findall(r"(?<![A-Z])R(\d+)", line)]
        for load, registers in list(flying.items()):
            # An operand of several registers begins with one of these or has none of them, for its
            # number is a multiple of its size.
            if not registers.isdisjoint(named):
                del flying[load]
        size = re.search(r"\bLDG\.\S*\b(128|256)\b", line)
        if size and not skipping:
            for first in named[: int(size[1]) // 128]:
                flying[len(found)] = {*range(first, first + 4)}
                found.append(0)
            for load in flying:
                found[load] = max(found[load], len(flying))
        if re.match(r"BRA `|EXIT|RET|CALL|BRX|JM[PX]", line):
            flying.clear()
            skipping = skipping and line.startswith("CALL")
    return found
