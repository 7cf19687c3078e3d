"""Tours: the MDP of text generation in Gymnasium and in TF-Agents, to be read from top to bottom."""
