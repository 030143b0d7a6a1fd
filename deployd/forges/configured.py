"""The forges, and what else sends webhooks, with the secrets that the config refers to."""

from collections.abc import Mapping, Sequence

from deployd.config.daemon import Config, Github
from deployd.config.forges import Bitbucket as BitbucketSection
from deployd.config.forges import Gitea as GiteaSection
from deployd.config.forges import Gitlab
from deployd.config.values import read_secret
from deployd.forges.bitbucket import Bitbucket
from deployd.forges.forge import Forge
from deployd.forges.gitea import Gitea
from deployd.forges.github import GitHub
from deployd.forges.gitlab import GitLab
from deployd.forges.mlflow import MLflow

Section = Github | Gitlab | GiteaSection | BitbucketSection

FORGES: Sequence[type[Forge]] = (GitHub, GitLab, Gitea, Bitbucket, MLflow)


def sections(config: Config) -> Mapping[str, Section]:
    """The section of each forge, by the forge's name."""
    return {
        GitHub.name: config.github,
        GitLab.name: config.gitlab,
        Gitea.name: config.gitea,
        Bitbucket.name: config.bitbucket,
    }


def references_of(config: Config) -> Mapping[str, Sequence[str]]:
    """The references to the secrets of each sender of webhooks, by its name."""
    return {name: section.secrets for name, section in sections(config).items()} | {MLflow.name: config.mlflow.secrets}


def secrets_of(config: Config) -> Mapping[str, Sequence[str]]:
    """The secrets of each sender of webhooks; ConfigError when one cannot be read."""
    found = references_of(config)
    return {
        name: [read_secret(one, f"{name}.secrets[{at}]") for at, one in enumerate(its)] for name, its in found.items()
    }


def forges(secrets: Mapping[str, Sequence[str]]) -> Sequence[Forge]:
    """Every forge; one without secrets takes no delivery for genuine. ConfigError when one of them can be none."""
    return [forge([secret.encode() for secret in secrets[forge.name]]) for forge in FORGES]
