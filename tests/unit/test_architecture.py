"""The map in docs/architecture.md is what import-linter holds."""

import re
import tomllib
from itertools import pairwise, product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
LAYERS = {contract["containers"][0]: contract["layers"] for contract in CONTRACTS if contract["type"] == "layers"}


def heights(package):
    """Return each room's layer, counted from below."""
    rows = reversed(LAYERS[package])
    return {room.strip(): height for height, row in enumerate(rows) for room in row.split("|")}


def arrows(package):
    """Return the drawn pairs of rooms."""
    drawing = re.search(rf"subgraph {package}\n(.*?)\n    end", PAGE, re.DOTALL)[1]
    for line in drawing.splitlines():
        groups = [re.findall(r"\b[ief]_(\w+)", re.sub(r"\[\w+\]", "", part)) for part in line.split("-->")]
        for upper, lower in pairwise(groups):
            yield from product(upper, lower)


@pytest.mark.parametrize("package", LAYERS)
def test_every_room_is_on_the_map_and_no_other(package):
    assert {room for arrow in arrows(package) for room in arrow} == heights(package).keys()


@pytest.mark.parametrize("package", LAYERS)
def test_every_arrow_leads_down(package):
    height = heights(package)
    assert [(upper, lower) for upper, lower in arrows(package) if height[upper] <= height[lower]] == []


def test_the_table_of_rooms_names_what_is_there():
    for room in re.findall(r"^\| `([\w/.]+)`", PAGE, re.MULTILINE):
        assert (ROOT / room).exists(), room
