"""Figures: functions that take numbers and an ax, draw, and return the ax.

Nothing is measured here: metrics, intervals and bands come in ready from `gadkit.evaluation`, so
that a figure and a table cannot disagree. Axes say their unit, and whether they are logarithmic;
titles are left to the text around the figure. Numbers may be torch tensors or anything numpy reads.
This is the only module that imports matplotlib, and it chooses no backend.

Colors after M. Okabe and K. Ito, Color Universal Design, 2008: color-blind readers can tell them
apart.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter
from numpy.typing import ArrayLike
from torch import Tensor

from gadkit.graph import arrays
from gadkit.store.files import atomic_path

if TYPE_CHECKING:
    from gadkit.evaluation.metrics import Interval

FRAUD = "#D55E00"  # vermilion, for fraud alone: no model or relation is drawn in it
NORMAL = "#8C96A3"
USER, PRODUCT, SELLER = "#0072B2", "#009E73", "#CC79A7"
PALETTE = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#6A4C93", "#A6761D", "#1B1B1B",
)  # fmt: skip
DASHES = ("-", "--", ":")  # once each for all colors of the palette
INK = "#3A3F47"  # reference lines and text on the figure
COLORS = {"fraud": FRAUD, "normal": NORMAL, "user": USER, "product": PRODUCT, "seller": SELLER}


class Curve(NamedTuple):
    """One model's line for `roc` and `precision_recall`.

    Attributes:
        x: (points,) false positive rate, or recall.
        y: (points,) true positive rate, or precision.
        band: (grid, low, high), (grid points,) each, as `roc_band` returns; none if None.
        interval: the area with its interval, written in the legend; none if None.
    """

    x: ArrayLike
    y: ArrayLike
    band: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None
    interval: "Interval | None" = None


def style() -> None:
    """Set matplotlib's defaults for every figure that follows; call once, on top of a notebook."""
    matplotlib.rcParams.update(
        {
            "axes.axisbelow": True,
            "axes.edgecolor": INK,
            "axes.grid": True,
            "axes.labelcolor": INK,
            "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "figure.constrained_layout.use": True,
            "figure.constrained_layout.w_pad": 0.08,
            "figure.dpi": 110,
            "figure.figsize": (6.4, 4.0),
            "font.family": "DejaVu Sans",  # ships with matplotlib: the same figure on every machine
            "font.size": 10,
            "grid.color": "#E3E6EA",
            "grid.linewidth": 0.8,
            "legend.edgecolor": "none",
            "legend.fontsize": 9,
            "legend.framealpha": 0.85,
            "lines.linewidth": 1.8,
            "savefig.dpi": 150,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
        }
    )


@contextmanager
def saved(path: Path | str, *, rows: int = 1, columns: int = 1, size: float = 2.6) -> Iterator:
    """Yield the axes of a new figure, (rows, columns); it is written if the block ends well.

    Args:
        path: file, whose suffix says the format; it is replaced in one step.
        rows: of axes.
        columns: of axes.
        size: of one ax, in inches either way.
    """
    with matplotlib.rc_context():
        style()
        figure = Figure(figsize=(size * columns, size * rows))
        yield figure.subplots(rows, columns, squeeze=False)
        with atomic_path(path) as temporary:
            figure.savefig(temporary)


