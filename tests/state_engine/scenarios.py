"""What people say and what it should do, written from domain knowledge before any number was tuned.

Readings marked `head` are what the default head made of the sentence; the others are what a person would read in it. A scenario says for
each hormone, in the order dopamine, serotonin, cortisol, oxytocin, noradrenaline, where its level should be right after the last utterance:

    R F    in the band rising or fading: visible, and not extreme          R+ F+   at least that, surging or crashing included
    +n -n  at least n above or below the baseline                           0       within 2 of the baseline: nothing to see
    <      not above the baseline (by more than 1)                          >       not below it
    .      not judged
"""

from __future__ import annotations

from typing import Final, NamedTuple

from services.state_engine.causes import Cause, Emotions, Event, Reading


def said(
    valence: float, intimacy: float, tension: float, *emotions: tuple[str, float], confidence: float = 0.65
) -> Reading:
    labels = tuple(label for label, _ in emotions)
    voiced = Emotions(labels, tuple(probability for _, probability in emotions), (True,) * len(labels))
    return Reading(valence, intimacy, tension, confidence, emotions=voiced)


class Scenario(NamedTuple):
    name: str
    causes: tuple[Cause, ...]
    expected: str
    gap_s: float = 30.0


LOVE = said(0.54, 0.68, -0.04, ("love", 0.98), confidence=0.54)
HATE = said(-0.65, 0.56, 0.73, ("anger", 0.91), confidence=0.69)
SHUT_UP = said(-0.66, -0.55, 0.60, ("anger", 0.94), confidence=0.71)
PATHETIC = said(-0.77, -0.23, 0.38, confidence=0.71)
SORRY = said(-0.60, 0.08, 0.23, ("remorse", 0.79), confidence=0.64)
TIME = said(0.08, -0.32, 0.08, ("neutral", 0.93), confidence=0.79)
FRANCE = said(0.02, -0.43, 0.04, ("curiosity", 0.62), ("neutral", 0.37), confidence=0.82)
THANKS = said(0.35, -0.35, -0.28, ("gratitude", 1.0), confidence=0.62)

