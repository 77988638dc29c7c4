"""The review: its list survives anything, nothing is lost, the page is this computer's alone, people can use it."""

import http.client
import json
import shutil
import threading
import time
import urllib.parse

import cv2
import numpy as np
import pytest

from keras_models import data
from keras_models.command import UserError
from keras_models.data import page, review
from tests.browser import browser, shown, until
from tests.test_data import make_folder

STROKE = {"label": 1, "radius": 0.1, "points": [[0.2, 0.2], [0.5, 0.2]]}


@pytest.fixture
def root(tmp_path):
    return make_folder(tmp_path / "photos", 20)


def act(session, action, photo, **more):
    return session.apply({"action": action, "photo": photo, **more})


def verdicts(session):
    return {photo["name"]: photo["verdict"] for photo in session.state()["photos"] if photo["verdict"]}


def mask(root, name):
    return cv2.imread(str(root / "masks" / f"{name}.png"), cv2.IMREAD_UNCHANGED)


def train_names(root):
    return data.load("folder", root, "train").names


def test_decisions_are_there_after_a_restart(root):
    with review.Review(root) as session:
        act(session, "keep", "03", seconds=1.25)
        act(session, "discard", "05")
        act(session, "discard", "04")
        act(session, "undo", "04")
        assert verdicts(session) == {"03": "keep", "05": "discard"}
        assert "1 kept, 1 discarded, 0 mended, 18 to look at, 1.2 s a photo" in session.summary()
    with review.Review(root) as session:
        assert verdicts(session) == {"03": "keep", "05": "discard"}
        assert session.state()["history"] == ["03", "05"]


def test_discarded_photos_leave_the_lists_and_nothing_else(root):
    before = sorted(path.name for path in root.rglob("*.*"))
    splits = {split: data.load("folder", root, split).names for split in ("train", "val", "test")}
    with review.Review(root) as session:
        act(session, "keep", "00")
        assert not (root / "train.txt").exists()  # nothing was discarded: the folder needs no lists
        act(session, "discard", "05")
        assert train_names(root) == tuple(name for name in splits["train"] if name != "05")
        act(session, "discard", splits["val"][0])
        act(session, "discard", splits["val"][1])
    assert not (root / "val.txt").exists()
    with review.Review(root) as session:
        for name in (*splits["val"], "05"):
            act(session, "undo", name)
    assert {split: data.load("folder", root, split).names for split in splits} == splits
    assert set(before) <= {path.name for path in root.rglob("*.*")}


def test_a_folders_own_lists_hold_and_come_back(root):
    (root / "train.txt").write_text("07\n01\n02\n")
    (root / "test.txt").write_text("03\n")
    with review.Review(root) as session:
        assert [photo["name"] for photo in session.state()["photos"]] == ["01", "02", "03", "07"]
        act(session, "discard", "01")
        assert train_names(root) == ("07", "02")
    (root / "train.txt").write_text("07\n02\n09\n")  # a photo is added by hand
    with review.Review(root) as session:
        assert "09" in [photo["name"] for photo in session.state()["photos"]]
        act(session, "undo", "01")
        assert set(train_names(root)) == {"07", "01", "02", "09"}


def test_lists_that_are_edited_between_two_reviews_stay_as_they_are(root):
    lists = {"train": ["07", "01", "02", "05"], "val": ["03", "04"]}
    for split, names in lists.items():
        (root / f"{split}.txt").write_text("\n".join(names) + "\n")
    with review.Review(root) as session:
        act(session, "discard", "01")
        act(session, "keep", "05")
    (root / "train.txt").write_text("04\n07\n02\n")  # 04 comes from val, 05 goes
    (root / "val.txt").write_text("03\n")
    with review.Review(root) as session:
        assert [photo["name"] for photo in session.state()["photos"]] == ["01", "02", "03", "04", "07"]
        act(session, "discard", "04")
    assert (root / "train.txt").read_text() == "07\n02\n" and (root / "val.txt").read_text() == "03\n"
    with review.Review(root) as session:
        act(session, "undo", "04")
    assert set(train_names(root)) == {"07", "02", "04"}


