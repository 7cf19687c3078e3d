"""Tours: the same MDP as a Gymnasium environment and under TF-Agents, to be read from top to bottom."""
