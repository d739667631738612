"""Training an aisle classifier: from recorded laps to a network that OpenCV runs."""

import hashlib
import sys

import numpy as np
import pytest

from edge.aisles.classifier import AisleClassifier, Passport, read_passport
from engines.errors import ImagesError
from engines.zoo import aisle_frames
from engines.zoo.aisle_classifier import main, write
from engines.zoo.aisle_frames import Frames, aisles_of, recorded

cv2 = pytest.importorskip("cv2")

PASSPORT = Passport(aisles=("07", "08"), width=64, height=36, sha256="")
COLOURS = {"07": (200, 40, 40), "08": (40, 200, 40), "elsewhere": (40, 40, 200)}


def striped(colour, number, wh=(64, 36)):
    """Return a picture of one colour, another one for each number."""
    image = np.full((wh[1], wh[0], 3), colour, np.uint8)
    image[:, number % 8 :: 8] //= 2
    return image


@pytest.fixture
def laps(tmp_path):
    """Record two laps: photos of 07 and elsewhere, a video of 08."""
    for lap in (tmp_path / "monday", tmp_path / "tuesday"):
        for name in ("07", "elsewhere"):
            (lap / name).mkdir(parents=True)
            for number in range(6):
                cv2.imwrite(str(lap / name / f"{number}.png"), striped(COLOURS[name], number))
        coder = cv2.VideoWriter(str(lap / "08.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 5, (64, 36))
        for number in range(6):
            coder.write(striped(COLOURS["08"], number))
        coder.release()
    return [tmp_path / "monday", tmp_path / "tuesday"]


def test_a_lap_s_aisles_are_its_folders_and_videos(laps):
    assert aisles_of(laps[0]) == ("07", "08")


def test_a_lap_gives_each_picture_its_aisle(laps):
    frames = recorded(PASSPORT, laps[0])

    assert np.bincount(frames.aisles).tolist() == [6, 6, 6]
    assert frames.images.shape == (18, 36, 64, 3)
    assert frames.images[frames.aisles == 1].mean((0, 1, 2)).argmax() == 1


def test_of_many_photos_no_more_than_the_most_are_taken(laps, monkeypatch):
    monkeypatch.setattr(aisle_frames, "_MOST", 4)

    frames = recorded(PASSPORT, laps[0])

    assert np.bincount(frames.aisles).tolist() == [3, 3, 3]


def test_a_lap_that_lacks_an_aisle_is_refused(laps):
    (laps[0] / "08.mp4").unlink()

    with pytest.raises(ImagesError, match=r"monday: no pictures of 08; put a folder"):
        recorded(PASSPORT, laps[0])


@pytest.mark.parametrize(("what", "problem"), [("nowhere", "no such folder"), ("", "found none")])
def test_a_folder_that_is_no_lap_is_refused(tmp_path, what, problem):
    with pytest.raises(ImagesError, match=problem):
        aisles_of(tmp_path / what)


def test_a_photo_that_cannot_be_read_is_named(laps):
    (laps[0] / "07" / "9.jpg").write_bytes(b"no photo")

    with pytest.raises(ImagesError, match=r"9\.jpg: not an image"):
        recorded(PASSPORT, laps[0])


def test_frames_and_aisles_are_as_many():
    with pytest.raises(ValueError, match="as many aisles"):
        Frames(np.zeros((2, 4, 4, 3), np.uint8), np.zeros(3, np.int64))


def test_without_torch_the_extra_is_named(laps, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for module in ("aisle_network", "aisle_training"):
        monkeypatch.delitem(sys.modules, f"engines.zoo.{module}", raising=False)

    assert main([*map(str, laps), "--out", str(tmp_path / "out")]) == 3
    assert capsys.readouterr().err.endswith("pip install 'aisle-edge[train]'\n")


class TestWithTorch:
    @pytest.fixture(autouse=True)
    def _torch(self):
        self.torch = pytest.importorskip("torch")

    def test_opencv_runs_what_torch_trained(self, tmp_path):
        from engines.zoo.aisle_network import AisleNetwork, to_onnx

        self.torch.manual_seed(3)
        network = AisleNetwork(3)
        for norm in network.norms:  # as after training: not the identity
            norm.running_mean.uniform_(-0.1, 0.1)
            norm.running_var.uniform_(0.5, 2.0)
        network.eval()
        write(to_onnx(network, 36, 64), PASSPORT, tmp_path)
        image = np.random.default_rng(0).integers(0, 255, (36, 64, 3), np.uint8)
        pictures = self.torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))

        shares = network(pictures).softmax(1).detach().numpy()[0]
        seen = AisleClassifier(tmp_path, ["07", "08"]).likelihood(image)

        assert seen == pytest.approx(shares / shares.max(), abs=1e-4)
        network_file = (tmp_path / "classifier.onnx").read_bytes()
        assert read_passport(tmp_path).sha256 == hashlib.sha256(network_file).hexdigest()

    def test_it_learns_and_learns_the_same_again(self, laps):
        from engines.zoo.aisle_training import accuracy, fit

        monday, tuesday = (recorded(PASSPORT, lap) for lap in laps)
        first, second = fit(monday, 3, steps=60), fit(monday, 3, steps=60)

        assert accuracy(first, tuesday) >= 0.9
        assert all(
            self.torch.equal(a, b)
            for a, b in zip(first.parameters(), second.parameters(), strict=True)
        )

    def test_the_command_makes_a_classifier_of_recorded_laps(self, laps, tmp_path, monkeypatch):
        from engines.zoo import aisle_training

        monkeypatch.setattr(aisle_training, "fit", _fit_briefly)
        out = tmp_path / "out"

        assert main([*map(str, laps), "--out", str(out)]) == 0
        assert read_passport(out).trained_on == "1 recorded laps"

    def test_one_lap_leaves_nothing_to_measure_on(self, laps, tmp_path, capsys):
        assert main([str(laps[0]), "--out", str(tmp_path / "out")]) == 3
        assert "record a second drive" in capsys.readouterr().err


def _fit_briefly(frames, classes):
    from engines.zoo.aisle_network import AisleNetwork

    return AisleNetwork(classes).eval()
