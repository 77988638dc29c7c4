"""Whom a network serves: attributes are measured or entered by keys, gaps are told from chance, two models compared."""

import csv
import json
import threading

import cv2
import keras
import numpy as np
import pytest

from keras_models import data, evaluate
from keras_models.command import UserError
from keras_models.data import annotate, attributes, attributes_report, page
from tests.browser import browser, shown, until
from tests.test_data import make_folder


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def csv_file(path, text):
    path.write_text(text)
    return path


def test_several_people_and_empty_values_are_read(tmp_path):
    path = csv_file(tmp_path / "a.csv", "image,race,age\n01.jpg,Asian,Child\n01,Black,\n02,,\n")
    people = attributes.read(path)
    assert people == {"01": [{"race": "Asian", "age": "Child"}, {"race": "Black"}], "02": [{}]}
    attributes.write(tmp_path / "b.csv", people)
    assert attributes.read(tmp_path / "b.csv") == people
    assert attributes.order_of(people)["age"] == ("Child", "Youth", "Senior")  # the paper's order


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line such as"),
        ("photo,race\n1,Asian\n", "first line such as"),
        ("image\n1\n", "first line such as"),
        ("image,race,race\n1,a,b\n", "first line such as"),
        ("image,race\n", "no rows"),
        ("image,race\n,Asian\n", "line 2"),
        ("image,race\n1,Asian,7\n", "line 2"),
    ],
)
def test_a_list_that_is_none_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        attributes.read(csv_file(tmp_path / "a.csv", text))


def person(left, top, right, bottom, light=120, ground=120, size=(200, 160)):
    image, labels = np.full((*size, 3), ground, np.uint8), np.zeros(size, np.uint8)
    labels[top:bottom, left:right] = 1
    image[labels > 0] = light
    return image, labels


@pytest.mark.parametrize(
    ("photo", "expected"),
    [
        (person(60, 80, 100, 200), {"lighting": "even", "size": "medium", "people": "1", "crop": "bottom"}),
        (person(60, 80, 90, 110, 20, 60), {"lighting": "dark", "size": "small", "people": "1", "crop": "whole"}),
        (person(0, 50, 150, 200, 90, 230), {"lighting": "backlit", "size": "large", "people": "1", "crop": "side"}),
        (person(60, 0, 140, 200, 220, 200), {"lighting": "bright", "size": "large", "people": "1", "crop": "top"}),
    ],
)
def test_what_needs_no_judgement_is_measured(photo, expected):
    assert attributes.measured(*photo, ()) == expected


def test_people_are_counted_by_mask_or_by_face():
    image, labels = person(10, 80, 60, 200)
    labels[80:, 100:150] = 1
    labels[0:4, 0:4] = 1  # a speck is nobody
    three = np.array([[15, 90, 20, 20, 1], [40, 90, 20, 20, 1], [110, 90, 20, 20, 1], [70, 90, 20, 20, 1.0]])
    assert attributes.measured(image, labels, ())["people"] == "2"
    detector = (lambda part: three,)  # the fourth is on the wall
    assert attributes.measured(image, labels, detector)["people"] == "3 or more"
    assert attributes.measured(image, np.zeros_like(labels), detector) == {}


def test_the_papers_eighteen_groups_are_counted_by_split(tmp_path, capsys):
    root = make_folder(tmp_path / "photos")
    (root / "train.txt").write_text("\n".join(f"{i:02d}" for i in range(8)))
    (root / "val.txt").write_text("08\n09\n")
    path = csv_file(
        tmp_path / "people.csv",
        "image,race,gender,age\n00,Asian,Man,Youth\n00,Asian,Woman,Youth\n01,Asian,Woman,Youth\n08,Black,Man,Child\n",
    )
    arguments = [str(root), "--annotations", str(path), "-o", str(tmp_path / "measured.csv")]
    arguments += ["--json", str(tmp_path / "counts.json"), "--plot", str(tmp_path / "who.png")]
    assert attributes.main(arguments) == 0
    counts = json.loads((tmp_path / "counts.json").read_text())["counts"]
    groups = counts["race, gender, age"]
    assert len(groups) == 18
    assert groups["Asian, Woman, Youth"] == {"train": 2, "val": 0}
    assert groups["Black, Man, Child"] == {"train": 0, "val": 1}
    assert sum(value["train"] for value in groups.values()) == 3
    assert sum(value["train"] for value in counts["lighting"].values()) == 8
    assert "train (8)" in capsys.readouterr().out
    assert len(attributes.read(tmp_path / "measured.csv")) == 10
    assert cv2.imread(str(tmp_path / "who.png")).shape[1] > 1000


def test_a_list_of_another_set_is_refused(tmp_path):
    root = make_folder(tmp_path / "photos")
    path = csv_file(tmp_path / "people.csv", "image,race\nelse,Asian\n")
    with pytest.raises(UserError, match="none of the photos"):
        attributes.main([str(root), "--annotations", str(path)])


def groups_of(labels):
    return {"hat": {value: np.flatnonzero(labels == value) for value in np.unique(labels)}}


