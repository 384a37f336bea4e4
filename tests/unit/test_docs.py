"""What the documents say of the code is true."""

import re
from pathlib import Path

import pytest

from frontend_api.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_readme_with_its_default_and_meaning(name):
    field = Settings.model_fields[name]
    variable = field.validation_alias or f"IMGR_{name.upper()}"
    row = re.search(rf"^\| `{variable}` \| (.*?) \| (.*) \|$", README, re.MULTILINE)
    assert row, f"{variable} is missing"
    assert row[2] == field.description
    if isinstance(field.default, str | int | float):
        assert row[1] == f"`{field.default}`"


def test_the_readme_names_no_setting_that_does_not_exist():
    named = set(re.findall(r"IMGR_(\w+)", README))
    assert {name.lower() for name in named} <= Settings.model_fields.keys()


def test_the_two_commands_stand_in_the_readme_as_they_are_promised():
    assert "\npip install uv && uv run imgr serve\n" in README
    assert "\npip install uv && uv run --group test pytest\n" in README


def test_continuous_integration_runs_the_readme_test_command():
    assert "\npip install uv && uv run --group test pytest\n" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("document", ["README.md", *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md"))])
def test_every_relative_link_leads_to_a_file(document):
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert ((ROOT / document).parent / target).exists(), f"{document} links to {target}"
