"""Turns a text into a plan: stages with their nodes, steps, blocks."""
