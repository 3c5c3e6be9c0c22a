"""Raw outputs to readings, against the formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.affect_head.decoder import Decoder
from services.affect_head.head import HeadIdentity
from services.affect_head.head_file import HeadFile
from services.affect_head.window import ContextRule

# In disorder on purpose: outputs are found by their names.
OUTPUTS = (
    "log_variance.tension", "axis.valence", "emotion.joy", "axis.tension", "log_variance.valence", "emotion.anger",
    "axis.intimacy", "log_variance.intimacy",
)  # fmt: skip


def decoder(activation: str = "tanh", confidence_weights: tuple[tuple[float, ...], ...] = ()) -> Decoder:
    return Decoder(
        HeadFile(
            identity=HeadIdentity("h", "F32", "c"),
            outputs=OUTPUTS,
            emotions=("anger", "joy"),
            thresholds=(0.25, 0.5),
            axis_activation=activation,
            sigma_scale=(1.0, 2.0, 3.0),
            confidence_tolerance=0.25,
            confidence_weights=confidence_weights,
            context=ContextRule(0, 512, 512),
            normalizer="ascii-v1",
            window=512,
            provenance_json="{}",
        )
    )


def test_outputs_are_found_by_name_and_decoded_by_formula() -> None:
    outputs = np.array([-2.0, 0.5, 0.0, -3.0, -4.0, -1.0, 2.0, -6.0], dtype=np.float32)

    axes, sigma, confidence, emotions = decoder().decode(outputs)

    assert (axes.valence, axes.intimacy, axes.tension) == pytest.approx((math.tanh(0.5), math.tanh(2), math.tanh(-3)))
    assert (sigma.valence, sigma.intimacy, sigma.tension) == pytest.approx(
        (math.exp(-2), 2 * math.exp(-3), 3 * math.exp(-1))
    )
    within = [math.erf(0.25 / (s * math.sqrt(2))) for s in (sigma.valence, sigma.intimacy, sigma.tension)]
    assert confidence == pytest.approx(sum(within) / 3)
    assert [emotion.label for emotion in emotions] == ["anger", "joy"]
    assert [emotion.probability for emotion in emotions] == pytest.approx([1 / (1 + math.e), 0.5])
    # From the threshold upwards: anger above 0.25, joy at 0.5 exactly.
    assert [emotion.active for emotion in emotions] == [True, True]


def test_fitted_weights_take_the_place_of_the_gaussian_rule() -> None:
    outputs = np.array([-2.0, 0.5, 0.0, -3.0, -4.0, -1.0, 2.0, -6.0], dtype=np.float32)
    weights = ((0.5, -1.0, 0.1, 0.2, 0.3), (0.0, 0.0, 0.0, 0.0, -2.0), (3.0, 0.0, 0.0, 0.0, 0.0))

    _, _, confidence, _ = decoder(confidence_weights=weights).decode(outputs)

    valence, intimacy, tension = math.tanh(0.5), math.tanh(2), math.tanh(3)
    sums = [0.5 + 1.0 * 2 + 0.1 * valence + 0.2 * intimacy + 0.3 * tension, -2.0 * tension, 3.0]
    assert confidence == pytest.approx(sum(1 / (1 + math.exp(-total)) for total in sums) / 3)


def test_a_linear_head_is_clamped() -> None:
    outputs = np.array([0.0, 0.5, 0.0, -3.0, 0.0, 0.0, 2.0, 0.0], dtype=np.float32)

    axes, *_ = decoder("clamp").decode(outputs)

    assert (axes.valence, axes.intimacy, axes.tension) == (0.5, 1.0, -1.0)


@given(
    arrays(np.float32, len(OUTPUTS), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)),
    st.sampled_from([(), ((1e3, -1e3, 1e3, 1e3, 1e3),) * 3, ((0.5, -1.0, 0.1, 0.2, 0.3),) * 3]),
)
def test_any_finite_outputs_give_a_reading_inside_its_ranges(
    outputs: np.ndarray, weights: tuple[tuple[float, ...], ...]
) -> None:
    axes, sigma, confidence, emotions = decoder(confidence_weights=weights).decode(outputs)

    assert all(-1 <= value <= 1 for value in (axes.valence, axes.intimacy, axes.tension))
    assert all(0 < value < 14 for value in (sigma.valence, sigma.intimacy, sigma.tension))
    assert 0 <= confidence <= 1
    assert all(0 <= emotion.probability <= 1 for emotion in emotions)
