"""What training would draw, as one picture."""

import cv2

from keras_models.data import preview


def test_preview_shows_each_photo_and_its_draws(tmp_path, capsys):
    file = tmp_path / "preview.png"
    assert preview.main(["--dataset", "drawings", "--photos", "2", "--draws", "3", "-o", str(file)]) == 0
    shown = cv2.imread(str(file))
    assert shown.shape == (2 * 224, 4 * 224, 3)
    assert (shown[:, :224] != shown[:, 224:448]).mean() > 0.5
    assert "2 photos" in capsys.readouterr().out
