"""How a text becomes a plan: what is known beforehand, stages and their nodes, steps, blocks."""
