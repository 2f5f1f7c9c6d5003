"""Grammars: what a text must be, as constraints on the next token."""
