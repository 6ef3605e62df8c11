"""The example corpus: emotional speech that anyone can make in seconds, because licensed corpora cannot be shipped.

Ten voices of the eSpeak NG synthesiser speak in five sessions of one woman and one man, like IEMOCAP; its five
classes too are those of IEMOCAP's usual subset, with ``hap`` and ``exc`` close together. Prosody and wording are
drawn independently given the emotion, and each overlaps between emotions: speech alone and text alone settle
about two thirds of the clips, both together more.
"""

from __future__ import annotations

import math
import random
import re
import zlib
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from tqdm import tqdm

from emofair.corpora import espeak, phrases
from emofair.data.audio import SAMPLE_RATE
from emofair.data.manifests import Utterance, read_corpus, write_corpus
from emofair.errors import EmofairError

NAME = "synthetic"
MIN_CLIPS = 15
SHARES = {"neu": 0.30, "sad": 0.22, "ang": 0.20, "hap": 0.14, "exc": 0.14}
SPLITS = ("train", "valid", "test")
SPLIT_OF_SESSION = {1: "train", 2: "train", 3: "train", 4: "valid", 5: "test"}
SHORTEST, LONGEST = 1.0, 3.5  # seconds
# Amplitude of the room's noise, the same in every clip (about -50 dB of full scale). Models that bring a clip to one
# level, as wav2vec and its successors do, hear how loud the voice was by it.
ROOM_NOISE = 0.005


class _Speaker(NamedTuple):
    """A voice without echo, so that words end where espeak says, and the speaker's habits.

    ``pitch`` is added to the pitch of every clip, ``pace`` and ``loudness`` multiply its rate and volume.
    """

    name: str
    voice: str
    pitch: int
    pace: float
    loudness: float


_SPEAKERS = {
    1: (_Speaker("Ses01F", "en-us+f1", 2, 1.00, 0.95), _Speaker("Ses01M", "en-us+m3", 0, 1.02, 1.00)),
    2: (_Speaker("Ses02F", "en+Annie", -4, 0.98, 1.00), _Speaker("Ses02M", "en-us+Alex", 3, 0.97, 1.15)),
    3: (_Speaker("Ses03F", "en-us+steph", 0, 1.03, 0.85), _Speaker("Ses03M", "en+m7", -2, 1.00, 0.95)),
    4: (_Speaker("Ses04F", "en-us+belinda", -3, 1.00, 0.90), _Speaker("Ses04M", "en-us+Michael", 1, 0.98, 0.85)),
    5: (_Speaker("Ses05F", "en+aunty", 2, 0.99, 0.90), _Speaker("Ses05M", "en-us+m6", -1, 1.01, 1.05)),
}


class _Prosody(NamedTuple):
    """Settings of espeak: words per minute, pitch and pitch range (0 to 99), volume in percent."""

    rate: float
    pitch: float
    range: float
    volume: float


_PROSODY = {
    "neu": _Prosody(170, 44, 42, 55),
    "sad": _Prosody(145, 36, 26, 42),
    "ang": _Prosody(184, 46, 62, 88),
    "hap": _Prosody(176, 60, 68, 60),
    "exc": _Prosody(192, 66, 76, 72),
}
_SPREAD = _Prosody(0.06, 6.5, 8, 0.13)  # standard deviations; of the logarithm for rate and volume

# How often a clip of each emotion is worded in the manner of neu, sad, ang, hap, exc.
_MANNERS = ("neu", "sad", "ang", "hap", "exc")
_WORDING = {
    "neu": (0.76, 0.06, 0.06, 0.06, 0.06),
    "sad": (0.13, 0.74, 0.07, 0.03, 0.03),
    "ang": (0.13, 0.07, 0.74, 0.03, 0.03),
    "hap": (0.13, 0.06, 0.06, 0.52, 0.23),
    "exc": (0.13, 0.06, 0.06, 0.23, 0.52),
}


def generate(out_dir: str | Path, clips: int = 480, seed: int = 1, progress: bool = True) -> dict[str, Any]:
    """Make the example corpus: ``out_dir/wav/<id>.wav`` (16 kHz, 16 bit, mono) and its manifests.

    Sessions 1 to 3 are ``train``, 4 is ``valid``, 5 is ``test``, so no speaker is in two splits, and no sentence
    either while there are others left. Every item has a label, a sentiment score in [-3, 3], a transcript and
    word times. The same ``seed`` and ``clips`` give the same bytes. Returns what went into ``corpus.json``.
    Raises EmofairError for fewer than 15 clips and where ``out_dir`` cannot be written.
    """
    if clips < MIN_CLIPS:
        raise EmofairError(f"an example corpus of {clips} clips is too small", remedy=f"Ask for {MIN_CLIPS} or more")
    out_dir = Path(out_dir)
    try:
        (out_dir / "wav").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmofairError(f"cannot make the folder ({error.strerror})", file=out_dir / "wav") from None
    _remove_earlier(out_dir)

    sessions = [number % len(SPLIT_OF_SESSION) + 1 for number in range(clips)]
    labels = _labels(sessions, seed)
    splits: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
    spoken: dict[str, str] = {}  # sentence -> split
    for number in tqdm(range(clips), desc="speaking", unit="clip", disable=None if progress else True):
        utterance = _clip(out_dir, number, clips, sessions[number], labels[number], seed, spoken)
        splits[SPLIT_OF_SESSION[sessions[number]]].append(utterance)
    return write_corpus(out_dir, splits, root=out_dir, name=NAME, seed=seed, clips=clips, espeak=espeak.version())


