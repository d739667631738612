"""The built-in detectors' networks: shapes, names, and that they learn and resume."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'aisle-edge[train]'")

from engines.faster_rcnn.export import network as static_graph  # noqa: E402
from engines.inspection import Order, understand  # noqa: E402
from engines.zoo import faster_rcnn, faster_rcnn_loss, yolo, yolo_loss  # noqa: E402
from engines.zoo.training import Run, Schedule  # noqa: E402
from engines.zoo.yolo_loss import Truth  # noqa: E402

# Networks this small wait for each other's threads far longer than they compute.
torch.set_num_threads(1)
SIZE = (96, 64)
TORCHVISION = {
    "backbone.body.conv1.weight", "backbone.body.bn1.running_var",
    "backbone.body.layer1.0.conv1.weight", "backbone.body.layer2.0.downsample.0.weight",
    "backbone.body.layer4.1.bn2.bias", "backbone.fpn.inner_blocks.3.0.weight",
    "backbone.fpn.layer_blocks.0.0.bias", "rpn.head.conv.0.0.weight",
    "rpn.head.cls_logits.weight", "rpn.head.bbox_pred.bias", "roi_heads.box_head.fc6.weight",
    "roi_heads.box_head.fc7.bias", "roi_heads.box_predictor.cls_score.weight",
    "roi_heads.box_predictor.bbox_pred.weight",
}  # fmt: skip


def _batch(_step=0, _size=SIZE, chance=None):
    chance = chance or np.random.default_rng(0)
    frames = torch.from_numpy(chance.integers(0, 256, (2, 3, SIZE[1], SIZE[0]), dtype=np.uint8))
    boxes = torch.tensor([[8.0, 8.0, 40.0, 48.0], [56.0, 20.0, 88.0, 52.0]])
    truth = Truth(boxes, torch.tensor([0, 1]), torch.zeros(0, 4))
    return frames, [truth, truth]


@pytest.mark.parametrize(
    ("network", "loss"),
    [(yolo.Yolo, yolo_loss.loss), (faster_rcnn.FasterRcnn, faster_rcnn_loss.loss)],
)
def test_a_few_steps_on_one_batch_lower_its_loss(tmp_path, network, loss):
    torch.manual_seed(0)
    run = Run(network(3), Schedule(40, 2, 2e-3, warm_up=1), tmp_path)
    seen = []
    run.train(
        lambda *_: _batch(),
        lambda net, batch: loss(net, *batch),
        lambda _step, _steps, losses: seen.append(losses["total"]),
    )
    assert seen[-1] < seen[0]


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    def ended(folder, *stops):
        for stop in stops:
            torch.manual_seed(0)
            run = Run(yolo.Yolo(3), Schedule(6, 2), folder)
            run.resume()
            run.train(_batch, lambda net, b: yolo_loss.loss(net, *b), lambda *_: None, until=stop)
        return run.average.network.state_dict()

    whole, resumed = ended(tmp_path / "whole", 6), ended(tmp_path / "resumed", 3, 6)
    for name, value in whole.items():
        assert torch.allclose(value, resumed[name], atol=1e-6), name


def test_the_curve_of_a_resumed_run_has_means_of_the_steps_it_took(tmp_path):
    for stop in (11, 20):
        run = Run(torch.nn.Linear(1, 1), Schedule(20, 1), tmp_path)
        run.resume()
        run.train(
            lambda *_: None,
            lambda net, _: {"total": net.weight.sum() * 0 + 2.0},
            lambda *_: None,
            until=stop,
        )

    assert (tmp_path / "losses.csv").read_text().splitlines() == ["step,total", "20,2.00000"]


def test_the_yolo_has_one_answer_per_cell():
    raw = yolo.Yolo(3).eval()(torch.zeros(1, 3, SIZE[1], SIZE[0]))
    cells = sum((SIZE[0] // s) * (SIZE[1] // s) for s in yolo.STRIDES)
    assert raw.spread.shape == (1, 4 * yolo.BINS, cells)
    assert raw.logits.shape == (1, 3, cells)


def test_faster_rcnn_has_torchvisions_names():
    assert set(faster_rcnn.FasterRcnn(3).state_dict()) >= TORCHVISION


def test_the_static_export_reads_every_weight_of_faster_rcnn(tmp_path):
    state = faster_rcnn.FasterRcnn(3).state_dict()
    weights = {name: value.float().numpy() for name, value in state.items()}
    outputs = static_graph(weights, SIZE, tmp_path / "model.pth").graph.output
    assert [one.name for one in outputs] == [
        "proposals", "objectness", "class_logits", "box_deltas",
    ]  # fmt: skip


def test_the_exported_yolo_is_recognised_by_its_family(tmp_path):
    path, labels = tmp_path / "model.onnx", ("box", "can", "tote")
    yolo.export(yolo.Yolo(3), SIZE, labels, str(path))

    adapted = understand(Order(path, "yolo", "1"))

    assert (adapted.family.name, adapted.labels) == ("ultralytics", labels)
    assert adapted.input.resolution_wh == SIZE


def test_the_checkpoint_of_faster_rcnn_is_recognised_by_its_family(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(faster_rcnn.FasterRcnn(3).state_dict(), path)

    adapted = understand(Order(path, "faster", "1", size_wh=SIZE, proposals=30))

    assert (adapted.family.name, adapted.recognised.label_count) == ("faster-rcnn", 3)
    assert adapted.network.outputs["proposals"] == (1, 30, 4)
