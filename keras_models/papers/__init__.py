"""What the papers print: their tables, our counts beside them, and the plot of accuracy against parameters."""
