"""Training: the Learner, rollouts, the loop, and what makes a run resumable.

Import from the modules: ``learner``, ``rollouts``, ``on_policy``, ``loop``, ``optimizers``,
``kl_control``, ``checkpoint``, ``run_state``, ``run_directory``. The package itself imports nothing,
so that reading a run does not load TensorFlow.
"""
