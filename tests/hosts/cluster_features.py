"""The rows of the table of clusters in docs/hosts.md. Every test with the mark `cluster` stands in exactly one of them."""

from tests.hosts.features import Feature

_BASE = "tests/test_kubernetes_base.py"
_PUSHES = "tests/e2e/test_push_to_kubernetes.py"
_TARGET, _GOING_BACK, _OTHER_WRITERS, _CANARY, _PROOF, _ENVIRONMENT, _KEPT, _POLICIES, _FAULTS = (
    f"tests/targets/kubernetes/test_{name}.py"
    for name in (
        "target",
        "going_back",
        "other_writers",
        "canary",
        "proof",
        "environment",
        "kept",
        "policies",
        "faults",
    )
)


def _row(name: str, files: dict[str, str]) -> Feature:
    """The files' tests, or those of them whose names stand in the value, without the `test_`."""
    tests = [
        f"{file}::test_{test}" if test else file for file, chosen in files.items() for test in chosen.split() or [""]
    ]
    return Feature(name, tuple(tests), mark="cluster")


PUSHES = _row(
    "Push to live, with the image from a registry",
    {
        _PUSHES: "pushes_roll_out_on_the_cluster_and_no_request_is_lost",
        _TARGET: """
            a_first_deploy_makes_everything_and_serves
            the_same_image_again_changes_no_pod
            removing_an_app_takes_all_of_our_making_away
        """,
    },
)
CONTRACT = _row("Roll out, prove, clean up, restore: as on an engine", {"tests/contract/test_targets.py": ""})
LOSSLESS = _row(
    "Rollouts lose no request",
    {
        _FAULTS: "no_request_is_lost_in_three_rollouts two_apps_in_two_namespaces_go_at_once",
        _TARGET: "the_old_pods_serve_on_while_the_port_changes",
    },
)
NEWER = _row(
    "A newer push takes the place of a rollout",
    {
        _TARGET: """
            a_deploy_that_was_outrun_changes_nothing
            a_newer_deploy_rolls_over_one_that_was_stopped_in_mid_rollout
        """,
        _ENVIRONMENT: "a_deploy_that_gives_way_before_the_cut_over_leaves_no_secret",
    },
)
FAILURES = _row(
    "A rollout that fails goes back, and the reason is told",
    {
        _GOING_BACK: """
            what_cannot_run_is_told_with_its_cause_and_the_old_release_serves
            a_deadline_that_passed_before_does_not_fail_the_next_deploy
            an_image_that_cannot_be_pulled_is_told_at_once
            a_missing_pull_secret_is_told_and_a_right_one_helps
            a_release_that_sickens_in_the_bake_goes_back
        """,
        _ENVIRONMENT: "an_app_at_another_port_is_told_with_the_port_at_which_it_listens",
    },
)
ROLLBACK = _row(
    "Rollback, and the return of a release that turns bad",
    {
        _TARGET: "a_rollback_brings_the_old_replica_set_back",
        _PUSHES: "a_release_that_turns_bad_on_the_cluster_is_returned_by_the_template_of_the_one_before",
    },
)
GATES = _row(
    "Gates, proofs and canaries",
    {
        "tests/contract/test_gates.py": "",
        _GOING_BACK: "a_gate_that_refuses_brings_the_old_release_back",
        _TARGET: "a_pod_is_reached_through_the_api_server",
        _PROOF: "",
        _CANARY: "",
    },
)
OPTIONS = _row(
    "Replicas, autoscaler, secrets, patches of the commit",
    {
        _TARGET: """
            a_scale_by_hand_outlives_the_next_deploy
            an_autoscaler_comes_and_goes_with_the_config
            a_deployment_scaled_to_nothing_in_mid_rollout_ends_with_nothing_proven
        """,
        _ENVIRONMENT: """
            secrets_reach_the_pods_come_back_with_a_rollback_and_go_with_the_app
            a_patch_of_the_commit_is_part_of_the_release
        """,
    },
)
QUESTIONS = _row(
    "Status, output of all pods, commands in a pod",
    {
        _TARGET: "the_questions_of_a_person_are_answered the_output_of_all_pods_is_followed",
        _PUSHES: "the_command_line_asks_the_cluster",
    },
)
OTHER_WRITERS = _row("An adopted Deployment, and what others write", {_OTHER_WRITERS: ""})
RESTORED = _row(
    "What is deleted or changed by hand is told and restored",
    {_KEPT: "", _TARGET: "a_deleted_deployment_is_restored"},
)
POLICIES = _row("Admission webhooks: their warnings and refusals are told", {_POLICIES: ""})
KILLED = _row(
    "deployd is killed, or the API server is away",
    {
        _FAULTS: """
            a_roll_out_that_was_killed_is_taken_up_and_ends_rightly
            the_good_release_is_restored_over_a_roll_out_that_was_killed_and_is_not_taken_up
            an_api_server_that_is_away_for_half_a_minute_changes_nothing
        """,
        _PUSHES: "a_daemon_killed_during_a_rollout_resumes_and_ends_it",
        _TARGET: "a_deployd_that_lost_its_state_asks_the_deployment",
    },
)
INSIDE = _row("A daemon inside the cluster", {"tests/e2e/test_in_cluster.py": ""})
RIGHTS = _row("`check` asks for the rights, and the Roles grant no more", {_BASE: ""})
GROUND = _row(
    "What the tests need of a cluster: NodePorts, logs, commands, Roles", {"tests/testbed/test_cluster.py": ""}
)

CLUSTER_FEATURES = (
    PUSHES,
    CONTRACT,
    LOSSLESS,
    NEWER,
    FAILURES,
    ROLLBACK,
    GATES,
    OPTIONS,
    QUESTIONS,
    OTHER_WRITERS,
    RESTORED,
    POLICIES,
    KILLED,
    INSIDE,
    RIGHTS,
    GROUND,
)
