"""Each figure shows the numbers it was given, with its axes named."""

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gadkit import plot
from gadkit.evaluation.metrics import Interval, precision_recall_curve, roc_curve
from gadkit.plot import Curve
from gadkit.store import SanitizeReport


@pytest.fixture
def ax():
    """Axes that are rendered after the test, so that a figure which cannot be drawn fails."""
    figure = Figure(layout="constrained")
    yield figure.add_subplot()
    FigureCanvasAgg(figure).draw()


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def yticks(ax):
    return [tick.get_text() for tick in ax.get_yticklabels()]


def test_style_sets_defaults_and_only_those():
    with matplotlib.rc_context():
        backend = matplotlib.rcParams["backend"]
        plot.style()
        assert not matplotlib.rcParams["axes.spines.top"]
        assert matplotlib.rcParams["axes.prop_cycle"].by_key()["color"] == list(plot.PALETTE)
        assert matplotlib.rcParams["backend"] == backend


def test_fraud_has_its_own_color():
    assert plot.FRAUD not in plot.PALETTE
    assert len(set(plot.PALETTE)) == len(plot.PALETTE)


def test_degree_distribution(ax):
    edge_type = ("seller", "sells", "product")
    degrees = {"user": torch.tensor([0, 1, 1, 4]), edge_type: torch.tensor([2, 2])}
    assert plot.degree_distribution(ax, degrees) is ax
    user, sells = ax.lines
    assert user.get_xydata().tolist() == [[1, 0.75], [4, 0.25]]
    assert sells.get_xydata().tolist() == [[2, 1.0]]
    assert user.get_color() == plot.USER
    assert user.get_drawstyle() == "steps-pre"  # P(degree >= d) holds from the left up to d
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert "(log)" in ax.get_xlabel() and "(log)" in ax.get_ylabel()
    assert legend(ax) == [
        "user (median 1, largest 4, 1 without edges)",
        "seller sells product (median 2, largest 2)",
    ]


def test_degree_distribution_of_nodes_without_any_edge(ax):
    plot.degree_distribution(ax, {"user": [0, 0], "product": [1]})
    assert len(ax.lines[0].get_xydata()) == 0
    assert "2 without edges" in legend(ax)[0]


def test_sanitize_report(ax):
    reports = [
        SanitizeReport("buys", 10, 75, {"self_loop": 20, "wrong_type": 5}, rows_emptied=3),
        SanitizeReport("co_buys", 10, 1_000, {}, 0),
    ]
    assert plot.sanitize_report(ax, reports) is ax
    assert legend(ax) == ["kept", "self loop", "wrong type"]
    widths = [[bar.get_width() for bar in bars] for bars in ax.containers]
    np.testing.assert_allclose(widths, [[0.75, 1], [0.2, 0], [0.05, 0]])
    assert ax.containers[2][0].get_x() == pytest.approx(0.95)  # stacked
    assert texts(ax)[0] == "kept 75  ·  self loop 20  ·  wrong type 5  ·  rows emptied 3"
    assert "kept 1,000" in texts(ax)[1]
    assert yticks(ax) == ["buys", "co_buys"]
    bottom, top = ax.get_ylim()
    assert bottom > top  # the first report on top


def test_sanitize_report_of_an_empty_relation(ax):
    plot.sanitize_report(ax, [SanitizeReport("sells", 0, 0, {"self_loop": 0}, 0)])
    assert [bar.get_width() for bars in ax.containers for bar in bars] == [0, 0]


HISTORY = [
    {"epoch": 1, "loss": 0.7},
    {"epoch": 2, "loss": 0.5, "val_auprc": 0.8},
    {"epoch": 3, "loss": 0.4},
    {"epoch": 4, "loss": 0.3, "val_auprc": 0.7},
]


def test_training_curve(ax):
    assert plot.training_curve(ax, HISTORY, "loss") is ax
    assert ax.lines[0].get_xydata().tolist() == [[1, 0.7], [2, 0.5], [3, 0.4], [4, 0.3]]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")
    assert ax.get_legend() is None  # one line is named by its axis


