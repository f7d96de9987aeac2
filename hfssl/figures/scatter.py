"""Predicted numbers against the true ones, as a PNG file. M rows."""

from matplotlib import pyplot

from hfssl.figures.curves import write_figure
from hfssl.figures.palette import ACCENT, INK, plain
from hfssl.objective import Array
from hfssl.run_dir import JsonView, RunDir


def scatter_figure(run_dir: RunDir, said_M: Array, true_M: Array, summary: JsonView) -> None:
    """figures/scatter.png: a point a row, with the diagonal on which they should lie."""
    low, high = float(min(said_M.min(), true_M.min())), float(max(said_M.max(), true_M.max()))
    margin = 0.05 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    figure, axis = pyplot.subplots(figsize=(5.2, 5.2), layout="constrained")
    axis.plot(limits, limits, color=ACCENT, linestyle="--", linewidth=1)
    axis.scatter(true_M, said_M, s=10, color=INK, alpha=max(0.1, min(1.0, 300 / len(said_M))), linewidths=0)
    axis.set(xlim=limits, ylim=limits, xlabel="true", ylabel="predicted", aspect="equal")
    plain(axis)
    if summary["pearson"] is not None:
        axis.set_title(f"Pearson {summary['pearson']:.3f}, mean squared error {summary['mean_squared_error']:.3g}")
    write_figure(figure, run_dir.figures / "scatter.png")
