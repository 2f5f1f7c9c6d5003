"""Stored completions, and what it takes to draw them again."""
