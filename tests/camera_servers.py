"""Real counterparts on the loopback interface: Aravis' simulated camera, GStreamer's RTSP server.

apt-get install aravis-tools gir1.2-aravis-0.8 python3-gi
apt-get install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good
"""

import contextlib
import importlib.util
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

DEBIAN = Path("/usr/lib/python3/dist-packages")
FAKE = "arv-fake-gv-camera-0.8"
PYTHON = "/usr/bin/python3"

_RTSP = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer.new()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory.new()
factory.set_launch(
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=160,height=120,"
    "framerate=25/1"
    " ! jpegenc ! rtpjpegpay name=pay0 )"
)
factory.set_shared(True)
server.get_mount_points().add_factory("/part", factory)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
"""


def need_aravis() -> None:
    """Skips where Aravis is not installed; makes Debian's `gi` visible to this process."""
    if shutil.which(FAKE) is None:
        pytest.skip("no simulated GigE Vision camera: apt-get install aravis-tools")
    try:
        import gi
    except ImportError:
        if DEBIAN.is_dir():  # last: what this environment has comes first
            sys.path.append(str(DEBIAN))
    try:
        import gi

        gi.require_version("Aravis", "0.8")
    except (ImportError, ValueError):
        pytest.skip("no Aravis: apt-get install python3-gi gir1.2-aravis-0.8 (docs/cameras.md)")


def need_opencv() -> None:
    """Skips without it; does not import it, for that changes the environment."""
    if importlib.util.find_spec("cv2") is None:
        pytest.skip("no OpenCV: pip install 'invad-fast[opencv]'")


def need_rtsp() -> None:
    """Skips where there is no RTSP server, or no OpenCV."""
    need_opencv()
    code = "import gi; gi.require_version('GstRtspServer', '1.0')"
    if subprocess.run([PYTHON, "-c", code], capture_output=True).returncode:
        pytest.skip("no RTSP server: apt-get install gir1.2-gst-rtsp-server-1.0")


class GigeCamera:
    """A simulated camera that can be unplugged."""

    def __init__(self, serial: str, lost: int = 0, address: str = "127.0.0.1") -> None:
        self.serial, self.address = serial, address
        self._words = [FAKE, "-i", address, "-s", serial, "-r", str(lost)]
        self._process: subprocess.Popen | None = None

    def plug(self) -> None:
        self._process = subprocess.Popen(self._words, stdout=subprocess.DEVNULL)
        time.sleep(0.5)

    @property
    def ended(self) -> bool:
        """Whether it could not listen."""
        return self._process is None or self._process.poll() is not None

    def unplug(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def gige_camera(serial: str, lost: int = 0, address: str = "127.0.0.1") -> Iterator[GigeCamera]:
    """Listens while the block runs; ``lost`` of a thousand packets do not arrive."""
    made = GigeCamera(serial, lost, address)
    made.plug()
    try:
        yield made
    finally:
        made.unplug()


class RtspServer:
    """A live stream of 25 frames a second, 160×120, at ``url``."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"rtsp://127.0.0.1:{self.port}/part"
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [PYTHON, "-c", _RTSP, str(self.port)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None
