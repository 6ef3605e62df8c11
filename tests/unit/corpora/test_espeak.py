"""The espeak binding: same words, same bytes; word times that hold in the audio; errors in one line."""

import _ctypes
import ctypes
import locale
import subprocess
import sys
import threading
import time
import zlib

import espeakng_loader
import numpy as np
import pytest

from emofair.corpora import espeak
from emofair.corpora.espeak import SAMPLE_RATE, speak
from emofair.errors import EmofairError, MissingExtra

TEXT = "I got the job, Maria. It is one of the best!"


@pytest.fixture(scope="module")
def speech():
    return speak(TEXT, "en-us+m3")


def level(audio, start, end):
    return np.abs(audio[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]).max()


def test_audio_is_speech_at_16_khz(speech):
    assert speech.audio.dtype == np.float32 and speech.audio.ndim == 1
    assert 2 < len(speech.audio) / SAMPLE_RATE < 5
    assert 0.1 < np.abs(speech.audio).max() < 1
    power = np.abs(np.fft.rfft(speech.audio)) ** 2
    voice_band = power[: len(power) * 4 // 8].sum()
    assert voice_band > 0.9 * power.sum()


def test_words_are_those_of_the_text_in_order_and_inside_the_audio(speech):
    assert [word for word, _, _ in speech.words] == TEXT.replace(",", "").replace(".", "").strip("!").split()
    edges = [edge for _, start, end in speech.words for edge in (start, end)]
    assert edges == sorted(edges)
    assert all(start < end for _, start, end in speech.words)
    assert edges[0] >= 0 and edges[-1] <= len(speech.audio) / SAMPLE_RATE
    assert all(type(edge) is float for edge in edges)


def test_word_times_hold_in_the_audio(speech):
    times = {word: (start, end) for word, start, end in speech.words}
    for word, (start, end) in times.items():
        assert level(speech.audio, start, end) > 0.05, word
    # Between "job," and "Maria." and after it espeak pauses; a sound may ring out for some milliseconds.
    for before, after in (("job", "Maria"), ("Maria", "It")):
        gap = times[before][1], times[after][0]
        assert gap[1] - gap[0] > 0.1
        assert level(speech.audio, gap[0] + 0.02, gap[1] - 0.002) < 0.01


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("In the house of the man", ["In", "the", "house", "of", "the", "man"]),
        ("I am not a friend of mine", ["I", "am", "not", "a", "friend", "of", "mine"]),
        ("«Don't» - said Zoë … 12 times", ["Don't", "said", "Zoë", "12", "times"]),
        ("  \n Yes!\tNo ", ["Yes", "No"]),
        ("e.g. rock'n'roll at 5:30", ["e.g", "rock'n'roll", "at", "5:30"]),
    ],
)
def test_every_word_gets_its_own_time(text, words):
    speech = speak(text)
    assert [word for word, _, _ in speech.words] == words
    edges = [edge for _, start, end in speech.words for edge in (start, end)]
    assert edges == sorted(edges)
    assert all(end - start > 0.01 for _, start, end in speech.words)


def test_earlier_utterances_leave_no_trace(speech):
    for voice in ("en-us+f5", "en+m1", "en-us+adam"):  # with breath noise, flutter, and another synthesiser
        first = speak(TEXT, voice, rate=200)
        speak("Something else entirely.", "en-us+f1", rate=300, pitch=90, range=90, volume=30)
        again = speak(TEXT, voice, rate=200)
        assert first.audio.tobytes() == again.audio.tobytes() and first.words == again.words
    assert speak(TEXT, "en-us+m3").audio.tobytes() == speech.audio.tobytes()


def test_the_clock_is_not_heard():
    """The library seeds its noise with the seconds of the clock."""
    first = speak(TEXT, "en-us+f5")
    time.sleep(1.1)
    assert speak(TEXT, "en-us+f5").audio.tobytes() == first.audio.tobytes()


def test_same_bytes_in_another_process(speech):
    code = (
        f"import zlib; from emofair.corpora.espeak import speak; print(zlib.crc32(speak({TEXT!r}, 'en-us+m3').audio))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(result.stdout) == zlib.crc32(speech.audio)


def test_same_bytes_while_someone_else_uses_the_library(speech):
    other = ctypes.CDLL(espeakng_loader.get_library_path())
    try:
        assert other.espeak_Initialize(2, 200, espeakng_loader.get_data_path().encode(), 0x8000) > 0
        other.espeak_SetVoiceByName(b"en-us+f2")
        rate = other.espeak_GetParameter(1, 1)
        for _ in range(2):
            other.espeak_Synth(b"Mine is the state of this library.", 35, 0, 1, 0, 1, None, None)
            assert speak(TEXT, "en-us+m3", rate=175).audio.tobytes() == speech.audio.tobytes()
        speak("Faster.", rate=400)
        assert other.espeak_GetParameter(1, 1) == rate
    finally:
        other.espeak_Terminate()
        _ctypes.dlclose(other._handle)


def test_threads_take_turns(speech):
    heard = {}

    def say(name, voice):
        heard[name] = [speak(TEXT, voice).audio.tobytes() for _ in range(3)]

    threads = [threading.Thread(target=say, args=(i, voice)) for i, voice in enumerate(["en-us+m3", "en-us+f1"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard[0] == [speech.audio.tobytes()] * 3
    assert len(set(heard[1])) == 1 and heard[1][0] != heard[0][0]


def test_settings_are_heard():
    def fundamental(audio):
        spectrum = np.fft.irfft(np.abs(np.fft.rfft(audio, 2 * len(audio))) ** 2)
        low, high = SAMPLE_RATE // 350, SAMPLE_RATE // 60
        return SAMPLE_RATE / (low + spectrum[low:high].argmax())

    plain = speak("We need the car on Monday.", "en-us+m3").audio
    assert len(speak("We need the car on Monday.", "en-us+m3", rate=250).audio) < 0.8 * len(plain)
    loud = speak("We need the car on Monday.", "en-us+m3", volume=50).audio
    assert np.sqrt((loud**2).mean()) == pytest.approx(0.5 * np.sqrt((plain**2).mean()), rel=0.1)
    flat = [speak("We need the car on Monday.", "en-us+m3", pitch=p, range=0).audio for p in (20, 80)]
    assert fundamental(flat[1]) > 1.2 * fundamental(flat[0])
    wide = speak("We need the car on Monday.", "en-us+m3", range=99).audio
    assert not np.array_equal(wide[:16000], plain[:16000])


def test_the_locale_of_the_program_stays():
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "C")
        speak("Yes.")
        assert locale.setlocale(locale.LC_CTYPE) == "C"
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"voice": "xx-nowhere"}, "no voice 'xx-nowhere'"),
        ({"rate": 20}, "rate is 20.*80 to 450"),
        ({"pitch": 100}, "pitch is 100"),
        ({"volume": -1}, "volume is -1"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(EmofairError, match=message):
        speak("Yes.", **options)


@pytest.mark.parametrize("text", ["", "   ", "..."])
def test_nothing_to_say_is_refused(text):
    with pytest.raises(EmofairError, match="nothing to say"):
        speak(text)


def test_version_is_a_number():
    assert all(part.isdigit() for part in espeak.version().split(".")[:2])


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MissingExtra, match=r"example corpus.*emofair\[demo\]"):
        speak("Yes.")
