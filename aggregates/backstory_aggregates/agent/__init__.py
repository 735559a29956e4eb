"""Agents: who works."""

from backstory_aggregates.agent.aggregate import (
    Agent,
    AgentAlreadyActiveError,
    AgentAlreadySpawnedError,
    AgentError,
    AgentNotActiveError,
    AgentNotSpawnedError,
    AgentTaskAlreadyAssignedError,
    AgentTaskNotAssignedError,
)
from backstory_aggregates.agent.events import (
    AgentFailed,
    AgentSpawned,
    AgentStarted,
    AgentStatusChanged,
    AgentStopped,
    AgentTaskAssigned,
    AgentTaskCompleted,
)

__all__ = [
    "Agent",
    "AgentAlreadyActiveError",
    "AgentAlreadySpawnedError",
    "AgentError",
    "AgentFailed",
    "AgentNotActiveError",
    "AgentNotSpawnedError",
    "AgentSpawned",
    "AgentStarted",
    "AgentStatusChanged",
    "AgentStopped",
    "AgentTaskAlreadyAssignedError",
    "AgentTaskAssigned",
    "AgentTaskCompleted",
    "AgentTaskNotAssignedError",
]
