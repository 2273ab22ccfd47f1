"""Secrets of Slack, from the environment or a file: a notifier's token, an app's token and its signing secret."""

from __future__ import annotations

from controlplane.app.notifying.secrets import Secret, secret_of
from controlplane.config.notifications.slack import SlackAppSection
from controlplane.config.notifiers import SlackSection

__all__ = ["SlackToken", "app_token", "bot_token", "signing_secret"]

SlackToken = Secret


def bot_token(section: SlackSection) -> Secret:
    """Return the token of a notifier."""
    secret = secret_of(section, "token")
    assert secret is not None  # the configuration requires one of its places
    return secret


def app_token(section: SlackAppSection) -> Secret | None:
    """Return the app-level token for Socket Mode, or None without one."""
    if not (section.app_token_env or section.app_token_file):
        return None
    return Secret("slack", "Slack app-level token (xapp-…)", section.app_token_env, section.app_token_file)


def signing_secret(section: SlackAppSection) -> Secret | None:
    """Return the signing secret for clicks over HTTP, or None without one."""
    if not (section.signing_secret_env or section.signing_secret_file):
        return None
    what = "signing secret of the Slack app"
    return Secret("slack", what, section.signing_secret_env, section.signing_secret_file)
