"""The Android packages of the apps: what `adb` calls an app, there and back.

Most are those that the public phone agent starts for the names in the catalogue. It does not know two of our names, "Google Keep"
and "学习通"; those apps have the packages under which they are published.
"""

from __future__ import annotations

import re

from autoglm_lab.phone.catalog import APPS, App, Lang, app, app_by_key
from autoglm_lab.phone.public_apps import NAMES

# app id -> package behind the Chinese name, package behind the English name
PACKAGES: dict[str, tuple[str, str]] = {
    "settings": ("com.android.settings", "com.android.settings"),
    "clock": ("com.android.deskclock", "com.android.deskclock"),
    "wechat": ("com.tencent.mm", "com.tencent.mm"),
    "chrome": ("com.android.chrome", "com.android.chrome"),
    "contacts": ("com.android.contacts", "com.android.contacts"),
    "files": ("com.android.fileexplorer", "com.android.fileexplorer"),
    "mail": ("com.tencent.androidqqmail", "com.google.android.gm"),
    "calendar": ("com.google.android.calendar", "com.google.android.calendar"),
    "maps": ("com.autonavi.minimap", "com.google.android.apps.maps"),
    "notes": ("com.google.android.keep", "com.google.android.keep"),
    "drive": ("com.google.android.apps.docs", "com.google.android.apps.docs"),
    "music": ("com.netease.cloudmusic", "code.name.monkey.retromusic"),
    "video": ("com.tencent.qqlive", "org.videolan.vlc"),
    "recorder": ("com.android.soundrecorder", "com.android.soundrecorder"),
    "shop": ("com.taobao.taobao", "com.einnovation.temu"),
    "weibo": ("com.sina.weibo", "com.twitter.android"),
    "food": ("com.sankuai.meituan", "com.flauschcode.broccoli"),
    "travel": ("ctrip.android.view", "com.booking"),
    "learn": ("com.chaoxing.mobile", "com.duolingo"),
    "news": ("com.ss.android.article.news", "com.reddit.frontpage"),
}
# what phones with Google's own apps have in the place of Android's plain ones
GOOGLES: dict[str, str] = {
    "clock": "com.google.android.deskclock",
    "contacts": "com.google.android.contacts",
    "files": "com.google.android.apps.nbu.files",
}
# of the names that the public agent has for a package it tells the first, which is not always the one in the catalogue
TOLD: dict[str, str] = {
    "AndroidSystemSettings": "Settings",
    "gmail": "Gmail",
    "GoogleCalendar": "Google Calendar",
    "GoogleKeep": "Google Keep",
    "GoogleMaps": "Google Maps",
    "temu": "Temu",
    "Booking.com": "Booking",
    "GoogleClock": "Clock",
    "GoogleContacts": "Contacts",
    "GoogleFiles": "Files",
}
LAUNCHER = "com.android.launcher3"  # the home screen
_PACKAGE = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+", re.ASCII)
ADB_KEYBOARD = "com.android.adbkeyboard/.AdbIME"  # a keyboard that types what it is sent, in any script


def package(app_id: str, lang: Lang) -> str:
    """The package of an app on a phone in `lang`; KeyError if there is no such app."""
    return PACKAGES[app_id][0 if lang == "zh" else 1]


def packages_to_try(name: str) -> list[str]:
    """The packages that may be meant by a name, the likeliest first; a package means itself; none for a name that is not known.

    The name of a product never means another company's app, even where the catalogue has both as one app in two languages. A word
    for a kind of app means either.

    >>> packages_to_try("Gmail"), packages_to_try("google-chat"), packages_to_try("Maps")
    (['com.google.android.gm'], ['com.google.android.apps.dynamite'], ['com.google.android.apps.maps', 'com.autonavi.minimap'])
    """
    entry = app_by_key(name)
    exact = _PUBLIC.get(spelling(name)) or _package_of_key(name, entry)
    if exact is None and entry is None and _PACKAGE.fullmatch(name):
        exact = name
    if exact is not None:
        same = app_of(exact)
        return [exact] if same is None or same.id not in GOOGLES else list(dict.fromkeys([exact, *_all_packages(same)]))
    if entry is None:
        return []
    both = PACKAGES[entry.id][:: 1 if name == entry.zh else -1]
    return list(dict.fromkeys([*both, *_all_packages(entry)]))


def _package_of_key(name: str, entry: App | None) -> str | None:
    """The package behind a name that is an app's key in one language only."""
    if entry is None or entry.key_zh == entry.key_en:
        return None
    keys = (entry.key_zh.casefold(), entry.key_en.casefold())
    return dict(zip(keys, PACKAGES[entry.id], strict=True)).get(name.casefold())


def spelling(name: str) -> str:
    """A name without what people write differently: case, blanks, dots and dashes.

    >>> spelling("Google-Play Store")
    'googleplaystore'
    """
    return re.sub(r"[\s._-]+", "", name.casefold())


_PUBLIC = {spelling(name): package for package, names in NAMES.items() for name in names}


def _all_packages(entry: App) -> list[str]:
    return [*PACKAGES[entry.id], *filter(None, [GOOGLES.get(entry.id)])]


def app_of(name: str) -> App | None:
    """The app whose package is `name`, or None."""
    for candidate in APPS:
        if name in PACKAGES[candidate.id] or name == GOOGLES.get(candidate.id):
            return candidate
    return None


def key_of(name: str, lang: Lang) -> str | None:
    """The public agent's name for the app whose package is `name`, on a phone in `lang`; None for one that it does not know.

    >>> key_of("com.google.android.gm", "zh"), key_of("com.tencent.mm", "en")
    ('Gmail', 'WeChat')
    """
    entry = app_of(name)
    if entry is None:
        return NAMES[name][0] if name in NAMES else None
    chinese, english = PACKAGES[entry.id]
    if chinese != english and name in (chinese, english):  # the package says more than the language of the phone
        lang = "zh" if name == chinese else "en"
    return app(entry.id).key(lang)
