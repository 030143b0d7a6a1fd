"""`[app.kubernetes] patch`: a strategic merge patch from the commit, for what the config has no key for. Pure.

It is merged here and not by the API server, so that the pod template is known before it is applied, and can be applied again as
it was. Lists are merged by the keys that Kubernetes itself merges them by; all other lists are replaced.
"""

import copy
from typing import Any

import yaml

from deployd.errors import RolloutFailed
from deployd.targets.kubernetes.manifests import Json

_MERGED_BY = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "claims": "name",
}
_LONGEST = 256 * 1024
_DIRECTIVE = "$patch"


def patched(template: Json, content: bytes, file: str, container: str) -> Json:
    """The pod template with the patch in `content`. RolloutFailed when it is none, or changes what deployd decides."""
    result: Json = _merged(template, _read(content, file), "template", file)
    image = _image(template, container)
    if _image(result, container) != image:
        raise RolloutFailed(f"{file} changes the image of container {container}", hint="deployd sets the image")
    labels = (result.get("metadata") or {}).get("labels") or {}
    if changed := [key for key, value in template["metadata"]["labels"].items() if labels.get(key) != value]:
        raise RolloutFailed(f"{file} changes the label {changed[0]}", hint="deployd sets it itself")
    return result


def _read(content: bytes, file: str) -> Json:
    """The `spec.template` of the patch."""
    shape = "expected a part of a Deployment, as in `spec: {template: {spec: {…}}}`"
    try:
        if len(content) > _LONGEST or any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content)):
            raise RolloutFailed(f"{file} is longer than 256 KiB or has aliases (*name)", hint="write out each value")
        patch = yaml.safe_load(content)
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        raise RolloutFailed(f"{file} is not YAML: {' '.join(str(exc).split())[:300]}", hint=shape) from exc
    if not isinstance(patch, dict) or not isinstance(patch.get("spec"), dict):
        raise RolloutFailed(f"{file} is not a patch", hint=shape)
    if patch.get("kind", "Deployment") != "Deployment":
        raise RolloutFailed(f"{file} patches a {patch['kind']}", hint=shape)
    beyond = [f"spec.{key}" for key in patch["spec"] if key != "template"]
    beyond += [key for key in patch if key not in {"apiVersion", "kind", "metadata", "spec"}]
    if beyond or not isinstance(patch["spec"].get("template"), dict):
        said = f"changes {', '.join(map(str, beyond))}" if beyond else "has no spec.template"
        raise RolloutFailed(f"{file} {said}", hint="only spec.template can be patched: the rest is in the config")
    found: Json = patch["spec"]["template"]
    return found


def _merged(base: Any, patch: Any, name: str, file: str) -> Any:
    if isinstance(patch, dict):
        return _merged_table(base if isinstance(base, dict) else {}, patch, file)
    if isinstance(patch, list) and name in _MERGED_BY:
        return _merged_list(base if isinstance(base, list) else [], patch, _MERGED_BY[name], f"{file}: {name}", file)
    return copy.deepcopy(patch)


def _merged_table(base: Json, patch: Json, file: str) -> Json:
    result = {} if patch.get(_DIRECTIVE) == "replace" else copy.deepcopy(base)
    for key, value in patch.items():
        if str(key).startswith("$"):
            if key != _DIRECTIVE or value not in {"replace", "merge", "delete"}:
                raise RolloutFailed(
                    f"{file}: unknown directive {key}: {value}", hint="write $patch: replace, or $patch: delete"
                )
        elif value is None or (isinstance(value, dict) and value.get(_DIRECTIVE) == "delete"):
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value, str(key), file)
    return result


def _merged_list(base: list[Any], patch: list[Any], by: str, where: str, file: str) -> list[Any]:
    replaces = any(isinstance(item, dict) and item == {_DIRECTIVE: "replace"} for item in patch)
    result: list[Any] = [] if replaces else copy.deepcopy(base)
    for item in patch:
        if replaces and item == {_DIRECTIVE: "replace"}:
            continue
        if not isinstance(item, dict) or by not in item:
            raise RolloutFailed(f"{where}: each entry needs {by}", hint="Kubernetes merges these lists by it")
        at = next((index for index, known in enumerate(result) if known.get(by) == item[by]), None)
        if item.get(_DIRECTIVE) == "delete":
            result = [known for known in result if known.get(by) != item[by]]
        elif at is None:
            result.append(_merged_table({}, item, file))
        else:
            result[at] = _merged_table(result[at], item, file)
    return result


def _image(template: Json, container: str) -> str | None:
    containers = (template.get("spec") or {}).get("containers") or []
    return next((item.get("image") for item in containers if item.get("name") == container), None)
