"""What may differ between two texts that count as the same; by name."""

from __future__ import annotations

from collections.abc import Callable
import re
import string
import unicodedata

_ARTICLES = re.compile(r'\b(a|an|the)\b')
# A hyphen after a digit or a letter is none of a number: "10-5", "pages 2-7".
_SIGN = r'(?:(?<!\w)-)?'
_NUMBER = re.compile(rf'{_SIGN}\d[\d,]*(?:\.\d+)?|{_SIGN}\.\d+')
_MINUS = str.maketrans({'\u2212': '-'})  # typeset
_NO_PUNCTUATION = str.maketrans('', '', string.punctuation)


def none(text: str) -> str:
  """Nothing may differ."""
  return text


def strip(text: str) -> str:
  """White space around it."""
  return text.strip()


def lower(text: str) -> str:
  """White space around it, and case."""
  return text.strip().casefold()


def words(text: str) -> str:
  """Case, ASCII punctuation, English articles, and all white space.

  Example:
    >>> words('  The Eiffel  Tower.')
    'eiffel tower'
  """
  text = unicodedata.normalize('NFC', text).casefold()
  return ' '.join(_ARTICLES.sub(' ', text.translate(_NO_PUNCTUATION)).split())


def first_line(text: str) -> str:
  """All but its first line that is not blank, and white space around that."""
  return next((line.strip() for line in text.split('\n') if line.strip()), '')


def number(text: str) -> str:
  """All but its last number, and how that is written.

  Example:
    >>> number('So it is 1,250.50 or 7.0')
    '7'
  """
  found = _NUMBER.findall(text.translate(_MINUS))
  if not found:
    return ''
  whole, _, decimals = found[-1].replace(',', '').partition('.')
  decimals = decimals.rstrip('0')
  sign = '-' if whole.startswith('-') else ''
  whole = whole.lstrip('-').lstrip('0') or '0'
  value = f'{whole}.{decimals}' if decimals else whole
  return value if value == '0' else f'{sign}{value}'


def kept(name: str) -> str:
  """What an answer must be instead, in words."""
  return (
    f'a text of which the normalization {name!r} leaves something; change it,'
    " or 'normalize'"
  )


def loses(name: str, answer: str) -> bool:
  """Whether nothing is left of an answer: any empty text would be right."""
  return bool(answer.strip()) and not NORMALIZATIONS[name](answer)


NORMALIZATIONS: dict[str, Callable[[str], str]] = {
  'none': none,
  'strip': strip,
  'lower': lower,
  'words': words,
  'first_line': first_line,
  'number': number,
}