def _remove_earlier(out_dir: Path) -> None:
    """Take away the clips of an earlier example corpus here, whose number or seed may differ."""
    if read_corpus(out_dir).get("name") != NAME:
        return
    (out_dir / "corpus.json").unlink()
    for file in (out_dir / "wav").iterdir():
        if re.fullmatch(rf"\d{{4,}}_s_[1-5]_({'|'.join(SHARES)})\.wav", file.name):
            file.unlink()


def _labels(sessions: list[int], seed: int) -> list[str]:
    """A label per clip: in every split in the proportions of `SHARES`, as near as whole numbers come, shuffled."""
    decks = {}
    for split in SPLITS:
        deck: Counter[str] = Counter()
        for size in range(1, 1 + sum(SPLIT_OF_SESSION[session] == split for session in sessions)):
            deck[max(SHARES, key=lambda label: SHARES[label] * size - deck[label])] += 1
        decks[split] = list(deck.elements())
        random.Random(f"{seed} {split}").shuffle(decks[split])
    return [decks[SPLIT_OF_SESSION[session]].pop() for session in sessions]


def _clip(
    out_dir: Path, number: int, clips: int, session: int, label: str, seed: int, spoken: dict[str, str]
) -> Utterance:
    """Draw, speak and write one clip; everything random in it depends on the seed and its number."""
    rng = random.Random(f"{seed} {number}")
    split = SPLIT_OF_SESSION[session]
    speaker = _SPEAKERS[session][number // len(SPLIT_OF_SESSION) % 2]
    (wording,) = rng.choices(_MANNERS, _WORDING[label])
    while True:
        sentence = _new_sentence(rng, wording, split, spoken)
        prosody = _draw_prosody(rng, label, speaker)
        lead, tail = (round(rng.uniform(0.05, 0.2), 3) for _ in range(2))
        audio, words = espeak.speak(sentence.text, speaker.voice, **prosody)
        silence = [np.zeros(round(seconds * SAMPLE_RATE), np.float32) for seconds in (lead, tail)]
        audio = np.concatenate([silence[0], audio, silence[1]])
        if SHORTEST <= len(audio) / SAMPLE_RATE <= LONGEST:
            break
    spoken[sentence.text] = split
    audio += _room_noise(f"{seed} {number}", len(audio))
    name = f"{number:0{max(4, len(str(clips - 1)))}d}_s_{session}_{label}"
    file = out_dir / "wav" / f"{name}.wav"
    try:
        soundfile.write(file, audio, SAMPLE_RATE, subtype="PCM_16")
    except soundfile.LibsndfileError as error:
        raise EmofairError(f"cannot write the audio ({error.error_string})", file=file) from None
    return Utterance(
        id=name,
        path=f"wav/{name}.wav",
        n_samples=len(audio),
        text=sentence.text,
        label=label,
        sentiment=_sentiment(rng, label, wording, sentence.valence),
        speaker=speaker.name,
        session=f"Ses{session:02d}",
        words=[(word, round(lead + start, 4), round(lead + end, 4)) for word, start, end in words],
    )


def _room_noise(seed: str, n_samples: int) -> np.ndarray:
    """White noise, float32 [n_samples]; from the generator that numpy promises never to change."""
    noise = np.random.RandomState(zlib.crc32(seed.encode())).random_sample(n_samples)
    return (ROOM_NOISE * (2 * noise - 1)).astype(np.float32)


def _new_sentence(rng: random.Random, wording: str, split: str, spoken: dict[str, str]) -> phrases.Sentence:
    """A sentence that nobody said yet; when these grow rare, one of the same split; after long search, any."""
    for attempt in range(500):
        sentence = phrases.compose(rng, wording)
        owner = spoken.get(sentence.text)
        if owner is None or (attempt >= 50 and owner == split):
            break
    return sentence


def _draw_prosody(rng: random.Random, label: str, speaker: _Speaker) -> dict[str, int]:
    mean = _PROSODY[label]
    rate = mean.rate * speaker.pace * math.exp(rng.gauss(0, _SPREAD.rate))
    pitch = mean.pitch + speaker.pitch + rng.gauss(0, _SPREAD.pitch)
    extent = mean.range + rng.gauss(0, _SPREAD.range)
    volume = mean.volume * speaker.loudness * math.exp(rng.gauss(0, _SPREAD.volume))
    return {
        "rate": round(min(max(rate, 110), 260)),
        "pitch": round(min(max(pitch, 0), 99)),
        "range": round(min(max(extent, 0), 99)),
        "volume": round(min(max(volume, 20), 115)),
    }


def _sentiment(rng: random.Random, label: str, wording: str, valence: float) -> float:
    """A score in [-3, 3] to one decimal: emotion and wording both have their part; plain talk is often exactly 0."""
    noise = rng.gauss(0, 0.35)
    if label == wording == "neu" and rng.random() < 0.6:
        return 0.0
    score = 0.6 * phrases.VALENCE[label] + 0.4 * valence + noise
    return round(min(max(score, -3.0), 3.0), 1) + 0.0  # + 0.0 makes -0.0 a plain zero
