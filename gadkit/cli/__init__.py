"""The command `gadkit`: events in, notebooks run, models applied, scores out."""

import argparse
import contextlib
import errno
import io
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from gadkit import __version__
from gadkit.cli import alike, data, events, lists
from gadkit.cli.lists import fail

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # on a disk

# Rooms are imported inside the functions that need them: `gadkit --help` loads neither torch nor
# Numba nor DuckDB.


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status.

    It is 1 after an error, and after an audit with a failed check; of a command that was stopped,
    128 and the number of the signal.
    """
    _mend_streams()
    try:
        with _stopped_by(signal.SIGTERM, signal.SIGHUP):
            try:
                args = _parser().parse_args(argv)
                return args.command(args) or 0
            finally:
                sys.stdout.flush()  # it may be a file on a disk without room
    except KeyboardInterrupt as stopped:
        fail("stopped; nothing is half written, run it again to go on")
        return 128 + (stopped.args or (signal.SIGINT,))[0]
    except BrokenPipeError:  # `| head` has seen enough
        _discard_output()
        return 128 + signal.SIGPIPE
    except Exception as error:
        return fail(_explained(error))


def _mend_streams() -> None:
    """Let what is printed go nowhere where a stream is closed, and as escapes where it cannot be
    written in the terminal's encoding: neither may end a long command."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # else a file of results would become what is printed to
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream.closed:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Let go of what stdout still holds, which Python would write at the end, and fail."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def _explained(error: Exception) -> str:
    """Say in words what an error means; its traceback is kept in the log file."""
    if isinstance(error, ImportError):
        said = f"{error}; install what is missing: pip install -e .[lab]"
    elif isinstance(error, MemoryError | RecursionError):
        said = f"{type(error).__name__}: too large, or damaged; {error}"
    elif "cannot cache function" in str(error):  # as Numba says
        said = f"{error}; set NUMBA_CACHE_DIR to a folder that can be written to"
    elif isinstance(error, ValueError | TypeError | OSError):
        _keep_traceback(error, [Path("build")] if Path("build").is_dir() else [])
        has_no_room = isinstance(error, OSError) and error.errno in _NO_ROOM
        cure = ": make room, and run it again; what was there before is whole"
        return f"{str(error) or type(error).__name__}{cure if has_no_room else ''}"
    else:
        said = (
            f"{type(error).__name__}: {error}; this is a fault of gadkit, not of yours: please "
            "report it"
        )
    log = _keep_traceback(error, [Path("build"), Path(tempfile.gettempdir())])
    told = " with" if said.endswith("report it") else "; see"
    return f"{said}{told} {log}, which says where it happened" if log else said


@contextlib.contextmanager
def _stopped_by(*numbers: int) -> Iterator[None]:
    """Let signals raise KeyboardInterrupt with their number, as Ctrl-C does without.

    They would end the process where it stands, and leave files half written. Those that somebody
    handles already, or ignores (nohup), stay so.
    """

    def stop(number, frame):
        raise KeyboardInterrupt(number)

    taken = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _keep_traceback(error: Exception, folders: list[Path]) -> Path | None:
    """Write the traceback of an error to gadkit.log in the first folder that takes it."""
    import traceback

    text = "".join(traceback.format_exception(error))
    for folder in folders:
        log = folder / "gadkit.log"
        try:
            folder.mkdir(exist_ok=True)
            log.write_text(f"gadkit {__version__}: {' '.join(sys.argv)}\n{text}", encoding="utf-8")
        except OSError:
            continue
        return log
    return None


class _Parser(argparse.ArgumentParser):
    """A parser that adds its arguments when it is used, since choices come from heavy rooms."""

    def __init__(self, *args, add: Callable[[argparse.ArgumentParser], None] | None = None, **rest):
        super().__init__(*args, **rest)
        self._add = add

    def parse_known_args(self, args=None, namespace=None):
        add, self._add = self._add, None
        if add:
            add(self)
        return super().parse_known_args(args, namespace)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="gadkit", description=__doc__)
    parser.add_argument("--version", action="version", version=f"gadkit {__version__}")
    commands = parser.add_subparsers(required=True)
    for name, add, about in (
        ("ingest", events.add_ingest, "make a dataset folder of a table of events"),
        ("run", lists.add_run, "execute the notebooks, write report and suspects"),
        ("lab", lists.add_lab, "open copies of the notebooks in JupyterLab"),
        ("score", lists.add_score, "rank the nodes of a dataset by a saved recipe"),
        ("recommend", lists.add_recommend, "rank by the recipe alone, in one step"),
        ("export", lists.add_export, "write what the models say of every node"),
        ("audit", lists.add_audit, "look for what would make a result untrue"),
        ("match", alike.add_match, "look for places like the surroundings of a suspect"),
        ("data", data.add_data, "list, get and add published data sets; make one up"),
    ):
        commands.add_parser(name, add=add, help=about)
    return parser
