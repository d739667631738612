"""What a camera's source may be, and what a wrong one is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.capture.source import FORMS, Kind, parse_source, redact
from edge.errors import SourceError


@pytest.mark.parametrize(
    ("uri", "kind", "target", "options"),
    [
        ("v4l2:///dev/video0", Kind.V4L2, "/dev/video0", {}),
        (
            "v4l2:///dev/v4l/by-id/usb-cam?width=1280&height=720&fps=30",
            Kind.V4L2,
            "/dev/v4l/by-id/usb-cam",
            {"width": 1280, "height": 720, "fps": 30.0},
        ),
        ("csi://0", Kind.CSI, "0", {}),
        ("csi://1?fps=29.97", Kind.CSI, "1", {"fps": 29.97}),
        ("rtsp://10.0.7.12/stream1", Kind.RTSP, "rtsp://10.0.7.12/stream1", {}),
        (
            "rtsp://u:p%40ss@cam.north:8554/a?channel=1&x=2",
            Kind.RTSP,
            "rtsp://u:p%40ss@cam.north:8554/a?channel=1&x=2",
            {},
        ),
        ("rtsp://[fe80::1]:554/a", Kind.RTSP, "rtsp://[fe80::1]:554/a", {}),
        (
            "gst://videotestsrc ! video/x-raw,width=64 ! appsink",
            Kind.GST,
            "videotestsrc ! video/x-raw,width=64 ! appsink",
            {},
        ),
        ("gst://filesrc location=a%20b?c ! x", Kind.GST, "filesrc location=a%20b?c ! x", {}),
        ("file:///data/clip.mp4", Kind.FILE, "/data/clip.mp4", {}),
        ("file://localhost/data/clip.mp4", Kind.FILE, "/data/clip.mp4", {}),
        (
            "file:///my%20clips/50%25%3F%23.mp4?loop=1&realtime=1",
            Kind.FILE,
            "/my clips/50%?#.mp4",
            {"loop": True, "realtime": True},
        ),
        ("file:///a#1.mp4?loop=0", Kind.FILE, "/a#1.mp4", {"loop": False}),
        ("FILE:///clip.mp4", Kind.FILE, "/clip.mp4", {}),
        ("images:///photos/", Kind.IMAGES, "/photos/", {}),
        ("images:///photos?loop=1&fps=2.5", Kind.IMAGES, "/photos", {"loop": True, "fps": 2.5}),
    ],
)
def test_a_documented_form_is_understood(uri, kind, target, options):
    source = parse_source(uri)

    assert (source.kind, source.target) == (kind, target)
    given_options = {"loop": False, "realtime": False, "width": None, "height": None, "fps": None}
    given_options |= options
    assert {name: getattr(source, name) for name in given_options} == given_options


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("/dev/video0", "write v4l2:///dev/video0"),
        ("/data/clip.mp4", "write file:///data/clip.mp4"),
        ("clip.mp4", "write file:///path/to/clip.mp4"),
        ("/data/photos", "images:///data/photos for a folder"),
        ("0", "v4l2:///dev/video0 or csi://0"),
        ("", "a path is not a URI"),
        ("http://10.0.0.1/mjpeg", "http:// is not a kind of source"),
        ("file:clip.mp4", "write file:///path/clip.mp4"),
        ("file://clip.mp4", "expected an absolute path after file://, found a host"),
        ("file://", "expected an absolute path, found none"),
        ("file:///", "expected an absolute path, found none"),
        ("file:///a%00.mp4", "expected an absolute path"),
        ("file:///a.mp4?looop=1", "unknown option 'looop', known are loop, realtime"),
        ("file:///a.mp4?fps=5", "unknown option 'fps', known are loop, realtime"),
        ("file:///a.mp4?loop=yes", "option loop: expected 0 or 1, found 'yes'"),
        ("file:///a.mp4?loop", "option loop: expected 0 or 1, found ''"),
        ("file:///a.mp4?loop=1&loop=1", "option loop is given twice"),
        ("images:///a?fps=0", "option fps: expected frames per second"),
        ("images:///a?fps=nan", "option fps: expected frames per second"),
        ("v4l2:///dev/video0?width=-1", "option width: expected pixels"),
        ("v4l2://video0", "expected an absolute path after v4l2://, found a host"),
        ("csi://", "expected the sensor's number"),
        ("csi:///dev/video0", "expected the sensor's number"),
        ("csi://front", "expected the sensor's number"),
        ("rtsp://", "expected a host"),
        ("rtsp:///stream", "expected a host"),
        ("rtsp://cam:99999/a", "the host or port is wrong (percent-encode"),
        ("file://[/a", "the host or port is wrong"),
        ("rtsp://cam/a b", "expected a host"),
        ("gst://", "expected a pipeline, found none"),
        ("synthetic://attic", "expected one of shelf, aisle, mast"),
    ],
)
def test_a_wrong_source_is_told_what_to_write_instead(text, says):
    with pytest.raises(SourceError) as refused:
        parse_source(text)

    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_scheme_is_told_every_form():
    with pytest.raises(SourceError) as refused:
        parse_source("rtmp://cam/live")

    assert all(form in str(refused.value) for form in FORMS)


@pytest.mark.parametrize(
    "uri",
    [
        "rtsp://admin:hunter2@cam/stream",
        "rtsp://admin:hun@hunter2@cam/stream",
        "rtsp://admin:hunter2@cam/stream?password=hunter2",
        "rtsp://cam/user=admin_password=hunter2_channel=1",
        "gst://rtspsrc location=rtsp://admin:hunter2@cam/ ! decodebin",
        "gst://rtspsrc user-id=admin user-pw=hunter2 location=rtsp://cam ! decodebin",
    ],
)
def test_a_source_never_shows_its_password(uri):
    source = parse_source(uri)

    assert "hunter2" not in repr(source) + str(source) + source.uri
    assert "hunter2" in source.target


@pytest.mark.parametrize(
    "text",
    [
        "htps://admin:hunter2@cam/stream",
        "rtsp://admin:hun/hunter2@cam/stream",
        "rtsp://admin:hun hunter2@cam/stream",
        "rtsp://admin:hun\nhunter2@cam/stream",
        "rtsp://admin:hunter2@cam:port/stream",
        "rtsp://admin:hunter2@[bad/stream",
        "rtsp://admin:hunter2@/stream",
        "file://admin:hunter2@host/clip.mp4",
        "synthetic://admin:hunter2@x",
    ],
)
def test_a_refusal_never_shows_a_password(text):
    with pytest.raises(SourceError) as refused:
        parse_source(text)

    shown = str(refused.value) + repr(refused.value) + repr(refused.value.__cause__)
    assert "hunter2" not in shown


@given(
    st.text()
    | st.sampled_from(["file://", "rtsp://", "gst://", "x://"]).flatmap(
        lambda start: st.text().map(start.__add__)
    )
)
def test_any_text_is_understood_or_refused_in_one_line(text):
    try:
        shown = str(parse_source(text))
    except SourceError as refused:
        shown = str(refused)

    assert len(shown.splitlines()) == 1


@given(st.text("abcdef:@/%!", min_size=1))
def test_whatever_stands_before_an_at_sign_is_blotted_out(secret):
    assert redact(f"rtsp://user:{secret}Zz9@cam/x") == "rtsp://***@cam/x"


@pytest.mark.parametrize(
    ("uri", "live", "recorded"),
    [
        ("v4l2:///dev/video0", True, False),
        ("csi://0", True, False),
        ("rtsp://cam/x", True, False),
        ("gst://x", True, False),
        ("file:///a.mp4", False, True),
        ("file:///a.mp4?loop=1", False, True),
        ("file:///a.mp4?realtime=1", True, True),
        ("images:///a", False, True),
    ],
)
def test_what_is_live_and_what_is_recorded(uri, live, recorded):
    source = parse_source(uri)

    assert (source.live, source.recorded) == (live, recorded)
