"""Agents, tasks, memories and swarms: the domain that comes with Backstory.

Each has a package of its own. Its `events` are the published language that read models, golden
files and other programs depend on; its `aggregate` decides. `backstory_aggregates.run_lines` brings
recorded runs of agent systems into a store, and out again.
"""

from backstory_aggregates.agent import Agent, AgentError
from backstory_aggregates.memory import Memory, MemoryRefusedError
from backstory_aggregates.swarm import Swarm, SwarmError, member_id, split_member_id, swarm_id
from backstory_aggregates.task import Task, TaskError

__all__ = [
    "Agent",
    "AgentError",
    "Memory",
    "MemoryRefusedError",
    "Swarm",
    "SwarmError",
    "Task",
    "TaskError",
    "member_id",
    "split_member_id",
    "swarm_id",
]
