"""A lane: calls to a component beside other calls to it, in the one process that it has."""

from __future__ import annotations

from fobench.process_host.host import ProcessHost


class Lane(ProcessHost):
    """Calls to the twin of a component (`component.twin()`), from one thread, while other lanes' calls are answered.

    A call that hangs loses this lane alone: the next call opens another one, and the thread that hangs is left behind. Where the
    process ends, the calls of all lanes fail, and the next one starts it again.
    """

    def __init__(self, host: ProcessHost) -> None:
        self._host, self.time_limit_s, self._notes, self._lock = host, host.time_limit_s, host._notes, host._lock
        self._process, self._channel, self.losses = None, None, 0

    def start(self) -> None:
        if self._process is None:
            self._process, self._channel = self._host.open_lane()

    def stop(self) -> None:
        """Ends this lane; what its twin does is closed when it has ended."""
        channel, self._process, self._channel = self._channel, None, None
        if channel is not None:
            channel.close()

    def close(self) -> None:
        self.stop()
