"""The Kubernetes manifests: rendered, valid against schemas where these can be had, and consistent in themselves."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

OVERLAYS = ("base", "overlays/eks", "overlays/gke", "overlays/on-prem")
IMAGES = ("headrace", "headrace-gpu", "postgres")
KUBERNETES = ("1.30", "1.33", "1.35")
OF_OTHERS = ("ray.io/", "kueue.x-k8s.io/")

everywhere = pytest.mark.parametrize("overlay", OVERLAYS)


def pods(objects: list[dict[str, Any]], every_node) -> list[dict[str, Any]]:
    return [node for one in objects for node in every_node(one) if isinstance(node.get("containers"), list)]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


@everywhere
@pytest.mark.parametrize("version", KUBERNETES)
def test_objects_of_kubernetes_are_strictly_valid(render, overlay, version) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="no kubernetes-validate: uv pip install it")
    checked = [one for one in render(overlay) if not one["apiVersion"].startswith(OF_OTHERS)]
    assert len(checked) > 10
    for one in checked:
        validate.validate(one, version, strict=True)


def strict(schema: Any) -> Any:
    """The schema with every unknown key refused; a CRD would only drop it, without a word."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        found["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        found.pop("type", None)
        found["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return found


@pytest.fixture(scope="module")
def ray_schemas(repository: Path) -> dict[str, Any]:
    """Strict schemas of RayCluster and RayJob by kind, from KubeRay's own files: of KUBERAY_CRDS, or beside us."""
    import jsonschema

    folder = Path(os.environ.get("KUBERAY_CRDS") or repository.parent / "shared" / "kuberay")
    if not folder.is_dir():
        pytest.skip("KUBERAY_CRDS names no folder with helm-chart/kuberay-operator/crds of KubeRay")
    found = {}
    for file in sorted(folder.glob("ray.io_*.yaml")):
        definition = yaml.load(file.read_text(), yaml.CSafeLoader)["spec"]
        [version] = [one for one in definition["versions"] if one["name"] == "v1"]
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes's own, which a CRD does not repeat
        found[definition["names"]["kind"]] = jsonschema.Draft202012Validator(schema)
    return found


@everywhere
def test_ray_clusters_are_strictly_valid(render, ray_schemas, overlay) -> None:
    [cluster] = [one for one in render(overlay) if one["kind"] == "RayCluster"]
    assert [error.message for error in ray_schemas["RayCluster"].iter_errors(cluster)] == []


def test_a_key_that_kuberay_does_not_know_is_found(render, ray_schemas) -> None:
    [cluster] = [one for one in render("base") if one["kind"] == "RayCluster"]
    cluster = json.loads(json.dumps(cluster))
    cluster["spec"]["headGroupSpec"]["rayStartParam"] = {}
    assert [error.message for error in ray_schemas["RayCluster"].iter_errors(cluster)]


def test_the_sample_of_a_job_is_strictly_valid(repository: Path, ray_schemas) -> None:
    sample = yaml.safe_load((repository / "infra" / "kubernetes" / "samples" / "ray-job.yaml").read_text())
    assert [error.message for error in ray_schemas["RayJob"].iter_errors(sample)] == []
    assert yaml.safe_load(sample["spec"]["runtimeEnvYAML"])["env_vars"]


@everywhere
def test_no_container_has_more_rights_than_it_needs(render, every_node, overlay) -> None:
    found = pods(render(overlay), every_node)
    assert len(found) == 5
    for pod in found:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(pod):
            rights = container["securityContext"]
            assert (rights["allowPrivilegeEscalation"], rights["readOnlyRootFilesystem"]) == (False, True)
            assert rights["capabilities"] == {"drop": ["ALL"]}


@everywhere
def test_every_container_says_what_it_needs_and_runs_an_image_of_ours(render, every_node, overlay) -> None:
    for pod in pods(render(overlay), every_node):
        for container in containers(pod):
            name = container["image"].rpartition("/")[2].partition(":")[0]
            assert name in IMAGES
            assert ":" in container["image"].rpartition("/")[2], "a tag"
            assert {"cpu", "memory", "ephemeral-storage"} <= container["resources"]["requests"].keys()
            assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]


