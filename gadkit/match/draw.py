"""Figures of patterns and matches: functions that take an ax, draw, and return it."""

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from gadkit.graph import HeteroGraph
from gadkit.match.hetero import LookAlikes, named
from gadkit.match.pattern import Pattern
from gadkit.match.result import Match
from gadkit.match.subgraphs import Subgraph
from gadkit.plot import INK, NORMAL, PALETTE, Axes, colors_of, saved

COLUMNS = 5  # of a figure of many places
NAME_LENGTH = 12  # longer names are cut


def small_graph(
    ax: Axes,
    pattern: Pattern,
    place: Subgraph | None = None,
    *,
    names: Sequence[str] | None = None,
    colors: Sequence[str] | None = None,
) -> Axes:
    """Draw a pattern, or how a place of the graph matches it: dotted where an edge is missing.

    Args:
        ax: where to draw.
        pattern: nodes lie on a circle, 0 on top, clockwise.
        place: its mismatch is written below, and its ids at the nodes.
        names: (num_pattern_nodes,) what to write at the nodes instead.
        colors: (num_pattern_nodes,) of the nodes; one for all if None.
    """
    n = pattern.num_nodes
    angle = np.pi / 2 - 2 * np.pi * np.arange(n) / n
    x, y = np.cos(angle), np.sin(angle)
    missing = np.zeros(pattern.num_edges, bool) if place is None else place.missing
    ends = list(zip(pattern.src.tolist(), pattern.dst.tolist(), missing[pattern.rows], strict=True))
    for s, t, is_missing in ends:
        both_ways = (t, s, is_missing) in ends
        if both_ways and t < s:
            continue  # one line without arrows stands for both
        style = {"linestyle": ":", "color": NORMAL} if is_missing else {"color": INK}
        arrow = {"arrowstyle": "-" if both_ways else "-|>", "linewidth": 1.1, **style}
        arrow |= {"shrinkA": 7, "shrinkB": 7}
        ax.annotate("", (x[t], y[t]), (x[s], y[s]), arrowprops=arrow)
    ax.scatter(x, y, s=130, c=list(colors) if colors is not None else PALETTE[0], zorder=3)
    if names is None:
        names = list(map(str, range(n) if place is None else place.nodes))
    for k, name in enumerate(names):
        name = name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"
        side = "center" if abs(x[k]) < 0.3 else "left" if x[k] > 0 else "right"
        ax.text(1.12 * x[k], 1.22 * y[k], name, ha=side, va="center", fontsize=8)
    ax.set(xlim=(-2.1, 2.1), ylim=(-1.5, 1.5), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    if place is not None:
        lost = f", {missing.sum()} of {len(missing)} edges missing" if missing.any() else ""
        ax.set_xlabel(f"mismatch {place.mismatch:.1f}{lost}")
    return ax


def convergence(ax: Axes, results: Mapping[str, Match]) -> Axes:
    """Draw by iteration how far the column that moved most has moved."""
    for name, result in results.items():
        moved = np.maximum(result.history.max(1), 1e-6)
        ax.plot(1 + np.arange(len(moved)), moved, marker="o", markersize=4, label=name)
    ax.set(yscale="log", xlabel="iteration", ylabel="belief that changed its place (log)")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend()
    return ax


def beliefs(ax: Axes, result: Match, *, k: int = 3, names: Sequence[str] | None = None) -> Axes:
    """Draw how likely the k likeliest nodes of each pattern node are, as a map.

    Args:
        ax: where to draw; rows are nodes of the graph, columns nodes of the pattern.
        result: the beliefs.
        k: of each pattern node.
        names: (num_nodes,) of the graph's nodes; their ids if None.
    """
    nodes = list(dict.fromkeys(result.top(k).nodes.T.reshape(-1).tolist()))
    chance = np.exp(result.log_belief[nodes])
    picture = ax.imshow(chance, vmin=0, vmax=1, cmap="cividis", aspect="auto")
    labels = [str(node) if names is None else names[node] for node in nodes]
    ax.set_yticks(range(len(nodes)), labels, fontsize=7)
    ax.set(xticks=range(chance.shape[1]), xlabel="pattern node", ylabel="node of the graph")
    ax.grid(False)
    ax.figure.colorbar(picture, ax=ax, label="belief")
    return ax


def precision(ax: Axes, hits: Mapping[str, np.ndarray]) -> Axes:
    """Draw which share of the first k places are hits, against k.

    Args:
        ax: where to draw.
        hits: by name (num_places,) bool, best place first.
    """
    for name, is_hit in hits.items():
        rank = 1 + np.arange(len(is_hit))
        ax.plot(rank, np.cumsum(is_hit) / rank, marker="o", markersize=4, label=name)
    ax.set(xlabel="places looked at, best first", ylabel="share that was planted", ylim=(0, 1.05))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend()
    return ax


def prices(ax: Axes, factors: Sequence[float], shares: Mapping[str, Sequence[float]]) -> Axes:
    """Draw shares against the price of a missing edge, in multiples of the median distance."""
    for name, values in shares.items():
        ax.plot(factors, values, marker="o", markersize=4, label=name)
    ax.set(xscale="log", ylim=(-0.03, 1.05), ylabel="share")
    ax.set_xlabel("price of a missing edge, times the median distance (log)")
    ax.legend()
    return ax


def save_places(
    path: Path | str,
    graph: HeteroGraph,
    alike: LookAlikes,
    names: Callable[[Sequence[int]], list[str]],
) -> None:
    """Write a figure of the places of `look_alikes`, a color for each node type.

    Args:
        path: of the figure.
        graph: the marketplace.
        alike: the places, one at least.
        names: gives nodes the names to write.
    """
    pattern = alike.result.pattern
    shades = dict(zip(graph.node_types, colors_of(graph.node_types), strict=True))
    colors = [shades[kind] for kind, _ in named(graph, alike.nodes)]
    rows = -(-len(alike.places) // COLUMNS)
    with saved(path, rows=rows, columns=min(COLUMNS, len(alike.places)), size=3.2) as axes:
        for ax, place in zip_longest(axes.flat, alike.places):
            if place is None:
                ax.set_axis_off()
            else:
                small_graph(ax, pattern, place, names=names(place.nodes), colors=colors)
