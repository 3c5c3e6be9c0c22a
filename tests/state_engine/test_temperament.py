"""What a temperament file may hold, and how each fault is named."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path

import pytest

from services.state_engine.errors import TemperamentNotFoundError
from services.state_engine.library import TemperamentLibrary
from services.state_engine.temperament import HORMONES, TemperamentError, parse_temperament

DEFAULT = files("services.state_engine").joinpath("temperaments", "default.toml").read_text(encoding="utf-8")


def refusal(text: str) -> TemperamentError:
    with pytest.raises(TemperamentError) as caught:
        parse_temperament("mine", text, "mine.toml")
    return caught.value


def changed(old: str, new: str) -> str:
    assert old in DEFAULT
    return DEFAULT.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ("hormones = [", "(file)", "is no TOML"),
        ("", "description", "is missing"),
        (changed("[hormones.oxytocin]", "[hormones.insulin]"), "hormones.oxytocin", "is missing"),
        (DEFAULT + "\n[hormones.insulin]\nbaseline = 5.0\n", "hormones.insulin", "is not a key"),
        (
            changed("rise_half_life_s = 3600.0", "rise_halflife_s = 3600.0"),
            "hormones.dopamine.rise_half_life_s",
            "missing",
        ),
        (
            changed("rise_half_life_s = 3600.0", "rise_half_life_s = 0.0"),
            "hormones.dopamine.rise_half_life_s",
            "greater",
        ),
        (
            changed("rise_half_life_s = 3600.0", "rise_half_life_s = -60.0"),
            "hormones.dopamine.rise_half_life_s",
            "greater",
        ),
        (changed("rise_half_life_s = 3600.0", "rise_half_life_s = 1e30"), "hormones.dopamine.rise_half_life_s", "less"),
        (changed("rise_half_life_s = 3600.0", "rise_half_life_s = nan"), "hormones.dopamine.rise_half_life_s", ""),
        (changed("rise_half_life_s = 3600.0", "rise_half_life_s = inf"), "hormones.dopamine.rise_half_life_s", ""),
        (
            changed("rise_half_life_s = 3600.0", 'rise_half_life_s = "long"'),
            "hormones.dopamine.rise_half_life_s",
            "number",
        ),
        (
            changed("rise_half_life_s = 3600.0", "rise_half_life_s = true"),
            "hormones.dopamine.rise_half_life_s",
            "number",
        ),
        (changed("baseline = 50.0", "baseline = 0.0"), "hormones.dopamine.baseline", "greater"),
        (changed("baseline = 50.0", "baseline = 100.0"), "hormones.dopamine.baseline", "less"),
        (changed("oxytocin = 24.0", "oxytocin = 5000.0"), "appraisal.intimacy_positive.oxytocin", "less"),
        (changed("quiet = 0.45", "quiet = 1.0"), "appraisal.intimacy_negative.quiet", "less"),
        (changed("[appraisal.intimacy_negative]", "[appraisal.distance]"), "appraisal.intimacy_negative", "missing"),
        (changed("slowness = 3.0", "slowness = 1.0"), "adaptation.slowness", "greater"),
        (changed("far = 12.0", "far = 6.0"), "bands.far", "larger than bands.near"),
        (changed("[moods.drive]", "[moods.Drive]"), "moods.Drive", "pattern"),
        (
            changed('"serotonin.fall" = 0.15', '"serotonin.down" = 0.15'),
            "couplings.cortisol.rise.serotonin.down",
            "channel",
        ),
        (
            changed('"serotonin.fall" = 0.15', '"cortisol.rise" = 0.15'),
            "couplings.cortisol.rise.cortisol.rise",
            "itself",
        ),
        (changed("events.reward]", "events.reward]\nadrenaline = 3.0"), "events.reward.adrenaline", "is not a key"),
    ],
)
def test_a_fault_is_refused_with_file_key_and_reason(text: str, key: str, reason: str) -> None:
    error = refusal(text)

    assert error.origin == "mine.toml"
    assert error.key == key
    assert reason in error.reason
    assert str(error).startswith(f"mine.toml: {key}: ")


def test_couplings_that_would_not_settle_are_refused_naming_the_channel() -> None:
    error = refusal(
        changed(
            '"serotonin.fall" = 0.15',
            '"serotonin.fall" = 1.5\n[couplings."serotonin.fall"]\n"cortisol.rise" = 1.5',
        )
    )

    assert error.key == "couplings"
    assert "cortisol.rise" in error.reason or "serotonin.fall" in error.reason


def test_a_temperament_is_identified_by_its_text() -> None:
    temperament = parse_temperament("mine", DEFAULT, "mine.toml")

    assert temperament.digest == hashlib.sha256(DEFAULT.encode()).hexdigest()
    assert temperament.dynamics.channels[:2] == ("dopamine.rise", "dopamine.fall")
    assert temperament.dynamics.size == 2 * len(HORMONES) + 4


def test_the_shipped_ones_are_there_and_others_join_them(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(DEFAULT, encoding="utf-8")

    assert {"default", "predecessor"} <= set(TemperamentLibrary().names)
    assert "mine" in TemperamentLibrary(tmp_path).names
    with pytest.raises(TemperamentNotFoundError, match=r"there are .*default"):
        TemperamentLibrary().named("mine")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(TemperamentError, match="cannot be read"):
        TemperamentLibrary(tmp_path / "nowhere")
    (tmp_path / "broken.toml").write_bytes(b"\xff")
    with pytest.raises(TemperamentError, match=r"broken\.toml.*UTF-8"):
        TemperamentLibrary(tmp_path)
    (tmp_path / "broken.toml").write_bytes(b"#" * (256 * 1024 + 1))
    with pytest.raises(TemperamentError, match="larger than"):
        TemperamentLibrary(tmp_path)


def test_a_session_keeps_the_text_it_began_with(tmp_path: Path) -> None:
    edited = changed("baseline = 50.0", "baseline = 60.0")
    before = parse_temperament("default", edited, "before")

    recorded = TemperamentLibrary().recorded("default", before.digest, edited)

    assert recorded.readout.levels(recorded.readout.adapted(recorded.dynamics.rest()))[0].baseline == 60.0
