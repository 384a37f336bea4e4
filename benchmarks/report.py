"""Results as JSON, as tables and as plots."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.goals import behind_peer, goals

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "imgr"  # the same figures give the same file
mpl.rcParams["svg.fonttype"] = "none"

import matplotlib.pyplot as plt  # noqa: E402 - after the choice of what draws

_COLOURS = {"imgr": "#1b6ca8", "floor": "#8a8d91", "peer": "#e08e0b", "baseline": "#b23a48"}
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"
Tables = list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]


def add(output: Path, model: str, section: str, measured: Any, arguments: list[str]) -> None:
    """Put a section's results in place of its earlier ones."""
    output.mkdir(parents=True, exist_ok=True)
    results = _read(output)
    results["machine"] = machine.description()
    results.setdefault(model, {})[section] = measured
    results.setdefault("runs", {})[f"{model} {section}"] = {
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "arguments": " ".join(arguments),
    }
    (output / "results.json").write_text(json.dumps(_rounded(results), indent=1, ensure_ascii=False) + "\n")


def show(output: Path) -> None:
    """Print all tables, draw the plots, and renew both in the document beside the folder."""
    results = _read(output)
    found = tables(results)
    console = Console()
    for title, head, rows in found:
        table = Table(*head, title=title)
        for row in rows:
            table.add_row(*(cell.replace("**", "") for cell in row))
        console.print(table)
    drawn = plots(results, output)
    document = output.with_suffix(".md")
    if document.exists():
        before, _, rest = document.read_text().partition(_BEGIN)
        parts = [f"![{title}]({output.name}/{name})" for name, title in drawn.items()]
        parts += [_markdown(title, head, rows) for title, head, rows in found]
        document.write_text(f"{before}{_BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{_END}{rest.partition(_END)[2]}")


def tables(results: dict[str, Any]) -> Tables:
    """Return every table: title, head, rows."""
    found: Tables = [("What must hold", ("", "goal", "measured", "holds"), [goal.cells() for goal in goals(results)])]
    for model in ("quickstart", "vit_b"):
        measured = results.get(model, {})
        if "clicks" in measured:
            head = (
                "photo",
                "mask",
                "covers",
                "imgr p50",
                "p95",
                "p99",
                "floor p50",
                "over floor",
                "peer p50",
                "baseline p50",
            )
            found.append(
                (f"Repeated click, one client, {model}, ms", head, [_click_row(row) for row in measured["clicks"]])
            )
        if "uploads" in measured:
            kinds = [kind for kind in measured["uploads"][0] if kind != "photo"]
            rows = [(row["photo"], *(_spread(row[kind]) for kind in kinds)) for row in measured["uploads"]]
            found.append((f"From the upload on, {model}, ms: median (quartiles)", ("photo", *kinds), rows))
        if "load" in measured:
            found += _load_tables(model, measured["load"])
        if "contention" in measured:
            rows = [(name, *_latency(value)) for name, value in measured["contention"].items()]
            found.append(
                (f"Clicks of one client, others idle or uploading, {model}, ms", ("others", "p50", "p95", "p99"), rows)
            )
        if "stages" in measured:
            stages = list(measured["stages"][0]["cpu_ms"])
            rows = [
                (
                    row["photo"],
                    row["mask"],
                    *(f"{row['cpu_ms'][stage]:.1f}" for stage in stages),
                    f"{sum(row['cpu_ms'].values()):.1f}",
                )
                for row in measured["stages"]
            ]
            found.append(
                (
                    f"Processor milliseconds of a click by stage, without a service, {model}",
                    ("photo", "mask", *stages, "sum"),
                    rows,
                )
            )
        if "wire" in measured:
            rows = [
                (
                    row["photo"],
                    row["mask"],
                    *(f"{row[hop] / 1e3:.0f}" for hop in ("to_triton", "from_triton", "answer")),
                )
                for row in measured["wire"]
            ]
            found.append(
                (
                    f"Kilobytes of a click on each hop, {model}",
                    ("photo", "mask", "to Triton", "from Triton", "answer"),
                    rows,
                )
            )
        if "startup" in measured:
            rows = [(name, _spread(value)) for name, value in measured["startup"].items()]
            found.append((f"From the command on, {model}, ms: median (quartiles)", ("until", ""), rows))
        if "memory" in measured:
            samples = measured["memory"]["resident_mb"]
            roles = list(samples["idle"])
            rows = [
                (when, *(f"{by.get(role, 0):.0f}" for role in roles), f"{sum(by.values()):.0f}")
                for when, by in samples.items()
            ]
            found.append((f"Resident memory, {model}, MB", ("after", *roles, "sum"), rows))
        if {"clicks", "uploads", "load"} <= measured.keys():
            rows = [(row,) for row in behind_peer(measured)]
            found.append((f"Rows in which the peer was faster, {model}", ("row",), rows or [("none",)]))
    return found


