"""The Kubernetes manifests, rendered by the real Kustomize: valid, pinned, unprivileged, and selecting what exists."""

import re
import subprocess
import sysconfig
import textwrap
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
DOCUMENT = (ROOT / "docs" / "kubernetes.md").read_text()
CUSTOM = {"ScaledObject": ScaledObject, "ServiceMonitor": ServiceMonitor}
VERSIONS = ["1.30", "1.37"]  # the oldest that knows the action sleep, and the newest known here


@pytest.fixture(scope="module", params=["cpu", "gpu"])
def manifests(request):
    kubectl = Path(sysconfig.get_path("scripts"), "kubectl")
    rendered = subprocess.run(
        [kubectl, "kustomize", FOLDER / "overlays" / request.param], check=True, capture_output=True, text=True
    )
    assert not rendered.stderr
    return list(yaml.safe_load_all(rendered.stdout))


def of_kind(manifests, *kinds):
    found = [manifest for manifest in manifests if manifest["kind"] in kinds]
    assert found, kinds
    return found


def pod_templates(manifests):
    return {each["metadata"]["name"]: each["spec"]["template"] for each in of_kind(manifests, "Deployment")}


def containers(manifests):
    return [
        container
        for template in pod_templates(manifests).values()
        for kind in ("initContainers", "containers")
        for container in template["spec"].get(kind, [])
    ]


def selected(manifests, labels):
    """Return the names of the Deployments whose pods carry all of `labels`."""
    return {
        name
        for name, template in pod_templates(manifests).items()
        if labels.items() <= template["metadata"]["labels"].items()
    }


def test_every_manifest_validates(manifests):
    for manifest in manifests:
        if manifest["kind"] in CUSTOM:
            # The models drop what they do not know: whatever is missing afterwards was misspelt.
            known = CUSTOM[manifest["kind"]].model_validate(manifest).model_dump(by_alias=True, exclude_unset=True)
            assert known == manifest
        else:
            for version in VERSIONS:
                kubernetes_validate.validate(manifest, version, strict=True)


