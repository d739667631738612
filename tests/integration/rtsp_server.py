"""A real RTSP server for tests: GStreamer's, as a process of its own that can be killed or stopped.

Run as a script by an interpreter that has gi and GstRtspServer (Debian: python3-gst-1.0,
gir1.2-gst-rtsp-server-1.0 and the GStreamer plugins), it serves a moving test picture at /cam.
"""

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

PYTHON = "/usr/bin/python3"
WIDTH, HEIGHT, FPS = 640, 360, 15
_ENCODERS = (
    ("x264enc", "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph264pay"),
    ("openh264enc", "openh264enc gop-size=15 ! rtph264pay"),
    ("jpegenc", "jpegenc ! rtpjpegpay"),
)
"""(element, pipeline that ends in a payloader): the first that is installed is used."""


@functools.cache
def missing() -> str:
    """Return what this machine lacks to serve RTSP, '' if nothing."""
    if not Path(PYTHON).exists():
        return f"no {PYTHON}"
    probe = subprocess.run(
        [PYTHON, __file__, "--probe"], capture_output=True, text=True, timeout=30, check=False
    )
    if probe.returncode:
        return f"no GStreamer RTSP server: {(probe.stderr.strip() or '?').splitlines()[-1]}"
    return ""


class RtspServer:
    """Serves on 127.0.0.1 until closed; the port stays the same over restarts."""

    def __init__(self, user: str = "", password: str = "") -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._login = [user, password] if user else []
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/cam"

    def start(self) -> None:
        command = [PYTHON, __file__, "--serve", str(self.port), *self._login]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        ready = self._process.stdout.readline()
        assert ready == "ready\n", f"the RTSP server did not start: {ready!r}"

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(5)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def freeze(self) -> None:
        """Stop serving without closing a connection, as a camera that hangs does."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


def _serve(port: int, login: list[str]) -> None:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    launch = next((line for name, line in _ENCODERS if Gst.ElementFactory.find(name)), None)
    if launch is None or not Gst.ElementFactory.find("videotestsrc"):
        sys.exit("GStreamer has no videotestsrc or no encoder")
    if not port:
        return
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( videotestsrc is-live=true ! "
        f"video/x-raw,width={WIDTH},height={HEIGHT},framerate={FPS}/1 ! {launch} name=pay0 )"
    )
    factory.set_shared(True)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    if login:
        _protect(GstRtspServer, server, factory, login)
    server.get_mount_points().add_factory("/cam", factory)
    server.attach(None)
    print("ready", flush=True)
    # Whoever started it may be killed before it can kill this.
    parent = os.getppid()
    loop = GLib.MainLoop()
    GLib.timeout_add_seconds(1, lambda: os.getppid() == parent or loop.quit())
    with contextlib.suppress(KeyboardInterrupt):
        loop.run()


def _protect(gst, server, factory, login: list[str]) -> None:
    auth, token = gst.RTSPAuth(), gst.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(gst.RTSPAuth.make_basic(*login), token)
    server.set_auth(auth)
    permissions = gst.RTSPPermissions()
    for what in ("access", "construct"):
        permissions.add_permission_for_role("viewer", f"media.factory.{what}", True)
    factory.set_permissions(permissions)


if __name__ == "__main__":
    if sys.argv[1] == "--probe":
        _serve(0, [])
    else:
        _serve(int(sys.argv[2]), sys.argv[3:])
