"""The words that records of models and rollouts hold, for the catalogues of languages."""

from __future__ import annotations

from controlplane.web.languages import noted as _

BACKENDS = (_("ready"), _("loading"), _("unloading"), _("unavailable"), _("unknown"))
ROLES = (_("stable"), _("candidate"), _("serving"), _("idle"))
MARKS = (_("best"), _("worst"))
STRATEGIES = (_("blue-green"), _("canary"), _("rolling"), _("recreate"))
OUTCOMES = (_("pass"), _("fail"), _("not-enough-data"))
BUDGETS = (_("good"), _("learning"), _("burning"), _("spent"))
SEVERITIES = (_("critical"), _("warning"), _("info"))