def test_everything_is_in_the_namespace_which_admits_restricted_pods_only(manifests):
    (namespace,) = of_kind(manifests, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    rest = [manifest["metadata"].get("namespace") for manifest in manifests if manifest is not namespace]
    assert set(rest) == {namespace["metadata"]["name"]}


def test_images_are_pinned_and_those_of_the_project(manifests):
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {container["name"]: container["image"] for container in containers(manifests)}
    assert images["triton"] == compose["services"]["triton"]["image"]
    assert images["adapter"].endswith(f":{version}")
    assert all(re.search(r":\d+\.\d+[^:/]*$", image) for image in images.values())


def assert_unprivileged(pod):
    """Assert more of a pod than the namespace does before it admits it."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert not any("hostPath" in volume for volume in pod["volumes"])
    for container in pod["containers"] + pod.get("initContainers", []):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_nothing_runs_as_root_or_with_privileges_or_writes_to_its_image(manifests):
    users = {}
    for name, template in pod_templates(manifests).items():
        assert_unprivileged(template["spec"])
        users[name] = template["spec"]["securityContext"]["runAsUser"]
    in_the_image = re.search(r"useradd .*--uid (\d+)", (ROOT / "Dockerfile").read_text())
    assert users == {"adapter": int(in_the_image[1]), "triton": 1000}


def test_every_container_has_probes_of_its_server_and_resources(manifests):
    paths = {
        "adapter": {"livenessProbe": "/health/live", "readinessProbe": "/health/ready"},
        "triton": {"livenessProbe": "/v2/health/live", "readinessProbe": "/v2/health/ready"},
    }
    for container in containers(manifests):
        ports = {port["name"] for port in container["ports"]}
        for probe, path in paths[container["name"]].items():
            assert container[probe]["httpGet"]["path"] == path
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] in ports
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]


def test_a_pod_is_given_the_time_it_needs_to_finish(manifests):
    for template in pod_templates(manifests).values():
        for container in template["spec"]["containers"]:
            pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert template["spec"]["terminationGracePeriodSeconds"] >= pause + 10


def test_every_mounted_volume_exists_and_every_claim_and_configuration(manifests):
    names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    for template in pod_templates(manifests).values():
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        mounted = {m["name"] for container in template["spec"]["containers"] for m in container["volumeMounts"]}
        assert mounted == volumes.keys()
        for volume in volumes.values():
            if claim := volume.get("persistentVolumeClaim"):
                assert ("PersistentVolumeClaim", claim["claimName"]) in names
        for container in template["spec"]["containers"]:
            for source in container.get("envFrom", []):
                assert ("ConfigMap", source["configMapRef"]["name"]) in names


def test_models_out_of_a_bucket_fit_where_triton_copies_them(manifests):
    triton = pod_templates(manifests)["triton"]["spec"]
    (tmp,) = (volume["emptyDir"]["sizeLimit"] for volume in triton["volumes"] if volume["name"] == "tmp")
    if triton["containers"][0]["args"][1].startswith("--model-repository=s3://"):
        # ViT-H in fp32: two copies of a folder of two versions that serve, two of the folder of three that takes over.
        assert int(tmp.removesuffix("Gi")) > (2 * 2 + 2 * 3) * 2.4


def test_secrets_are_named_and_never_contained(manifests):
    assert not any(manifest["kind"] == "Secret" for manifest in manifests)
    for container in containers(manifests):
        for variable in container.get("env", []):
            if re.search("KEY|SECRET|TOKEN|PASSWORD", variable["name"]):
                assert "secretKeyRef" in variable["valueFrom"]
    for configuration in of_kind(manifests, "ConfigMap"):
        assert not any(re.search("KEY|SECRET|TOKEN|PASSWORD", name) for name in configuration["data"])


def test_the_adapter_is_configured_with_settings_that_exist_and_finds_triton(manifests):
    from frontend_api.settings import Settings

    (configuration,) = of_kind(manifests, "ConfigMap")
    settings = {name.removeprefix("IMGR_").lower() for name in configuration["data"] if name.startswith("IMGR_")}
    assert settings <= Settings.model_fields.keys()
    host, port = configuration["data"]["IMGR_TRITON_URL"].split(":")
    service = next(each for each in of_kind(manifests, "Service") if each["metadata"]["name"] == host)
    assert service["spec"]["clusterIP"] == "None"
    assert {"name": "http", "port": int(port), "targetPort": "http"} in service["spec"]["ports"]


def test_the_adapter_works_with_as_many_threads_as_it_requests_cores_whatever_the_node_has(manifests):
    (configuration,) = of_kind(manifests, "ConfigMap")
    (adapter,) = (container for container in containers(manifests) if container["name"] == "adapter")
    assert configuration["data"]["IMGR_WORKER_THREADS"] == adapter["resources"]["requests"]["cpu"]


def test_triton_gets_the_flags_of_the_compose_file_but_for_where_its_models_are(manifests, request):
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    gpu = request.node.callspec.params["manifests"] == "gpu"
    compose = services["triton-gpu" if gpu else "triton"]["command"]
    (arguments,) = (container["args"] for container in containers(manifests) if container["name"] == "triton")

    def comparable(command):
        return {part for part in command if not part.startswith(("--model-repository=", "--repository-poll-secs="))}

    assert comparable(arguments) == comparable(compose)
    model_repository = next(part for part in arguments if part.startswith("--model-repository="))
    assert model_repository.endswith("=s3://imgr/models" if gpu else "=/models")


def test_selectors_match_the_pods_they_are_meant_for(manifests):
    for deployment in of_kind(manifests, "Deployment"):
        name = deployment["metadata"]["name"]
        assert selected(manifests, deployment["spec"]["selector"]["matchLabels"]) == {name}
        constraints = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert {each["topologyKey"] for each in constraints} >= {
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        }
        for constraint in constraints:
            assert selected(manifests, constraint["labelSelector"]["matchLabels"]) == {name}
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        labels = budget["spec"]["selector"]["matchLabels"]
        assert selected(manifests, labels) == {budget["metadata"]["name"]}
    assert len(of_kind(manifests, "PodDisruptionBudget")) == 2
    for service in of_kind(manifests, "Service"):
        name = service["metadata"]["name"]
        assert selected(manifests, service["spec"]["selector"]) == {name}
        ports = {port["name"] for port in pod_templates(manifests)[name]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_both_deployments_are_scaled_and_count_no_replicas_themselves(manifests):
    scaled = [each["spec"]["scaleTargetRef"]["name"] for each in of_kind(manifests, *CUSTOM, "HorizontalPodAutoscaler")
              if "scaleTargetRef" in each["spec"]]  # fmt: skip
    assert sorted(scaled) == ["adapter", "triton"]
    assert not any("replicas" in deployment["spec"] for deployment in of_kind(manifests, "Deployment"))


def test_monitors_find_services_and_jobs_are_called_as_the_alerts_call_them(manifests):
    services = of_kind(manifests, "Service")
    jobs = set()
    for monitor in of_kind(manifests, "ServiceMonitor"):
        labels = monitor["spec"]["selector"]["matchLabels"]
        (service,) = (each for each in services if labels.items() <= each["metadata"]["labels"].items())
        jobs.add(service["metadata"]["labels"][monitor["spec"]["jobLabel"]])
        for endpoint in monitor["spec"]["endpoints"]:
            assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert jobs == {job["job_name"] for job in scraped}


class Policies:
    """Which of the Deployments' ports can be reached, and from where."""

    def __init__(self, manifests):
        self.manifests = manifests
        self.policies = of_kind(manifests, "NetworkPolicy")

    def ingress(self, name):
        """Return {port: peers} that are let in to the pods of a Deployment; a peer is the labels it must carry."""
        reached = {}
        for policy in self.policies:
            selector = policy["spec"]["podSelector"].get("matchLabels", {})
            if name in selected(self.manifests, selector):
                for rule in policy["spec"].get("ingress", []):
                    for port in rule["ports"]:
                        reached.setdefault(port["port"], []).extend(rule["from"])
        return reached


def peer(namespace, **pod):
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}} if namespace else {}
    return selector | ({"podSelector": {"matchLabels": {"app.kubernetes.io/name": pod["name"]}}} if pod else {})


