"""What every training run needs: checks, random generators, a loop over epochs, a checkpoint.

Every epoch draws from generators seeded by (seed, epoch) alone. So a run that was killed and
resumed from its checkpoint meets the same random numbers as one that was not, and ends at the same
bytes.
"""

import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import torch

import gadkit
from gadkit import store
from gadkit.graph import HeteroGraph
from gadkit.ops._cuda import KERNELS

CHECKPOINT_EVERY = 10  # epochs


def code_checksum() -> int:
    """Return a checksum of the code that decides a training, which a checkpoint must match."""
    package = Path(gadkit.__file__).parent
    rooms = [path for room in ("graph", "network", "ops") for path in (package / room).glob("*.py")]
    files = sorted([*rooms, *KERNELS.glob("*.cu*")])
    return zlib.crc32(b"".join(file.read_bytes() for file in files))


def check_trainable(graph: HeteroGraph) -> None:
    """Check that the stages can be trained: on features. Which labels are enough, a split says.

    Raises:
        ValueError: there are none; the message says how to make some.
    """
    feature_dims(graph)


def feature_dims(graph: HeteroGraph) -> dict[str, int]:
    """Return the number of features of each node type.

    Raises:
        ValueError: the graph has no features.
    """
    if graph.x is None:
        raise ValueError(
            "the graph has no features x; give it some: docs/interop.md shows how to add those of "
            "structure.structural_features(graph), made of degrees, and to save it again"
        )
    return {name: graph.x[name].shape[1] for name in graph.node_types}


def epoch_seed(seed: int, epoch: int) -> int:
    """Return the seed of one epoch of a run."""
    return seed * 1_000_003 + epoch


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """Return the generator, on the CPU, of what one epoch of a run draws."""
    return torch.Generator().manual_seed(epoch_seed(seed, epoch))


class Checkpoint:
    """Where a training run stands, on disk.

    Args:
        path: the file, or None to keep nothing.
        config: everything that decides the result; a file made under another config is ignored.
        model: its weights are saved and restored.
        optimizer: likewise.

    Attributes:
        history: one record per epoch done.
        best: what the training keeps of its best epoch.
    """

    def __init__(
        self,
        path: Path | str | None,
        config: dict,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
    ):
        self.path = None if path is None else Path(path)
        self.config, self.model, self.optimizer = config, model, optimizer
        self.history: list[dict] = []
        self.best: dict = {}

    def restore(self) -> int:
        """Take up a saved run; return the number of epochs it has done, 0 if there is none.

        Raises:
            ValueError: the file is damaged, or of a newer gadkit; it stays as it is.
        """
        if self.path is None or not self.path.exists():
            return 0
        state = store.load_checkpoint(self.path)
        if state.get("config") != self.config:
            return 0
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.history, self.best = list(state["history"]), dict(state["best"])
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(
                f"{self.path} is damaged: {' '.join(reason.split())}; delete it to start again"
            ) from error
        return len(self.history)

    def save(self) -> None:
        """Write the run as it stands, atomically."""
        if self.path is not None:
            state = {
                "config": self.config,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "history": self.history,
                "best": self.best,
            }
            store.save_checkpoint(self.path, state)


def remaining_epochs(
    run: Checkpoint, epochs: int, name: str, *, progress: bool, patience: int | None = None
) -> Iterator[tuple[int, dict]]:
    """Take up a run and go through the epochs that it has not done yet.

    Args:
        run: restored at the start, filled with the records, and saved every few epochs.
        epochs: how many there are in all.
        name: of the bar.
        progress: whether to show it.
        patience: epochs after the best one after which to end; None goes to the last.

    Yields:
        The number of the epoch, from 1, and a record {"epoch"} for the caller to fill.
    """
    done = run.restore()
    with _bar(total=epochs, initial=done, desc=name) if progress else nullcontext() as bar:
        for epoch in range(done + 1, epochs + 1):
            if patience and epoch > run.best.get("epoch", epoch) + patience:
                run.save()
                break
            record = {"epoch": epoch}
            yield epoch, record
            run.history.append(record)
            if epoch % CHECKPOINT_EVERY == 0 or epoch == epochs:
                run.save()
            if bar:
                values = {key: f"{value:.4f}" for key, value in record.items() if key != "epoch"}
                bar.set_postfix(values, refresh=False)
                bar.update()


def _bar(**options):
    from tqdm import tqdm

    return tqdm(unit="epoch", **options)