def test_photos_that_come_later_are_reviewed_and_listed_too(root):
    with review.Review(root) as session:
        act(session, "discard", "01")
    for kind, suffix in (("images", ".jpg"), ("masks", ".png")):
        shutil.copy(root / kind / f"02{suffix}", root / kind / f"new{suffix}")
    with review.Review(root) as session:
        assert "new" in [photo["name"] for photo in session.state()["photos"]]
    assert "new" in train_names(root)


def test_a_mend_is_drawn_and_undo_brings_the_mask_back_to_the_bit(root):
    before, bytes_before = mask(root, "03"), (root / "masks" / "03.png").read_bytes()
    with review.Review(root) as session:
        answer = act(session, "mend", "03", strokes=[STROKE])
        assert answer["photos"][0]["mended"]
        after = mask(root, "03")
        assert after[round(0.2 * 48), round(0.35 * 40)] == 255
        assert (after >= before).all()
        assert set(np.unique(after)) == {0, 255}
        act(session, "mend", "03", strokes=[{"label": 0, "radius": 1, "points": [[0.5, 0.5]]}])
        assert not mask(root, "03").any()
        versions = [act(session, "undo", "03")["photos"][0]["version"] for _ in range(2)]
        assert versions == [3, 4]  # never one that a browser may have kept
    assert (root / "masks" / "03.png").read_bytes() == bytes_before
    assert (root / "masks-before-review" / "03.png").read_bytes() == bytes_before


@pytest.mark.parametrize("kind", ["palette", "grey"])
def test_labels_and_their_palette_survive_a_mend(tmp_path, kind):
    import PIL.Image

    root = make_folder(tmp_path / "photos")
    for path in (root / "masks").iterdir():
        labels = PIL.Image.fromarray(np.tile(np.arange(40, dtype=np.uint8) % 3, (48, 1)))
        if kind == "palette":
            labels.putpalette([0, 0, 0, 9, 9, 9, 200, 10, 10])
        labels.save(path)
    (root / "classes.txt").write_text("background 0 0 0\nhat 9 9 9\ncoat 200 10 10\n")
    with review.Review(root) as session:
        assert [c["name"] for c in session.state()["classes"]] == ["background", "hat", "coat", "void"]
        act(
            session,
            "mend",
            "00",
            strokes=[{**STROKE, "label": 2}, {"label": 255, "radius": 0.05, "points": [[0.8, 0.8]]}],
        )
    assert PIL.Image.open(root / "masks" / "00.png").mode == ("P" if kind == "palette" else "L")
    labels = data.load("folder", root, "all").load(0)[1]
    assert set(np.unique(labels)) == {0, 1, 2, 255}
    assert labels[10, 14] == 2


def test_a_power_cut_in_the_middle_of_a_line_costs_that_line_alone(root):
    with review.Review(root) as session:
        act(session, "keep", "01")
    with (root / "review.jsonl").open("a") as file:
        file.write('{"time": "2026", "action": "kee')
    for name in ("02", "03"):
        with review.Review(root) as session:
            act(session, "keep", name)
    with review.Review(root) as session:
        assert verdicts(session) == {"01": "keep", "02": "keep", "03": "keep"}


