"""Where the stages meet: building a recipe, the step, the loop, checkpoints."""
