"""What goes wrong while weights are fetched and read."""

from chatjax import types


class FetchError(types.ChatjaxError):
  """A file that could not be fetched, or is not the right one."""


class UnavailableError(FetchError):
  """One place that cannot serve; the message is a clause, not a sentence."""


class NoSpaceError(UnavailableError):
  """The disk is too small for what a place has; another may need less."""


class GGUFError(types.ChatjaxError, ValueError):
  """A GGUF file that cannot be read; names the file and the place in it."""


class SafetensorsError(types.ChatjaxError, ValueError):
  """A safetensors file that cannot be read; names the file and the tensor."""


class FolderError(types.ChatjaxError, ValueError):
  """A folder of weights that cannot be used; names what is wrong in it."""


class DataError(types.ChatjaxError, ValueError):
  """Numbers that cannot be weights; names the file and the tensor."""