@pytest.mark.parametrize(("best", "at"), [("max", [2, 0.8]), ("min", [4, 0.7])])
def test_training_curve_of_a_key_in_some_epochs(ax, best, at):
    plot.training_curve(ax, HISTORY, "val_auprc", best=best, label="validation AUPRC")
    line, mark = ax.lines
    assert line.get_xydata().tolist() == [[2, 0.8], [4, 0.7]]
    assert line.get_marker() == "o"
    assert mark.get_xydata().tolist() == [at]
    assert legend(ax) == ["validation AUPRC", f"best: {at[1]} at epoch {at[0]}"]


def test_training_curves_overlay(ax):
    plot.training_curve(ax, HISTORY, "loss", label="with smoothness")
    plot.training_curve(ax, HISTORY[:2], "loss", label="without")
    assert legend(ax) == ["with smoothness", "without"]
    assert ax.lines[0].get_color() != ax.lines[1].get_color()


def test_training_curve_errors(ax):
    with pytest.raises(ValueError, match=r"'auc'; it holds \['epoch', 'loss', 'val_auprc'\]"):
        plot.training_curve(ax, HISTORY, "auc")
    with pytest.raises(ValueError, match="but is 'largest'"):
        plot.training_curve(ax, HISTORY, "loss", best="largest")


def test_embedding_map_shows_the_rare_group(ax):
    groups = torch.zeros(20_000, dtype=torch.int64)
    groups[::200] = 1
    xy = torch.stack([torch.arange(20_000.0), groups.float()], 1)
    names = {0: "normal", 1: "fraud"}
    assert plot.embedding_map(ax, xy, groups, names=names, axis="principal component") is ax
    normal, fraud = ax.collections  # drawn in this order: fraud lies on top
    assert legend(ax) == ["normal (19,900)", "fraud (100)"]
    assert len(fraud.get_offsets()) == 100 and (fraud.get_offsets()[:, 1] == 1).all()
    assert fraud.get_sizes()[0] > 3 * normal.get_sizes()[0]
    assert fraud.get_alpha() > normal.get_alpha()
    assert matplotlib.colors.same_color(fraud.get_facecolor()[0, :3], plot.FRAUD)
    assert ax.get_xlabel() == "principal component 1"
    assert fraud.get_zorder() >= normal.get_zorder()


def test_embedding_map_names_groups_by_themselves(ax):
    plot.embedding_map(ax, np.zeros((3, 2)), np.array(["seller", "user", "user"]))
    assert legend(ax) == ["user (2)", "seller (1)"]
    assert matplotlib.colors.same_color(ax.collections[1].get_facecolor()[0, :3], plot.SELLER)


def test_node_types_have_different_colors(ax):
    types = ["user", "product", "seller", "device_id", "card_hash", "ship_address", "ip", "phone"]
    plot.embedding_map(ax, np.zeros((8, 2)), np.array(types))
    colors = {tuple(points.get_facecolor()[0, :3]) for points in ax.collections}
    assert len(colors) == 8


def test_embedding_map_errors(ax):
    with pytest.raises(ValueError, match=r"\(3, 1\) and \(3,\)"):
        plot.embedding_map(ax, np.zeros((3, 1)), np.zeros(3))
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(2,\)"):
        plot.embedding_map(ax, np.zeros((3, 2)), np.zeros(2))


@pytest.mark.parametrize("log", [False, True])
def test_score_histogram_gives_each_class_area_1(ax, log):
    y_true = torch.tensor([0] * 98 + [1, 1])
    scores = torch.linspace(0, 1, 100).bfloat16()
    assert plot.score_histogram(ax, y_true, scores, bins=10, log=log) is ax
    normal, fraud = (patch.get_xy() for patch in ax.patches)
    for outline in (normal, fraud):
        height, edge = outline[:, 1], outline[:, 0]
        assert np.ptp(edge) == pytest.approx(1)
        assert height.max() > 0
    assert fraud[:, 1].max() == pytest.approx(10)  # both frauds in the last of ten bins of 0.1
    assert legend(ax) == ["normal (n = 98)", "fraud (n = 2)"]
    assert ax.get_ylabel() == "density per class" + (" (log)" if log else "")
    assert ax.get_yscale() == ("log" if log else "linear")


