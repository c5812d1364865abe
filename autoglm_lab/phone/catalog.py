"""Names in the phone world: apps, settings, contacts, and the phrases people say to it.

Each name exists in Chinese and in English. `key` is what the public phone agent's app table calls the app, so that
`current_app` and `Launch` mean the same thing to it and to us.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Lang = Literal["zh", "en"]
LANGS: tuple[Lang, ...] = ("zh", "en")
HOME_SCREEN = "System Home"  # what the public phone agent calls the home screen


@dataclass(frozen=True)
class Named:
    """A thing with a name in each language and the glyph that depicts it."""

    id: str
    glyph: str  # name of the picture in the icon atlas
    zh: str
    en: str

    def name(self, lang: Lang) -> str:
        """The name people use in `lang`."""
        return self.zh if lang == "zh" else self.en


@dataclass(frozen=True)
class App(Named):
    """An app on the home pages; `hue` is its brand colour in degrees."""

    key_zh: str
    key_en: str
    hue: int
    searchable: bool = False  # has a search field at the top

    def key(self, lang: Lang) -> str:
        """The name under which the public agent's app table knows this app."""
        return self.key_zh if lang == "zh" else self.key_en


APPS: tuple[App, ...] = (
    App("settings", "settings", "设置", "Settings", "Settings", "Settings", 215),
    App("clock", "clock", "时钟", "Clock", "Clock", "Clock", 260),
    App("wechat", "message", "微信", "WeChat", "微信", "WeChat", 130),
    App("chrome", "globe", "浏览器", "Chrome", "Chrome", "Chrome", 200, searchable=True),
    App("contacts", "user", "通讯录", "Contacts", "Contacts", "Contacts", 25),
    App("files", "folder", "文件", "Files", "Files", "Files", 45),
    App("mail", "mail", "邮箱", "Gmail", "QQ邮箱", "Gmail", 5),
    App("calendar", "calendar", "日历", "Calendar", "Google Calendar", "Google Calendar", 225),
    App("maps", "map_pin", "地图", "Maps", "高德地图", "Google Maps", 150, searchable=True),
    App("notes", "note", "笔记", "Notes", "Google Keep", "Google Keep", 50),
    App("drive", "cloud", "云盘", "Drive", "Google Drive", "Google Drive", 190),
    App("music", "music", "音乐", "Music", "网易云音乐", "RetroMusic", 350, searchable=True),
    App("video", "play", "视频", "Video", "腾讯视频", "VLC", 30, searchable=True),
    App("recorder", "microphone", "录音机", "Recorder", "AudioRecorder", "AudioRecorder", 0),
    App("shop", "cart", "淘宝", "Temu", "淘宝", "Temu", 18, searchable=True),
    App("weibo", "eye", "微博", "Twitter", "微博", "Twitter", 40),
    App("food", "utensils", "美团", "Broccoli", "美团", "Broccoli", 48),
    App("travel", "airplane", "携程", "Booking", "携程", "Booking", 210),
    App("learn", "book", "学习通", "Duolingo", "学习通", "Duolingo", 100),
    App("news", "newspaper", "头条", "Reddit", "今日头条", "Reddit", 12),
)

SETTINGS: tuple[Named, ...] = (
    Named("wifi", "wifi", "无线网络", "Wi-Fi"),
    Named("bluetooth", "bluetooth", "蓝牙", "Bluetooth"),
    Named("flight", "airplane", "飞行模式", "Airplane mode"),
    Named("dark", "moon", "深色模式", "Dark mode"),
    Named("location", "map_pin", "定位", "Location"),
    Named("silent", "bell_off", "勿扰", "Do not disturb"),
    Named("hotspot", "broadcast", "热点", "Hotspot"),
    Named("rotate", "rotate", "自动旋转", "Auto-rotate"),
    Named("saver", "battery", "省电", "Battery saver"),
    Named("torch", "flashlight", "手电筒", "Flashlight"),
)

CONTACTS: tuple[Named, ...] = (
    Named("mum", "user", "妈妈", "Mum"),
    Named("dad", "user", "爸爸", "Dad"),
    Named("boss", "user", "老板", "Boss"),
    Named("xiaoming", "user", "小明", "Tom"),
    Named("xiaohong", "user", "小红", "Lucy"),
    Named("teacher", "user", "李老师", "Teacher Li"),
)

# Buttons and fields inside apps. Their names are what the agent's thoughts call them.
CONTROLS: tuple[Named, ...] = (
    Named("search_field", "search", "搜索框", "search field"),
    Named("search_button", "search", "搜索按钮", "search button"),
    Named("add_alarm", "plus", "添加闹钟", "add alarm"),
    Named("save", "check", "保存", "Save"),
    Named("message_field", "note", "输入框", "message field"),
    Named("send", "send", "发送", "Send"),
    Named("delete", "x", "删除", "Delete"),
)

MESSAGES: dict[Lang, tuple[str, ...]] = {
    "zh": ("我到了", "晚上一起吃饭", "生日快乐", "我马上来", "今天不回家", "明天见", "谢谢你", "路上堵车"),
    "en": (
        "I am here",
        "dinner tonight",
        "happy birthday",
        "on my way",
        "not coming home",
        "see you tomorrow",
        "thank you",
        "stuck in traffic",
    ),
}

QUERIES: dict[Lang, tuple[str, ...]] = {
    "zh": ("天气", "火锅", "咖啡", "电影", "北京", "机票", "运动鞋", "爵士乐"),
    "en": ("weather", "hot pot", "coffee", "movies", "Beijing", "plane tickets", "running shoes", "jazz"),
}

# Words that free phrases are composed of: typed tasks only, where the agent has to copy rather than to recognise.
FREE_WORDS: dict[Lang, tuple[str, ...]] = {
    "zh": (
        "红色",
        "蓝色",
        "便宜",
        "新鲜",
        "附近",
        "周末",
        "经典",
        "安静",
        "苹果",
        "雨伞",
        "公园",
        "牛奶",
        "书店",
        "照片",
        "相机",
        "米饭",
        "蛋糕",
        "花园",
        "地铁",
        "医院",
        "足球",
        "小说",
        "故事",
        "礼物",
        "早餐",
        "手机壳",
    ),
    "en": (
        "red",
        "blue",
        "cheap",
        "fresh",
        "nearby",
        "weekend",
        "classic",
        "quiet",
        "apples",
        "umbrella",
        "park",
        "milk",
        "bookshop",
        "photos",
        "camera",
        "rice",
        "cake",
        "garden",
        "metro",
        "hospital",
        "football",
        "novel",
        "stories",
        "gift",
        "breakfast",
        "phone case",
    ),
}

SPOKEN_TIMES: tuple[tuple[int, int], ...] = tuple((h, m) for h in range(5, 12) for m in (0, 30))

_BY_ID = {thing.id: thing for group in (APPS, SETTINGS, CONTACTS, CONTROLS) for thing in group}


def named(id: str) -> Named:
    """The app, setting, contact or control called `id`; KeyError if there is none."""
    return _BY_ID[id]


def app(id: str) -> App:
    """The app called `id`; KeyError if there is none."""
    thing = _BY_ID[id]
    if not isinstance(thing, App):
        raise KeyError(f"{id!r} is not an app")
    return thing


def app_by_key(key: str) -> App | None:
    """The app that the public agent calls `key` (any of its names is accepted, case ignored), or None."""
    lower_key = key.casefold()
    for candidate in APPS:
        if lower_key in {n.casefold() for n in (candidate.key_zh, candidate.key_en, candidate.zh, candidate.en)}:
            return candidate
    return None
