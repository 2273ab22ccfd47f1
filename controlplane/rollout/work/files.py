"""Checks the files of the candidate before it is loaded and before it gets requests."""

from __future__ import annotations

from collections.abc import Callable

from controlplane.config.models import ModelSection
from controlplane.rollout.files import SHORT, VersionFiles, cure_of
from controlplane.rollout.findings import Finding, Outcome, Work
from controlplane.rollout.model import Rollout


class FilesWorker:
    """A rollout.workers.Worker: reads the candidate's files. The first finding that passes pins their digest."""

    def __init__(self, files: VersionFiles, section: Callable[[str], ModelSection | None]) -> None:
        self._files, self._section = files, section

    async def run(self, rollout: Rollout, work: Work, since: float, before: Finding | None) -> Finding:
        """PASS, with the digest in `carry`: the files are those that were approved. FAIL: they are others.

        NOT_ENOUGH: they cannot be read now. Files that nobody approved are approved for the author of the rollout.
        """
        model, version = rollout.model, rollout.plan.to_version
        section = self._section(model)
        content = None if section is None else await self._files.read(section, version)
        if content is None:
            return Finding(Outcome.PASS, (f"fleet.yaml does not say any more where the files of {version} are",))
        if content.fault:
            outcome = Outcome.FAIL if content.differ else Outcome.NOT_ENOUGH
            return Finding(outcome, (f"the files of {version} cannot be checked: {content.fault}",))
        if rollout.digest and content.digest != rollout.digest:
            changed = (
                f"the files of {version} changed during the rollout: their digest was {rollout.digest[:SHORT]} and is "
                f"{content.digest[:SHORT]}"
            )
        else:
            changed = await self._files.against(model, content)
        if changed:
            return Finding(Outcome.FAIL, (f"{changed}; {cure_of(model, version)}",))
        await self._files.accept(model, content, rollout.created_by, rollout.id)
        words = f"the files of {version} have the digest {content.digest[:SHORT]}"
        return Finding(Outcome.PASS, (words,), carry=content.digest)