def test_a_real_gap_is_told_from_chance():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(["none", "cap"], 40))
    noise = rng.normal(0.9, 0.03, 80)
    assert not attributes_report.report(noise, groups_of(labels))["attribute_gaps"]["hat"]["more_than_chance"]
    gap = attributes_report.report(noise - 0.03 * (labels == "cap"), groups_of(labels))["attribute_gaps"]["hat"]
    assert gap["more_than_chance"]
    assert (gap["highest"], gap["lowest"]) == ("none", "cap")
    assert gap["p"] < 0.01


def test_by_chance_alone_small_p_is_as_rare_as_it_says(monkeypatch):
    monkeypatch.setattr(attributes_report, "DRAWS", 200)
    rng = np.random.default_rng(1)
    labels = np.repeat(["a", "b", "c"], 12)
    found = [attributes_report.report(rng.beta(9, 1, 36), groups_of(labels), seed) for seed in range(100)]
    assert sum(facts["attribute_gaps"]["hat"]["p"] < 0.1 for facts in found) <= 20


def test_the_interval_covers_the_mean_and_narrows_with_the_photos():
    rng = np.random.default_rng(2)
    covered, widths = 0, {}
    for count in (20, 200):
        for trial in range(40):
            facts = attributes_report.report(rng.beta(9, 1, count), {"all": {"x": np.arange(count)}}, trial)
            figures = facts["attributes"]["all"]["x"]
            covered += figures["low"] <= 0.9 <= figures["high"]
            widths[count] = figures["high"] - figures["low"]
    assert 66 <= covered <= 80
    assert widths[200] < widths[20] / 2


def test_a_value_of_few_photos_makes_no_gap_and_one_photo_no_interval():
    iou = np.array([0.9, 0.91, 0.92, 0.93, 0.94, 0.1])
    facts = attributes_report.report(iou, {"hat": {"none": np.arange(5), "crown": np.array([5])}})
    assert facts["attribute_gaps"] == {}
    assert facts["attributes"]["hat"]["crown"] == {"foreground_iou": 0.1, "images": 1, "low": None, "high": None}
    assert "one photo" in attributes_report.text(facts)


def test_a_photo_counts_once_for_each_value_it_shows():
    people = {"a": [{"age": "Child"}, {"age": "Child"}, {"age": "Senior"}], "b": [{"age": "Child"}], "c": [{}]}
    found = attributes_report.members(("a.jpg", "b", "c", "d"), people)
    assert {value: where.tolist() for value, where in found["age"].items()} == {"Child": [0, 1], "Senior": [0]}


@pytest.mark.parametrize("text", ["hat", "hat=one", "hat=a,a", "hat=a,b hat=c,d", "image=a,b", "", "=a,b"])
def test_attributes_that_are_none_are_named(text):
    with pytest.raises(UserError, match="--attributes"):
        annotate.values_of(text)


@pytest.fixture
def session(tmp_path):
    root = make_folder(tmp_path / "photos")
    return annotate.Annotation(
        str(root), "folder", tmp_path / "people.csv", annotate.values_of("hat=none,cap age=young,old")
    )


def test_answers_are_in_the_list_at_once_and_an_earlier_list_goes_on(tmp_path, session):
    session.apply({"action": "annotate", "photo": "03", "people": [{"hat": "cap", "age": "old"}, {"hat": "none"}]})
    assert rows(tmp_path / "people.csv") == [["image", "hat", "age"], ["03", "cap", "old"], ["03", "none", ""]]
    again = annotate.Annotation(
        str(tmp_path / "photos"), "folder", tmp_path / "people.csv", annotate.values_of("age=young,old coat=no,yes")
    )
    again.apply({"action": "annotate", "photo": "04", "people": [{"coat": "yes"}]})
    people = attributes.read(tmp_path / "people.csv")
    assert people == {"03": [{"hat": "cap", "age": "old"}, {"hat": "none"}], "04": [{"coat": "yes"}]}


@pytest.mark.parametrize(
    "action",
    [
        {"action": "annotate", "photo": "77", "people": []},
        {"action": "discard", "photo": "03", "people": []},
        {"action": "annotate", "photo": "03", "people": [{"hat": "=HYPERLINK()"}]},
        {"action": "annotate", "photo": "03", "people": [{"shoe": "none"}]},
    ],
    ids=str,
)
def test_nonsense_is_no_attribute(tmp_path, session, action):
    with pytest.raises(UserError):
        session.apply(action)
    assert not (tmp_path / "people.csv").exists()


