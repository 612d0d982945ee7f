"""Two processes of one world, as torchrun would start them on one machine."""

import os
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE = 300  # seconds after which a hanging process fails its test


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def run_pair(script: str, *arguments: object) -> None:
    """Runs a script of this folder in both; fails where one of them does."""
    port = str(free_port())
    processes = []
    for rank in ("0", "1"):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, script, *map(str, arguments)]
        processes.append(subprocess.Popen(command, cwd=HERE, env=os.environ | place))
    try:
        assert [process.wait(PATIENCE) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
