"""The curves, pictures and layers of the report show what the numbers say."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest

from calibration.quantise import quantise
from edge.detections import Detections
from engines.evaluation import report_charts as charts
from engines.evaluation.report_layers import FeatureMap, Layer, Range, look_inside
from engines.evaluation.report_pictures import map_picture, worst_frames
from tests.calibration_network import frames, network

PAD = 114


def found(*rows):
    """Return detections of (box, score, label) rows."""
    return Detections(
        np.float32([box for box, _, _ in rows]).reshape(-1, 4),
        np.float32([score for _, score, _ in rows]),
        np.int32([label for _, _, label in rows]),
    )


def points(series):
    return [tuple(map(float, point.split(","))) for point in series.points.split()]


A, B = (10, 10, 40, 40), (60, 60, 90, 90)


def test_what_int8_lost_lowers_the_kept_curve_and_not_the_other():
    pairs = [(found((A, 0.9, 0), (B, 0.9, 0)), found((A, 0.9, 0)))] * 10

    kept, known = charts.agreement_charts([("CPU", "cpu", pairs)])

    assert {y for _, y in points(kept.series[0])} == {kept.bottom}
    assert kept.y_ticks[-1] == (kept.bottom, "50%")
    assert {y for _, y in points(known.series[0])} == {known.top}


def test_a_threshold_above_which_too_little_scores_is_not_drawn():
    pairs = [(found((A, 0.42, 0)), found((A, 0.42, 0)))] * 20

    kept, _ = charts.agreement_charts([("CPU", "cpu", pairs)])

    assert len(points(kept.series[0])) == 7  # 0.10, 0.15 … 0.40


def test_what_slips_just_below_the_threshold_is_kept():
    pairs = [(found((A, 0.42, 0)), found((A, 0.38, 0)))] * 20

    kept, _ = charts.agreement_charts([("CPU", "cpu", pairs)])

    assert {y for _, y in points(kept.series[0])} == {kept.top}


def test_scores_that_fell_stand_left_of_the_middle():
    pairs = [(found((A, 0.9, 0)), found((A, 0.82, 0)))] * 20

    chart = charts.shift_chart([("CPU", "cpu", pairs)])

    highest = min(y for _, y in points(chart.series[0]))
    peak = np.mean([x for x, y in points(chart.series[0]) if y == highest])
    zero = {text: x for x, text in chart.x_ticks}["0"]
    assert peak < zero


def test_shifts_are_those_of_matching_detections_only():
    pairs = [(found((A, 0.9, 0), (B, 0.9, 0)), found((A, 0.8, 0), (B, 0.5, 1)))]

    assert charts.score_shifts(pairs) == pytest.approx([-0.1], abs=1e-6)


def test_the_best_precision_is_at_the_top():
    chart = charts.precision_recall_chart([("float", "float", np.linspace(1, 0, 101))])

    assert points(chart.series[0])[0] == (chart.left, chart.top)
    assert points(chart.series[0])[-1] == (chart.right, chart.bottom)


def test_values_beyond_the_range_stick_out_of_its_lines():
    layers = [
        Layer("a", True, 0.01, Range(-1, 4, -1, 9)),
        Layer("b", True, 0.01, Range(-1, 4, 0, 3)),
    ]

    area, _, highest = charts.range_chart("CPU", "cpu", layers).series

    assert points(area)[0][1] < points(highest)[0][1]
    assert points(area)[1][1] > points(highest)[1][1]


def test_all_that_is_drawn_lies_inside_the_chart():
    layers = [
        Layer(str(i), True, 10.0**-i, Range(-(10.0**i), 10.0**i, -1e5, 1e5)) for i in range(9)
    ]

    for chart in (
        charts.range_chart("CPU", "cpu", layers),
        charts.noise_chart([("C", "c", layers)]),
    ):
        for series in chart.series:
            for x, y in points(series):
                assert chart.left <= x <= chart.right
                assert chart.top <= y <= chart.bottom


def picture(uri):
    coded = np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8)
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)


def scenes(count):
    """Return noisy 640 x 640 frames with letterbox bars above and below."""
    rng = np.random.default_rng(3)
    made = np.full((count, 640, 640, 3), PAD, np.uint8)
    made[:, 140:500] = rng.integers(0, 256, (count, 360, 640, 3), np.uint8)
    return list(made)


def test_the_worst_image_comes_first_and_a_perfect_one_not_at_all():
    good, bad = (10, 200, 60, 260), (100, 200, 160, 260)
    pairs = [
        (found((good, 0.9, 0)), found((good, 0.9, 0))),
        (found((good, 0.9, 0)), found((good, 0.7, 0))),
        (found((good, 0.9, 0), (bad, 0.8, 1)), found((good, 0.9, 0))),
    ]

    worst = worst_frames(scenes(3), pairs, ["box", "can"], PAD)

    assert [frame.number for frame in worst] == [2, 1]
    assert worst[0].lost == ("can 0.80",)
    assert [box.style for box in worst[0].boxes] == ["float", "int8", "lost"]


def test_what_slipped_below_the_threshold_is_not_called_lost():
    box = (10, 200, 60, 260)
    (frame,) = worst_frames(
        scenes(1), [(found((box, 0.26, 0)), found((box, 0.2, 0)))], ["box"], PAD
    )

    assert (frame.lost, frame.slipped, frame.int8_count) == ((), 1, 0)


def test_boxes_are_drawn_on_the_picture_without_its_bars():
    box = (320, 320, 480, 410)
    (frame,) = worst_frames(scenes(1), [(found((box, 0.9, 0)), found())], ["box"], PAD)

    assert (frame.width, frame.height) == (480, 270)
    drawn = frame.boxes[0]
    assert (drawn.x, drawn.y, drawn.width, drawn.height) == (240, 135, 120, 67.5)


def test_pictures_stay_small_whatever_they_show():
    box = (320, 320, 480, 410)
    (frame,) = worst_frames(scenes(1), [(found((box, 0.9, 0)), found())], ["box"], PAD)

    assert len(frame.picture) < 60_000
    assert picture(frame.picture).shape == (270, 480, 3)


def test_texts_lie_inside_the_picture_and_not_on_each_other():
    rows = [((x, 141, x + 30, 170), 0.9, 0) for x in (300, 305, 310, 600)]
    (frame,) = worst_frames(scenes(1), [(found(*rows), found())], ["a long name"], PAD)

    assert len(frame.texts) == 4
    for text in frame.texts:
        assert 0 <= text.x <= frame.width - 6 * len(text.text)
        assert 10 <= text.y <= frame.height
    assert len({(text.x // 90, text.y) for text in frame.texts}) == 4


def test_an_image_full_of_lost_objects_stays_readable():
    rows = [((x, y, x + 9, y + 9), 0.9, 0) for x in range(0, 600, 20) for y in range(150, 480, 20)]
    (frame,) = worst_frames(scenes(1), [(found(*rows), found())], ["box"], PAD)

    assert len(frame.boxes) == 80
    assert len(frame.texts) <= 12
    assert frame.lost[-1] == f"{len(rows) - 12} more"


def test_a_label_the_bundle_does_not_have_is_called_by_its_number():
    (frame,) = worst_frames(scenes(1), [(found((A, 0.9, 7)), found())], ["box"], PAD)

    assert frame.lost == ("label 7 0.90",)


def test_feature_maps_stand_float_above_int8():
    dark, bright = np.zeros((2, 6, 6), np.float32), np.zeros((2, 6, 6), np.float32)
    bright[:, 3:] = 1
    drawn = map_picture(FeatureMap("a", 0.5, bright, dark))

    sheet = picture(drawn.picture)
    assert (drawn.width, drawn.height) == (sheet.shape[1], sheet.shape[0])
    assert sheet[80, 40].mean() > 200
    assert sheet[-10, 40].mean() < 50


@pytest.fixture(scope="module")
def calibrated():
    reference = network()
    return reference, quantise(reference, frames())


def test_every_convolution_is_looked_at_in_both_encodings(calibrated):
    reference, made = calibrated
    graphs = {"model.onnx": made.cpu, "model.trt.onnx": made.tensorrt}

    inside = look_inside(reference, graphs, frames()[0])

    for seen in inside.values():
        assert (seen.convolutions, seen.integer) == (4, 3)  # the last one is the float tail's
        assert [layer.name for layer in seen.layers][-3:] == ["s1", "both", "r3"]
        assert all(layer.noise < 0.05 for layer in seen.layers)


def test_channels_that_were_only_scaled_are_no_noise():
    import onnx
    from onnx import numpy_helper

    reference, scaled = network(), network()
    gains = np.float32([0.5, 1, 2, 4, 1, 1, 8, 1]).reshape(1, 8, 1, 1)
    scaled.graph.initializer.append(numpy_helper.from_array(gains, "gains"))
    scaled.graph.node.insert(12, onnx.helper.make_node("Mul", ["r3", "gains"], ["loud"]))
    for node in scaled.graph.node:
        if node.output[0] == "r3":
            node.output[0] = "quiet"
        elif node.output[0] == "loud":
            node.input[0], node.output[0] = "quiet", "r3"

    layers = look_inside(reference, {"a": scaled}, frames()[0])["a"].layers

    assert layers[-1].name == "r3"
    assert layers[-1].noise < 1e-9


def test_ranges_are_those_of_the_graph_and_hold_the_values(calibrated):
    reference, made = calibrated

    layers = look_inside(reference, {"a": made.tensorrt}, frames()[0])["a"].layers

    ranges = {layer.name: layer.range for layer in layers if layer.range is not None}
    assert ranges
    for seen in ranges.values():
        assert seen.low < 0 < seen.high
        assert seen.seen_low < seen.seen_high
        assert seen.high > 0.5 * seen.seen_high


def test_a_graph_against_itself_has_no_noise(calibrated):
    reference, _ = calibrated

    seen = look_inside(reference, {"a": reference}, frames()[0])["a"]

    assert {layer.noise for layer in seen.layers} == {0.0}
    assert not any(layer.integer for layer in seen.layers)
    assert seen.maps == []
