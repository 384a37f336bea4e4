"""Results as tables."""

from typing import Any

from benchmarks.goals import behind_peer, goals

Cells = tuple[str, ...]
TitledTable = tuple[str, Cells, list[Cells]]


def tables(results: dict[str, Any]) -> list[TitledTable]:
    """Return every table: title, head, rows."""
    found: list[TitledTable] = [
        ("What must hold", ("", "goal", "measured", "holds"), [goal.cells() for goal in goals(results)])
    ]
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
            found.append(_load_table(model, measured["load"]))
        if "arrivals" in measured:
            rows = [
                (f"{100 * row['share']:.0f} %", f"{row['throughput']:.2f}", *_latency(row["latency"]), _batch(row))
                for row in measured["arrivals"]["open"]
            ]
            title = f"Open-loop arrivals, {model}; capacity {measured['arrivals']['capacity']:.2f} clicks/s"
            found.append((title, ("of capacity", "clicks/s", "p50 ms", "p95", "p99", "batch"), rows))
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


def _click_row(row: dict[str, Any]) -> tuple[str, ...]:
    ours = row["imgr"]
    covers = "–".join(f"{100 * edge:.0f}" for edge in (min(row["shares"]), max(row["shares"]))) + " %"
    return (
        row["photo"], row["mask"], covers, f"{ours['p50']:.0f} ({ours['q1']:.0f}–{ours['q3']:.0f})",
        f"{ours['p95']:.0f}", f"{ours['p99']:.0f}", f"{row['floor']['p50']:.0f}", f"{row['over_floor']:.2f}",
        f"{row['peer']['p50']:.0f}", f"{row['baseline']['p50']:.0f}",
    )  # fmt: skip


def _load_table(model: str, load: dict[str, Any]) -> TitledTable:
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
    title = f"Closed-loop clients, {model}; the floor's processor seconds allow {load['allowed']:.2f} clicks/s"
    return title, head, rows


def _latency(value: dict[str, float]) -> tuple[str, str, str]:
    return f"{value['p50']:.0f}", f"{value['p95']:.0f}", f"{value['p99']:.0f}"


def _spread(value: dict[str, float]) -> str:
    return f"{value['p50']:.0f} ({value['q1']:.0f}–{value['q3']:.0f})"


def _batch(row: dict[str, Any]) -> str:
    return f"{row['batch']:.1f}" if "batch" in row else ""


def _by_role(spent: dict[str, float]) -> str:
    return ", ".join(f"{role} {value:.0f}" for role, value in spent.items() if value >= 0.5)