def test_score_histogram_errors(ax):
    with pytest.raises(ValueError, match="class 1 \\(fraud\\) is empty"):
        plot.score_histogram(ax, torch.zeros(3), torch.rand(3))
    with pytest.raises(ValueError, match=r"\(3,\) but scores \(4,\)"):
        plot.score_histogram(ax, torch.zeros(3), torch.rand(4))


Y, S = torch.tensor([0, 0, 1, 0, 1]), torch.tensor([0.9, 0.1, 0.8, 0.3, 0.2])
GRID = torch.linspace(0, 1, 3)
BAND = (GRID, GRID / 2, GRID)


def test_roc(ax):
    fpr, tpr, _ = roc_curve(Y, S)
    curves = {
        "HeteroGAT": Curve(fpr, tpr, BAND, Interval(0.5, 0.4, 0.6)),
        "flat trees": (fpr, tpr),
    }
    assert plot.roc(ax, curves) is ax
    model, trees, chance = ax.lines
    np.testing.assert_array_equal(model.get_xydata(), np.stack([fpr, tpr], 1))
    assert chance.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert legend(ax) == ["HeteroGAT, AUC 0.500 [0.400, 0.600]", "flat trees", "chance, AUC 0.500"]
    assert model.get_color() != trees.get_color()
    assert model.get_zorder() > trees.get_zorder()
    assert len(ax.collections) == 1
    lower = ax.collections[0].get_paths()[0].vertices
    assert lower[:, 1].max() == 1 and [0.5, 0.25] in lower.tolist()
    assert (ax.get_xlabel(), ax.get_ylabel()) == (
        "false positive rate",
        "true positive rate (recall)",
    )


