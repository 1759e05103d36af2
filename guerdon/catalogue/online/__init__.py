"""Online RL: advantage estimators, shaping, combination."""
