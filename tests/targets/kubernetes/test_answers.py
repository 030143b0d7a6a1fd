import pytest

from deployd.errors import Unavailable
from deployd.targets.kubernetes.answers import Expired, Gone, Refused, refusal, warnings_in

POLICY = (
    "deployments.apps \"iris\" is forbidden: ValidatingAdmissionPolicy 'owners' with binding 'owners-ml' "
    "denied request: every Deployment needs the label team"
)
KYVERNO = (
    'admission webhook "validate.kyverno.svc-fail" denied the request: \n\nresource Deployment/ml/iris was blocked '
    "due to the following policies\n\nrequire-team:\n  team: the label team is required\n"
)


@pytest.mark.parametrize("status", [401, 403, 409, 422, 429, 500])
@pytest.mark.parametrize("words", [POLICY, KYVERNO])
def test_a_policy_that_refuses_is_told_apart_whatever_status_it_chooses(status: int, words: str) -> None:
    found = refusal(status, "/deployments/iris", "Invalid", words)
    assert isinstance(found, Refused)
    assert found.denied
    assert found.message == " ".join(words.split())
    assert "policy" in found.hint


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (401, "Unauthorized", Expired),
        (410, "too old resource version", Gone),
        (500, 'failed calling webhook "mutate.istio.io": context deadline exceeded', Unavailable),
        (429, "too many requests", Unavailable),
        (409, 'Operation cannot be fulfilled on resourcequotas "small": the object has been modified', Unavailable),
        (409, 'Operation cannot be fulfilled on deployments.apps "iris": the object has been modified', Refused),
        (422, "the server rejected our request due to an error in our request", Refused),
    ],
)
def test_other_answers_are_no_refusal_of_a_policy(status: int, words: str, kind: type[Exception]) -> None:
    found = refusal(status, "/deployments/iris", "", words)
    assert type(found) is kind
    assert not isinstance(found, Refused) or not found.denied


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (
            'deployments.apps "iris" is forbidden: User "ci" cannot patch resource "deployments" in API group "apps"',
            "Role",
        ),
        ('pods "iris" is forbidden: exceeded quota: small, requested: pods=1, used: pods=4, limited: pods=4', "quota"),
        ('pods "iris" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true', "policy"),
        ("unable to create new content in namespace ml because it is being terminated", ""),
    ],
)
def test_the_hint_of_a_forbidden_request_is_what_helps(words: str, hint: str) -> None:
    found = refusal(403, "/deployments/iris", "Forbidden", words)
    assert isinstance(found, Refused)
    assert hint in found.hint
    assert bool(hint) == bool(found.hint)


def test_a_refusal_without_words_names_the_path_and_the_status() -> None:
    assert str(refusal(404, "/deployments/iris", "", "")).startswith("/deployments/iris: the API server answered 404")


@pytest.mark.parametrize(
    ("header", "texts"),
    [
        (
            '299 - "policy/v1beta1 PodDisruptionBudget is deprecated in v1.21+"',
            ["policy/v1beta1 PodDisruptionBudget is deprecated in v1.21+"],
        ),
        (r'299 - "unknown field \"spec.replica\""', ['unknown field "spec.replica"']),
        (r'299 kube-apiserver "a \\ b" "Fri, 27 Nov 2026 00:00:00 GMT"', ["a \\ b"]),
        ('299 - "one", 299 - "two, with a comma"', ["one", "two, with a comma"]),
        ("nonsense", []),
    ],
)
def test_the_texts_of_a_warning_header_are_as_they_were_meant(header: str, texts: list[str]) -> None:
    assert list(warnings_in([header])) == texts
