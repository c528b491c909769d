"""What a kernel's arguments cost the host: addresses of tensors beside CuPy's DLPack views.

gadkit hands a kernel raw addresses. A view (cupy.from_dlpack) would check and describe every tensor
again. The launches of one training step with attention on a small graph, whose time is that of
launching, are recorded and then repeated with the arguments made in one way or the other:

    "addresses"              what `gadkit.ops._cuda.launch` does
    "views, once a call"     each tensor is wrapped once for all launches of an operation
    "views, every launch"    each argument is wrapped when it is launched
    "views, kept"            wrapped beforehand: what passing alone costs, the least possible
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from work import Config, Gat

from gadkit.graph import CSR
from gadkit.ops import _cuda

CALLS = 20  # before the host waits: their launches fit into the queue of a stream
ROUNDS = 15


class Launch(NamedTuple):
    """The arguments of `gadkit.ops._cuda.launch`."""

    file: str
    name: str
    blocks: int | tuple
    threads: int
    args: tuple


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """Yield a list to which every launch is added that has blocks, while it is done as usual."""
    launches, launch = [], _cuda.launch

    def record(file, name, blocks, threads, *args):
        if 0 not in (blocks if isinstance(blocks, tuple) else (blocks,)):
            launches.append(Launch(file, name, blocks, threads, args))
        launch(file, name, blocks, threads, *args)

    _cuda.launch = record
    try:
        yield launches
    finally:
        _cuda.launch = launch


def view(tensor: Tensor):
    """Wrap a tensor for CuPy; bfloat16, which older versions do not know, as int16."""
    tensor = tensor.detach()
    bits = tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor
    return _cuda.cupy().from_dlpack(bits)


def launch_views(launch: Launch, device: torch.device, wrap: Callable[[Tensor], object]) -> None:
    """Do what `_cuda.launch` does, with the tensors as `wrap` makes them."""
    grid = launch.blocks if isinstance(launch.blocks, tuple) else (launch.blocks,)
    kernel = _cuda._kernel(str(launch.file), launch.name)
    with torch.cuda.device(device):
        stream = _cuda._Stream(torch.cuda.current_stream(device).cuda_stream)
        args = [
            wrap(arg) if isinstance(arg, Tensor) else _cuda._argument(arg) for arg in launch.args
        ]
        kernel(grid, (launch.threads,), tuple(args), stream=stream)


def ways(launches: list[Launch], device: torch.device) -> dict[str, Callable[[], None]]:
    """Return by name how to do the launches of one call."""
    tensors = [arg for launch in launches for arg in launch.args if isinstance(arg, Tensor)]
    kept = {id(tensor): view(tensor) for tensor in tensors}

    def addresses() -> None:
        for launch in launches:
            _cuda.launch(*launch[:4], *launch.args)

    def views(wrap: Callable[[Tensor], object]) -> None:
        for launch in launches:
            launch_views(launch, device, wrap)

    def once_a_call() -> None:
        made = {}

        def wrap(tensor: Tensor):
            if id(tensor) not in made:
                made[id(tensor)] = view(tensor)
            return made[id(tensor)]

        views(wrap)

    return {
        "addresses": addresses,
        "views, once a call": once_a_call,
        "views, every launch": lambda: views(view),
        "views, kept": lambda: views(lambda tensor: kept[id(tensor)]),
    }


def cost(csr: CSR, dtype: torch.dtype = torch.float32) -> dict:
    """Measure the host's time for the launches of one training step, in every way.

    Args:
        csr: a small graph, on the GPU.
        dtype: of the features.

    Returns:
        "dtype"; "launches" and "tensors", their arguments, of a step; "seconds" of the host for
        them by way, the median of rounds in which the ways take turns.
    """
    device = csr.device
    work = Gat(csr, Config(dtype=dtype), torch.Generator(device).manual_seed(0))
    with recorded() as launches:
        work.call("gat forward + backward")()
    repeat, rounds = ways(launches, device), {}
    for round_number in range(ROUNDS + 1):  # the first one compiles
        for name, call in repeat.items():
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            seconds = (time.perf_counter() - start) / CALLS
            if round_number:
                rounds.setdefault(name, []).append(seconds)
    torch.cuda.synchronize()
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "launches": len(launches),
        "tensors": sum(isinstance(arg, Tensor) for launch in launches for arg in launch.args),
        "seconds": {name: statistics.median(times) for name, times in rounds.items()},
    }


def line(found: dict) -> str:
    """Set what `cost` found as text, or why it found nothing."""
    if "why" in found:
        return f"launch cost, {found['dtype']}: not measured ({found['why']})"
    times = ", ".join(f"{name} {1e6 * s:.1f}" for name, s in found["seconds"].items())
    size = f"{found['launches']} launches, {found['tensors']} tensors"
    return f"host's microseconds for {size}, {found['dtype']}: {times}"
