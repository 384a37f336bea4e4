"""The compose file and the Dockerfile, as Docker Compose, hadolint and the schema read them."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from frontend_api.settings import Settings
from imgr.triton.command import TritonPorts, tritonserver_command
from imgr.triton.installation import Installation

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def compose(*arguments, **environment):
    """Return what the real Docker Compose, which needs no engine for it, makes of the file."""
    # The package's own command hides the exit status.
    program = Path(importlib.util.find_spec("compose").origin).parent / "docker-compose"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("IMGR_", "COMPOSE_"))}
    run = subprocess.run(
        [program, *arguments, "config", "--format=json"],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == ""
    return json.loads(run.stdout)["services"]


CPU, GPU = compose(), compose("--profile", "gpu")
EVERY = CPU | GPU


def test_the_file_has_the_schema_of_compose():
    subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema=vendor.compose-spec", "docker-compose.yml"],
        cwd=ROOT,
        check=True,
    )


def test_the_dockerfile_has_no_fault_that_hadolint_knows():
    hadolint = Path(sys.executable).parent / "hadolint"
    run = subprocess.run(
        [hadolint, "--no-color", "--failure-threshold=style", "Dockerfile"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.stdout, run.returncode) == ("", 0)


def test_the_cpu_serves_unless_the_profile_gpu_is_chosen():
    assert CPU.keys() == {"triton", "api", "prometheus", "grafana"}
    assert GPU.keys() == {"triton-gpu", "api", "prometheus", "grafana"}
    assert compose(COMPOSE_PROFILES="gpu").keys() == GPU.keys()
    (device,) = GPU["triton-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert GPU["triton-gpu"]["networks"]["default"]["aliases"] == ["triton"]


@pytest.mark.parametrize(("service", "gpu"), [("triton", False), ("triton-gpu", True)])
def test_triton_gets_the_flags_of_the_embedded_one_but_for_where_things_are(service, gpu):
    installation = Installation(Path("tritonserver"), None, {})
    embedded = tritonserver_command(installation, Path("/models"), TritonPorts(1, 2), shared_memory="x", gpu=gpu)
    of_this_host = re.compile("--(http|metrics)-(address|port)=|--exit-timeout")
    command = EVERY[service]["command"]
    assert command == ["tritonserver", *(flag for flag in embedded[1:] if not of_this_host.match(flag))]


def test_the_two_tritons_differ_in_the_gpu_alone():
    of_one_kind = {"profiles", "networks", "command", "deploy"}
    cpu, gpu = (EVERY[name].items() for name in ("triton", "triton-gpu"))
    assert {name for name, _ in cpu} == {name for name, _ in gpu}
    assert [item for item in cpu if item[0] not in of_one_kind] == [item for item in gpu if item[0] not in of_one_kind]


def published(services):
    return {
        name: [(port["host_ip"], port["target"]) for port in service["ports"]]
        for name, service in services.items()
        if "ports" in service
    }


def test_only_the_adapter_and_grafana_are_reachable_and_only_from_here_unless_told_otherwise():
    assert published(CPU) == {"api": [("127.0.0.1", 8000)], "grafana": [("127.0.0.1", 3000)]}
    assert published(GPU) == published(CPU)
    assert published(compose(IMGR_BIND="0.0.0.0")) == {"api": [("0.0.0.0", 8000)], "grafana": [("0.0.0.0", 3000)]}


def test_who_needs_another_waits_until_it_is_healthy():
    for service in EVERY.values():
        for needed, how in (service.get("depends_on") or {}).items():
            assert how["condition"] == "service_healthy"
            assert "healthcheck" in EVERY[needed]
    assert set(CPU["api"]["depends_on"]) == {"triton", "triton-gpu"}
    assert "healthcheck" in EVERY["grafana"]
    assert re.search(r"^HEALTHCHECK ", DOCKERFILE, re.MULTILINE)


def test_images_are_pinned():
    for name, service in EVERY.items():
        assert "build" in service or re.search(r":v?\d+\.\d+", service["image"]), name
    for image in re.findall(r"^FROM (\S+)|--from=(\S+\.\S+)", DOCKERFILE, re.MULTILINE):
        assert re.search(r":\d+\.\d+\.\d+", "".join(image))


def test_nobody_is_root_or_can_become_it():
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", DOCKERFILE, re.MULTILINE)
    for name, service in EVERY.items():
        assert "build" in service or re.match(r"[1-9]\d*:", service["user"]), name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_memory_is_limited_and_what_watches_cannot_take_the_cores_of_what_serves():
    for service in EVERY.values():
        assert int(service["deploy"]["resources"]["limits"]["memory"]) > 0
    for name in ("prometheus", "grafana"):
        assert CPU[name]["deploy"]["resources"]["limits"]["cpus"] == 1


def test_the_store_is_a_volume_and_all_else_of_the_adapter_is_read_only():
    api = CPU["api"]
    assert api["read_only"] is True
    assert [(volume["type"], volume["target"]) for volume in api["volumes"]] == [("volume", "/data")]
    assert re.search(r"IMGR_STORE=file:///data/", DOCKERFILE)
    assert api["tmpfs"][0].startswith("/tmp:")


def test_the_model_repository_is_mounted_where_triton_polls_it():
    (volume,) = CPU["triton"]["volumes"]
    assert (volume["source"], volume["target"], volume["read_only"]) == (
        str(ROOT / "model_repository"),
        "/models",
        True,
    )
    assert {"--model-repository=/models", "--model-control-mode=poll"} <= set(CPU["triton"]["command"])
    assert int(CPU["triton"]["shm_size"]) == 2**30


def test_there_is_no_password():
    for service in EVERY.values():
        for name in service.get("environment") or {}:
            assert not re.search("PASSWORD|SECRET|TOKEN", name)
    assert CPU["grafana"]["environment"]["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


# Where things are is for the file to say, and the image says the rest.
NOT_OF_THE_HOST = {
    "IMGR_TRITON_URL",
    "IMGR_TRITON_SHARED_MEMORY_BYTES",
    "IMGR_MODEL_REPOSITORY",
    "IMGR_STORE",
    "IMGR_LOG_FORMAT",
    "IMGR_SAM_CHECKPOINT_PATH",  # `imgr serve` alone exports
}


def test_settings_of_the_host_reach_the_adapter():
    settings = {f"IMGR_{name.upper()}" for name in Settings.model_fields} - NOT_OF_THE_HOST
    environment = compose(**dict.fromkeys(settings, "7"))["api"]["environment"]
    assert {name for name, value in environment.items() if value == "7"} == settings


def test_what_the_host_does_not_set_is_unset_and_nothing_that_the_image_sets():
    environment = CPU["api"]["environment"]
    unset = {name for name, value in environment.items() if value is None}
    assert environment.keys() - unset == {"IMGR_TRITON_URL", "IMGR_WORKER_THREADS"}
    assert "IMGR_STORE=" in DOCKERFILE
    # An engine removes a variable without a value from those of the image.
    assert not {name for name in unset if f"{name}=" in DOCKERFILE}


def test_settings_may_stand_in_a_file(tmp_path):
    (tmp_path / "settings").write_text("IMGR_IMAGE_TTL_SECONDS=3600\n")
    environment = compose(f"--env-file={tmp_path / 'settings'}", "--profile=cpu")["api"]["environment"]
    assert environment["IMGR_IMAGE_TTL_SECONDS"] == "3600"


def test_the_adapter_is_given_the_time_that_a_click_may_take():
    minutes, seconds = map(int, re.fullmatch(r"(\d+)m(\d+)s", CPU["api"]["stop_grace_period"]).groups())
    assert 60 * minutes + seconds > Settings.model_fields["triton_timeout_seconds"].default


def test_the_adapter_has_a_bounded_number_of_threads_whatever_the_host_has():
    assert CPU["api"]["environment"]["IMGR_WORKER_THREADS"] == "4"
    assert compose(IMGR_WORKER_THREADS="12")["api"]["environment"]["IMGR_WORKER_THREADS"] == "12"
