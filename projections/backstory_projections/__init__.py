"""Read models of agents, tasks, memories and swarms.

They are folded from the events of `backstory_aggregates` alone, so they can be thrown away and
built again at any time. Fields that an event leaves open stay None; an event without a time of its
own happened when the store recorded it.
"""

from backstory_projections.agent_state import (
    AgentHealth,
    AgentRow,
    AgentState,
    CompletionMetrics,
)
from backstory_projections.memory_index import MemoryIndex, MemoryRow, NamespaceUsage
from backstory_projections.swarm_state import Milestone, SwarmFault, SwarmRow, SwarmState
from backstory_projections.task_history import TaskHistory, TaskRow

__all__ = [
    "AgentHealth",
    "AgentRow",
    "AgentState",
    "CompletionMetrics",
    "MemoryIndex",
    "MemoryRow",
    "Milestone",
    "NamespaceUsage",
    "SwarmFault",
    "SwarmRow",
    "SwarmState",
    "TaskHistory",
    "TaskRow",
]
