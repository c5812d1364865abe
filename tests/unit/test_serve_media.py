"""Pictures and sounds as they are unpacked: what no decoder may see, what is only half there, how much memory at once."""

import io
import struct
import subprocess
import sys
import threading
import time
import wave
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from autoglm_lab.serve import Limits, media, running
from autoglm_lab.serve.errors import ApiError
from autoglm_lab.serve.media import open_picture, open_sound
from autoglm_lab.serve.pixels import PixelBudget
from tests.unit.served import Fake, asked, coded, data_url, image_part, picture, sound, text_part

ROOT = Path(__file__).resolve().parents[2]


def png(width, height, rows, colour=2, depth=8, interlaced=0, content=None):
    """A PNG whose data ends after some rows, properly closed."""
    channels = media.CHANNELS[colour]
    row = 1 + (width * channels * depth + 7) // 8
    packed = zlib.compress(content if content is not None else (b"\0" + b"\x80" * (row - 1)) * rows)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    palette = chunk(b"PLTE", bytes(range(48))) if colour == 3 else b""
    halves = chunk(b"IDAT", packed[: len(packed) // 2]) + chunk(b"IDAT", packed[len(packed) // 2 :])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + palette + halves + chunk(b"IEND", b"")


def refused(content, status=400):
    with pytest.raises(ApiError) as caught:
        open_picture(data_url(content), Limits(), "p")
    assert caught.value.status == status and caught.value.param == "p"


@pytest.mark.parametrize(("colour", "depth"), [(0, 1), (0, 8), (0, 16), (2, 8), (2, 16), (3, 4), (3, 8), (4, 8), (6, 8)])
def test_a_png_with_rows_missing_is_refused_and_a_whole_one_is_not(colour, depth):
    for rows in (0, 2, 29):
        refused(png(40, 30, rows, colour, depth))
    assert open_picture(data_url(png(40, 30, 30, colour, depth)), Limits(), "p").size == (40, 30)
    row = 1 + (40 * media.CHANNELS[colour] * depth + 7) // 8
    black = png(40, 30, 30, colour, depth, content=bytes(30 * row))
    assert open_picture(data_url(black), Limits(), "p").size == (40, 30), "black to the end is whole"


def test_two_rows_of_three_thousand_are_no_picture():
    refused(png(3000, 3000, 2))


def test_an_interlaced_png_is_whole_or_refused():
    sizes = [(len(range(x, 40, dx)), len(range(y, 30, dy))) for x, y, dx, dy in media.ADAM7]
    whole = b"".join((b"\0" + b"\x80" * 3 * columns) * rows for columns, rows in sizes)
    assert open_picture(data_url(png(40, 30, 0, interlaced=1, content=whole)), Limits(), "p").getpixel((39, 29)) == (128,) * 3
    for end in (len(whole) - 1, len(whole) // 2, 100):
        refused(png(40, 30, 0, interlaced=1, content=whole[:end]))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_that_was_cut_off_is_refused_wherever(kind):
    content = picture(kind, (120, 160))
    for share in (0.1, 0.5, 0.9, 0.99):
        with pytest.raises(ApiError) as caught:
            open_picture(data_url(content[: int(share * len(content))]), Limits(), "p")
        assert caught.value.status in (400, 415)


@pytest.mark.parametrize("size", [(120, 160), (16, 16), (333, 47)])
@pytest.mark.parametrize("options", [{}, {"quality": 30}, {"optimize": True}, {"quality": 100, "subsampling": 0}])
def test_half_a_jpeg_with_the_mark_of_the_end_behind_it_is_refused(size, options):
    file = io.BytesIO()
    Image.open(io.BytesIO(picture("PNG", size))).convert("RGB").save(file, "JPEG", **options)
    content = file.getvalue()
    data = content.index(b"\xff\xda") + 14
    for share in (0.2, 0.5, 0.8):
        refused(content[: data + int(share * (len(content) - data))].removesuffix(b"\xff") + b"\xff\xd9")
    for whole in (content, content + b"bytes behind the end"):
        assert open_picture(data_url(whole), Limits(), "p").size == size


@pytest.mark.parametrize("kind", [{"progressive": True}, {"restart_marker_blocks": 4}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_whole_jpegs_of_other_kinds_are_taken(kind, mode):
    file = io.BytesIO()
    Image.open(io.BytesIO(picture("PNG", (70, 50)))).convert("RGB").convert(mode).save(file, "JPEG", **kind)
    assert open_picture(data_url(file.getvalue()), Limits(), "p").size == (70, 50)


def test_a_jpeg_that_is_gone_over_a_thousand_times_is_refused():
    file = io.BytesIO()
    Image.new("RGB", (2000, 2000)).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    assert open_picture(data_url(content), Limits(), "p").size == (2000, 2000)
    began = time.thread_time()
    refused(content[:-2] + content[content.rindex(b"\xff\xda") : -2] * 1000 + content[-2:])
    assert time.thread_time() - began < 2, "seconds of work, not minutes"


def test_formats_that_are_not_accepted_reach_no_decoder(monkeypatch):
    def never(*_, **__):
        pytest.fail("a decoder saw it")

    mp3 = io.BytesIO()
    soundfile.write(mp3, np.zeros(16_000, np.float32), 16_000, format="MP3")
    riff = sound()
    inside = riff[:20] + (0x55).to_bytes(2, "little") + riff[22:]  # MP3 in a WAV file
    extensible = b"RIFF\0\0\0\0WAVEfmt " + (40).to_bytes(4, "little") + (0xFFFE).to_bytes(2, "little") + bytes(22)
    strange = [extensible + (0x55).to_bytes(2, "little") + media.GUID, extensible + b"\1\0" + bytes(14)]
    endless = b"RIFF\0\0\0\0WAVE" + b"LIST\0\0\0\0" * 1000 + riff[12:]
    others = [sound(kind=kind) for kind in ("OGG", "AIFF", "RF64", "W64")]
    monkeypatch.setattr(media.soundfile, "SoundFile", never)
    for content in (mp3.getvalue(), inside, b"ID3\4" + bytes(100), b"RIFX" + riff[4:], b"", b"RIFF", *strange, endless, *others):
        with pytest.raises(ApiError) as caught:
            open_sound(coded(content), Limits(), "p")
        assert caught.value.status == 415
    monkeypatch.setattr(media.Image, "open", lambda *_, formats: never() if formats else (_ for _ in ()).throw(OSError()))
    for content in (picture("GIF"), picture("BMP"), picture("TIFF"), b"", b"\x89PNG", b"RIFF1234WAVE", b"%!PS-Adobe-3.0 EPSF-3.0"):
        refused(content, 415)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_U8", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_sounds_that_need_no_decoder_are_heard(kind, subtype):
    file = io.BytesIO()
    soundfile.write(file, np.zeros(1600), 16_000, format=kind, subtype=subtype)
    assert len(open_sound(coded(file.getvalue()), Limits(), "p")) == 1600
    with wave.open(other := io.BytesIO(), "wb") as plain:
        plain.setparams((1, 2, 16_000, 0, "NONE", ""))
        plain.writeframes(bytes(3200))
    assert len(open_sound(coded(other.getvalue()), Limits(), "p")) == 1600


# --- all together


def test_a_budget_is_never_overdrawn_and_everybody_gets_a_turn():
    budget, most, done = PixelBudget(100), 0, []

    def work(count):
        nonlocal most
        with budget.lease() as take:
            take(count)
            most = max(most, budget.taken)
            assert budget.taken <= 100 or budget.taken == count == 150
            time.sleep(0.002)
        done.append(count)

    threads = [threading.Thread(target=work, args=(count,)) for count in [40, 150, 60, 100, 7] * 12]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(done) == 60 and budget.taken == 0 and most == 150


def test_what_fails_gives_its_pixels_back():
    budget = PixelBudget(100)
    with pytest.raises(ZeroDivisionError), budget.lease() as take:
        take(60 // (budget.taken + 1)) or 1 // 0
    with budget.lease():
        pass  # nothing was taken
    assert budget.taken == 0


class Slow(Fake):
    """Looks for a while, and remembers how much was looked at together."""

    service, most = None, 0

    def answer(self, task="", image=None, audio=None, **given):
        self.most = max(self.most, self.service.pixels.taken)
        time.sleep(0.05)
        return super().answer(task, image, audio, **given)


def test_requests_share_the_pixels_also_after_an_exchange_of_the_engine():
    from concurrent.futures import ThreadPoolExecutor

    import httpx

    from autoglm_lab.serve.sequential import SequentialScheduler

    engine = Slow()
    body = asked(image_part(data_url(picture(size=(50, 40)))), text_part("x"))
    with (
        running(SequentialScheduler(engine, workers=6), limits=Limits(pixels_at_once=5000)) as url,
        ThreadPoolExecutor(12) as crowd,
    ):
        engine.service = url.service
        for _ in range(2):
            answers = list(crowd.map(lambda _: httpx.post(url + "/chat/completions", json=body, timeout=20).status_code, range(12)))
            assert set(answers) == {200} and engine.most == 4000 and url.service.pixels.taken == 0
            url.service.swap(SequentialScheduler(engine, workers=6))


LARGE = """
import io, threading, time
import psutil
from PIL import Image
from autoglm_lab.serve.limits import Limits
from autoglm_lab.serve.media import open_picture
from autoglm_lab.serve.pixels import PixelBudget
from tests.unit.served import data_url

flat = io.BytesIO()
Image.new("RGBA", (4000, 4000), (9, 9, 9, 99)).save(flat, "PNG")
url, budget, process = data_url(flat.getvalue()), PixelBudget(Limits().pixels_at_once), psutil.Process()
peak, stop = 0, threading.Event()

def work():
    with budget.lease() as take:
        assert open_picture(url, Limits(), "p", take).getpixel((0, 0)) == (159, 159, 159)

def watch():
    global peak
    while not stop.wait(0.005):
        peak = max(peak, process.memory_info().rss)

work()
before = process.memory_info().rss
watcher, threads = threading.Thread(target=watch), [threading.Thread(target=work) for _ in range(10)]
watcher.start()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
stop.set()
watcher.join()
print((peak - before) / 1e6, (process.memory_info().rss - before) / 1e6)
"""


def test_large_pictures_cost_one_budget_and_are_given_back():
    """Ten threads, pictures of sixteen million pixels that are small as files, in a process of their own."""
    done = subprocess.run([sys.executable, "-c", LARGE], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    peak_mb, left_mb = map(float, done.stdout.split())
    assert 30 < peak_mb < 400 and left_mb < 50
