"""Sentences of the example corpus: a small vocabulary whose wording hints at an emotion without settling it."""

from __future__ import annotations

import random
from typing import NamedTuple

# Valence of a sentence worded in the manner of an emotion, on the scale of sentiment annotation (-3 to 3).
VALENCE = {"neu": 0.0, "sad": -1.5, "ang": -2.0, "hap": 1.5, "exc": 2.0}

_SENTENCES = {
    "neu": (
        "{thing} is {place}",
        "{name} took {thing} {place}",
        "I will see {name} {time}",
        "the meeting with {name} is {time}",
        "you can leave {thing} {place}",
        "{name} called me {time}",
        "we need {thing} {time}",
        "please give {thing} to {name}",
        "I think {name} is {place}",
        "{name} works {place} {time}",
    ),
    "sad": (
        "I miss {name} {very} much",
        "I lost {thing} {time}",
        "I feel {very} lonely {time}",
        "{name} cried {place} {time}",
        "we said goodbye to {name}",
        "I am {very} sorry for {name}",
        "it hurts to see {name}",
        "{name} is {very} sick {time}",
        "{name} died {time}",
        "I am {very} sad about {name}",
    ),
    "ang": (
        "stop touching {thing}",
        "{name} lied to me {time}",
        "I hate {thing}",
        "you broke {thing} again",
        "{name} is {very} unfair to me",
        "how dare you take {thing}",
        "I am {very} angry with {name}",
        "{name} is {very} rude {place}",
        "shut up about {thing}",
        "I am {very} tired of your lies",
    ),
    "hap": (
        "I love {thing}",
        "{name} is {very} kind to me",
        "it is {very} nice {place}",
        "I feel {very} good {time}",
        "thank you for {thing}",
        "we laughed {place} {time}",
        "{name} smiled at me {time}",
        "it was a lovely day {place}",
        "I am {very} happy for {name}",
        "I am {very} glad about {thing}",
    ),
    "exc": (
        "we won {thing}",
        "guess who came, {name}",
        "I can not wait to see {name}",
        "{name} said yes {time}",
        "this is {very} amazing",
        "the big party is {time}",
        "I am {very} excited about {thing}",
        "unbelievable, {name} bought {thing}",
        "I got the job {place}",
        "we fly to {name} {time}",
    ),
}

_INTENSIFIERS = {"so": 1.3, "very": 1.2, "really": 1.2, "a little": 0.6}

# What fills the slots tells nothing about the emotion.
_SLOTS = {
    "name": [
        "Anna",
        "Tom",
        "Maria",
        "Peter",
        "Lucy",
        "David",
        "Emma",
        "Paul",
        "Sara",
        "Mark",
        "Nina",
        "Ben",
        "Julia",
        "Max",
        "Clara",
        "Leo",
        "Laura",
        "Sam",
    ],
    "thing": [
        *("the tickets", "the car", "the letter", "the phone", "the keys", "the report", "the camera", "the money"),
        *("the cake", "the table", "the painting", "the guitar", "the bicycle", "the house", "the film", "the dog"),
    ],
    "place": [
        *("at home", "at work", "at school", "in the city", "in the garden", "in the kitchen", "in the office"),
        *("at the station", "at the beach", "at the market", "on the train", "next door"),
    ],
    "time": [
        *("today", "tonight", "yesterday", "this morning", "this week", "last night", "last summer"),
        *("on Monday", "on Friday", "on Sunday", "in May", "after lunch"),
    ],
}
_OPENERS = ("so", "listen", "you know", "by the way")
_TELLING_OPENERS = {
    "neu": ("well", "okay"),
    "sad": ("oh no", "sadly"),
    "ang": ("enough", "damn"),
    "hap": ("ah", "lovely"),
    "exc": ("wow", "hurray"),
}


class Sentence(NamedTuple):
    """A transcript, and the valence of its wording in [-3, 3]."""

    text: str
    valence: float


def compose(rng: random.Random, wording: str) -> Sentence:
    """Draw a sentence worded in the manner of one emotion (a key of `VALENCE`)."""
    sentence = rng.choice(_SENTENCES[wording])
    valence = VALENCE[wording]
    # "I miss Anna so much" needs its intensifier, other sentences do without.
    intensifier = rng.choice(tuple(_INTENSIFIERS)) if rng.random() < 0.6 else ""
    if "{very} much" in sentence:
        intensifier = rng.choice(("so", "very"))
    if "{very}" in sentence:
        valence *= _INTENSIFIERS.get(intensifier, 1.0)
    text = sentence.format(very=intensifier, **{slot: rng.choice(words) for slot, words in _SLOTS.items()})
    chance = rng.random()
    if chance < 0.6:
        text = f"{rng.choice(_TELLING_OPENERS[wording] if chance < 0.45 else _OPENERS)}, {text}"
    text = " ".join(text.split())
    return Sentence(f"{text[0].upper()}{text[1:]}.", max(-3.0, min(3.0, valence)))
