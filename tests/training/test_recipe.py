from __future__ import annotations

import pytest

from training.errors import RecipeError
from training.recipe import Recipe


def test_fields_and_entries_of_tables_can_be_set() -> None:
    recipe = Recipe().with_settings(["beta=1", "sampling.xed = 0.1", "bfloat16=false", "epochs=2", "sampling.probes=5"])

    assert (recipe.beta, recipe.bfloat16, recipe.epochs) == (1.0, False, 2)
    assert recipe.sampling == Recipe().sampling | {"xed": 0.1, "probes": 5.0}
    assert recipe.loss_weights == Recipe().loss_weights
    assert Recipe().sampling["xed"] != 0.1


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("warmth=1", "A recipe has no warmth; seed, .*sampling.goemotions, .*beta can be set"),
        ("sampling.reddit=1", "has no sampling.reddit"),
        ("sampling=1", "has no sampling"),
        ("beta.x=1", "has no beta.x"),
        ("=1", "no field without a name"),
        ("with_settings=1", "has no with_settings"),
        ("epochs=1.5", "gives a float, but int is needed"),
        ("epochs=true", "gives a bool, but int is needed"),
        ("beta=high", "does not read as key=value"),
        ("beta", "does not read as key=value"),
    ],
)
def test_what_is_no_setting_is_refused(setting: str, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        Recipe().with_settings([setting])
