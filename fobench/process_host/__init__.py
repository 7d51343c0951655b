"""A component in a process of its own: it can hang, crash or be killed without taking the run along, and it sees only what
it is sent. Calls are synchronous, each with a time limit.

The process leads a session of its own, apart from the terminal. It is ended together with all processes that it has started:
those of its group, and on Linux all that bear its tag in their environment, also if they have left the group.
"""

from fobench.process_host.child import note
from fobench.process_host.host import LOAD_LIMIT_S, TAG, ForeignType, ProcessHost
from fobench.process_host.lane import Lane

__all__ = ["LOAD_LIMIT_S", "TAG", "ForeignType", "Lane", "ProcessHost", "note"]
