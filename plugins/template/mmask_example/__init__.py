"""mmask-example: masked pretraining of one-dimensional signals."""
