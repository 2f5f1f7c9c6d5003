"""Prompts whose answers repeat them: where guessing ahead pays."""

from __future__ import annotations

_CODE = """def total(prices, discounts):
    result = 0
    for price, discount in zip(prices, discounts):
        if price is None:
            raise ValueError("a price is missing")
        if discount is not None:
            price = price * (1 - discount)
        result = result + price
    return result


def average(prices, discounts):
    if not prices:
        return 0
    return total(prices, discounts) / len(prices)
"""
_TEXT = (
  'The committee met on Tuesday to discuss the new library building, its'
  ' opening hours and the budget for the coming year. It was decided that the'
  ' reading room stays open until nine in the evening, and that the children'
  ' have a floor of their own from the first of May.'
)


def edit(number: int) -> str:
  """Code that is to be printed again with one name changed."""
  return (
    f'Rename the variable result to amount_{number} in this Python code and'
    f' print the whole code again, nothing else:\n```python\n{_CODE}```'
  )


def quote(number: int) -> str:
  """A text that is to be repeated."""
  return f'Repeat this text word for word, text number {number}:\n{_TEXT}'
