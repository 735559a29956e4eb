"""Read models of agents, tasks, memories and swarms.

They are folded from the events of `backstory_aggregates` alone, so they can be thrown away and
built again at any time. Fields that an event leaves open stay None; an event without a time of its
own happened when the store recorded it.

Each has two forms with the same rows and queries: in memory, and in tables of the store, where the
queries are coroutines and give pages.
"""

from backstory_projections.agent_state import (
    AgentHealth,
    AgentRow,
    AgentState,
    CompletionMetrics,
)
from backstory_projections.agent_table import AgentTable
from backstory_projections.memory_index import MemoryIndex, MemoryRow, NamespaceUsage
from backstory_projections.memory_table import MemoryTable
from backstory_projections.swarm_state import Milestone, SwarmFault, SwarmRow, SwarmState
from backstory_projections.swarm_table import SwarmTable
from backstory_projections.task_history import TaskHistory, TaskRow
from backstory_projections.task_table import TaskTable

__all__ = [
    "AgentHealth",
    "AgentRow",
    "AgentState",
    "AgentTable",
    "CompletionMetrics",
    "MemoryIndex",
    "MemoryRow",
    "MemoryTable",
    "Milestone",
    "NamespaceUsage",
    "SwarmFault",
    "SwarmRow",
    "SwarmState",
    "SwarmTable",
    "TaskHistory",
    "TaskRow",
    "TaskTable",
]
