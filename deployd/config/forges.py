"""The forges besides GitHub, each with what its webhooks are verified with and where its API is, and MLflow."""

from deployd.config.values import Reference, Section


class Gitlab(Section):
    """`[gitlab]`"""

    secrets: tuple[Reference, ...] = ()
    api_url: str = "https://gitlab.com/api/v4"
    token: Reference | None = None


class Gitea(Section):
    """`[gitea]`, for Gitea and Forgejo."""

    secrets: tuple[Reference, ...] = ()
    api_url: str = "https://codeberg.org/api/v1"
    token: Reference | None = None


class Bitbucket(Section):
    """`[bitbucket]`, for Bitbucket Cloud and Data Center."""

    secrets: tuple[Reference, ...] = ()
    api_url: str = "https://api.bitbucket.org/2.0"
    token: Reference | None = None


class Mlflow(Section):
    """`[mlflow]`"""

    secrets: tuple[Reference, ...] = ()
