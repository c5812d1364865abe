"""A byte-level BPE tokenizer for this world: any UTF-8 text survives it, and the numbers 0..999 are one token each (as in GLM)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from autoglm_lab.phone.actions import SIGNATURES
from autoglm_lab.phone.catalog import APPS, CONTACTS, CONTROLS, FREE_WORDS, HOME_SCREEN, LANGS, MESSAGES, QUERIES, SETTINGS, App
from autoglm_lab.phone.free_text import common_characters
from autoglm_lab.phone.goals import GOALS, THEN, plain
from autoglm_lab.phone.oracle import report
from autoglm_lab.phone.phrasing import PHRASINGS, say_time
from autoglm_lab.phone.refusal import ABLE, CANNOT, NAMED_SUBJECTS, UNCLEAR, UNKNOWN_SCREEN, refuse
from autoglm_lab.phone.tasks import CANNOT_SEE, MISSING_ALARM, NO_ALARMS, NOTHING_OPEN, REPEAT, WHO, Task
from autoglm_lab.phone.wording import phrasebook, subjects
from autoglm_lab.runtime.prompt import END, FRAGMENTS, PAD, SPECIAL_TOKENS

NUMBERS = tuple(str(n) for n in range(1000))
# words keep the space before them; punctuation stays together; digits that are not numbers of ours stand alone
SPLIT = r" ?\p{L}+| ?[^\s\p{L}\p{N}]+|\p{N}|\s+"
# Chinese characters stand alone: then a text has the same tokens wherever it stands, and can be copied token by token
SPLIT_CHARACTERS = r"[一-鿿]| ?(?:(?![一-鿿])\p{L})+| ?[^\s\p{L}\p{N}]+|\p{N}|\s+"
THOUGHTS = (
    "在第二页，先向左滑",
    "在第一页，先向右滑",
    " is on the second page, swipe left",
    " is on the first page, swipe right",
    "要用",
    "，先回桌面",
    " is another app, go home first",
    "往下翻找",
    "往上翻找",
    "scroll down to ",
    "scroll up to ",
    "看",
    "的开关",
    "look at the ",
    " switch",
    "点",
    "tap ",
    "输入",
    "type ",
    "完成了",
    "done",
    "返回上一页",
    "go back one page",
    "回到桌面",
    "go to the home screen",
    "看屏幕回答",
    "answer from the screen",
    "看不清屏幕，直接启动",
    "the screen is unreadable, launch ",
    "看不清，等一下",
    "unreadable, wait a moment",
    "不是这个聊天，返回",
    "this is another chat, go back",
    "看不清屏幕",
    "the screen is unreadable",
    "听不清 / unclear speech",
    "桌面第",
    "页，有",
    "、",
    "等应用。",
    "Home page ",
    ", with ",
    " and ",
    " and more.",
    "和",
    "的聊天。",
    "A chat with ",
    "的搜索页。",
    "的搜索结果。",
    "的新闹钟。",
    " search page.",
    " search results.",
    " new alarm.",
    "The ",
    "应用。",
    " app.",
    "开着。",
    "关着。",
    "Yes, ",
    "No, ",
    " is on.",
    " is off.",
    "有",
    "没有",
    " is here.",
    " is not here.",
    HOME_SCREEN,
    "Tap",
    "Double Tap",
    "Long Press",
    "Swipe",
    "Type",
    "Launch",
    "Wait",
    "Back",
    "Home",
    "none",
    "2 seconds",
)
PEOPLE_THOUGHTS = (
    "这个做不到",
    "this is beyond me",
    "什么都没开",
    "nothing is open",
    "不认识这个界面，启动",
    "an unknown screen, launch ",
    "不认识这个界面",
    "an unknown screen",
    "先离开这里",
    "leave this place first",
    "两页都没有",
    "it is on neither page",
    "这一页没有，翻另一页",
    "not on this page, look at the other",
    "返回列表看看",
    "back to the list",
    "列表里没有",
    "not in the list",
    "返回闹钟列表",
    "back to the alarms",
    "没有这样的闹钟",
    "no such alarm",
    "先回桌面",
    "go home first",
    "的闹钟。",
    " alarm.",
    "=,",
)


OWN_WEIGHT = 30


def pieces() -> Iterator[str]:
    """Every word and turn of phrase of the world, apart, so that merges never run across two of them."""
    for thing in (*APPS, *SETTINGS, *CONTACTS, *CONTROLS):
        yield from (
            thing.zh,
            thing.en,
            f" {thing.en}",
            *([thing.key_zh, thing.key_en] if isinstance(thing, App) else ()),
        )
    for lang in LANGS:
        for text in (*MESSAGES[lang], *QUERIES[lang], *FREE_WORDS[lang]):
            yield from (text, f" {text}")
        for phrasings in PHRASINGS.values():
            for phrasing in phrasings[lang]:
                for part in _around(r"\{\w+\}", phrasing):
                    yield from (part, part[:1].upper() + part[1:])
        yield from (WHO[lang], CANNOT_SEE[lang])
        yield from (say_time(hour, minute, lang) for hour in range(5, 12) for minute in (0, 30))
        slots = (
            ("app", "clock"),
            ("setting", "wifi"),
            ("contact", "mum"),
            ("query", ""),
            ("message", ""),
            ("time", ""),
        )
        for kind in ("open_app", "toggle_on", "toggle_off", "search", "send", "alarm", "back", "home"):
            yield from _around("时钟|无线网络|妈妈|Clock|Wi-Fi|Mum", report(Task(kind, lang, slots)))
    yield from (REPEAT, *THOUGHTS, ".", ",", "?", "。", "，", "？", ":", "：")


def people_pieces() -> Iterator[str]:
    """All pieces, the words of the phrasebooks and every closing sentence: for a model that is trained in people's own words.

    What the agent itself writes and names is counted `OWN_WEIGHT` times, for there is no room for every word of the books. The
    usual Chinese characters are all there, for they are copied.
    """
    yield from common_characters()
    for _ in range(OWN_WEIGHT):
        yield from pieces()
        yield from _closings()
        yield from (*PEOPLE_THOUGHTS, "Goal", *(f" {name}" for name in SIGNATURES), *THEN.values())
        for forms in GOALS.values():
            yield from (part for lang in LANGS for part in _around(r"\{\w+\}", forms[lang]))
    for lang in LANGS:
        book = phrasebook(lang)
        texts = [template.sentence for template in book.templates if not template.held_out]
        texts += [form for slot in book.names.values() for form in slot.values()] + [*book.rules.values()]
        texts += [sentence for subject in subjects() if not subject.held_out for sentence in subject.sentences[lang]]
        for text in texts:
            for part in re.split(r"[{<][^}>]*[}>]|[()\[\]|]", plain(text)):
                if lang == "en":
                    yield from (form for word in part.split() for form in (word, f" {word}"))
                else:
                    yield part


def _closings() -> Iterator[str]:
    """Closing sentences of all wishes beyond the first kinds of task."""
    for lang in LANGS:
        for kind in ("close", "delete_alarm", "delete_alarms", "two"):
            yield report(Task(kind, lang, (("time", ""),)))
        yield from (refuse(reason[lang], lang) for reason in (CANNOT, UNCLEAR, UNKNOWN_SCREEN))
        yield from (refuse(subject.why[lang], lang) for subject in subjects() if subject.id in NAMED_SUBJECTS)
        yield from (NOTHING_OPEN[lang], NO_ALARMS[lang], MISSING_ALARM[lang], ABLE[lang])
        for kind in ("strange_app", "absent_contact"):
            yield from _around("Zoe", report(Task(kind, lang, (("name", "Zoe"),))))
        yield from _around("时钟|Clock", report(Task("absent_app", lang, (("app", "clock"),))))


def _around(pattern: str, text: str) -> list[str]:
    """The parts of a text between the matches of `pattern`."""
    return [part for part in re.split(pattern, text) if part]


def train_tokenizer(
    texts: Iterable[str] | None = None, vocab_size: int = 3000, *, characters: bool = False
) -> PreTrainedTokenizerFast:
    """Learn the merges from `texts` (by default the pieces of the phone world); with `characters` Chinese ones are never merged.

    Ids 0..7 are special, 8..1007 the numbers, from 1008 on fragments, bytes and merges.
    """
    tokenizer = Tokenizer(models.BPE(fuse_unk=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_CHARACTERS if characters else SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    reserved = [*SPECIAL_TOKENS, *NUMBERS, *FRAGMENTS]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=1,
        show_progress=False,
        special_tokens=reserved,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=24,
    )
    tokenizer.train_from_iterator(list(texts) if texts is not None else list(pieces()), trainer)
    plain = Tokenizer.from_str(_without_added(tokenizer.to_str(), len(SPECIAL_TOKENS)))
    plain.add_special_tokens(list(SPECIAL_TOKENS))
    plain.add_tokens([AddedToken(t, normalized=False, special=False) for t in (*NUMBERS, *FRAGMENTS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=list(SPECIAL_TOKENS[2:]),
        padding_side="left",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def _without_added(serialised: str, special: int) -> str:
    """Remove numbers and fragments, which were trained as special to keep their ids; they are added again as ordinary text."""
    data = json.loads(serialised)
    data["added_tokens"] = data["added_tokens"][:special]
    return json.dumps(data)
