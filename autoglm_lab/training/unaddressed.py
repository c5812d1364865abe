"""Speech that is not for the agent: small talk, counting, foreign languages, and two people at once.

Its clips carry the empty string in the place of a wish's key.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from autoglm_lab.phone.catalog import Lang
from autoglm_lab.phone.speech import SAMPLE_RATE_HZ, SpeechBank, set_level

NUMBERS: dict[Lang, tuple[str, ...]] = {
    "en": (
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
    ),
    "zh": (
        "一",
        "二",
        "三",
        "四",
        "五",
        "六",
        "七",
        "八",
        "九",
        "十",
        "十一",
        "十二",
        "十三",
        "十四",
        "十五",
        "十六",
        "十七",
        "十八",
        "十九",
        "二十",
    ),
}
# Voices of eSpeak NG that read the language as it is written here.
FOREIGN: dict[str, tuple[str, ...]] = {
    "de": (
        "Wie spät ist es jetzt?",
        "Ich komme gleich nach Hause.",
        "Mach bitte das Fenster zu.",
        "Das Wetter wird morgen besser.",
        "Hast du schon gegessen?",
        "Wir treffen uns am Bahnhof.",
        "Öffne die Einstellungen.",
        "Stell den Wecker auf sieben Uhr.",
    ),
    "fr": (
        "Bonjour tout le monde.",
        "Quelle heure est-il ?",
        "Je rentre à la maison.",
        "Il fait très beau aujourd'hui.",
        "Tu as déjà mangé ?",
        "On se retrouve à la gare.",
        "Ouvre les réglages.",
        "Réveille-moi à sept heures.",
    ),
    "es": (
        "Buenos días a todos.",
        "¿Qué hora es?",
        "Ya voy para casa.",
        "Hoy hace muy buen tiempo.",
        "¿Ya has comido?",
        "Nos vemos en la estación.",
        "Abre los ajustes.",
        "Despiértame a las siete.",
    ),
    "ja": (
        "おはようございます",
        "いまなんじですか",
        "いまからかえります",
        "きょうはいいてんきですね",
        "もうごはんをたべましたか",
        "えきであいましょう",
        "せっていをひらいて",
        "しちじにおこしてください",
    ),
    "ko": (
        "안녕하세요 반갑습니다",
        "지금 몇 시예요?",
        "지금 집에 가요",
        "오늘 날씨가 정말 좋네요",
        "밥 먹었어요?",
        "역에서 만나요",
        "설정을 열어 줘",
        "일곱 시에 깨워 줘",
    ),
}
LOUDER_DB = 3.0  # by which one of two speakers is louder at most: neither can be followed


def count_aloud(lang: Lang, rng: np.random.Generator) -> str:
    """Three to nine numbers, one after the other.

    >>> count_aloud("zh", np.random.default_rng(0))
    '八，九，十，十一，十二，十三，十四，十五'
    """
    length = int(rng.integers(3, 10))
    first = int(rng.integers(len(NUMBERS[lang]) - length)) if rng.random() < 0.5 else 0
    return {"en": ", ", "zh": "，"}[lang].join(NUMBERS[lang][first : first + length])


def two_at_once(bank: SpeechBank, natural: bool, rng: np.random.Generator) -> tuple[Float[np.ndarray, " samples"], str]:
    """Mixture of two random training clips at about one level, and the names of their voices."""
    clips = [*bank.clips(), *(bank.natural_clips() if natural else ())]
    voices, waves = [], []
    for louder_db in (0.0, float(rng.uniform(-LOUDER_DB, LOUDER_DB))):
        clip = clips[int(rng.integers(len(clips)))]
        late = np.zeros(int(rng.uniform(0, 0.2) * SAMPLE_RATE_HZ), np.float32)
        waves.append(np.concatenate((late, set_level(bank.waveform(clip), -26 + louder_db))))
        voices.append(clip.voice)
    both = np.zeros(max(map(len, waves)), np.float32)
    for wave in waves:
        both[: len(wave)] += wave
    return both, " and ".join(voices)
