"""Feature tables of nodes for tree models: blocks of named columns, put beside each other.

A forest that sees a node's own features, and parameter-free summaries of those around it, is hard
to beat on fraud (Tang et al., GADBench, NeurIPS 2023). Every block (`blocks.BLOCKS`) is such a
summary: means one and two hops away, degrees, band-pass filters, rates of known fraud, and for
events the history of whom they concern. Three blocks read labels, and only those of the training
part; a node's own label never reaches its own row (`rates`).
"""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from gadkit import store
from gadkit.graph import HeteroGraph, checksum
from gadkit.graph.structure import feature_names, own_columns
from gadkit.trees.blocks import BLOCKS, LABELLED, Columns, joined
from gadkit.trees.history import History
from gadkit.trees.neighbors import Neighbors
from gadkit.trees.rates import LabelRates


class Views:
    """Feature tables of the nodes of some types.

    Args:
        graph: on the CPU.
        own_dims: how many of the first columns of x are the authors' own, by node type; all of them
            if None. The others are structural and are made again here, from the edges.
        names: of the columns of x, by node type; `x_0`, ... if None.
        time: (total,) float64, NaN where a node has none; needed by "history".
        z: (total, dim) float32 embeddings made without labels; needed by "embedding".
        types: node types of the rows; by default those with labels.
        prior: the rate of the labels learned from, where others are looked at (`LabelRates`).
        standards: by which features are standardized, where a detector has learned from those of
            another graph (`Neighbors`).
        evidence: views in which the blocks of labels are made; rows of a type are the same there,
            but more nodes may follow them. These views themselves if None.

    Attributes:
        neighbors: what blocks are made of, without labels.
        history: the past of events.
    """

    def __init__(
        self,
        graph: HeteroGraph,
        *,
        own_dims: dict[str, int] | None = None,
        names: dict[str, list[str]] | None = None,
        time: Tensor | None = None,
        z: Tensor | None = None,
        types: Iterable[str] | None = None,
        prior: float | None = None,
        standards: dict[str, tuple[Tensor, Tensor]] | None = None,
        evidence: "Views | None" = None,
    ):
        self.graph, self.time, self.z, self.prior = graph, time, z, prior
        self.evidence = self if evidence is None else evidence
        self.types = list(types or graph.labelled_types or graph.node_types[:1])
        x, x_names = {}, {}
        for name in graph.node_types:
            features = torch.empty(graph.num_nodes[name], 0) if graph.x is None else graph.x[name]
            count = features.shape[1] if own_dims is None else own_dims[name]
            x[name] = features[:, :count].float().contiguous()
            column_names = (names or {}).get(name) or [f"x_{k}" for k in range(features.shape[1])]
            x_names[name] = list(column_names)[:count]
        self.neighbors = Neighbors(graph, x, x_names, standards)
        self.history = History(self.neighbors, time, prior)
        self._names: dict[tuple[str, ...], list[str]] = {}  # by blocks
        self._label_rates: tuple[int, LabelRates] | None = None  # of the last labels, by checksum

    def with_graph(self, graph: HeteroGraph) -> "Views":
        """Return the same views of another graph of the same nodes, such as one rewired."""
        dims = {name: x.shape[1] for name, x in self.neighbors.x.items()}
        options = {"names": self.neighbors.x_names, "time": self.time, "z": self.z}
        return Views(graph, own_dims=dims, types=self.types, **options)

    def table(
        self,
        blocks: Iterable[str],
        ids: Tensor,
        train: Tensor | None = None,
        *,
        made: dict[tuple[str, str], Columns] | None = None,
    ) -> Tensor:
        """Return the columns of some blocks for some nodes.

        Args:
            blocks: names out of `BLOCKS`.
            ids: (n,) int64 global ids, of `types`.
            train: (num_train, 2) int64 rows [global id, 1 = anomaly]; the only labels looked at.
            made: blocks by (node type, name) that other tables of the same ids and train have left
                here; what this one makes is left there too.

        Returns:
            (n, dim) float32; NaN where a column means nothing for a node's type.

        Raises:
            ValueError: a block is unknown, needs labels or times that were not given, or an id is
                of another type.
        """
        return self._columns(tuple(blocks), ids, train, {} if made is None else made)[1]

    def names(self, blocks: Iterable[str]) -> list[str]:
        """Return the names of the columns of `table`, each starting with its block."""
        key = tuple(blocks)
        if key not in self._names:
            nothing = torch.empty(0, dtype=torch.int64)
            self._names[key] = self._columns(key, nothing, nothing.view(0, 2), {})[0]
        return self._names[key]

    @cached_property
    def has_history(self) -> bool:
        """Whether every type of the rows has times, and entities whose history it is part of."""
        return all(self.history.covers(name) for name in self.types)

    def label_rates(self, train: Tensor) -> LabelRates:
        """Return the rates of some labels; they are kept until other labels are asked about."""
        if len(train) == 0:  # asked about for the names alone: what was kept stays
            return LabelRates(self.neighbors, self.types, train, prior=self.prior)
        key = checksum(train)
        if self._label_rates is None or self._label_rates[0] != key:
            rates = LabelRates(self.neighbors, self.types, train, prior=self.prior)
            self._label_rates = key, rates
        return self._label_rates[1]

    def _columns(
        self, blocks: tuple[str, ...], ids: Tensor, train: Tensor | None, made: dict
    ) -> Columns:
        type_of_ids = self.graph.node_type_of(ids)
        self._check_types(ids, type_of_ids)
        parts = []  # by node type: places in `ids`, names, values
        for node_type in self.types:
            chosen = type_of_ids == self.graph.node_types.index(node_type)
            places = chosen.nonzero().flatten()
            rows = ids[places] - self.graph.offset(node_type)
            for name in blocks:
                if (node_type, name) not in made:
                    made[node_type, name] = self._block(name, node_type, rows, train)
            columns = joined([made[node_type, name] for name in blocks], rows)
            _check_distinct(columns[0])
            parts.append((places, *columns))
        names = list(dict.fromkeys(name for _, part_names, _ in parts for name in part_names))
        column_of = {name: column for column, name in enumerate(names)}
        out = torch.full((len(ids), len(names)), torch.nan)
        for places, part_names, values in parts:
            columns = torch.tensor([column_of[name] for name in part_names], dtype=torch.int64)
            if len(places) < len(ids):
                out[places[:, None], columns] = values
            elif part_names == names[: len(part_names)]:  # as where all rows are of the first type
                out[:, : len(part_names)] = values
            else:
                out[:, columns] = values
        return names, out

    def _block(self, block: str, node_type: str, rows: Tensor, train: Tensor | None) -> Columns:
        if block not in BLOCKS:
            raise ValueError(f"no block {block!r}; there are {', '.join(BLOCKS)}")
        if block in LABELLED and train is None:
            raise ValueError(f"block {block!r} needs the training labels: pass train=")
        views = self.evidence if block in LABELLED else self
        names, values = BLOCKS[block](views, node_type, rows, train)
        return [f"{block}: {name}" for name in names], values

    def _check_types(self, ids: Tensor, type_of_ids: Tensor) -> None:
        numbers = [self.graph.node_types.index(node_type) for node_type in self.types]
        outside = ~torch.isin(type_of_ids, torch.tensor(numbers))
        if outside.any():
            node = int(ids[outside.nonzero()[0, 0]])
            raise ValueError(
                f"node {node} is a {self.graph.node_types[type_of_ids[outside][0]]}, but these "
                f"views are of {', '.join(self.types)}"
            )


def _check_distinct(names: list[str]) -> None:
    if len(set(names)) < len(names):
        name = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two columns are called {name!r}; rename a feature or a relation")


def from_folder(folder: Path | str, graph: HeteroGraph, *, z: Tensor | None = None) -> Views:
    """Make the views of a dataset folder, with the names and times it knows.

    Args:
        folder: a dataset folder.
        graph: the graph loaded from it.
        z: (total, dim) float32 embeddings, for the block "embedding".
    """
    about = store.read_about(folder)
    return Views(
        graph,
        own_dims=None if graph.x is None else own_columns(graph, about),
        names=None if graph.x is None else feature_names(about, graph),
        time=store.load_time(folder),
        z=z,
    )
