"""Results as plots."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "imgr"  # the same figures give the same file
mpl.rcParams["svg.fonttype"] = "none"

import matplotlib.pyplot as plt  # noqa: E402 - after the choice of what draws
from matplotlib.axes import Axes  # noqa: E402

_COLOURS = {"imgr": "#1b6ca8", "floor": "#8a8d91", "peer": "#e08e0b", "baseline": "#b23a48"}


def plots(results: dict[str, Any], output: Path) -> dict[str, str]:
    """Draw what there is; return the titles by file name."""
    measured = results.get("quickstart", {})
    drawn = {}
    for section, title, draw in (
        ("clicks", "Repeated click, one client, shipped model: median and quartiles", _draw_clicks),
        ("load", "Throughput of closed-loop clients", _draw_load),
        ("arrivals", "Latency of clicks that arrive at random", _draw_arrivals),
        ("endurance", "Resident memory by process during 5,000 clicks", _draw_memory),
    ):
        if section in measured:
            figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
            draw(axes, measured[section])
            figure.savefig(output / f"{section}.svg", metadata={"Date": None})
            plt.close(figure)
            drawn[f"{section}.svg"] = title
    return drawn


def _draw_clicks(axes: Axes, rows: list[dict[str, Any]]) -> None:
    places = range(len(rows))
    for shift, (name, colour) in enumerate(_COLOURS.items()):
        values = [row[name] for row in rows]
        middle = [value["p50"] for value in values]
        errors = [[value["p50"] - value["q1"] for value in values], [value["q3"] - value["p50"] for value in values]]
        axes.bar([place + 0.2 * shift - 0.3 for place in places], middle, 0.2, yerr=errors, color=colour, label=name)
    axes.set(yscale="log", ylabel="ms", xticks=places)
    axes.set_xticklabels([f"{row['photo']}\n{row['mask']}" for row in rows], fontsize=7)
    axes.legend(ncols=4, fontsize=8)


def _draw_load(axes: Axes, load: dict[str, Any]) -> None:
    for name, key in (("imgr", "closed"), ("peer", "closed_peer")):
        for one, style in ((False, "o-"), (True, "s--")):
            rows = [row for row in load[key] if (row["images"] == 1) == one or row["clients"] == 1]
            label = f"{name}, {'one image' if one else 'different images'}"
            clients, throughput = [row["clients"] for row in rows], [row["throughput"] for row in rows]
            axes.plot(clients, throughput, style, color=_COLOURS[name], label=label)
    axes.axhline(load["allowed"], color=_COLOURS["floor"], label="what the floor's processor seconds allow")
    axes.set(xscale="log", xlabel="clients", ylabel="clicks a second", ylim=(0, None), xticks=[1, 4, 16, 64])
    axes.set_xticklabels(["1", "4", "16", "64"])
    axes.minorticks_off()
    axes.legend(fontsize=7)


def _draw_arrivals(axes: Axes, arrivals: dict[str, Any]) -> None:
    shares = [100 * row["share"] for row in arrivals["open"]]
    for quantile in ("p50", "p95", "p99"):
        axes.plot(shares, [row["latency"][quantile] for row in arrivals["open"]], "o-", label=quantile)
    axes.set(xlabel="arrivals, % of capacity", ylabel="ms", ylim=(0, None))
    axes.legend(fontsize=8)


def _draw_memory(axes: Axes, samples: dict[str, dict[str, float]]) -> None:
    roles = list(next(iter(samples.values())))
    axes.stackplot(range(len(samples)), [[by.get(role, 0) for by in samples.values()] for role in roles], labels=roles)
    axes.set(ylabel="MB", xticks=range(len(samples)))
    axes.set_xticklabels(samples, fontsize=6)
    axes.legend(fontsize=7, loc="lower right")
