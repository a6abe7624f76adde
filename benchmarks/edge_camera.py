"""A camera whose frames are known: MJPEG over HTTP, a loop of images."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facectl.demo import clip

WIDTH, HEIGHT = 640, 480


def loop_of(home: Path, people: Path | None) -> tuple[list[bytes], list[str]]:
    """The JPEG files of the camera's loop, and the label of each where it is known."""
    images: list[tuple[str, Any]] = []
    if people is None:
        video = home / "demo.mp4"
        clip.write(video)
        capture = cv2.VideoCapture(str(video))
        while capture.grab():
            images.append(("", capture.retrieve()[1]))
        images = images[:: max(1, len(images) // 40)]
    else:
        images = [
            (path.parent.name, cv2.imread(str(path)))
            for path in sorted((people / "unseen").glob("*/*.jpg"))
        ]
    # A frame without a face is answered by the client.
    images += [("", np.full((HEIGHT, WIDTH, 3), 90, np.uint8))] * max(1, len(images) // 10)
    files = [cv2.imencode(".jpg", framed(image))[1].tobytes() for _, image in images]
    return files, [label for label, _ in images]


def framed(image: Any) -> Any:
    """The image in the middle of a grey frame: a camera's frames have one size."""
    scale = min(WIDTH / image.shape[1], HEIGHT / image.shape[0])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    frame = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    top, left = (HEIGHT - small.shape[0]) // 2, (WIDTH - small.shape[1]) // 2
    frame[top : top + small.shape[0], left : left + small.shape[1]] = small
    return frame


class Camera:
    """An MJPEG stream over HTTP that begins its loop of frames anew for each connection."""

    def __init__(self, frames: list[bytes], fps: float) -> None:
        self.frames = frames
        self.stopped = threading.Event()
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if camera.stopped.is_set():
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                number = 0
                began = time.monotonic()
                while not camera.stopped.is_set():
                    file = frames[number % len(frames)]
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(file)}\r\n\r\n"
                    try:
                        self.wfile.write(b"--frame\r\n" + head.encode() + file + b"\r\n")
                    except OSError:
                        return
                    number += 1
                    camera.stopped.wait(max(0.0, began + number / fps - time.monotonic()))

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/stream.mjpg"
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def stop(self) -> None:
        """End the stream; a client that opens it again gets 404."""
        self.stopped.set()
