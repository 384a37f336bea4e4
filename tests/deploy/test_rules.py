"""Rules, alerts, runbook and dashboard: what can be told without a server."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = [
    rule
    for path in sorted((PROMETHEUS / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDS = {rule["record"] for rule in RULES if "record" in rule}
TESTS = yaml.safe_load((PROMETHEUS / "tests" / "rules.yml").read_text())["tests"]
HOME = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Homepage"]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "imgr.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def promtool(*arguments):
    run = subprocess.run(["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_prometheus_can_read_its_configuration():
    promtool("check", "config", "--lint=all", "--lint-fatal", "prometheus.yml")


def test_prometheus_can_read_it_with_the_alertmanager_that_the_runbook_adds(tmp_path):
    (added,) = re.findall(r"^```yaml\n(alerting:\n.*?)^```$", RUNBOOK, re.MULTILINE | re.DOTALL)
    rules = f"rule_files: [{PROMETHEUS}/rules/*.yml]"
    configuration = (PROMETHEUS / "prometheus.yml").read_text().replace("rule_files:\n  - rules/*.yml", rules)
    assert rules in configuration
    (tmp_path / "prometheus.yml").write_text(configuration + added)
    promtool("check", "config", "--lint=all", "--lint-fatal", str(tmp_path / "prometheus.yml"))


def test_the_rules_give_what_their_tests_say():
    promtool("test", "rules", "tests/rules.yml")


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_seen_to_fire_and_seen_not_to(alert):
    cases = [case for test in TESTS for case in test.get("alert_rule_test", []) if case["alertname"] == alert]
    expected = [case["exp_alerts"] for case in cases]
    assert any(expected)
    assert not all(expected)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_section_in_the_runbook(alert):
    link = ALERTS[alert]["annotations"]["runbook_url"]
    assert link == f"{HOME}/blob/main/docs/runbook.md#{alert.lower()}"  # a notification is read where no clone is
    assert re.search(rf"^### {alert}\n\n\S", RUNBOOK, re.MULTILINE)


def test_the_runbook_has_no_section_of_an_alert_that_does_not_exist():
    assert set(re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE)) == ALERTS.keys()


def test_every_recorded_figure_is_tested():
    tested = json.dumps([case["expr"] for test in TESTS for case in test.get("promql_expr_test", [])])
    used = tested + json.dumps([rule["expr"] for rule in ALERTS.values()])
    assert not {record for record in RECORDS if record not in used}


def test_every_panel_says_what_it_shows_and_asks_the_provisioned_prometheus():
    provisioned = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    (source,) = provisioned["datasources"]
    for panel in PANELS:
        assert panel["title"]
        if panel["type"] == "text":
            continue
        assert panel["description"].endswith("."), panel["title"]
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": source["uid"]}
    assert source["url"] == "http://prometheus:9090"


def test_panels_neither_overlap_nor_leave_the_width():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_text_on_top_names_panels_that_exist():
    (text,) = (panel["options"]["content"] for panel in PANELS if panel["type"] == "text")
    named = set(re.findall(r"\*\*(.*?)\*\*", text))
    assert named
    assert named <= {panel["title"] for panel in PANELS}


def test_grafana_finds_what_compose_mounts():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    (provider,) = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/imgr.yml").read_text())["providers"]
    mounts = dict(volume.split(":")[:2] for volume in compose["volumes"])
    (dashboards,) = (source for source, target in mounts.items() if target == provider["options"]["path"])
    home = compose["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / dashboards / Path(home).name).exists()
    assert Path(home).parent == Path(provider["options"]["path"])
