"""What must hold, and whether it does: ratios of figures of one run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Results = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """A bound, what was measured, and whether it holds.

    Attributes:
        what: the sentence.
        measured: the figure, None where its section has not been run.
        bound: most or least of it.
        least: whether `bound` is the least.
        unit: written behind both.
    """

    what: str
    measured: float | None
    bound: float
    least: bool = False
    unit: str = "×"

    @property
    def holds(self) -> bool | None:
        """Tell whether the goal is met, None where it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.bound if self.least else self.measured <= self.bound

    def cells(self) -> tuple[str, str, str, str]:
        """Return the goal as a row of a table."""
        wanted = f"{'≥' if self.least else '≤'} {self.bound:g} {self.unit}"
        found = "not measured" if self.measured is None else f"{self.measured:.3g} {self.unit}"
        return self.what, wanted, found, {True: "yes", False: "**no**", None: ""}[self.holds]


def goals(results: Results) -> list[Goal]:
    """Compare results, by model and section, with what must hold."""
    ours, big = results.get("quickstart", {}), results.get("vit_b", {})

    def of(values: Callable[[], float]) -> float | None:
        """Return the figure unless its section is missing."""
        try:
            return values()
        except (KeyError, StopIteration, ValueError):
            return None

    def over_baseline(model: Results) -> Callable[[], float]:
        return lambda: min(
            row["baseline"]["p50"] / row["imgr"]["p50"] for row in _rows(model, "clicks", photo="1800×1200")
        )

    def p50(photo: str, mask: str) -> float:
        return next(_rows(ours, "clicks", photo=photo, mask=mask))["imgr"]["p50"]

    def ready_ratio(model: Results) -> Callable[[], float]:
        return lambda: max(row["imgr ready"]["p50"] / row["floor ready"]["p50"] for row in _rows(model, "uploads"))

    memory, endurance = ours.get("memory", {}), ours.get("endurance", {})
    return [
        Goal("Repeated click over the baseline, vit_b, 1800×1200", of(over_baseline(big)), 80, least=True),
        Goal("The same with the shipped model", of(over_baseline(ours)), 12, least=True),
        *(
            Goal(
                f"Click over the floor, {photo}, one client, worst mask",
                of(lambda photo=photo: max(row["over_floor"] for row in _rows(ours, "clicks", photo=photo))),
                1.4,
            )
            for photo in ("800×534", "1800×1200", "4000×3000")
        ),
        Goal(
            "Throughput of 16 clients over what the floor's processor seconds allow",
            of(
                lambda: (
                    min(row["throughput"] for row in _rows(ours["load"], "closed", clients=16))
                    / ours["load"]["allowed"]
                )
            ),
            0.8,
            least=True,
        ),
        Goal(
            "p99 over p50 at 80 % load, open loop or 16 people, whichever is worse",
            of(
                lambda: max(
                    row["latency"]["p99"] / row["latency"]["p50"]
                    for row in (*_rows(ours["arrivals"], "open", share=0.8), ours["arrivals"]["people"])
                )
            ),
            3,
        ),
        Goal("A 4000×3000 photo, a mask over half of it", of(lambda: p50("4000×3000", "large")), 700, unit="ms"),
        Goal(
            "A small mask: 4000×3000 more than 800×534",
            of(lambda: p50("4000×3000", "small") - p50("800×534", "small")),
            150,
            unit="ms",
        ),
        Goal("Upload → ready over the encoder alone, shipped model, worst size", of(ready_ratio(ours)), 1.15),
        Goal("The same with vit_b", of(ready_ratio(big)), 1.15),
        Goal(
            "Click while others upload over idle, p50",
            of(lambda: ours["contention"]["uploading"]["p50"] / ours["contention"]["idle"]["p50"]),
            2,
        ),
        Goal(
            "Behind the LitServe peer: rows of all sections", of(lambda: len(list(behind_peer(ours)))), 0, unit="rows"
        ),
        Goal(
            "The adapter's memory after 100 uploads of 12 megapixels",
            of(lambda: memory["100 uploads"]["server"]),
            700,
            unit="MB",
        ),
        Goal(
            "Memory of all processes, growth over the last 3,000 of 5,000 clicks",
            of(lambda: sum(endurance["5000 clicks"].values()) / sum(endurance["2000 clicks"].values())),
            1.02,
        ),
        Goal(
            "First click after the start, shipped model",
            of(lambda: ours["startup"]["first_click"]["p50"]),
            6000,
            unit="ms",
        ),
    ]


def behind_peer(model: Results) -> Iterator[str]:
    """Name every row in which the peer was faster."""
    for row in model["clicks"]:
        if row["imgr"]["p50"] > row["peer"]["p50"]:
            yield f"repeated click, {row['photo']}, {row['mask']}"
    for row in model["uploads"]:
        for what in ("ready", "first click"):
            if row[f"imgr {what}"]["p50"] > row[f"peer {what}"]["p50"]:
                yield f"{what}, {row['photo']}"
    for row in model["load"]["closed"]:
        for peer in _rows(model["load"], "closed_peer", clients=row["clients"], images=row["images"]):
            if row["throughput"] < peer["throughput"]:
                yield f"throughput of {row['clients']} clients on {row['images']} images"


def _rows(model: Results, section: str, **wanted: object) -> Iterator[Results]:
    return (row for row in model[section] if all(row[key] == value for key, value in wanted.items()))
