"""Makes the clients without an event loop from those for asyncio: `python -m tools.sync_client` writes limbic/client/sync/.

The two differ in words only (`async`, `await`, a few names). With `--check` it says whether what is there is what would be made.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

CLIENT: Final = Path(__file__).resolve().parent.parent / "limbic" / "client"
MODULES: Final = ("connection", "gateway", "state_engine", "limbic")
"""What is made; `calls` is where the two really differ."""

_WORDS: Final = (
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"\blimbic\.client\.aio\b", "limbic.client.sync"),
    (r"\b(GatewayClient|StateEngineClient|LimbicClient|TurnStream)\b", r"Sync\1"),
    (r"One for each event loop\.", "For any number of threads."),
    (r'\A"""(.*)"""', r'"""\1 Made from limbic/client/aio by tools/sync_client.py: never edited."""'),
)


def made(source: str) -> str:
    """Return what a module for asyncio looks like without it."""
    for word, other in _WORDS:
        source = re.sub(word, other, source)
    for arguments in (["check", "--quiet", "--select", "I,UP034", "--fix"], ["format", "--quiet"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(CLIENT / "sync" / "made.py"), "-"]
        source = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    return source


def main() -> None:
    """Write the modules, or with --check end with status 1 where one of them is another."""
    for name in MODULES:
        source, target = (CLIENT / kind / f"{name}.py" for kind in ("aio", "sync"))
        content = made(source.read_text(encoding="utf-8"))
        if sys.argv[1:] != ["--check"]:
            target.write_text(content, encoding="utf-8")
        elif target.read_text(encoding="utf-8") != content:
            sys.exit(f"{target} is not what {source} makes: python -m tools.sync_client")


if __name__ == "__main__":
    main()