@everywhere
def test_what_a_pod_refers_to_is_there(render, every_node, overlay) -> None:
    objects = render(overlay)
    there = {(one["kind"], one["metadata"]["name"]) for one in objects}
    for pod in pods(objects, every_node):
        assert ("ServiceAccount", pod["serviceAccountName"]) in there
        mounted = {mount["name"] for container in containers(pod) for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        for node in every_node(pod):
            if "configMapRef" in node:
                assert ("ConfigMap", node["configMapRef"]["name"]) in there
            if "persistentVolumeClaim" in node:
                assert ("PersistentVolumeClaim", node["persistentVolumeClaim"]["claimName"]) in there


@everywhere
def test_network_policies_and_budgets_select_pods_that_are_there(render, every_node, overlay) -> None:
    objects = render(overlay)
    # KubeRay labels its pods so; the rest are labels of the manifests themselves.
    labels = [{"ray.io/cluster": "headrace", "ray.io/node-type": kind} for kind in ("head", "worker")]
    labels += [node["labels"] for one in objects for node in every_node(one) if "labels" in node]
    selected = [
        one["spec"].get("podSelector") or one["spec"].get("selector")
        for one in objects
        if one["kind"] in ("NetworkPolicy", "PodDisruptionBudget")
    ]
    assert len(selected) == 5
    for selector in selected:
        wanted = (selector or {}).get("matchLabels", {})
        assert any(wanted.items() <= one.items() for one in labels), selector


@everywhere
def test_a_pod_that_is_asked_to_go_has_more_time_than_ray_drains(render, overlay) -> None:
    [cluster] = [one for one in render(overlay) if one["kind"] == "RayCluster"]
    for group in cluster["spec"]["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        [container] = pod["containers"]
        [drain] = [one["value"] for one in container["env"] if one["name"] == "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"]
        assert pod["terminationGracePeriodSeconds"] >= int(drain) + 20


def test_ray_on_kubernetes_is_the_ray_of_the_lock(render, locked) -> None:
    [cluster] = [one for one in render("base") if one["kind"] == "RayCluster"]
    assert cluster["spec"]["rayVersion"] == locked("ray")
    assert cluster["spec"]["authOptions"] == {"mode": "token"}


def test_airflows_values_name_the_airflow_of_the_lock(manifests, locked) -> None:
    [values] = manifests["infra/helm/airflow.yaml"]
    assert values["airflowVersion"] == locked("apache-airflow")
    assert values["postgresql"]["enabled"] is False
    assert values["createUserJob"]["enabled"] is False
    environment = yaml.safe_load(values["extraEnv"])
    assert {"HEADRACE_REPOSITORY", "HEADRACE_STORAGE", "AIRFLOW_CONN_RAY_DEFAULT"} <= {
        one["name"] for one in environment
    }


def test_the_operators_chart_takes_our_values(repository: Path, tmp_path: Path) -> None:
    chart = os.environ.get("KUBERAY_CHART")
    if not chart or shutil.which("helm") is None:
        pytest.skip("no helm on PATH, or KUBERAY_CHART names no folder with helm-chart/kuberay-operator of KubeRay")
    values = repository / "infra" / "helm" / "kuberay-operator.yaml"
    command = ["helm", "template", "kuberay", chart, "--namespace", "kuberay", "--values", str(values)]
    rendered = subprocess.run(command, capture_output=True, text=True, check=False)
    assert rendered.returncode == 0, rendered.stderr
    [operator] = [one for one in yaml.safe_load_all(rendered.stdout) if one and one["kind"] == "Deployment"]
    [container] = operator["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["memory"] == "512Mi"
    assert "headrace" in container["args"]


def test_kueue_holds_the_cluster_by_a_label(repository: Path, tmp_path: Path, render) -> None:
    shutil.copytree(repository / "infra" / "kubernetes", tmp_path / "kubernetes")
    (tmp_path / "kubernetes" / "queued").mkdir()
    (tmp_path / "kubernetes" / "queued" / "kustomization.yaml").write_text(
        "resources: [../base]\ncomponents: [../components/kueue]\n"
    )
    objects = render(str(tmp_path / "kubernetes" / "queued"))
    [cluster] = [one for one in objects if one["kind"] == "RayCluster"]
    [queue] = [one for one in objects if one["kind"] == "LocalQueue"]
    assert cluster["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": queue["metadata"]["name"]}
