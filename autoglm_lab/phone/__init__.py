"""The phone world: apps, screens, actions, simulator, tasks, oracle, speech. Numpy and Pillow only."""
