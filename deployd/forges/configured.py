"""The forges with the secrets that the config refers to."""

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

Section = Github | Gitlab | GiteaSection | BitbucketSection

FORGES: Sequence[type[Forge]] = (GitHub, GitLab, Gitea, Bitbucket)


def sections(config: Config) -> Mapping[str, Section]:
    """The section of each forge, by the forge's name."""
    return {
        GitHub.name: config.github,
        GitLab.name: config.gitlab,
        Gitea.name: config.gitea,
        Bitbucket.name: config.bitbucket,
    }


def secrets_of(config: Config) -> Mapping[str, Sequence[str]]:
    """The secrets of each forge; ConfigError when one cannot be read."""
    found = {name: section.secrets for name, section in sections(config).items()}
    return {
        name: [read_secret(one, f"{name}.secrets[{at}]") for at, one in enumerate(its)] for name, its in found.items()
    }


def forges(secrets: Mapping[str, Sequence[str]]) -> Sequence[Forge]:
    """Every forge; one without secrets takes no delivery for genuine. ConfigError when one of them can be none."""
    return [forge([secret.encode() for secret in secrets[forge.name]]) for forge in FORGES]
