"""Run a notebook's cells: show how far they are, and end them with whoever started them."""

import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

from gadkit.report import outputs
from gadkit.store import memory

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Progress:
    """A bar over the code cells of one notebook, whose clock goes on while a cell runs."""

    def __init__(self, label: str, cells: list):
        from tqdm import tqdm

        self.cells, self.stderr = cells, outputs.Stderr()
        self.bar = tqdm(
            total=len(cells),
            desc=label,
            bar_format="{desc}  cell {n_fmt}/{total_fmt} |{bar:20}| {elapsed_s:.0f} s{postfix}",
        )
        self.done = threading.Event()
        self.clock = threading.Thread(target=self._tick, daemon=True)

    def _tick(self) -> None:
        # Where the output is kept in a file, each refresh adds to it.
        while not self.done.wait(1 if sys.stderr.isatty() else 30):
            self.bar.refresh()

    def enter_cell(self, cell, cell_index: int) -> None:
        self.stderr = outputs.Stderr()
        self.bar.n += 1
        self.bar.set_postfix_str("")

    def measure(self, process: int | None) -> None:
        """Show how much memory the kernel's process has held at most."""
        peak = None if process is None else memory.peak_of(process)
        if peak is not None:
            self.bar.set_postfix_str(f"{peak / 2**30:.1f} GiB at most", refresh=False)

    def note(self, text: str) -> None:
        """Show the last line that a cell wrote about its progress."""
        lines = text.replace("\r", "\n").split("\n")
        said = [" ".join(line.split()) for line in lines if line.strip()]
        if said:
            self.bar.set_postfix_str(said[-1], refresh=sys.stderr.isatty())

    @property
    def cell(self):
        return self.cells[max(self.bar.n, 1) - 1]

    def __enter__(self) -> "Progress":
        self.clock.start()
        return self

    def __exit__(self, *_) -> None:
        self.done.set()
        self.clock.join()
        self.bar.close()


def client_of(bar: Progress) -> type:
    """Return a client that shows what cells say of their progress, and keeps it from the results.

    Progress bars write to stderr, and tell the time: no two runs would leave the same bytes. What
    else is written there, such as warnings, stays.
    """
    from nbclient import NotebookClient

    class Client(NotebookClient):
        _stopped = 0  # the number of the signal
        _handlers = {}  # of signals, before

        def process_message(self, msg, cell, cell_index):
            if msg["msg_type"] == "stream" and msg["content"]["name"] == "stderr":
                text = msg["content"]["text"]
                bar.note(text)
                msg["content"]["text"] = bar.stderr.keep(text)
                if not msg["content"]["text"]:
                    return None
            return super().process_message(msg, cell, cell_index)

        async def async_execute_cell(self, *args, **options):
            try:
                return await super().async_execute_cell(*args, **options)
            finally:
                bar.measure(getattr(self.km.provisioner, "pid", None))

        async def async_start_new_kernel(self, **kwargs):
            # nbclient has just taken the signals, would end the kernel and fail on its absence.
            loop = asyncio.get_running_loop()

            def stop(number: int) -> None:
                self._stopped, self.shutdown_kernel = number, "immediate"
                for task in asyncio.all_tasks(loop):
                    task.cancel()

            with contextlib.suppress(RuntimeError):  # outside the main thread there are no signals
                for number, handler in self._handlers.items():
                    loop.add_signal_handler(number, stop, number)
                    if handler is signal.SIG_IGN:  # as Ctrl-C is where a shell runs a job behind
                        loop.remove_signal_handler(number)
                        signal.signal(number, handler)
            await super().async_start_new_kernel(**kwargs)

        @contextlib.contextmanager
        def stoppable(self) -> Iterator[None]:
            """Raise KeyboardInterrupt with its number where a signal ends the execution within."""
            self._handlers = {number: signal.getsignal(number) for number in SIGNALS}
            try:
                yield
            except BaseException:
                if self._stopped:
                    raise KeyboardInterrupt(self._stopped) from None
                raise
            finally:
                if threading.current_thread() is threading.main_thread():
                    for number, handler in self._handlers.items():
                        signal.signal(number, handler)

    return Client
