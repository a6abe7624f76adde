"""Serves numbered JPEG files as an endless RTSP stream: `rtsp_server.py PATTERN PORT`.

It runs in the system's Python, which has the packages of Debian: gir1.2-gst-rtsp-server-1.0,
python3-gi, gstreamer1.0-plugins-good and gstreamer1.0-plugins-bad.
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

pattern, port = sys.argv[1:]
Gst.init(None)
missing = [name for name in ("jpegparse", "rtpjpegpay") if Gst.ElementFactory.find(name) is None]
if missing:
    sys.exit(f"GStreamer has no {', '.join(missing)}")
if port == "check":
    sys.exit()
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    f"( multifilesrc location={pattern} loop=true caps=image/jpeg,framerate=5/1 "
    "! jpegparse ! rtpjpegpay name=pay0 pt=26 )"
)
factory.set_shared(True)
server.get_mount_points().add_factory("/camera", factory)
server.attach(None)
GLib.MainLoop().run()
