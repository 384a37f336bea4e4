"""Keeps results, and shows them on the terminal and in the document."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.photos import SIZES
from benchmarks.plots import plots
from benchmarks.tables import show_tables, tables

_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"


def add(output: Path, model: str, section: str, measured: Any, arguments: list[str]) -> None:
    """Put a section's results in place of its earlier ones, of its rows those of the same photos."""
    output.mkdir(parents=True, exist_ok=True)
    results = _read(output)
    results["machine"] = machine.description()
    of_model = results.setdefault(model, {})
    of_model[section] = joined(of_model.get(section), measured)
    results.setdefault("runs", {})[f"{model} {section}"] = {
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "arguments": " ".join(arguments),
    }
    (output / "results.json").write_text(json.dumps(_rounded(results), indent=1, ensure_ascii=False) + "\n")


def joined(before: Any, measured: Any) -> Any:
    """Return results with earlier rows of photos that were not measured now."""
    if not isinstance(measured, list) or not before:
        return measured
    now = {row["photo"] for row in measured}
    rows = [row for row in before if row["photo"] not in now] + measured
    return sorted(rows, key=lambda row: list(SIZES).index(row["photo"]))


def show(output: Path) -> None:
    """Print all tables, draw the plots, and renew both in the document beside the folder."""
    results = _read(output)
    found = tables(results)
    show_tables(found)
    drawn = plots(results, output)
    document = output.with_suffix(".md")
    if document.exists():
        before, _, rest = document.read_text().partition(_BEGIN)
        parts = [f"![{title}]({output.name}/{name})" for name, title in drawn.items()]
        parts += [_markdown(title, head, rows) for title, head, rows in found]
        document.write_text(f"{before}{_BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{_END}{rest.partition(_END)[2]}")


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
