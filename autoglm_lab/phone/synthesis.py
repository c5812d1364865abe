"""Speech from text: eSpeak NG, as the `espeakng-loader` wheel carries it, behind one function."""

from __future__ import annotations

import _ctypes
import ctypes
import math
import re
import threading
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float

from autoglm_lab.phone.catalog import Lang

unload = getattr(_ctypes, "dlclose", None) or _ctypes.FreeLibrary  # type: ignore[attr-defined]  # the second on Windows
ACCENTS: dict[Lang, tuple[str, ...]] = {
    "zh": ("cmn",),
    "en": ("en-us", "en-us", "en-us-nyc", "en-gb", "en-gb", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-scotland"),
}
# More larynxes than the bank has; left out are whisper, croak and robots, and those that clip, buzz or mumble.
VARIANTS: tuple[str, ...] = (
    "f1",
    "f2",
    "f3",
    "f5",
    "m1",
    "m2",
    "m3",
    "m4",
    "m5",
    "m6",
    "m8",
    "klatt3",
    "klatt4",
    "Alex",
    "Andy",
    "Annie",
    "Gene",
    "Mario",
    "Michael",
    "Mike",
    "adam",
    "belinda",
    "benjamin",
    "boris",
    "david",
    "edward",
    "ian",
    "john",
    "linda",
    "max",
    "quincy",
    "rob",
    "robert",
    "shelby",
    "travis",
    "victor",
    "zac",
)
SAMPLE_RATE_HZ = 16_000
INSTALL = "pip install espeakng-loader"

_RETRIEVAL, _NO_EXIT = 1, 0x8000  # espeak_Initialize: hand the samples to a callback; never call exit()
_RATE, _PITCH = 1, 3  # espeak_SetParameter
_CHARACTER_POSITIONS, _UTF8 = 1, 1  # espeak_Synth
_BRITISH = {"en-gb": "en"}  # the library takes a variant only behind the name of a voice file, and this one differs
_IPA, _NO_SOUND = 2, r"\([a-z-]+\)|[ˈˌː.\s]"  # espeak_TextToPhonemes; marks of language, stress, length and syllables
_ONE_AT_A_TIME = threading.Lock()
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class _Engine:
    """The library, loaded for one sentence.

    It keeps a global state that a new start does not clear, so that a sentence would sound a little different after others. Loaded
    anew, which takes 3 ms, it says the same sentence the same way always.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise ImportError(f"speech synthesis needs eSpeak NG: {INSTALL}") from error
        self._library = ctypes.cdll.LoadLibrary(str(espeakng_loader.get_library_path()))
        self._data = Path(espeakng_loader.get_data_path())
        self.rate_hz = int(self._library.espeak_Initialize(_RETRIEVAL, 0, str(self._data.parent).encode(), _NO_EXIT))
        if self.rate_hz <= 0:
            raise RuntimeError(f"eSpeak NG did not start with the data in {self._data}; reinstall it: {INSTALL}")
        self._chunks: list[np.ndarray] = []
        self._callback = _CALLBACK(self._keep)  # kept alive here, for C only borrows it
        self._library.espeak_SetSynthCallback(self._callback)

    def close(self) -> None:
        """Unload the library."""
        self._library.espeak_Terminate()
        unload(self._library._handle)

    def _keep(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int | None) -> int:
        if count > 0:  # the last call of a sentence carries a null pointer and no samples
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def phonemes(self, text: str, accent: str) -> str:
        self._set_voice(accent)
        read = self._library.espeak_TextToPhonemes
        read.restype = ctypes.c_char_p
        buffer = ctypes.create_string_buffer(text.encode())
        rest, clauses = ctypes.c_void_p(ctypes.addressof(buffer)), []
        while rest.value:  # one clause a call, until the library sets the pointer to null
            clauses.append((read(ctypes.byref(rest), _UTF8, _IPA) or b"").decode())
        return re.sub(_NO_SOUND, "", "".join(clauses))

    def speak(self, text: str, voice: str, rate_wpm: int, pitch: int) -> Float[np.ndarray, " samples"]:
        self._set_voice(voice)
        self._library.espeak_SetParameter(_RATE, rate_wpm, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        self._chunks.clear()
        spoken = text.encode()
        failed = self._library.espeak_Synth(spoken, ctypes.c_size_t(len(spoken) + 1), 0, _CHARACTER_POSITIONS, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        if failed or not self._chunks:
            raise ValueError(f"text {text!r} gave no sound with voice {voice!r}")
        return np.concatenate(self._chunks).astype(np.float32) / 32768

    def _set_voice(self, voice: str) -> None:
        accent, plus, variant = voice.partition("+")
        # The library ignores a variant it does not know and speaks in its own voice.
        variant_exists = not plus or (self._data / "voices" / "!v" / variant).is_file()
        name = f"{_BRITISH.get(accent, accent)}{plus}{variant}"
        if not variant_exists or self._library.espeak_SetVoiceByName(name.encode()) != 0:
            raise ValueError(f"voice {voice!r} is unknown to eSpeak NG; right would be 'en-us', 'en-gb+f2', 'cmn+m3'")


def resample(wave: Float[np.ndarray, " samples"], from_hz: int, to_hz: int = SAMPLE_RATE_HZ) -> Float[np.ndarray, " resampled"]:
    """Change the sampling rate by cutting or padding the spectrum: exact below both Nyquist frequencies."""
    if from_hz == to_hz:
        return wave.astype(np.float32)
    # The transform treats the clip as a loop, so silence follows it; whole blocks keep both lengths quick to transform.
    divisor = math.gcd(from_hz, to_hz)
    block_in, block_out = 32 * from_hz // divisor, 32 * to_hz // divisor
    blocks = -(-(len(wave) + from_hz // 20) // block_in)
    spectrum = np.fft.rfft(wave, blocks * block_in)
    resampled = np.fft.irfft(spectrum[: blocks * block_out // 2 + 1], blocks * block_out) * (to_hz / from_hz)
    return resampled[: round(len(wave) * to_hz / from_hz)].astype(np.float32)


def synthesise(text: str, voice: str, *, rate_wpm: int = 170, pitch: int = 50) -> Float[np.ndarray, " samples"]:
    """Speak `text`: mono, 16 kHz, in [-1, 1].

    `voice` is an eSpeak NG language with an optional variant (`en-us+m3`, `cmn+f2`), `rate_wpm` 80 to 450, `pitch`
    0 to 99. The same arguments give the same samples. Raises ImportError without eSpeak NG and ValueError for an unknown voice or a
    text without sound. Threads wait for each other: use processes to go faster.
    """
    if not 80 <= rate_wpm <= 450:
        raise ValueError(f"rate_wpm must be 80 to 450, got {rate_wpm}")
    if not 0 <= pitch <= 99:
        raise ValueError(f"pitch must be 0 to 99, got {pitch}")
    with _ONE_AT_A_TIME:
        engine = _Engine()
        try:
            return resample(engine.speak(text, voice, rate_wpm, pitch), engine.rate_hz)
        finally:
            engine.close()


@lru_cache(maxsize=4096)
def phonemes(text: str, accent: str) -> str:
    """Write `text` as it is said with an accent: one IPA letter or digit of tone after the other, without stress and length.

    ImportError without eSpeak NG, ValueError for an unknown accent.

    >>> phonemes("wake me up, please", "en-us")
    'weɪkmiʌppliz'
    """
    with _ONE_AT_A_TIME:
        engine = _Engine()
        try:
            return engine.phonemes(text, accent)
        finally:
            engine.close()
