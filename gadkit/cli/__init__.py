"""The command `gadkit`: events in, notebooks run, models applied, scores out."""

import argparse
import contextlib
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from gadkit import __version__
from gadkit.cli import data, events, lists
from gadkit.cli.lists import fail

# Rooms are imported inside the functions that need them: `gadkit --help` loads neither torch nor
# Numba nor DuckDB.


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status.

    It is 1 after an error, and after an audit with a failed check; of a command that was stopped,
    128 and the number of the signal.
    """
    args = _parser().parse_args(argv)
    try:
        with _stopped_by(signal.SIGTERM, signal.SIGHUP):
            return args.command(args) or 0
    except (ValueError, TypeError, OSError) as error:
        return fail(error)
    except ImportError as error:
        return fail(f"{error}; install what the notebooks need: pip install -e .[lab]")
    except (MemoryError, RecursionError) as error:
        return fail(f"{type(error).__name__}: too large, or damaged; {error}")
    except KeyboardInterrupt as stopped:
        fail("stopped; nothing is half written, run it again to go on")
        return 128 + (stopped.args or (signal.SIGINT,))[0]
    except Exception as error:
        if "cannot cache function" in str(error):  # as Numba says
            return fail(f"{error}; set NUMBA_CACHE_DIR to a folder that can be written to")
        return fail(_unexpected(error))


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


def _unexpected(error: Exception) -> str:
    """Keep the traceback of an error that nobody has foreseen, and say where."""
    import traceback

    text = "".join(traceback.format_exception(error))
    for folder in (Path("build"), Path(tempfile.gettempdir())):
        log = folder / "gadkit.log"
        try:
            folder.mkdir(exist_ok=True)
            log.write_text(f"gadkit {__version__}: {' '.join(sys.argv)}\n{text}", encoding="utf-8")
        except OSError:
            continue
        return (
            f"{type(error).__name__}: {error}; this is a fault of gadkit, not of yours: please "
            f"report it with {log}, which says where it happened"
        )
    return text


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
        ("data", data.add_data, "list, get and add published data sets; make one up"),
    ):
        commands.add_parser(name, add=add, help=about)
    return parser