def test_a_full_disk_is_reported_and_leaves_no_half_line(root, monkeypatch):
    with review.Review(root) as session:
        act(session, "keep", "01")
        whole = (root / "review.jsonl").read_bytes()
        monkeypatch.setattr(review.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            act(session, "keep", "02")
        assert (root / "review.jsonl").read_bytes() == whole
        assert verdicts(session) == {"01": "keep"}


def test_a_second_command_on_the_folder_is_told(root):
    with review.Review(root), pytest.raises(UserError, match="reviewed already"):
        review.Review(root)


def test_two_windows_see_each_others_decisions(root):
    with review.Review(root) as session:
        seen = session.state()["seen"]
        act(session, "keep", "01", seen=seen)
        answer = act(session, "discard", "02", seen=seen)  # by the other window
        assert {photo["name"]: photo["verdict"] for photo in answer["photos"]} == {"01": "keep", "02": "discard"}
        act(session, "discard", "01", seen=answer["seen"])
        assert verdicts(session) == {"01": "discard", "02": "discard"}
        assert act(session, "undo", "01")["photos"][0]["verdict"] == "keep"


def test_the_least_sure_come_first(root):
    (root / "confidence.csv").write_text(
        "image,confidence,kept,note\n04.jpg,0.5,yes,\n02.jpg,0.4,yes,\n03.jpg,0.3,no,\n"
    )
    with review.Review(root) as session:
        names = [photo["name"] for photo in session.state()["photos"]]
        assert names[:3] == ["03", "02", "04"]
        assert session.state()["photos"][1]["confidence"] == 0.4


@pytest.mark.parametrize(
    "action",
    [
        {"action": "delete", "photo": "01"},
        {"action": "keep", "photo": "../../etc/passwd"},
        {"action": "undo", "photo": "01"},
        {"action": "mend", "photo": "01", "strokes": []},
        {"action": "mend", "photo": "01", "strokes": [{**STROKE, "label": 7}]},
        {"action": "mend", "photo": "01", "strokes": [{**STROKE, "radius": 5}]},
        {"action": "mend", "photo": "01", "strokes": [{**STROKE, "points": [[9, 9]]}]},
        {"action": "mend", "photo": "01", "strokes": [{**STROKE, "points": [["nan", 0]]}]},
    ],
    ids=str,
)
def test_nonsense_changes_nothing(root, action):
    with review.Review(root) as session:
        before = (root / "review.jsonl").read_bytes()
        with pytest.raises(UserError):
            session.apply(action)
        assert (root / "review.jsonl").read_bytes() == before
        assert not (root / "masks-before-review").exists()


def test_a_folder_without_masks_is_named(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match=r"no folder .*masks"):
        review.main([str(tmp_path)])


@pytest.fixture
def server(root):
    with review.Review(root) as session, page.Server(session) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ask(server, path, method="GET", body=None, *, token=None, **headers):
    """(status, headers, body) of a request below the token."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.request(method, f"/{server.token if token is None else token}/{path}", body, headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def test_only_whoever_has_the_token_is_served(server):
    assert ask(server, "")[0] == 200
    assert ask(server, "state")[0] == 200
    for token in ("", "x", server.token[:-1], server.token + "x", server.token.upper(), "é"):
        status, _, body = ask(server, "state", token=urllib.parse.quote(token))
        assert status == 404
        assert b"photos" not in body
    assert ask(server, "apply", "POST", "{}", token="x", **{"Content-Type": "application/json"})[0] == 404
    assert server.server_address[0] == "127.0.0.1"


def test_a_name_that_was_made_to_point_here_is_refused(server):
    assert ask(server, "state", Host=f"localhost:{server.server_port}")[0] == 200
    for host in (f"evil.example:{server.server_port}", "127.0.0.1", f"127.0.0.1:{server.server_port + 1}", ""):
        assert ask(server, "state", Host=host)[0] == 403


def test_only_files_of_the_set_are_served(server, root):
    (root / "secret.txt").write_text("secret")
    (root / "images" / "unpaired.jpg").write_bytes(b"secret")
    assert ask(server, "photo/01")[1]["Content-Type"] == "image/jpeg"
    assert ask(server, "mask/01?v=3")[1]["Content-Type"] == "image/png"
    for path in (
        "photo/secret.txt",
        "photo/../secret.txt",
        "photo/%2e%2e%2fsecret.txt",
        "photo/unpaired",
        "../secret.txt",
        "photo/",
    ):
        status, _, body = ask(server, path)
        assert status == 404
        assert body != b"secret"


def test_another_sites_page_cannot_decide(server, root):
    body = json.dumps({"action": "discard", "photo": "01"})
    assert ask(server, "apply", "POST", body, **{"Content-Type": "text/plain"})[0] == 404
    assert (
        ask(server, "apply", "POST", "x" * 10, **{"Content-Type": "application/json", "Content-Length": "99999999"})[0]
        == 413
    )
    assert ask(server, "apply", "POST", "[1]", **{"Content-Type": "application/json"})[0] == 400
    assert not verdicts(server.session)
    assert ask(server, "apply", "POST", body, **{"Content-Type": "application/json"})[0] == 200
    assert verdicts(server.session) == {"01": "discard"}


def test_the_page_loads_nothing_from_elsewhere(server):
    _, headers, body = ask(server, "")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert b"http" not in body.replace(b"charset", b"")
    assert headers["Referrer-Policy"] == "no-referrer"  # the token stays here


def test_a_photo_and_its_mask_are_read_once_and_a_mend_is_seen(server, monkeypatch):
    read, load = [], server.session.load
    monkeypatch.setattr(server.session, "load", lambda name: (read.append(name), load(name))[1])
    before = [ask(server, path)[2] for path in ("photo/01", "mask/01?v=0")]
    assert read == ["01"]
    assert ask(server, "photo/01")[2] == before[0]
    act(server.session, "mend", "01", strokes=[{"label": 0, "radius": 1, "points": [[0.5, 0.5]]}])
    server.changes += 1  # as a request to `apply` does
    assert ask(server, "mask/01?v=1")[2] != before[1]


def test_photos_and_masks_are_shown_no_larger_than_a_screen(server, root):
    cv2.imwrite(str(root / "images" / "01.jpg"), np.zeros((2000, 3000, 3), np.uint8))
    cv2.imwrite(str(root / "masks" / "01.png"), np.full((2000, 3000), 255, np.uint8))
    for kind, channels in (("photo", 3), ("mask", 4)):
        picture = cv2.imdecode(np.frombuffer(ask(server, f"{kind}/01")[2], np.uint8), cv2.IMREAD_UNCHANGED)
        assert picture.shape == (1067, 1600, channels)
    cv2.imwrite(str(root / "masks" / "01.png"), np.full((20, 30), 255, np.uint8))
    status, _, body = ask(server, "mask/01?v=9")
    assert status == 422
    assert "must have the size of its photo" in json.loads(body)["error"]


# In a browser, as a person would.


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as window:
        yield window


@pytest.fixture
def window(server, chromium):
    chromium.get(server.address)
    until(chromium, lambda: shown(chromium) == "00")
    yield chromium
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    chromium.get("about:blank")


def press(window, keys):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(window).send_keys(keys).perform()


def test_a_person_reviews_with_keys(server, window, root):
    for key, following in (("k", "01"), ("d", "02"), ("k", "03"), ("n", "04"), ("p", "03")):
        press(window, key)
        until(window, lambda following=following: shown(window) == following)
    until(window, lambda: verdicts(server.session) == {"00": "keep", "01": "discard", "02": "keep"})
    press(window, "u")
    until(window, lambda: shown(window) == "02")
    until(window, lambda: verdicts(server.session) == {"00": "keep", "01": "discard"})
    assert "2 / 20" in window.find_element("id", "count").text
    assert "s a photo" in window.find_element("id", "pace").text
    assert "left" in window.find_element("id", "pace").text
    window.refresh()
    until(window, lambda: shown(window) == "02")  # where it was left
    press(window, "u")
    until(window, lambda: verdicts(server.session) == {"00": "keep"})  # as before it was closed
    severe = [entry for entry in window.get_log("browser") if "favicon" not in entry["message"]]
    assert not severe


def test_the_next_photo_is_there_before_the_key(server, window, monkeypatch):
    """A second a photo leaves no time to fetch and decode one: those to come are held already."""
    until(window, lambda: window.execute_script("return [...held.values()].filter((each) => each.ready).length") >= 5)
    asked = []
    monkeypatch.setattr(server.session, "load", lambda name: (asked.append(name), time.sleep(30))[1])
    for following in ("01", "02", "03"):
        press(window, "k")
        assert shown(window) == following  # while every new request hangs
    until(window, lambda: window.execute_script("return window.swaps.length") >= 3)
    assert not {"01", "02", "03"} & set(asked)


def test_a_person_mends_a_mask_with_the_brush(server, window, root):
    from selenium.webdriver.common.action_chains import ActionChains

    before = mask(root, "00")
    press(window, "b")
    canvas = window.find_element("css selector", "#overlay canvas")
    press(window, "]]")
    wide, high = canvas.size["width"], canvas.size["height"]
    drag = ActionChains(window).move_to_element_with_offset(canvas, -wide * 0.4, -high * 0.4).click_and_hold()
    drag.move_by_offset(wide * 0.3, 0).release().perform()
    press(window, "e")
    ActionChains(window).move_to_element_with_offset(canvas, 0, high * 0.3).click().perform()
    from selenium.webdriver.common.keys import Keys

    press(window, Keys.ENTER)
    until(window, lambda: shown(window) == "01")
    until(window, lambda: verdicts(server.session) == {"00": "keep"})
    after = mask(root, "00")
    assert after[round(0.1 * 48), round(0.25 * 40)] == 255
    assert after[round(0.8 * 48), 20] == 0
    assert before[round(0.8 * 48), 20] == 255
    press(window, "uu")
    until(window, lambda: (mask(root, "00") == before).all())


def test_two_windows_do_no_harm(server, window, root):
    first = window.current_window_handle
    window.switch_to.new_window("window")
    window.get(server.address)
    until(window, lambda: shown(window) == "00")
    press(window, "d")
    until(window, lambda: shown(window) == "01")
    window.switch_to.window(first)
    press(window, "n")
    press(window, "k")
    until(window, lambda: verdicts(server.session) == {"00": "discard", "01": "keep"})
    until(window, lambda: "2 / 20" in window.find_element("id", "count").text)
    window.switch_to.window(window.window_handles[-1])
    window.close()
    window.switch_to.window(first)


def test_a_decision_that_could_not_be_saved_is_said_and_sent_again(server, window, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(review.os, "fsync", full)
    press(window, "k")
    until(window, lambda: "No space left" in window.find_element("id", "trouble").text)
    monkeypatch.undo()
    until(window, lambda: verdicts(server.session) == {"00": "keep"})
    until(window, lambda: not window.find_element("id", "trouble").is_displayed())


def test_a_broken_photo_can_be_discarded(server, window, root):
    (root / "images" / "12.jpg").write_bytes(b"nothing")
    window.execute_script("show(photos.findIndex((photo) => photo.name === '12'))")
    until(window, lambda: "no readable image" in window.find_element("id", "message").text)
    press(window, "d")
    until(window, lambda: verdicts(server.session) == {"12": "discard"})
    until(window, lambda: window.find_element("id", "stage").is_displayed())


def test_a_thumb_reviews_on_a_phone(server, window):
    window.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    )
    window.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    until(window, lambda: window.execute_script("return innerWidth") == 390)
    assert window.execute_script("return document.documentElement.scrollWidth") == 390

    def swipe(by):
        def touch(kind, x):
            points = [] if kind == "touchEnd" else [{"x": x, "y": 300}]
            window.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        touch("touchStart", 195)
        for x in range(0, by, by // 5):
            touch("touchMove", 195 + x)
        touch("touchMove", 195 + by)
        touch("touchEnd", 0)

    swipe(120)
    until(window, lambda: shown(window) == "01")
    swipe(-120)
    until(window, lambda: verdicts(server.session) == {"00": "keep", "01": "discard"})
    keep = next(b for b in window.find_elements("css selector", "#actions button") if b.text.startswith("Keep"))
    assert keep.size["height"] >= 44  # a thumb's
    keep.click()
    until(window, lambda: verdicts(server.session).get("02") == "keep")


def test_at_the_end_it_says_so(server, window):
    for _ in range(20):
        press(window, "k")
    until(window, lambda: "All photos are done" in window.find_element("id", "message").text)
    assert "20 kept, 0 discarded of 20" in window.find_element("id", "message").text
    until(window, lambda: len(verdicts(server.session)) == 20)