def test_a_person_annotates_with_keys(tmp_path, session):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    with page.Server(session) as server, browser(tmp_path / "profile") as window:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        window.get(server.address)
        until(window, lambda: shown(window) == "00")
        for keys, following in (("21", "00"), (Keys.ENTER, "01"), ("11a22", "01"), (Keys.ENTER, "02"), ("2", "02")):
            ActionChains(window).send_keys(keys).perform()
            until(window, lambda following=following: shown(window) == following)
        ActionChains(window).send_keys(Keys.BACKSPACE, "1").perform()
        expected = {
            "00": [{"hat": "cap", "age": "young"}],
            "01": [{"hat": "none", "age": "young"}, {"hat": "cap", "age": "old"}],
            "02": [{"hat": "none"}],
        }
        until(window, lambda: session.people == expected)
        window.find_element("xpath", "//button[contains(., 'old')]").click()
        until(window, lambda: session.people["02"] == [{"hat": "none", "age": "old"}])
        assert attributes.read(tmp_path / "people.csv") == session.people
        window.refresh()
        until(window, lambda: shown(window) == "03")
        server.shutdown()


def brightness(place, at, name):
    """A network that takes what is brighter than `at` (0-255) for the person, at 48x40."""
    image = keras.Input((48, 40, 3))
    convolution = keras.layers.Conv2D(1, 1)
    model = keras.Model(image, convolution(image), name=name)
    convolution.set_weights([np.full((1, 1, 3, 1), 1 / 3, np.float32), np.array([-at], np.float32)])
    model.save(place / f"{name}.keras")
    return str(place / f"{name}.keras")


@pytest.fixture
def served(tmp_path):
    """Twenty photos of a bright person, ten of them paler, which a network for bright ones does not see whole."""
    root = tmp_path / "photos"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for i in range(20):
        mask = np.zeros((48, 40), np.uint8)
        mask[8 + i % 5 :, 10:30] = 255
        image = np.where(mask > 0, 200, 40).astype(np.uint8)
        if i >= 10:
            image[30:][mask[30:] > 0] = 120
        cv2.imwrite(str(root / "images" / f"{i:02d}.png"), cv2.merge([image] * 3))
        cv2.imwrite(str(root / "masks" / f"{i:02d}.png"), mask)
    (root / "test.txt").write_text("\n".join(f"{i:02d}" for i in range(20)))
    lines = [f"{i:02d},{'pale' if i >= 10 else 'plain'},{'ab'[i % 2]}" for i in range(19)]
    csv_file(tmp_path / "people.csv", "\n".join(["image,coat,letter", *lines]))
    return tmp_path


def test_evaluate_says_whom_a_network_serves_and_compares_two(served, capsys):
    strict, mild = brightness(served, 160, "strict"), brightness(served, 80, "mild")
    arguments = [strict, "--data-dir", str(served / "photos"), "--attributes", str(served / "people.csv")]
    arguments += ["--against", mild, "--json", str(served / "f.json"), "--attributes-plot", str(served / "f.png")]
    assert evaluate.main(arguments) == 0
    facts, printed = json.loads((served / "f.json").read_text()), capsys.readouterr().out
    coat = facts["attributes"]["coat"]
    assert coat["plain"]["foreground_iou"] == 1
    assert coat["plain"]["images"] == 10
    assert coat["pale"]["images"] == 9
    assert coat["pale"]["low"] <= coat["pale"]["foreground_iou"] <= coat["pale"]["high"] < 0.7
    assert facts["attribute_gaps"]["coat"]["more_than_chance"]
    assert not facts["attribute_gaps"]["letter"]["more_than_chance"]
    assert {"lighting", "size", "people", "crop"} <= set(facts["attributes"])
    assert facts["compared"]["attribute_gaps"]["coat"]["gap"] == 0
    assert facts["compared"]["differences"]["coat"]["pale"]["low"] > 0.3
    assert facts["foreground_iou"] < facts["compared"]["foreground_iou"] == 1
    assert "plain over pale: more than chance" in printed
    assert "1 of the 20 photos are not in the list" in printed
    assert cv2.imread(str(served / "f.png")) is not None


def test_evaluate_measures_attributes_without_a_list(served, capsys):
    model = brightness(served, 160, "strict")
    arguments = [model, "--data-dir", str(served / "photos"), "--json", str(served / "f.json")]
    assert evaluate.main([*arguments, "--attributes", "measured"]) == 0
    assert set(json.loads((served / "f.json").read_text())["attributes"]) == set(attributes.MEASURED)
    for wrong, message in (
        (["--against", model], "go with --attributes"),
        (["--attributes", "nowhere.csv"], "Cannot read"),
        (["--attributes", "measured", "--attributes-plot", "a.bmp"], "A plot is"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate.main([*arguments, *wrong])


def test_names_with_dots_are_different_photos_and_ones_own_dataset_is_taken(tmp_path, capsys):
    attributes.main(
        [str(tmp_path), "--dataset", "tests.test_data_attributes:phone", "--output", str(tmp_path / "a.csv")]
    )
    assert [row[0] for row in rows(tmp_path / "a.csv")[1:]] == ["2024-01-01 12.30.45", "2024-01-01 12.30.46"]
    assert "train (2)" in capsys.readouterr().out


def phone(data_dir, split):
    """Photos as Dropbox calls them."""
    names = ("2024-01-01 12.30.45", "2024-01-01 12.30.46") if split == "train" else ()
    return data.Dataset(f"phone {split}", names, lambda i: person(50, 40, 110, 200))
