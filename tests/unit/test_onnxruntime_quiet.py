"""ONNX Runtime, which reports to its makers unless told not to, is told so before it is loaded."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.needs("onnxruntime", "onnx", "cv2")


@pytest.mark.parametrize("loads", ["import edge, onnxruntime", "import engines.build"])
def test_nothing_is_kept_for_a_report_to_the_makers_of_onnx_runtime(loads, tmp_path):
    settings = {"ORT_DISABLE_TELEMETRY", "CI"}  # ours is to be what silences it
    environment = {key: value for key, value in os.environ.items() if key not in settings}
    homes = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}

    subprocess.run(
        [sys.executable, "-c", f"{loads}; import sys; assert 'onnxruntime' in sys.modules"],
        env=environment | homes,
        timeout=60,
        check=True,
    )

    assert list(tmp_path.iterdir()) == []