SCENARIOS: Final = (
    # One clear sentence, as the default head reads it.
    Scenario("I got the job! (head)", (said(0.49, -0.03, 0.14, confidence=0.61),), "+5 +2 < > ."),
    Scenario("I got the job!", (said(0.6, 0.2, 0.3),), "R +2 . +1 +1"),
    Scenario(
        "You are wonderful, thank you so much. (head)",
        (said(0.54, -0.39, -0.21, ("admiration", 0.75), ("gratitude", 1.0), confidence=0.65),),
        "R R -2 +5 <",
    ),
    Scenario("I love you more than anything. (head)", (LOVE,), "R +3 -2 R <"),
    Scenario("Leave me alone, I hate you. (head)", (HATE,), "F -5 R -2 R"),
    Scenario("You are pathetic and you always ruin everything. (head)", (PATHETIC,), "F -5 R -5 +1"),
    Scenario("Shut up! (head)", (SHUT_UP,), "F -5 R+ F+ R"),
    Scenario(
        "hostile closeness: I know exactly what you are, and you disgust me. (head)",
        (said(-0.49, 0.49, 0.22, ("disgust", 0.87), confidence=0.53),),
        "-2 -2 R < .",
    ),
    Scenario(
        "hostile closeness: How dare you lie to me! (head)",
        (said(-0.62, 0.33, 0.83, ("anger", 0.91), confidence=0.66),),
        "F -5 R -3 R",
    ),
    Scenario(
        "fear: Someone is in the house. I'm so scared. (head)",
        (said(-0.48, 0.41, 0.67, ("fear", 0.99), confidence=0.54),),
        "-3 -3 R . R+",
    ),
    Scenario(
        "numbness: I feel nothing. Whatever. (head)",
        (said(-0.25, 0.26, -0.36, ("neutral", 0.71), confidence=0.50),),
        "0 0 0 . 0",
    ),
    Scenario(
        "quiet grief: My grandmother died last night. I miss her. (head)",
        (said(-0.62, 0.53, -0.33, ("grief", 0.73), ("sadness", 0.94), confidence=0.64),),
        "F F +2 > <",
    ),
    Scenario("I don't want to talk to you anymore. (head)",
             (said(-0.72, 0.03, 0.40, ("disapproval", 0.52), confidence=0.69),), "F -4 R -5 +2"),
    Scenario(
        "urgency: everything is breaking! (head)", (said(-0.48, -0.10, 0.73, confidence=0.48),), "-3 -3 R -2 +4"
    ),
    Scenario(
        "thrill: going up the mountain tonight! (head)",
        (said(0.36, 0.28, 0.61, ("excitement", 0.97), confidence=0.56),),
        "R . . > R",
    ),
    Scenario(
        "calm closeness: Stay with me a little, no need to talk. (head)",
        (said(-0.14, 0.45, -0.42, ("caring", 0.60), confidence=0.51),),
        "0 > -2 +5 -1",
    ),
    Scenario("trust: I've never told anyone this. (head)", (said(0.20, 0.45, -0.24, confidence=0.50),), "> > < +4 <"),
    Scenario("missing you (head)", (said(-0.53, 0.64, -0.06, ("sadness", 0.50), confidence=0.64),), "-3 -2 . +3 <"),
    Scenario("polite thanks of a stranger (head)", (THANKS,), "+2 +3 -2 +2 <"),
    Scenario("neutral information (head)", (TIME,), "0 0 0 0 0"),
    Scenario("a question about France (head)", (FRANCE,), "0 0 0 0 0"),
    # What a person would read, stronger than a head dares.
    Scenario("declaration of love", (said(0.9, 0.9, -0.1, confidence=0.9),), "R+ R+ -5 R+ <"),
    Scenario("cold distance: we have nothing to say to each other", (said(-0.2, -0.9, 0.0, confidence=0.8),), "-3 -2 +3 F+ 0"),
    Scenario("silent treatment", (said(-0.4, -0.8, 0.3, confidence=0.8),), "-5 -5 R F+ +2"),
    Scenario("threat from a stranger", (said(-0.6, -0.6, 0.9, confidence=0.8),), "F+ F+ R+ F+ R+"),
    Scenario("comfort in silence", (said(0.0, 0.5, -0.7, confidence=0.7),), "> +3 F +5 -5"),
    Scenario("relief after danger", (said(0.4, 0.2, -0.6, ("relief", 0.8), confidence=0.6),), "+4 +5 F+ +2 -5"),
    Scenario("playful teasing", (said(-0.22, -0.22, 0.32, ("amusement", 0.82), confidence=0.5),), "> . < > ."),
    Scenario("no confidence in the strongest reading", (said(-1.0, -1.0, 1.0, ("fear", 1.0), confidence=0.0),), "0 0 0 0 0"),
    # What an application names.
    Scenario("reward", (Event("reward"),), "R +3 0 0 +2"),
    Scenario("stress", (Event("stress"),), "0 -3 R 0 +4"),
    Scenario("affection", (Event("affection"),), "0 0 -2 R -2"),
    # More than one sentence.
    Scenario("three insults in a row", (SHUT_UP, PATHETIC, HATE), "F+ F+ R+ F+ R+"),
    Scenario("twenty minutes of small talk", (TIME, FRANCE) * 20, "0 0 0 0 0"),
    Scenario("whiplash: love, and half a minute later hate", (LOVE, HATE), ". . R > R"),
    Scenario("whiplash the other way: hate, and then love", (HATE, LOVE), ". . +2 . ."),
    Scenario("a quarrel and an apology", (HATE, SHUT_UP, SORRY, SORRY), "F+ . R . +4", 120.0),
    Scenario("an apology alone", (SORRY,), "> > < +1 ."),
    Scenario("compliments without end", (LOVE, THANKS) * 100, "R+ R+ F+ R+ <"),
    Scenario("insults without end", (SHUT_UP, PATHETIC) * 100, "F+ F+ R+ F+ R+"),
)  # fmt: skip
