"""Speech from text with the eSpeak NG synthesiser, with the exact times of its words.

The library comes from the PyPI package ``espeakng-loader`` and is called through ctypes, in its synchronous mode.
"""

from __future__ import annotations

import _ctypes
import ctypes
import locale
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import soxr

from emofair.data.audio import SAMPLE_RATE
from emofair.errors import EmofairError, require

# espeak's own parameters: number in its C interface, lowest and highest value it takes.
_PARAMETERS = {"rate": (1, 80, 450), "volume": (2, 0, 200), "pitch": (3, 0, 99), "range": (4, 0, 99)}
_SYNCHRONOUS, _PHONEME_EVENTS, _DO_NOT_EXIT, _UTF8 = 2, 0x0001, 0x8000, 1
_BUFFER_MS = 200
_END_OF_EVENTS, _WORD, _PHONEME = 0, 1, 7

_lock = threading.Lock()


class Speech(NamedTuple):
    """One spoken text: ``audio`` float32 [n] in [-1, 1] at 16 kHz, ``words`` as (word, start s, end s)."""

    audio: np.ndarray
    words: list[tuple[str, float, float]]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # in characters, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def speak(
    text: str, voice: str = "en-us", *, rate: int = 175, pitch: int = 50, range: int = 50, volume: int = 100
) -> Speech:
    """Speak ``text`` and return its audio and the times of its words; the same arguments give the same bytes.

    ``voice`` is an espeak voice with an optional variant (``en-us``, ``en-gb-scotland+f1``), ``rate`` is in words
    per minute (80 to 450), ``pitch`` and ``range`` (of the pitch) go from 0 to 99, ``volume`` from 0 to 200.
    Words that espeak runs together ("of the") are parted at the phoneme nearest to their share of the letters.
    Raises EmofairError for an unknown voice, a value out of range, or a text without anything to say.
    """
    values = {"rate": rate, "pitch": pitch, "range": range, "volume": volume}
    for name, value in values.items():
        _, low, high = _PARAMETERS[name]
        if not low <= value <= high:
            raise EmofairError(f"espeak: {name} is {value}", remedy=f"Give a value from {low} to {high}")
    samples, events, native_rate = _synthesise(text, voice, values)
    if not any(kind == _WORD for kind, *_ in events):
        raise EmofairError(f"espeak: nothing to say in the text {text!r}")
    audio = soxr.resample(samples.astype(np.float32) / 32768, native_rate, SAMPLE_RATE)
    length = len(audio) / SAMPLE_RATE
    words = [
        (word, min(float(start) / native_rate, length), min(float(end) / native_rate, length))
        for word, start, end in _word_times(text, events, len(samples))
    ]
    return Speech(audio, words)


def version() -> str:
    """The version of the espeak library, such as ``1.52.0``."""
    with _lock, _fresh_library() as library:
        library.espeak_Info.restype = ctypes.c_char_p
        return library.espeak_Info(None).decode().split()[0]


def _synthesise(text: str, voice: str, values: dict[str, int]) -> tuple[np.ndarray, list[tuple], int]:
    """int16 samples, (type, text position, sample, phoneme name) events, and the sample rate of both."""
    pieces: list[bytes] = []
    events: list[tuple[int, int, int, str]] = []

    @_Callback
    def collect(samples, count, event):
        if samples and count:
            pieces.append(ctypes.string_at(samples, 2 * count))
        index = 0
        while event[index].type != _END_OF_EVENTS:
            it = event[index]
            name = it.name.decode("utf-8", "replace") if it.type == _PHONEME else ""
            events.append((it.type, it.text_position, it.sample, name))
            index += 1
        return 0

    with _lock, _fresh_library() as library:
        data = _loader().get_data_path()
        locale_before = locale.setlocale(locale.LC_CTYPE)
        try:
            rate = library.espeak_Initialize(
                _SYNCHRONOUS, _BUFFER_MS, os.fsencode(data), _PHONEME_EVENTS | _DO_NOT_EXIT
            )
            if rate <= 0:
                raise EmofairError("espeak cannot read its voice data", file=data, remedy="Reinstall espeakng-loader")
            library.espeak_SetSynthCallback(collect)
            if library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise EmofairError(f"espeak has no voice {voice!r}", remedy="Try en-us, or en-us+f1")
            for name, value in values.items():
                library.espeak_SetParameter(_PARAMETERS[name][0], int(value), 0)
            # The library seeds its breath noise with the clock.
            library.espeak_ng_SetRandSeed(ctypes.c_long(0))
            spoken = text.encode()
            library.espeak_Synth(spoken, ctypes.c_size_t(len(spoken) + 1), 0, 1, 0, _UTF8, None, None)
            library.espeak_Synchronize()
        finally:
            library.espeak_Terminate()
            locale.setlocale(locale.LC_CTYPE, locale_before)
    return np.frombuffer(b"".join(pieces), np.int16), events, rate