def test_by_default_nothing_is_let_in_or_out(manifests):
    (default,) = (each for each in of_kind(manifests, "NetworkPolicy") if each["metadata"]["name"] == "default-deny")
    assert default["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_only_the_adapter_reaches_triton_and_only_prometheus_its_metrics(manifests):
    prometheus = peer("monitoring", name="prometheus")
    assert Policies(manifests).ingress("triton") == {"http": [peer(None, name="adapter")], "metrics": [prometheus]}
    assert Policies(manifests).ingress("adapter") == {"http": [peer("ingress"), prometheus]}


def test_every_policy_selects_pods_that_exist_and_lets_the_adapter_out_to_triton(manifests):
    for policy in of_kind(manifests, "NetworkPolicy"):
        assert selected(manifests, policy["spec"]["podSelector"].get("matchLabels", {}))
    (adapter,) = (each for each in of_kind(manifests, "NetworkPolicy") if each["metadata"]["name"] == "adapter")
    to_triton = adapter["spec"]["egress"][0]
    assert selected(manifests, to_triton["to"][0]["podSelector"]["matchLabels"]) == {"triton"}
    triton = pod_templates(manifests)["triton"]["spec"]["containers"][0]
    assert to_triton["ports"] == [{"protocol": "TCP", "port": triton["ports"][0]["containerPort"]}]


def documented(containing):
    """Return the one block of commands in the document that contains a text."""
    blocks = re.findall(r"^( *)```bash\n(.*?)^ *```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    (block,) = (textwrap.dedent(commands) for _, commands in blocks if containing in commands)
    return block


def test_what_is_said_to_be_applied_is_there():
    applied = re.findall(r"-[fk] (deploy/[\w./-]*\w)", DOCUMENT)
    assert {"deploy/kubernetes/overlays/cpu", "deploy/kubernetes/overlays/gpu"} <= set(applied)
    assert all((ROOT / path).exists() for path in applied)


def test_models_are_loaded_by_an_unprivileged_pod_into_the_claim_that_triton_mounts():
    pod = yaml.safe_load((FOLDER / "load-models.yaml").read_text())
    for version in VERSIONS:
        kubernetes_validate.validate(pod, version, strict=True)
    assert_unprivileged(pod["spec"])
    claim = yaml.safe_load((FOLDER / "base" / "models.yaml").read_text())
    namespace = yaml.safe_load((FOLDER / "base" / "namespace.yaml").read_text())
    triton = next(yaml.safe_load_all((FOLDER / "base" / "triton.yaml").read_text()))["spec"]["template"]["spec"]
    assert pod["metadata"]["namespace"] == namespace["metadata"]["name"]
    assert pod["spec"]["securityContext"]["runAsUser"] == triton["securityContext"]["runAsUser"]
    (volume,) = pod["spec"]["volumes"]
    assert volume == {"name": "models", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
    (container,) = pod["spec"]["containers"]
    assert container["volumeMounts"] == [{"name": "models", "mountPath": "/models"}]

    commands = documented("load-models.yaml")
    copied = re.findall(r"^kubectl cp -n imgr (\S+) (\S+)$", commands, re.MULTILINE)
    assert copied == [(f"model_repository/{model}", "load-models:/models") for model in ("sam_encoder", "sam_decoder")]
    assert set(re.findall(r"pod/(\S+)", commands)) == {pod["metadata"]["name"]}


def test_the_documented_command_makes_prometheus_rules_of_all_groups():
    commands = documented("PrometheusRule")
    printed = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "kubectl() { cat; }\n" + commands],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    made = list(yaml.safe_load_all(printed.stdout))
    for rule in made:
        assert PrometheusRule.model_validate(rule).model_dump(by_alias=True, exclude_unset=True) == rule
        assert (rule["kind"], rule["metadata"]["namespace"]) == ("PrometheusRule", "imgr")
    assert len({rule["metadata"]["name"] for rule in made}) == len(made)
    files = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))
    assert [rule["spec"] for rule in made] == [yaml.safe_load(path.read_text()) for path in files]