def test_precision_recall(ax):
    precision, recall, _ = precision_recall_curve(Y, S)
    curves = {"HeteroGAT": Curve(recall, precision, BAND, Interval(0.5, 0.4, 0.6))}
    assert plot.precision_recall(ax, curves, base_rate=0.4) is ax
    model, chance = ax.lines
    # The top sample is negative: nothing is found before recall 0.5, whose precision is 1/2.
    assert model.get_xydata()[-2:].tolist() == [[0.5, 0.5], [0, 0.5]]
    assert model.get_drawstyle() == "steps-post"
    assert set(chance.get_ydata()) == {0.4}
    assert legend(ax) == ["HeteroGAT, AP 0.500 [0.400, 0.600]", "chance, base rate 40.00%"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("recall", "precision")


@pytest.mark.parametrize(("level", "corner"), [(0.9, "lower left"), (0.1, "upper right")])
def test_precision_recall_legend_stays_off_the_curves(ax, level, corner):
    plot.precision_recall(ax, {"model": ([1, 0.5, 0], [level, level, 1])})
    codes = matplotlib.legend.Legend.codes
    assert ax.get_legend()._loc == codes[corner]
    assert len(ax.lines) == 1  # no base rate given, none drawn


def test_more_curves_than_colors_can_be_told_apart(ax):
    plot.degree_distribution(ax, {f"relation {i}": [1, 2] for i in range(9)})
    styles = {(line.get_color(), line.get_linestyle()) for line in ax.lines}
    assert len(styles) == 9


def test_missing_values(ax):
    missing = {"account: age": (3, 4), "amount": (2, 8), "at": (0, 8)}
    assert plot.missing_values(ax, missing) is ax
    assert [bar.get_width() for bar in ax.patches] == [0.75, 0.25, 0]
    assert texts(ax) == ["3 of 4", "2 of 8", "0 of 8"]
    assert yticks(ax) == list(missing)
    assert ax.get_xlim() == pytest.approx((0, 0.7875))
    assert ax.get_xlabel() == "share of values missing"


def test_attention_distribution(ax):
    values = {"buys": torch.tensor([0.5, 0.25, 1.0, 1.0]), ("user", "co_buys", "user"): [0.1]}
    assert plot.attention_distribution(ax, values) is ax
    buys, _, uniform = ax.lines
    assert buys.get_xydata().tolist() == [[0.25, 0.25], [0.5, 0.5], [1, 0.75], [1, 1]]
    assert set(uniform.get_xdata()) == {1}
    assert legend(ax) == [
        "buys (median 0.75, n = 4)",
        "user co_buys user (median 0.10, n = 1)",
        "uniform attention",
    ]
    assert ax.get_xlabel() == "effective neighbors / degree"


def test_attention_distribution_on_a_log_axis(ax):
    plot.attention_distribution(ax, {"buys": [0.1, 2, 10]}, xlabel="alpha × degree", log=True)
    assert ax.get_xscale() == "log" and ax.get_xlabel() == "alpha × degree (log)"


def test_intervals(ax):
    rows = {"HeteroGAT": Interval(0.9, 0.8, 0.95), "flat trees": Interval(0.7, 0.6, 0.75)}
    assert plot.intervals(ax, rows, xlabel="AUC", reference=0.5) is ax
    whisker, dot, *_, reference = ax.lines
    assert whisker.get_xydata().tolist() == [[0.8, 0], [0.95, 0]]
    assert dot.get_xydata().tolist() == [[0.9, 0]]
    assert set(reference.get_xdata()) == {0.5}
    assert texts(ax) == ["0.900 [0.800, 0.950]", "0.700 [0.600, 0.750]"]
    assert yticks(ax) == ["HeteroGAT", "flat trees"]
    bottom, top = ax.get_ylim()
    assert bottom > top  # the first model on top
    assert ax.get_xlabel() == "AUC"


def test_bandwidth_bars(ax):
    rows = {"spmm": 9.81, "edge_dot": 7.0}
    assert plot.bandwidth_bars(ax, rows, ceilings={"copy": 19.6, "random gather": 11.2}) is ax
    assert [bar.get_width() for bar in ax.patches] == [9.81, 7.0]
    assert [set(line.get_xdata()) for line in ax.lines] == [{19.6}, {11.2}]
    assert legend(ax) == ["copy, 19.6 GB/s", "random gather, 11.2 GB/s"]
    assert ax.lines[0].get_linestyle() != ax.lines[1].get_linestyle()
    assert texts(ax) == ["9.8", "7.0"]
    assert yticks(ax) == ["spmm", "edge_dot"]
    assert ax.get_xlim()[1] > 19.6
    assert "GB/s" in ax.get_xlabel()


def test_bandwidth_bars_without_ceilings(ax):
    plot.bandwidth_bars(ax, {"spmm": 100.0})
    assert ax.get_legend() is None and ax.get_xlim()[1] > 100


def result_case(op, shape, dtype, rate, of_gather):
    return {"op": op, "shape": shape, "dtype": dtype, "rate": rate, "of_gather": of_gather}


def test_rates_by_shape(ax):
    cases = [
        result_case("spmm", "uniform", "float32", 1500.0, 0.75),
        result_case("spmm", "uniform", "bfloat16", 1200.0, 0.8),
        result_case("spmm", "star", "float32", 2200.0, 1.1),
        result_case("edge_dot", "tiny", "float32", 9e9, 0.5),  # no ax for it
    ]
    assert plot.rates_by_shape({"spmm": ax}, cases, copy=2500.0) == {"spmm": ax}
    assert [bar.get_width() for bar in ax.patches] == [1500, 2200, 1200]
    marks = [lines.get_segments()[0] for lines in ax.collections]
    np.testing.assert_allclose([mark[:, 0] for mark in marks], [[2000] * 2, [2000] * 2, [1500] * 2])
    for bar, mark in zip(ax.patches, marks, strict=True):  # each on its own bar
        assert bar.get_y() + bar.get_height() / 2 == pytest.approx(mark[:, 1].mean())
    assert [round(bar.get_y() + bar.get_height() / 2) for bar in ax.patches] == [0, 1, 0]
    assert [set(line.get_xdata()) for line in ax.lines] == [{2500}]
    assert [text for text in texts(ax) if text] == ["75%", "110%", "80%", "not measured"]
    assert yticks(ax) == ["uniform", "star"]
    assert ax.get_title() == "spmm" and "GB/s" in ax.get_xlabel() and ax.get_xlim()[1] > 2500
    (shared,) = ax.figure.legends
    named = {text.get_text() for text in shared.get_texts()}
    assert named == {"float32", "bfloat16", "gather of such rows", "copy, 2,500 GB/s"}


def test_rates_by_shape_has_the_same_rows_and_scale_on_every_ax(ax):
    other = ax.figure.add_subplot(2, 1, 2)
    cases = [
        result_case("spmm", "uniform", "float32", 1500.0, 0.75),
        result_case("gat backward", "star", "bfloat16", 4000.0, 0.5),
    ]
    plot.rates_by_shape({"spmm": ax, "gat backward": other}, cases, copy=2500.0)
    assert yticks(ax) == yticks(other) == ["uniform", "star"]
    assert ax.get_xlim() == other.get_xlim() and ax.get_xlim()[1] > 8000
    assert texts(ax).count("not measured") == texts(other).count("not measured") == 3
    colors = [axes.patches[0].get_facecolor() for axes in (ax, other)]
    assert colors[0] != colors[1]  # a dtype keeps its color
    assert len(ax.figure.legends[0].get_texts()) == 4  # of all axes together


def test_scaling_has_a_line_for_each_number_of_threads_and_memory_starts_at_zero(ax):
    other = ax.figure.add_subplot(2, 1, 2)
    sizes = {"num_edges": 1000, "ns_per_edge": 9.0}, {"num_edges": 10_000, "ns_per_edge": 8.0}
    cases = [
        {"op": op, "threads": threads, "bytes_per_edge": 60.0 if op == "spmm" else None, **size}
        for op in ("spmm", "gather")
        for threads in (1, 2)
        for size in sizes
    ]
    assert plot.scaling(ax, other, cases) == (ax, other)
    assert [line.get_ydata().tolist() for line in ax.lines] == [[9.0, 8.0]] * 4
    assert [line.get_ydata().tolist() for line in other.lines] == [[60.0, 60.0]] * 2
    solid, dashed, *_ = ax.lines
    assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
    assert solid.get_color() == dashed.get_color() != ax.lines[2].get_color()
    for axes in (ax, other):
        assert axes.get_xscale() == "log" and axes.get_xlabel() == "edges of the graph"
    assert ax.get_yscale() == "log" and other.get_ylim()[0] == 0
    assert ax.get_ylabel() == "nanoseconds per edge"
    assert other.get_ylabel() == "extra bytes per edge"
    (shared,) = ax.figure.legends
    named = [text.get_text() for text in shared.get_texts()]
    assert named == ["spmm", "gather", "2 threads", "1 thread"]


@pytest.mark.parametrize(
    ("draw", "nothing"),
    [
        (plot.missing_values, {}),
        (plot.degree_distribution, {}),
        (plot.degree_distribution, {"user": []}),
        (plot.sanitize_report, []),
        (plot.roc, {}),
        (plot.precision_recall, {}),
        (plot.attention_distribution, {}),
        (plot.attention_distribution, {"buys": []}),
        (plot.intervals, {}),
        (plot.bandwidth_bars, {}),
        (lambda ax, cases: plot.rates_by_shape({"spmm": ax}, cases, copy=1.0), []),
        (lambda ax, cases: plot.scaling(ax, ax, cases), []),
        (lambda ax, xy: plot.embedding_map(ax, xy, np.zeros(0)), np.zeros((0, 2))),
    ],
)
def test_nothing_to_draw_is_an_error(ax, draw, nothing):
    with pytest.raises(ValueError, match="is empty; there is nothing to draw"):
        draw(ax, nothing)


def test_attention_shares_divide_attention_by_the_share(ax):
    mass = {("user", "buys", "product"): (torch.tensor([0.2, 0.9]), torch.tensor([0.1, 0.3]))}
    plot.attention_shares(ax, mass)
    assert ax.lines[0].get_xdata().tolist() == pytest.approx([2, 3])
    with pytest.raises(ValueError, match="nothing to draw"):
        plot.attention_shares(ax, {})


def test_hit_rates_stand_beside_chance(ax):
    chance, best = ({5: Interval(v, v - 0.1, v + 0.1)} for v in (0.4, 0.9))
    plot.hit_rates(ax, {"chance": chance, "best": best}, chance="chance")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["best"]
    xs = [line.get_xdata()[0] for line in ax.lines]
    assert xs == pytest.approx([0.4, 0.8, 0.9])
    with pytest.raises(ValueError, match="chance is 'none'"):
        plot.hit_rates(ax, {"best": best}, chance="none")