@contextmanager
def _fresh_library() -> Iterator[ctypes.CDLL]:
    """The library as it is at the start of a process; call it under the lock.

    Its pitch flutter runs on from one utterance to the next in a static variable that no call resets, so it is
    unloaded after every utterance (a few milliseconds). Where someone else in this process keeps it loaded, a
    private copy of the file serves instead.
    """
    path = Path(_loader().get_library_path())
    with tempfile.TemporaryDirectory() as folder:
        if _is_loaded(path):
            path = Path(shutil.copy(path, folder))
        library = ctypes.CDLL(str(path))
        try:
            yield library
        finally:
            _ctypes.dlclose(library._handle)


def _loader() -> ModuleType:
    return require("espeakng_loader", "demo", "the example corpus")


def _is_loaded(path: Path) -> bool:
    try:
        handle = _ctypes.dlopen(str(path), os.RTLD_NOW | os.RTLD_NOLOAD)
    except OSError:
        return False
    _ctypes.dlclose(handle)
    return True


def _word_times(text: str, events: list[tuple], n_samples: int) -> Iterator[tuple[str, float, float]]:
    """(word, first sample, end sample) of every token of the text that has a letter or digit."""
    tokens = [(m.start(), m.end(), re.sub(r"^\W+|\W+$", "", m.group())) for m in re.finditer(r"\S+", text)]
    tokens = [token for token in tokens if token[2]]
    starts: dict[int, int] = {}  # token -> where espeak begins to say it
    for kind, position, sample, _ in events:
        if kind == _WORD:
            token = next((i for i, (_, end, _) in enumerate(tokens) if position - 1 < end), len(tokens) - 1)
            starts.setdefault(token, sample)
    groups = sorted(starts)
    groups[0] = 0
    phonemes = [(sample, name) for kind, _, sample, name in events if kind == _PHONEME]
    sounds = [
        (sample, following[0])
        for (sample, name), following in zip(phonemes, [*phonemes[1:], (n_samples, "")], strict=True)
        if not name.startswith("_")  # "_" names pauses
    ]
    for group, following in zip(groups, [*groups[1:], len(tokens)], strict=True):
        start = starts.get(group, 0)
        limit = starts.get(following, n_samples)
        own = [(max(a, start), min(b, limit)) for a, b in sounds if start <= a < limit]
        end = own[-1][1] if own else limit
        edges = _cuts([len(word) for _, _, word in tokens[group:following]], start, end, [a for a, _ in own])
        for (_, _, word), a, b in zip(tokens[group:following], edges, edges[1:], strict=False):
            yield word, a, b


def _cuts(letters: list[int], start: int, end: int, sounds: list[int]) -> list[float]:
    """Edges of the words of one group: by their letters, at the beginnings of sounds where there are enough."""
    shares = np.cumsum([0, *letters]) / sum(letters)
    places = np.round(shares * len(sounds)).astype(int)
    if len(letters) > 1 and np.all(np.diff(places) > 0):
        return [start, *(sounds[i] for i in places[1:-1]), end]
    return [start + share * (end - start) for share in shares]
