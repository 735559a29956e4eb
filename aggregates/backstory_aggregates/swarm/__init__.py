"""Swarms: agents that work together, and the ids of their members."""

from backstory_aggregates.swarm.aggregate import (
    Swarm,
    SwarmAgentCountError,
    SwarmAlreadyInitializedError,
    SwarmError,
    SwarmMilestoneAlreadyReachedError,
    SwarmNotRunningError,
)
from backstory_aggregates.swarm.events import (
    SwarmErrorOccurred,
    SwarmInitialized,
    SwarmMilestoneReached,
    SwarmPhaseChanged,
    SwarmScaled,
    SwarmTerminated,
    member_id,
    split_member_id,
    swarm_id,
)

__all__ = [
    "Swarm",
    "SwarmAgentCountError",
    "SwarmAlreadyInitializedError",
    "SwarmError",
    "SwarmErrorOccurred",
    "SwarmInitialized",
    "SwarmMilestoneAlreadyReachedError",
    "SwarmMilestoneReached",
    "SwarmNotRunningError",
    "SwarmPhaseChanged",
    "SwarmScaled",
    "SwarmTerminated",
    "member_id",
    "split_member_id",
    "swarm_id",
]