def plots(results: dict[str, Any], output: Path) -> dict[str, str]:
    """Draw what there is; return the titles by file name."""
    drawn = {}
    measured = results.get("quickstart", {})
    if "clicks" in measured:
        figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
        rows = measured["clicks"]
        for place, (name, colour) in enumerate(_COLOURS.items()):
            values = [row[name]["p50"] for row in rows]
            errors = [
                [row[name]["p50"] - row[name]["q1"] for row in rows],
                [row[name]["q3"] - row[name]["p50"] for row in rows],
            ]
            axes.bar(
                [x + 0.2 * place - 0.3 for x in range(len(rows))],
                values,
                0.2,
                yerr=errors,
                color=colour,
                label=name,
                error_kw={"lw": 0.8},
            )
        axes.set(yscale="log", ylabel="ms (median, quartiles)", xticks=range(len(rows)))
        axes.set_xticklabels([f"{row['photo']}\n{row['mask']}" for row in rows], fontsize=7)
        axes.legend(ncols=4, fontsize=8)
        drawn["clicks.svg"] = "Repeated click, one client, shipped model"
        figure.savefig(output / "clicks.svg", metadata={"Date": None})
    if "load" in measured:
        figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
        for name, key in (("imgr", "closed"), ("peer", "closed_peer")):
            for one, style in ((False, "o-"), (True, "s--")):
                rows = [row for row in measured["load"][key] if (row["images"] == 1) == one or row["clients"] == 1]
                label = f"{name}, {'one image' if one else 'different images'}"
                left.plot(
                    [row["clients"] for row in rows],
                    [row["throughput"] for row in rows],
                    style,
                    color=_COLOURS[name],
                    label=label,
                )
        left.axhline(
            measured["load"]["allowed"], color=_COLOURS["floor"], lw=0.8, label="the floor's processor seconds"
        )
        left.set(
            xscale="log",
            xlabel="clients",
            ylabel="clicks a second",
            ylim=(0, None),
            xticks=[1, 4, 16, 64],
            xticklabels=["1", "4", "16", "64"],
        )
        left.legend(fontsize=7)
        for quantile, style in (("p50", "o-"), ("p95", "^-"), ("p99", "s-")):
            rows = measured["load"]["open"]
            right.plot(
                [100 * row["share"] for row in rows], [row["latency"][quantile] for row in rows], style, label=quantile
            )
        right.set(xlabel="arrivals, % of capacity", ylabel="ms", ylim=(0, None))
        right.legend(fontsize=8)
        drawn["load.svg"] = "Throughput of closed-loop clients; latency of open-loop arrivals"
        figure.savefig(output / "load.svg", metadata={"Date": None})
    if "memory" in measured:
        figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
        samples = measured["memory"]["resident_mb"]
        axes.stackplot(
            range(len(samples)),
            [[by.get(role, 0) for by in samples.values()] for role in samples["idle"]],
            labels=list(samples["idle"]),
        )
        axes.set(ylabel="MB", xticks=range(len(samples)))
        axes.set_xticklabels(samples, fontsize=6)
        axes.legend(fontsize=7, loc="lower right")
        drawn["memory.svg"] = "Resident memory"
        figure.savefig(output / "memory.svg", metadata={"Date": None})
    plt.close("all")
    return drawn


def _click_row(row: dict[str, Any]) -> tuple[str, ...]:
    ours = row["imgr"]
    covers = "–".join(f"{100 * edge:.0f}" for edge in (min(row["shares"]), max(row["shares"]))) + " %"
    return (
        row["photo"], row["mask"], covers, f"{ours['p50']:.0f} ({ours['q1']:.0f}–{ours['q3']:.0f})",
        f"{ours['p95']:.0f}", f"{ours['p99']:.0f}", f"{row['floor']['p50']:.0f}", f"{row['over_floor']:.2f}",
        f"{row['peer']['p50']:.0f}", f"{row['baseline']['p50']:.0f}",
    )  # fmt: skip


def _load_tables(model: str, load: dict[str, Any]) -> Tables:
    head = ("clients", "images", "clicks/s", "p50 ms", "p95", "p99", "batch", "busy cores", "processor ms a click")
    rows = [
        (
            name,
            str(row["images"]),
            f"{row['throughput']:.2f}",
            *_latency(row["latency"]),
            _batch(row),
            f"{row['busy_cores']:.2f}",
            _by_role(row["cpu_ms"]),
        )
        for key, owner in (("closed", ""), ("closed_peer", " (peer)"))
        for row in load[key]
        for name in [f"{row['clients']}{owner}"]
    ]
    opened = [
        (f"{100 * row['share']:.0f} %", f"{row['throughput']:.2f}", *_latency(row["latency"]), _batch(row))
        for row in load["open"]
    ]
    return [
        (
            f"Closed-loop clients, {model}; the floor's processor seconds allow {load['allowed']:.2f} clicks/s",
            head,
            rows,
        ),
        (f"Open-loop arrivals, {model}", ("of capacity", "clicks/s", "p50 ms", "p95", "p99", "batch"), opened),
    ]


def _latency(value: dict[str, float]) -> tuple[str, str, str]:
    return f"{value['p50']:.0f}", f"{value['p95']:.0f}", f"{value['p99']:.0f}"


def _spread(value: dict[str, float]) -> str:
    return f"{value['p50']:.0f} ({value['q1']:.0f}–{value['q3']:.0f})"


def _batch(row: dict[str, Any]) -> str:
    return f"{row['batch']:.1f}" if "batch" in row else ""


def _by_role(spent: dict[str, float]) -> str:
    return ", ".join(f"{role} {value:.0f}" for role, value in spent.items() if value >= 0.5)


def _markdown(title: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return f"**{title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value


def _read(output: Path) -> dict[str, Any]:
    path = output / "results.json"
    return json.loads(path.read_text()) if path.exists() else {}
