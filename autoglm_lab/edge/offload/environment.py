"""The offloading world as a gymnasium environment, for learners of other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np

from autoglm_lab.edge.offload.simulation import Sampler, full_features
from autoglm_lab.edge.offload.world import ACTIONS, WAIT, World

try:
    import gymnasium
except ImportError as error:
    raise ImportError("the environment needs gymnasium: pip install gymnasium") from error

EPISODE_SLOTS = 500


class OffloadingEnv(gymnasium.Env[np.ndarray, np.int64]):
    """One phone. Observations are `full_features` as float32; an action that cannot be taken counts as to wait.

    Time goes on for ever, so that an episode is truncated after `slots` and never terminates: a learner bootstraps through its end.
    `info["possible"]` says which actions can be taken next.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  # the library's attribute

    def __init__(self, world: World, slots: int = EPISODE_SLOTS) -> None:
        self.world, self.slots, self.features = world, slots, full_features(world).astype(np.float32)
        self.action_space = gymnasium.spaces.Discrete(len(ACTIONS))
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, self.features.shape[1:], np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin with an idle phone; the observation is [features]."""
        super().reset(seed=seed)
        self.phone = Sampler(self.world, 1, int(self.np_random.integers(2**31)))
        self.slot = 0
        return self._look()

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Go on by one slot; the observation is [features]."""
        possible = self.phone.possible()[0, action]
        reward = float(self.phone.act(np.array([action if possible else WAIT]))[0])
        self.slot += 1
        observation, info = self._look()
        return observation, reward, False, self.slot >= self.slots, info

    def _look(self) -> tuple[np.ndarray, dict[str, Any]]:
        return self.features[self.phone.state[0]].copy(), {"possible": self.phone.possible()[0]}
