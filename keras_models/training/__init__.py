"""Training: recipes as data, a stage as Keras fits it, and the run folder that it leaves."""
