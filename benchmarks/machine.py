"""What a result holds for: the machine, the code, the day; and the name of its file."""

import datetime
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import torch

from gadkit.ops import timing

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("numpy", "numba", "cupy-cuda13x", "cupy-cuda12x", "torch-geometric", "triton")


def about(kind: str, device: str) -> dict:
    """Return the head of a result file.

    Args:
        kind: "operations" or "scaling".
        device: "cuda" or "cpu".
    """
    return {
        "format": timing.FORMAT,
        "kind": kind,
        "device": device,
        "machine": machine(device),
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
    }


def commit() -> str | None:
    """Say which code this is; None where git does not know."""
    # Whoever owns the checkout: a copy may belong to somebody else.
    return output_of("git", "-c", "safe.directory=*", "describe", "--always", "--dirty")


def machine(device: str) -> dict:
    """Describe a GPU, or the CPU with the number of threads that torch uses."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = "absent"
    described = {"python": platform.python_version(), "torch": torch.__version__, **packages}
    if device == "cpu":
        return {
            "name": cpu_name(),
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
            "vectors": torch.backends.cpu.get_cpu_capability(),
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            **described,
        }
    gpu = torch.cuda.get_device_properties(device)
    return {
        "name": gpu.name,
        "capability": f"{gpu.major}.{gpu.minor}",
        "multiprocessors": gpu.multi_processor_count,
        "memory_bytes": gpu.total_memory,
        "l2_bytes": getattr(gpu, "L2_cache_size", None),
        "driver": output_of("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "cuda": torch.version.cuda,
        **described,
    }


def cpu_name() -> str:
    """Return the model of the CPU, as Linux or a Mac tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    mac = output_of("sysctl", "-n", "machdep.cpu.brand_string")
    return mac or platform.processor() or platform.machine()


def output_of(*command: str) -> str | None:
    """Return the first line that a command prints, or None if it cannot be run."""
    if not shutil.which(command[0]):
        return None
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout else None


def file_name(result: dict) -> str:
    """Name the file of a result: no two machines, and no CPU and GPU, share one."""
    words = [result["machine"]["name"]]
    if result["device"] == "cpu":
        words.append(f"{result['machine']['threads']} threads")
    if result["kind"] != "operations":
        words.append(result["kind"])
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-") + ".json"
