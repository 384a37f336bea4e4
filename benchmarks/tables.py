"""Results as tables."""

from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.goals import behind_peer, goals

Cells = tuple[str, ...]
TitledTable = tuple[str, Cells, list[Cells]]
Rows = list[dict[str, Any]]


def tables(results: dict[str, Any]) -> list[TitledTable]:
    """Return every table that there are results for: title, head, rows."""
    found: list[TitledTable] = [
        ("What must hold", ("", "goal", "measured", "holds"), [goal.cells() for goal in goals(results)])
    ]
    for model in ("quickstart", "vit_b"):
        measured = results.get(model, {})
        for section, table in _TABLES.items():
            if section in measured:
                title, head, rows = table(measured[section])
                found.append((f"{title}; {model}", head, rows))
        if {"clicks", "uploads", "load"} <= measured.keys():
            rows = [(row,) for row in behind_peer(measured)] or [("none",)]
            found.append((f"Rows in which the peer was faster; {model}", ("row",), rows))
    return found


def show_tables(found: Iterable[TitledTable]) -> None:
    """Print tables on the terminal."""
    console = Console()
    for title, head, rows in found:
        table = Table(*head, title=title)
        for row in rows:
            table.add_row(*(cell.replace("**", "") for cell in row))
        console.print(table)


def _clicks(rows: Rows) -> TitledTable:
    others = (f"{name} p50" for name in _others(rows[0]))
    head = ("photo", "mask", "covers", "imgr p50", "p95", "p99", "floor p50", "over floor", *others)
    return "Repeated click, one client, ms: median (quartiles)", head, [_click(row) for row in rows]


def _click(row: dict[str, Any]) -> Cells:
    edges = (f"{100 * edge:.0f}" for edge in (min(row["shares"]), max(row["shares"])))
    return (
        row["photo"],
        row["mask"],
        "–".join(edges) + " %",
        _spread(row["imgr"]),
        f"{row['imgr']['p95']:.0f}",
        f"{row['imgr']['p99']:.0f}",
        _spread(row["floor"]),
        f"{row['over_floor']:.2f}",
        *(_spread(row[name]) for name in _others(row)),
    )


def _others(row: dict[str, Any]) -> list[str]:
    return [name for name in ("peer", "baseline") if name in row]


def _uploads(rows: Rows) -> TitledTable:
    kinds = [kind for kind in rows[0] if kind != "photo"]
    cells = [(row["photo"], *(_spread(row[kind]) for kind in kinds)) for row in rows]
    return "From the upload on, ms: median (quartiles)", ("photo", *kinds), cells


def _load(load: dict[str, Any]) -> TitledTable:
    title = f"Closed-loop clients; the floor's processor seconds allow {load['allowed']:.2f} clicks/s"
    head = ("clients", "images", "clicks/s", "p50 ms", "p95", "p99", "batch", "busy cores", "processor ms a click")
    rows = [
        (
            f"{row['clients']}{owner}",
            str(row["images"]),
            f"{row['throughput']:.2f}",
            *_latency(row["latency"]),
            _batch(row),
            f"{row['busy_cores']:.2f}",
            ", ".join(f"{role} {spent:.0f}" for role, spent in row["cpu_ms"].items() if spent >= 0.5),
        )
        for key, owner in (("closed", ""), ("closed_peer", " (peer)"))
        for row in load[key]
    ]
    return title, head, rows


def _arrivals(arrivals: dict[str, Any]) -> TitledTable:
    title = f"Clicks at a share of the capacity, which is {arrivals['capacity']:.2f} clicks/s"
    people = arrivals["people"]
    rows = [
        (who, f"{100 * row['share']:.0f} %", f"{row['throughput']:.2f}", *_latency(row["latency"]), _batch(row))
        for who, row in (*(("open loop", row) for row in arrivals["open"]), (f"{people['clients']} people", people))
    ]
    return title, ("who", "of capacity", "clicks/s", "p50 ms", "p95", "p99", "batch"), rows


def _contention(contention: dict[str, Any]) -> TitledTable:
    rows = [(others, *_latency(latency)) for others, latency in contention.items()]
    return "Clicks of one client, the others idle or uploading, ms", ("others", "p50", "p95", "p99"), rows


def _stages(rows: Rows) -> TitledTable:
    stages = list(rows[0]["cpu_ms"])
    cells = [
        (
            row["photo"],
            row["mask"],
            *(f"{spent:.1f}" for spent in (*row["cpu_ms"].values(), sum(row["cpu_ms"].values()))),
        )
        for row in rows
    ]
    return "Processor milliseconds of a click by stage, without a service", ("photo", "mask", *stages, "sum"), cells


def _batches(batches: dict[str, Rows]) -> TitledTable:
    rows = [
        (str(row["batch"]), f"{row['ms']:.1f}", f"{row['cpu_ms']:.1f}", f"{row['resident_mb']:.0f}")
        for row in batches["rows"]
    ]
    title = "A click in the decoder, by the clicks computed at once"
    return title, ("batch", "ms", "processor ms", "the process's MB"), rows


def _wire(rows: Rows) -> TitledTable:
    hops = {"to Triton": "to_triton", "from Triton": "from_triton", "answer": "answer"}
    cells = [(row["photo"], row["mask"], *(f"{row[hop] / 1e3:.0f}" for hop in hops.values())) for row in rows]
    return "Kilobytes of a click on each hop", ("photo", "mask", *hops), cells


def _startup(startup: dict[str, Any]) -> TitledTable:
    rows = [(until, _spread(times)) for until, times in startup.items()]
    return "From the command on, ms: median (quartiles)", ("until", "ms"), rows


def _memory(samples: dict[str, dict[str, float]]) -> TitledTable:
    roles = list(next(iter(samples.values())))
    rows = [
        (when, *(f"{by.get(role, 0):.0f}" for role in roles), f"{sum(by.values()):.0f}") for when, by in samples.items()
    ]
    return "Resident memory, MB", ("after", *roles, "sum"), rows


def _endurance(samples: dict[str, dict[str, float]]) -> TitledTable:
    _, head, rows = _memory(samples)
    return "Resident memory while four clients click, MB", head, rows


_TABLES: dict[str, Callable[[Any], TitledTable]] = {
    "clicks": _clicks,
    "uploads": _uploads,
    "load": _load,
    "arrivals": _arrivals,
    "contention": _contention,
    "stages": _stages,
    "batches": _batches,
    "wire": _wire,
    "startup": _startup,
    "memory": _memory,
    "endurance": _endurance,
}


def _latency(times: dict[str, float]) -> tuple[str, str, str]:
    return f"{times['p50']:.0f}", f"{times['p95']:.0f}", f"{times['p99']:.0f}"


def _spread(times: dict[str, float]) -> str:
    return f"{times['p50']:.0f} ({times['q1']:.0f}–{times['q3']:.0f})"


def _batch(row: dict[str, Any]) -> str:
    return f"{row['batch']:.1f}" if "batch" in row else ""
