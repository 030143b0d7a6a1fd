"""The last good release, read from a Deployment's own annotations. Pure."""

import copy

from deployd.domain import Deploy
from deployd.targets.kubernetes.manifests import COMMIT, DEPLOY, LAST_GOOD, Json
from deployd.targets.kubernetes.others import annotations_of
from deployd.targets.kubernetes.releases import Release
from deployd.targets.kubernetes.verdict import complete, image_of


def remembered(found: Json, container: str, deploy: Deploy | None, *, created: bool) -> Release | None:
    """For when deployd has no record: it takes the Deployment over, or has lost its state. None when there is only the unfinished
    `deploy`. `created`: deployd made the Deployment, so its template is part of the release."""
    annotations = annotations_of(found)
    template: Json = copy.deepcopy(found["spec"]["template"])
    number, image = int(annotations.get(DEPLOY) or 0), image_of(template, container) or ""
    unfinished = deploy is not None and number == deploy.number
    if number and (unfinished or not complete(found)):
        good, _, image = annotations.get(LAST_GOOD, "").partition(" ")
        if not image:
            return None
        number = int(good)
    for item in template["spec"]["containers"]:
        if item["name"] == container:
            item["image"] = image
    return Release(number or None, annotations.get(COMMIT, ""), container, image, template if created else None)