def _array(values: ArrayLike) -> np.ndarray:
    """Values as numpy; real tensors by way of float64, since numpy has no bfloat16."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.double() if values.is_floating_point() else values).numpy()
    if np.asarray(values).dtype.kind == "U":  # names of groups
        return np.asarray(values)
    return arrays.numbers(values, "what is drawn", if_missing="leave it out").numpy()


def _name(key: Hashable) -> str:
    """An edge type reads `user buys product`; all other keys are written as they are."""
    return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def colors_of(names: Iterable[str]) -> list[str]:
    """The fixed color of a class or node type; for anything else the next that is still free."""
    names = list(names)
    taken = {COLORS[name] for name in names if name in COLORS}
    free = cycle([color for color in PALETTE if color not in taken])
    return [COLORS[name] if name in COLORS else next(free) for name in names]


def _dashes(i: int) -> str:
    """The line of curve i: the palette comes again, but not with the same dashes."""
    return DASHES[i // len(PALETTE) % len(DASHES)]


def _require(things: Sequence | Mapping, what: str) -> None:
    if len(things) == 0:
        raise ValueError(f"{what} is empty; there is nothing to draw")


def _legend_above(ax: Axes, columns: int) -> Legend:
    """Put the legend above the axes, where it hides no data."""
    return ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0)


def missing_values(ax: Axes, missing: Mapping[str, tuple[int, int]]) -> Axes:
    """Draw the share of values missing in each column, the first on top, counts at the right.

    Args:
        ax: axes to draw on.
        missing: column to (values missing, values there should be).

    Returns:
        The ax.

    Raises:
        ValueError: no column.
    """
    _require(missing, "missing")
    shares = [count / whole for count, whole in missing.values()]
    ax.barh(range(len(missing)), shares, height=0.6, color=NORMAL)
    _label_rows(ax, {name: f"{n:,} of {whole:,}" for name, (n, whole) in missing.items()})
    ax.set(xlim=(0, min(1, 1.05 * max(shares)) or 1), xlabel="share of values missing")
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    return ax


def degree_distribution(ax: Axes, degrees: Mapping[Hashable, ArrayLike]) -> Axes:
    """Draw the share of nodes with at least d edges, on log-log axes, one line a label.

    The complementary cumulative distribution needs no bins, so its tail shows every super-node.
    Nodes without edges count in the share but have no place on a log axis; the legend counts them.

    Args:
        ax: axes to draw on.
        degrees: label (node type, relation or edge type) to (n,) int, edges of each node.

    Returns:
        The ax.

    Raises:
        ValueError: no label, or a label without nodes.
    """
    _require(degrees, "degrees")
    colors = colors_of(map(_name, degrees))
    for i, (key, values) in enumerate(degrees.items()):
        values = _array(values)
        _require(values, f"degrees of {key!r}")
        degree, count = np.unique(values, return_counts=True)
        share = count[::-1].cumsum()[::-1] / len(values)
        label = f"{_name(key)} (median {np.median(values):,.0f}, largest {degree[-1]:,.0f}"
        label += f", {count[0]:,} without edges)" if degree[0] == 0 else ")"
        seen = degree > 0
        ax.plot(
            degree[seen],
            share[seen],
            color=colors[i],
            linestyle=_dashes(i),
            label=label,
            drawstyle="steps-pre",
            marker="o",
            markersize=2.5,
        )
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="degree d in edges (log)",
        ylabel="share of nodes with degree ≥ d (log)",
    )
    _legend_above(ax, columns=1)
    return ax


def sanitize_report(ax: Axes, reports: Sequence) -> Axes:
    """Draw what the sanitizer kept and dropped, one bar a relation, counts written above it.

    Bars are shares, since relations differ in size by orders of magnitude; the counts are exact.

    Args:
        ax: axes to draw on.
        reports: `SanitizeReport`s: relation, kept, dropped (reason to count), rows_emptied.

    Returns:
        The ax.

    Raises:
        ValueError: no report.
    """
    _require(reports, "reports")
    reasons = list(dict.fromkeys(reason for report in reports for reason in report.dropped))
    counts = np.array(
        [[r.kept, *(r.dropped.get(reason, 0) for reason in reasons)] for r in reports]
    )
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    names = [reason.replace("_", " ") for reason in ("kept", *reasons)]
    rows = np.arange(len(reports))
    for i, (name, color) in enumerate(zip(names, cycle(PALETTE), strict=False)):
        ax.barh(rows, shares[:, i], 0.42, left=shares[:, :i].sum(1), color=color, label=name)
    for row, report in enumerate(reports):
        text = [f"{name} {count:,}" for name, count in zip(names, counts[row], strict=True)]
        text.append(f"rows emptied {report.rows_emptied:,}")
        ax.text(0.005, row - 0.28, "  ·  ".join(text), fontsize=9)
    ax.set_yticks(rows, [_name(report.relation) for report in reports])
    ax.set(xlim=(0, 1), ylim=(len(reports) - 0.6, -0.7), xlabel="share of column ids in the file")
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.grid(visible=False, axis="y")
    _legend_above(ax, columns=len(names))
    return ax


def training_curve(
    ax: Axes,
    history: Sequence[Mapping[str, float]],
    key: str,
    *,
    x: str = "epoch",
    label: str | None = None,
    best: str | None = None,
) -> Axes:
    """Draw one number of the training history; call again on the same ax to overlay another.

    Entries without the key are passed over, so a validation score of every tenth epoch is a line
    with a mark at each epoch at which it was measured.

    Args:
        ax: axes to draw on.
        history: one mapping an epoch, such as `{"epoch": 10, "loss": 0.4, "val_auprc": 0.8}`.
        key: which number.
        x: key of the abscissa.
        label: of the y axis and the legend; the key if None.
        best: "max" or "min" marks the entry that early stopping would keep; no mark if None.

    Returns:
        The ax.

    Raises:
        ValueError: no entry holds the key, or best is another word.
    """
    if best not in (None, "max", "min"):
        raise ValueError(f'best must be "max", "min" or None, but is {best!r}')
    points = [(entry[x], entry[key]) for entry in history if key in entry]
    if not points:
        keys = sorted({k for entry in history for k in entry})
        raise ValueError(f"no entry of the history holds {key!r}; it holds {keys}")
    label = label or key.replace("_", " ")
    marker = "o" if len(points) < len(history) else None
    (line,) = ax.plot(*zip(*points, strict=True), label=label, marker=marker, markersize=4)
    if best:
        x_best, y_best = (max if best == "max" else min)(points, key=lambda point: point[1])
        ax.plot(
            x_best,
            y_best,
            "o",
            markersize=11,
            fillstyle="none",
            color=line.get_color(),
            markeredgewidth=1.6,
            label=f"best: {y_best:.4g} at {x} {x_best}",
        )
    ax.set(xlabel=x, ylabel=label)
    if len(ax.lines) > 1:
        ax.legend()
    return ax


def embedding_map(
    ax: Axes,
    xy: ArrayLike,
    groups: ArrayLike,
    *,
    names: Mapping[Hashable, str] | None = None,
    axis: str = "component",
) -> Axes:
    """Draw points in the plane, colored by group, the rarest group on top.

    Rarer groups get larger and more opaque points: two hundred frauds must be seen among tens of
    thousands of others.

    Args:
        ax: axes to draw on.
        xy: (n, 2) float; a projection of the embeddings.
        groups: (n,) any; the group of each point, such as its label or node type.
        names: name of each group in the legend, as `{0: "normal", 1: "fraud"}`; the group itself
            if None or absent.
        axis: what a coordinate is, such as "principal component".

    Returns:
        The ax.

    Raises:
        ValueError: no point, xy not (n, 2), or not one group a point.
    """
    xy, groups = _array(xy), _array(groups)
    if xy.ndim != 2 or xy.shape[1] != 2 or groups.shape != xy.shape[:1]:
        raise ValueError(
            f"xy must be (n, 2) and groups (n,), but are {xy.shape} and {groups.shape}"
        )
    _require(xy, "xy")
    values, counts = np.unique(groups, return_counts=True)
    names = [(names or {}).get(value, _name(value)) for value in values.tolist()]
    colors = colors_of(names)
    for i in np.argsort(-counts, kind="stable"):
        chosen = xy[groups == values[i]]
        rarity = np.clip(4 - np.log10(len(chosen)), 0, 2) / 2  # 0 from 10,000 points, 1 up to 100
        ax.scatter(
            *chosen.T,
            s=3 + 19 * rarity,
            alpha=0.25 + 0.65 * rarity,
            color=colors[i],
            edgecolor="white" if rarity > 0.5 else "none",
            linewidth=0.4,
            label=f"{names[i]} ({counts[i]:,})",
            rasterized=True,
        )
    ax.set(xlabel=f"{axis} 1", ylabel=f"{axis} 2", xticks=[], yticks=[])
    for handle in _legend_above(ax, columns=3 if len(values) <= 3 else 2).legend_handles:
        handle.set(alpha=1, sizes=[36])
    return ax


def score_histogram(
    ax: Axes, y_true: ArrayLike, scores: ArrayLike, *, bins: int = 50, log: bool = False
) -> Axes:
    """Draw the scores of both classes, each class with area 1, so that the rare one is as visible.

    Args:
        ax: axes to draw on.
        y_true: (n,) in {0, 1}; 1 = anomaly.
        scores: (n,) float.
        bins: number of bins, the same for both classes.
        log: whether the density is drawn on a log axis, for scores crowded at one end.

    Returns:
        The ax.

    Raises:
        ValueError: unequal lengths, or a class without samples.
    """
    y_true, scores = _array(y_true), _array(scores)
    if y_true.shape != scores.shape:
        raise ValueError(f"y_true has shape {y_true.shape} but scores {scores.shape}")
    edges = np.histogram_bin_edges(scores, bins)
    for label, name in enumerate(("normal", "fraud")):
        chosen = scores[y_true == label]
        _require(chosen, f"class {label} ({name})")
        ax.hist(
            chosen,
            edges,
            density=True,
            histtype="stepfilled",
            log=log,
            linewidth=1.6,
            facecolor=(COLORS[name], 0.35),
            edgecolor=COLORS[name],
            label=f"{name} (n = {len(chosen):,})",
        )
    ax.set(xlabel="score", ylabel="density per class" + (" (log)" if log else ""))
    ax.legend()
    return ax


def _curves(ax: Axes, curves: Mapping[str, Curve | tuple], area: str, drawstyle: str) -> None:
    """Draw bands and lines, the first model on top, its area and interval in the legend."""
    _require(curves, "curves")
    for i, (name, curve) in enumerate(curves.items()):
        curve = Curve(*curve)
        style = {"color": PALETTE[i % len(PALETTE)], "zorder": 3 - i / len(curves)}
        label = f"{name}, {area} {curve.interval}" if curve.interval else name
        ax.plot(_array(curve.x), _array(curve.y), label=label, drawstyle=drawstyle, **style)
        if curve.band is not None:
            ax.fill_between(*map(_array, curve.band), alpha=0.16, linewidth=0, **style)
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), aspect="equal")


def _until_found(curve: Curve) -> Curve:
    """Carry the precision of the first positive found to recall 0, over the points without one."""
    recall, precision = _array(curve.x), _array(curve.y)
    has_found = recall > 0
    recall, precision = recall[has_found], precision[has_found]
    return curve._replace(x=np.append(recall, 0), y=np.append(precision, precision[-1]))


def roc(ax: Axes, curves: Mapping[str, Curve | tuple]) -> Axes:
    """Draw ROC curves of several models over the chance line, with bands and areas if given.

    Args:
        ax: axes to draw on.
        curves: model to `Curve` (or a tuple of its fields): fpr, tpr, band of `roc_band`, AUC.

    Returns:
        The ax.

    Raises:
        ValueError: no curve.
    """
    _curves(ax, curves, "AUC", "default")
    ax.plot([0, 1], [0, 1], color=INK, linestyle=":", linewidth=1.2, label="chance, AUC 0.500")
    ax.set(xlabel="false positive rate", ylabel="true positive rate (recall)")
    ax.legend(loc="lower right")
    return ax


def precision_recall(
    ax: Axes, curves: Mapping[str, Curve | tuple], *, base_rate: float | None = None
) -> Axes:
    """Draw precision-recall curves of several models over the base rate.

    Lines are steps, whose area is average precision; straight lines would flatter the model.

    Args:
        ax: axes to draw on.
        curves: model to `Curve` (or a tuple of its fields): recall, precision in the order of
            `precision_recall_curve`, band of `precision_recall_band`, average precision.
        base_rate: share of positives, the precision of chance; no line if None.

    Returns:
        The ax.

    Raises:
        ValueError: no curve.
    """
    curves = {name: _until_found(Curve(*curve)) for name, curve in curves.items()}
    _curves(ax, curves, "AP", "steps-post")
    if base_rate is not None:
        ax.axhline(
            base_rate,
            color=INK,
            linestyle=":",
            linewidth=1.2,
            label=f"chance, base rate {base_rate:.2%}",
        )
    ax.set(xlabel="recall", ylabel="precision")
    # Weak models leave the upper right free, strong ones the lower left.
    halfway = np.mean([np.interp(-0.5, -c.x, c.y) for c in curves.values()])
    ax.legend(loc="lower left" if halfway > 0.5 else "upper right")
    return ax


def attention_distribution(
    ax: Axes,
    values: Mapping[Hashable, ArrayLike],
    *,
    xlabel: str = "effective neighbors / degree",
    uniform: float = 1.0,
    log: bool = False,
) -> Axes:
    """Draw how evenly attention is spread, one cumulative line a relation.

    A line far left of the uniform mark is attention on few neighbors; a line on it is a plain mean.

    Args:
        ax: axes to draw on.
        values: relation to (n,) float, one a node (effective neighbors over degree) or one an edge
            (alpha times degree); leave out nodes of degree 1, whose attention is 1 by definition.
        xlabel: what the values are.
        uniform: their value where attention is uniform.
        log: whether the values are drawn on a log axis.

    Returns:
        The ax.

    Raises:
        ValueError: no relation, or a relation without values.
    """
    _require(values, "values")
    for i, (key, numbers) in enumerate(values.items()):
        numbers = np.sort(_array(numbers))
        _require(numbers, f"values of {key!r}")
        share = np.arange(1, len(numbers) + 1) / len(numbers)
        ax.plot(
            numbers,
            share,
            drawstyle="steps-post",
            linestyle=_dashes(i),
            label=f"{_name(key)} (median {np.median(numbers):.2f}, n = {len(numbers):,})",
        )
    ax.axvline(uniform, color=INK, linestyle=":", linewidth=1.2, label="uniform attention")
    ax.set(
        xlabel=xlabel + (" (log)" if log else ""),
        ylabel="share with at most this value",
        xscale="log" if log else "linear",
        ylim=(0, 1.02),
    )
    _legend_above(ax, columns=1)
    return ax


def _label_rows(ax: Axes, texts: Mapping[str, str]) -> None:
    """Name the rows 0, 1, ... at the left, the first on top, and write their text at the right."""
    ax.set_yticks(range(len(texts)), [_name(name) for name in texts])
    ax.set_ylim(len(texts) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")
    for row, text in enumerate(texts.values()):
        ax.text(1.02, row, text, va="center", fontsize=9, transform=ax.get_yaxis_transform())


def intervals(
    ax: Axes, rows: "Mapping[str, Interval]", *, xlabel: str = "AUC", reference: float | None = None
) -> Axes:
    """Draw a dot and whisker for each model, first on top, the numbers written at the right.

    Args:
        ax: axes to draw on.
        rows: model to its interval, or to the interval of a paired difference.
        xlabel: what the numbers are.
        reference: where to draw a line: chance, or 0 for differences; none if None.

    Returns:
        The ax.

    Raises:
        ValueError: no row.
    """
    _require(rows, "rows")
    for row, interval in enumerate(rows.values()):
        ax.plot([interval.low, interval.high], [row, row], color=USER, linewidth=2.2)
        ax.plot(interval.value, row, "o", color=USER, markersize=7)
    _label_rows(ax, {name: str(interval) for name, interval in rows.items()})
    if reference is not None:
        ax.axvline(reference, color=INK, linestyle=":", linewidth=1.2)
    ax.set_xlabel(xlabel)
    return ax


def bandwidth_bars(
    ax: Axes, rows: Mapping[str, float], *, ceilings: Mapping[str, float] | None = None
) -> Axes:
    """Draw the memory rate each kernel achieves, beside what the machine can do.

    Args:
        ax: axes to draw on.
        rows: kernel to its rate in GB/s, first on top.
        ceilings: name to rate in GB/s of the machine, such as its copy and its random gather.

    Returns:
        The ax.

    Raises:
        ValueError: no row.
    """
    _require(rows, "rows")
    ax.barh(range(len(rows)), list(rows.values()), height=0.6, color=USER)
    _label_rows(ax, {name: f"{rate:,.1f}" for name, rate in rows.items()})
    ceilings = ceilings or {}
    for (name, rate), dashes in zip(ceilings.items(), cycle(("-", "--", ":")), strict=False):
        ax.axvline(rate, color=INK, linestyle=dashes, label=f"{name}, {rate:,.1f} GB/s")
    widest = max(*rows.values(), *ceilings.values(), 0)
    ax.set(xlim=(0, 1.05 * widest), xlabel="memory traffic in GB/s")
    if ceilings:
        _legend_above(ax, columns=3)
    return ax


def rates_by_shape(
    axes: Mapping[str, Axes], cases: Sequence[Mapping], *, copy: float
) -> Mapping[str, Axes]:
    """Draw the memory rates that benchmarks/operations.py measured, beside what the machine can do.

    An ax shows one operation: a row for each shape of graph, in it a bar for each dtype. The mark
    on a bar is what a gather of as large rows from as large a table reaches; the share of it is
    written at the right. The line is the copy.

    Args:
        axes: operation to the ax for it, all in one figure, whose legend is made; operations
            without an ax are passed over.
        cases: of a result file, one for each operation, shape and dtype, with the keys "op",
            "shape", "dtype", "rate" (in GB/s) and "of_gather".
        copy: rate of a copy in GB/s.

    Returns:
        The axes.

    Raises:
        ValueError: no case of these operations.
    """
    cases = [case for case in cases if case["op"] in axes]
    _require(cases, "cases")
    shapes, dtypes = (
        list(dict.fromkeys(case[key] for case in cases)) for key in ("shape", "dtype")
    )
    measured = {(case["op"], case["dtype"], case["shape"]): case for case in cases}
    widest = max(copy, *(max(case["rate"], case["rate"] / case["of_gather"]) for case in cases))
    height = 0.8 / len(dtypes)
    handles = {}
    for op, ax in axes.items():
        _label_rows(ax, dict.fromkeys(shapes, ""))
        for i, (dtype, color) in enumerate(zip(dtypes, cycle(PALETTE), strict=False)):
            first = (i + 0.5) * height - 0.4  # the bars of a row stand close, around its middle
            for row, shape in enumerate(shapes):
                case = measured.get((op, dtype, shape))
                _marked_bar(ax, row + first, height, case, color=color, label=dtype)
        ax.axvline(copy, color=INK, linestyle="--", linewidth=1.2, label=f"copy, {copy:,.0f} GB/s")
        ax.set(title=op, xlim=(0, 1.05 * widest), xlabel="memory traffic in GB/s")
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.label_outer()
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    figure = next(iter(axes.values())).figure
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=len(handles))
    return axes


def _marked_bar(ax: Axes, y: float, height: float, case: Mapping | None, **style) -> None:
    """Draw one bar of `rates_by_shape`, or say that there is none."""
    text = {"va": "center", "transform": ax.get_yaxis_transform()}
    if case is None:
        ax.text(0.01, y, "not measured", fontsize=7, color=NORMAL, **text)
        return
    rate, share = case["rate"], case["of_gather"]
    ax.barh(y, rate, 0.9 * height, **style)
    ends = y - height / 2, y + height / 2
    ax.vlines(rate / share, *ends, color=INK, linewidth=2.2, label="gather of such rows")
    ax.text(1.02, y, f"{share:.0%}", fontsize=8, **text)


def scaling(time: Axes, memory: Axes, cases: Sequence[Mapping]) -> tuple[Axes, Axes]:
    """Draw what an edge costs in graphs of more and more edges, as benchmarks/scaling.py measures.

    Args:
        time: ax for the nanoseconds of an edge; its figure gets the legend.
        memory: ax for the bytes of an edge, in the same figure.
        cases: with the keys "op", "threads", "num_edges", "ns_per_edge" and, unless there is
            nothing to say of memory, "bytes_per_edge". The most threads are drawn in solid lines.

    Returns:
        Both axes.

    Raises:
        ValueError: no case.
    """
    _require(cases, "cases")
    threads = sorted({case["threads"] for case in cases}, reverse=True)
    ops = list(dict.fromkeys(case["op"] for case in cases))
    handles = {}
    for ax, key in ((time, "ns_per_edge"), (memory, "bytes_per_edge")):
        for op, color in zip(ops, colors_of(ops), strict=True):
            for number, dashes in zip(threads, cycle(DASHES), strict=False):
                chosen = (op, number)
                points = [
                    (case["num_edges"], case[key])
                    for case in cases
                    if (case["op"], case["threads"]) == chosen and case.get(key) is not None
                ]
                if points:
                    (line,) = ax.plot(*zip(*points, strict=True), dashes, color=color, marker=".")
                    handles.setdefault(op, line)
        ax.set(xscale="log", xlabel="edges of the graph")
    time.set(yscale="log", ylabel="nanoseconds per edge")
    time.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    time.yaxis.set_major_formatter("{x:g}")
    time.yaxis.set_minor_formatter(NullFormatter())
    memory.set_ylim(bottom=0)
    memory.set_ylabel("extra bytes per edge")
    for number, dashes in zip(threads, cycle(DASHES), strict=False):
        name = f"{number} thread{'s' if number > 1 else ''}"
        handles[name] = Line2D([], [], color=INK, linestyle=dashes)
    columns = -(-len(handles) // 2)  # in two rows, or it is wider than the figure
    time.figure.legend(handles.values(), handles, loc="outside upper center", ncols=columns)
    return time, memory


def attention_shares(
    ax: Axes,
    mass: Mapping[Hashable, tuple[ArrayLike, ArrayLike]],
    *,
    what: str = "known frauds",
) -> Axes:
    """Draw how much attention falls on some neighbors, over what a plain mean would give them.

    One cumulative line a relation, on a log axis: right of the mark a node listens to them more
    than to others.

    Args:
        ax: axes to draw on.
        mass: relation to (attention, share), (n,) each, as `inspection.mass_on` returns them.
        what: the neighbors meant.

    Returns:
        The ax.

    Raises:
        ValueError: no relation, or a relation without nodes.
    """
    _require(mass, "mass")
    ratios = {}
    for key, (attention, share) in mass.items():
        attention, share = _array(attention), _array(share)
        _require(attention, f"mass of {key!r}")
        ratios[key] = np.maximum(attention / share, 1e-3)
    return attention_distribution(ax, ratios, xlabel=f"attention on {what} / their share", log=True)


def hit_rates(ax: Axes, rows: "Mapping[str, Mapping[int, Interval]]", *, chance: str) -> Axes:
    """Draw how many of an explainer's first edges were planted, by explainer and number read.

    Args:
        ax: axes to draw on.
        rows: explainer to its hit rate by k, first on top.
        chance: the explainer that knows nothing, whose rates are drawn as lines over all rows.

    Returns:
        The ax.

    Raises:
        ValueError: no row, or chance is none of them.
    """
    _require(rows, "rows")
    if chance not in rows:
        raise ValueError(f"chance is {chance!r}, but the rows are {', '.join(rows)}")
    shown = {name: by_k for name, by_k in rows.items() if name != chance}
    for i, k in enumerate(rows[chance]):
        color, shift = PALETTE[i % len(PALETTE)], 0.16 * (2 * i - len(rows[chance]) + 1)
        ax.axvline(rows[chance][k].value, color=color, linestyle=":", linewidth=1.4)
        for row, by_k in enumerate(shown.values()):
            y, label = row + shift, f"first {k}" if row == 0 else None
            ax.plot([by_k[k].low, by_k[k].high], [y, y], color=color, linewidth=2.2)
            ax.plot(by_k[k].value, y, "o", color=color, markersize=6, label=label)
    texts = ("  ".join(f"{rate.value:.2f}" for rate in by_k.values()) for by_k in shown.values())
    _label_rows(ax, dict(zip(shown, texts, strict=True)))
    ax.set(xlim=(0, 1.01), xlabel=f"planted edges found, of those possible (dotted: {chance})")
    _legend_above(ax, columns=len(rows[chance]))
    return ax


VERDICTS = {"failed": "#B3261E", "warning": "#E69F00", "passed": "#009E73", "not run": NORMAL}


def audit(ax: Axes, findings: Sequence) -> Axes:
    """Draw one row for each check of an audit: its verdict, its number, and what to compare with.

    Areas, shares and differences of them have a dot, a whisker and a mark for what a clean run
    gives (or what the number must exceed, or stay below); counts and ratios are written only.

    Args:
        ax: axes to draw on, about a third of an inch high a check.
        findings: `gadkit.audit.audit`'s: check, verdict, value, expected, number.

    Returns:
        The ax.

    Raises:
        ValueError: no finding.
    """
    _require(findings, "findings")
    for row, finding in enumerate(findings):
        value, expected, color = finding.value, finding.expected, VERDICTS[finding.verdict]
        if value is None or isinstance(value, int) or expected == 1:
            continue
        middle, *ends = value if isinstance(value, tuple) else (value,)
        ax.vlines(expected, row - 0.3, row + 0.3, color=INK, linestyle=":", linewidth=1.4)
        ax.plot(ends, [row] * len(ends), color=color, linewidth=2.2)
        ax.plot(middle, row, "o", color=color, markersize=7)
    _label_rows(ax, {each.check: f"{each.verdict:<8} {each.number}" for each in findings})
    for text, finding in zip(ax.texts, findings, strict=True):
        text.set(color=VERDICTS[finding.verdict], family="DejaVu Sans Mono", fontsize=8)
    ax.set_xlabel("area, share, or difference; dotted: what to compare with")
    return ax
