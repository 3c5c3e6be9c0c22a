"""One head from several runs: the mean of their weights.

Runs that start from the same weights (one seed, one base) and are trained with other recipes end in one basin, and the
mean of their weights is better than each (Wortsman et al., Model soups, ICML 2022), at the cost of a single head.

The mean of low-rank changes is a low-rank change too: the factors are put side by side, and the scale is divided by
the number of runs. That number is a power of two, so the scale stays one and the merge exact (`training.merge`). A run may
be named twice, to weigh twice as much.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.adapter import ADAPTER_FILE, Adapter, load_adapter, save_adapter
from training.errors import ModelError
from training.hashing import file_sha256

RUN_FILE = "run.json"


def average_adapters(adapters: Sequence[Adapter]) -> Adapter:
    """Return the adapter whose merge is the mean of the adapters' merges.

    Raises:
        ModelError: if there are not two, four or eight of them, or they do not change the same layers at one scale.
    """
    count = len(adapters)
    if count not in (2, 4, 8):
        raise ModelError(f"{count} runs cannot be averaged exactly; take two, four or eight.")
    first = adapters[0]
    for other in adapters[1:]:
        same = other.lora.keys() == first.lora.keys() and other.scale == first.scale
        if not same or any(other.head[name].shape != value.shape for name, value in first.head.items()):
            raise ModelError("The runs do not change the same layers at one scale, so they cannot be averaged.")
    # A run that is named more than once weighs more, and stands in the file once. Twice a float16 is exact.
    weighed = {id(adapter): (adapter, sum(other is adapter for other in adapters)) for adapter in adapters}
    lora = {
        name: (
            np.concatenate([adapter.lora[name][0] for adapter, _ in weighed.values()], axis=0),
            np.concatenate([times * adapter.lora[name][1] for adapter, times in weighed.values()], axis=1),
        )
        for name in first.lora
    }
    head = {
        name: np.mean([adapter.head[name].astype(np.float64) for adapter in adapters], axis=0).astype(np.float32)
        for name in first.head
    }
    return Adapter(lora, head, first.scale / count)


def average_runs(runs: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write the mean of finished runs to the folder `out`, as a finished run of its own, and return its record.

    Its recipe holds what the runs have in common, and what differs as "one / another" in the order of the runs; its
    data and its curves are those of the last, its teachers and starting points a list in the order of the runs.

    Raises:
        ModelError: if a run is not finished, or the runs differ in base, seed, or development rows.
    """
    records = []
    for run in runs:
        if not (run / RUN_FILE).is_file():
            raise ModelError(f"{run} holds no finished run; `python -m training train` finishes it.")
        records.append(json.loads((run / RUN_FILE).read_text(encoding="ascii")))
    for name, values in {
        "base": {record["base_sha256"] for record in records},
        "seed": {record["recipe"]["seed"] for record in records},
        "development rows": {record["rows_sha256"]["dev"] for record in records},
        "longest text": {record["recipe"]["max_tokens"] for record in records},
    }.items():
        if len(values) > 1:
            raise ModelError(f"The runs differ in their {name}, so their mean is nobody's.")
    loaded = {run: load_adapter(run / ADAPTER_FILE) for run in runs}
    adapter = average_adapters([loaded[run] for run in runs])
    out.mkdir(parents=True, exist_ok=True)
    save_adapter(out / ADAPTER_FILE, adapter)
    last = records[-1]
    recipe: dict[str, Any] = {"mean_of_runs": " / ".join(run.name for run in runs)}
    recipe["adapters_sha256"] = " / ".join(file_sha256(run / ADAPTER_FILE) for run in runs)
    for key in last["recipe"]:
        recipe[key] = _common([record["recipe"].get(key) for record in records])
    rows = {split: _common([record["rows_sha256"][split] for record in records]) for split in last["rows_sha256"]}
    record: dict[str, Any] = last | {"recipe": recipe, "rows_sha256": rows}
    for key in ("teacher", "start"):
        if any(given := [record.get(key) for record in records]):
            record[key] = given
    (out / RUN_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="ascii")
    return record


def _common(values: Sequence[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else " / ".join(map(str, values))
