"""`python -m limbic.supervision COMMAND`.

up, down, restart, status, logs: what the Makefile's targets of these names run. run: everything in the foreground, for a container.
healthy [PROCESS…]: gRPC health checks of the named processes or of all, for a container's health check.
"""

from __future__ import annotations

import sys
from functools import partial

from limbic.runtime.settings import SettingsError, load_settings
from limbic.supervision.commands import down, follow_logs, healthy, run, status, up
from limbic.supervision.supervisor import SupervisionError, Supervisor


def main(arguments: list[str]) -> int:
    """Run one command and return the exit status: 0, 1 if it failed, 2 if there is no such command."""
    say = partial(print, flush=True)
    try:
        supervisor = Supervisor(load_settings())
        match arguments:
            case ["up"]:
                up(supervisor, say)
            case ["down"]:
                down(supervisor, say)
            case ["restart"]:
                down(supervisor, say)
                up(supervisor, say)
            case ["status"]:
                return 0 if status(supervisor, say) else 1
            case ["run"]:
                return run(supervisor, say)
            case ["healthy", *names]:
                return 0 if healthy(supervisor, names, say) else 1
            case ["logs"]:
                follow_logs(supervisor)
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except (SettingsError, SupervisionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
