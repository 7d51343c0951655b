"""A training shared by two processes on one machine."""

from __future__ import annotations

import os
import socket
import subprocess

from torch.distributed import TCPStore

LIMIT_S = 300


def run_in_two_processes(*command: str) -> None:
    """Runs a program as both ranks of a group, as torchrun would, and waits for both.

    The processes meet at a store of the caller: it holds its port from the first moment, where `--standalone` frees a port for
    rank 0 to bind later, which another process may take in between. The group talks over the loopback device, whatever
    the machine's host name means.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "GLOO_SOCKET_IFNAME": next(name for _, name in socket.if_nameindex() if name.startswith("lo")),
        "ACCELERATE_USE_CPU": "true",
    }
    ranks = [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [rank.communicate(timeout=LIMIT_S)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(outputs)
