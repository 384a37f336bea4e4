"""What the documents say of the code is true."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from frontend_api.settings import Settings
from tests.support import configuration

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_page_of_settings_is_what_the_settings_class_says():
    assert (ROOT / "docs" / "configuration.md").read_text() == configuration.page(), "run `make configuration`"


def test_the_readme_names_no_setting_that_does_not_exist():
    named = set(re.findall(r"IMGR_(\w+)", README))
    assert {name.lower() for name in named} <= Settings.model_fields.keys()


def test_the_two_commands_stand_in_the_readme_as_they_are_promised():
    assert "\npip install uv && uv run imgr serve\n" in README
    assert "\npip install uv && uv run --group test pytest\n" in README


def test_continuous_integration_runs_the_readme_test_command():
    assert "\npip install uv && uv run --group test pytest\n" in (ROOT / ".ci" / "run").read_text()


DOCUMENTS = [path for pattern in ("*.md", "docs/**/*.md", "models/*.md") for path in ROOT.glob(pattern)]


@pytest.mark.parametrize("document", [str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_every_relative_link_leads_to_a_file(document):
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert ((ROOT / document).parent / target).exists(), f"{document} links to {target}"


@pytest.mark.parametrize("target", re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
def test_make_knows_how_every_target_is_run(target):
    run = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout


def test_the_github_workflows_are_valid():
    workflows = [str(path) for path in (ROOT / ".github" / "workflows").iterdir()]
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_the_github_workflow_runs_the_targets_that_contributors_run():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"].values()
    assert {step.get("run") for job in jobs for step in job["steps"]} >= {"make lint", "make test"}
