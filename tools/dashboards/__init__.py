"""Grafana's dashboards, written with its own SDK: deploy/grafana/dashboards/ is made from here by `make docs`."""

from __future__ import annotations

import json

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from tools.dashboards.affect_head import affect_head
from tools.dashboards.living_llm import living_llm
from tools.dashboards.processes import processes
from tools.dashboards.state_engine import state_engine
from tools.dashboards.turns import turns
from tools.objectives import Objectives


def dashboards(objectives: Objectives) -> dict[str, str]:
    """Return the content of each dashboard's file, by its name."""
    boards = [turns(objectives), state_engine(objectives), affect_head(), living_llm(objectives), processes()]
    return {
        f"{board.uid}.json": json.dumps(board.build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
        + "\n"
        for board in boards
    }
