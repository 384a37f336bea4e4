"""Tables of a whole run's results, made up."""

import pytest

from benchmarks.machine import summary
from benchmarks.tables import tables

TIMES = summary([0.1, 0.2, 0.3])
LOADED = {"throughput": 5, "latency": TIMES, "cpu_ms": {"client": 1.0, "server": 80.0}, "busy_cores": 1.9}
RESULTS = {
    "clicks": [
        {"photo": "800×534", "mask": "small", "shares": [0.1, 0.2, 0.3], "over_floor": 1.25}
        | dict.fromkeys(("imgr", "floor", "peer", "baseline"), TIMES)
    ],
    "uploads": [
        {"photo": "800×534"}
        | dict.fromkeys(
            ("floor ready", "imgr ready", "imgr first click", "peer ready", "peer first click", "baseline first click"),
            TIMES,
        )
    ],
    "load": {
        "allowed": 10,
        "closed": [{"clients": 16, "images": 1, "batch": 3.4} | LOADED],
        "closed_peer": [{"clients": 16, "images": 1} | LOADED],
    },
    "arrivals": {
        "capacity": 5,
        "open": [{"share": 0.8, "batch": 1.5} | LOADED],
        "people": {"clients": 16, "share": 0.8} | LOADED,
    },
    "contention": {"idle": TIMES, "uploading": TIMES},
    "stages": [{"photo": "800×534", "mask": "small", "cpu_ms": {"decoder": 60.0, "refine": 2.0}}],
    "batches": {"rows": [{"batch": 2, "ms": 41.0, "cpu_ms": 80.0, "resident_mb": 400.0}]},
    "wire": [{"photo": "800×534", "mask": "small", "to_triton": 4.5e6, "from_triton": 8e5, "answer": 1e5}],
    "startup": {"ready": TIMES, "first_click": TIMES},
    "memory": {"idle": {"server": 150.0}, "100 uploads": {"server": 600.0, "sam_decoder": 300.0}},
    "endurance": {"2000 clicks": {"server": 500.0}, "5000 clicks": {"server": 501.0}},
}


def found(results):
    return {title: (head, rows) for title, head, rows in tables(results)}


def test_every_section_has_its_table_and_every_row_its_cells():
    tables_found = found({"quickstart": RESULTS})
    assert len(tables_found) == 1 + len(RESULTS) + 1  # the goals before, the peer's rows behind
    for title, (head, rows) in tables_found.items():
        assert rows, title
        assert {len(row) for row in rows} == {len(head)}, title


@pytest.mark.parametrize("section", RESULTS)
def test_a_section_is_shown_without_the_others(section):
    assert len(found({"quickstart": {section: RESULTS[section]}})) == 2


def test_figures_stand_in_their_units():
    tables_found = found({"quickstart": RESULTS})
    [click] = next(rows for title, (_, rows) in tables_found.items() if title.startswith("Repeated click"))
    assert click[:4] == ("800×534", "small", "10–30 %", "200 (150–250)")
    [wire] = next(rows for title, (_, rows) in tables_found.items() if title.startswith("Kilobytes"))
    assert wire[2:] == ("4500", "800", "100")
