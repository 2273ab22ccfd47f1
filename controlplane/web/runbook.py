"""The runbooks that alerts link to, as pages of the console. An operator on call has no checkout of the source."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import Path as PathParameter
from fastapi import Request
from fastapi.responses import Response
from markdown_it import MarkdownIt
from markupsafe import Markup

from controlplane.access.roles import Role
from controlplane.api.auth import requires
from controlplane.errors import NotFound
from controlplane.web.render import Renderer

HERE = Path(__file__).parent
FOLDERS = (HERE / "runbooks", HERE.parents[1] / "docs" / "runbooks")
"""Folders of the runbooks: in an installation, and in a checkout."""

Name = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9_]{1,100}(\.md)?$")]
"""The alert's name, also with `.md`, because runbooks link to each other so."""


class Runbooks:
    """The endpoints. All of them need the role viewer."""

    def __init__(self, render: Renderer) -> None:
        self._render = render
        self._folder = next((folder for folder in FOLDERS if folder.is_dir()), FOLDERS[0])
        self._markdown = MarkdownIt("commonmark", {"html": False}).enable("table")

    @requires(Role.VIEWER)
    async def runbook(self, request: Request, name: Name) -> Response:
        """Show one runbook. Raises NotFound."""
        name = name.removesuffix(".md")
        text = await asyncio.to_thread(self._read, name)
        # Safe: the text is part of the program. The renderer escapes HTML in it and refuses links that run scripts.
        body = Markup(self._markdown.render(text))  # noqa: S704
        return self._render.page(request, "runbook.html", name=name, body=body)

    @requires(Role.VIEWER)
    async def index(self, request: Request) -> Response:
        """List the runbooks."""
        names = await asyncio.to_thread(lambda: sorted(path.stem for path in self._folder.glob("*.md")))
        return self._render.page(request, "runbooks.html", names=names)

    def _read(self, name: str) -> str:
        try:
            return (self._folder / f"{name}.md").read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise NotFound(f"there is no runbook {name}; /runbooks lists them") from error
