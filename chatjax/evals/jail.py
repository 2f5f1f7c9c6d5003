"""Runs a Python program that nobody has read, and says how it ended.

Started by `sandbox.run` as `python -s -S -P jail.py FD`, in an empty folder,
never imported. It reads a JSON job from its standard input, gives up what it
could do harm with, runs the program, and writes what became of it to the
descriptor FD:

  {"layers": [...]}             before the program has a say
  {"nonce": ..., "error": ...}  after it; without the nonce nothing counts

Layers: `limits` (processor time, memory, sizes and numbers of files),
`capabilities` (root's are given up), `files` (Landlock: nothing is written
outside of the folder), `calls` (seccomp: no sockets, no processes or threads,
no signals to others). Each of them is Linux's, the limits any Unix's; one that
the system lacks is left out and not in the list.
"""

import ctypes
import json
import os
import platform
import re
import resource
import struct
import sys

_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER_MODE = 38, 22, 2
_CAPABILITY_VERSION = 0x20080522
# Landlock has the same numbers on all machines.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
# Bits of Landlock's rights: writing, removing, making, linking, cutting, and
# commands for devices. Each version of the interface knows some more.
_WRITE_RIGHTS = {1: 0x1FF2, 2: 0x3FF2, 3: 0x7FF2, 5: 0xFFF2}
_AUDIT_ARCH = {'x86_64': 0xC000003E, 'aarch64': 0xC00000B7}
_MACHINES = ('x86_64', 'aarch64')
# Name: (number on x86_64, on aarch64); None is a call that is not there.
_REFUSED_CALLS = {
    'socket': (41, 198), 'socketpair': (53, 199),
    'clone': (56, 220), 'fork': (57, None), 'vfork': (58, None),
    'clone3': (435, 435), 'execve': (59, 221), 'execveat': (322, 281),
    'kill': (62, 129), 'tkill': (200, 130), 'tgkill': (234, 131),
    'rt_sigqueueinfo': (129, 138), 'rt_tgsigqueueinfo': (297, 240),
    'pidfd_send_signal': (424, 424), 'pidfd_open': (434, 434),
    'ptrace': (101, 117), 'process_vm_readv': (310, 270),
    'process_vm_writev': (311, 271), 'setrlimit': (160, 164),
    'prlimit64': (302, 261), 'setpriority': (141, 140),
    'sched_setaffinity': (203, 122), 'sched_setscheduler': (144, 119),
    'io_uring_setup': (425, 425), 'unshare': (272, 97), 'setns': (308, 268),
    'mount': (165, 40), 'umount2': (166, 39), 'chroot': (161, 51),
    'keyctl': (250, 219), 'add_key': (248, 217), 'bpf': (321, 280),
    'perf_event_open': (298, 241), 'userfaultfd': (323, 282),
    'shmget': (29, 194), 'msgget': (68, 186), 'semget': (64, 190),
    'chmod': (90, None), 'fchmod': (91, 52), 'fchmodat': (268, 53),
    'chown': (92, None), 'lchown': (94, None), 'fchown': (93, 55),
    'fchownat': (260, 54), 'utime': (132, None), 'utimes': (235, None),
    'futimesat': (261, None), 'utimensat': (280, 88),
    'fchmodat2': (452, 452), 'setxattr': (188, 5), 'lsetxattr': (189, 6),
    'fsetxattr': (190, 7),
    # Landlock before its version 3 knows no truncation. They are refused on
    # every kernel, so that an answer has the same score on all.
    'truncate': (76, 45), 'openat2': (437, 437),
}  # fmt: skip
# Name: (number on x86_64, on aarch64), and where its flags lie in what a filter
# reads. Opening cuts a file off (O_TRUNC) without the right to write if it is
# not opened for writing, which that Landlock does not see either.
_OPENING_CALLS = {'open': ((2, None), 24), 'openat': ((257, 56), 32)}
_TRUNCATION_KNOWN = 3
_EPERM = 1
_MAX_TOLD = 300
_ADDRESS = re.compile('0x[0-9a-f]{6,}')


def _call(number: int, *arguments: object) -> int:
  """One system call by its number; raises OSError."""
  libc = ctypes.CDLL(None, use_errno=True)
  result = libc.syscall(ctypes.c_long(number), *arguments)
  if result < 0:
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code))
  return result


def _prctl(*arguments: object) -> None:
  libc = ctypes.CDLL(None, use_errno=True)
  padded = [*arguments, *[0] * (5 - len(arguments))]
  if libc.prctl(*(ctypes.c_void_p(one) for one in padded)):
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code))


def _limit(limits: dict) -> None:
  for name, (soft, hard) in limits.items():
    resource.setrlimit(getattr(resource, name), (soft, hard))


def _drop_capabilities() -> None:
  libc = ctypes.CDLL(None, use_errno=True)
  header = struct.pack('=Ii', _CAPABILITY_VERSION, 0)
  if libc.capset(header, bytes(24)):
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code))


def _close_files(folder: str) -> int:
  """Lets Landlock refuse whatever would change a file outside of a folder.

  Returns: the version of its rights that were taken.
  """
  version = _call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
  version = max(known for known in _WRITE_RIGHTS if known <= version)
  rights = _WRITE_RIGHTS[version]
  handled = struct.pack('=Q', rights)
  rules = _call(
    _CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), ctypes.c_uint32(0)
  )
  inside = os.open(folder, os.O_PATH | os.O_DIRECTORY)
  rule = struct.pack('=Qi', rights, inside)
  _call(_ADD_RULE, ctypes.c_int(rules), ctypes.c_int(1), rule, ctypes.c_uint(0))
  _call(_RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint32(0))
  os.close(inside)
  os.close(rules)
  return version


def _filter(machine: str) -> bytes:
  """A program of seccomp that answers refused calls with EPERM."""
  column = _MACHINES.index(machine)
  numbers = [row[column] for row in _REFUSED_CALLS.values()]
  numbers = [number for number in numbers if number is not None]

  def step(code, if_true, if_false, value):
    return struct.pack('=HBBI', code, if_true, if_false, value)

  load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
  has_any, keep_bits = 0x45, 0x54
  refuse, allow = 0x00050000 | _EPERM, 0x7FFF0000
  opening = []
  for rows, place in _OPENING_CALLS.values():
    if rows[column] is not None:
      opening += [
        step(equal, 0, 7, rows[column]),
        step(load, 0, 0, place),
        step(has_any, 0, 3, os.O_TRUNC),
        step(keep_bits, 0, 0, os.O_ACCMODE),
        step(equal, 1, 0, os.O_WRONLY),
        step(equal, 0, 1, os.O_RDWR),
        step(give, 0, 0, allow),
        step(give, 0, 0, refuse),
      ]
  steps = [
    step(load, 0, 0, 4),
    step(equal, 1, 0, _AUDIT_ARCH[machine]),
    step(give, 0, 0, refuse),
    step(load, 0, 0, 0),
    # x86_64 has all calls a second time from there on.
    step(at_least, len(numbers) + len(opening) + 1, 0, 0x40000000),
  ]
  for index, number in enumerate(numbers):
    away = len(numbers) - index + len(opening)
    steps.append(step(equal, away, 0, number))
  steps += [*opening, step(give, 0, 0, allow), step(give, 0, 0, refuse)]
  return b''.join(steps)


def _close_calls() -> None:
  program = _filter(platform.machine())
  kept = ctypes.create_string_buffer(program, len(program))
  head = struct.pack('@HP', len(program) // 8, ctypes.addressof(kept))
  held = ctypes.create_string_buffer(head, len(head))
  _prctl(_SET_SECCOMP, _FILTER_MODE, ctypes.addressof(held))


def _lock_up(job: dict) -> list[str]:
  """Gives up all that can be given up here; returns what that was."""
  _limit(job['limits'])
  done = ['limits']
  if sys.platform != 'linux':
    return done
  version = None

  def close_files():
    nonlocal version
    version = _close_files(os.getcwd())

  for name, close in (
    ('capabilities', _drop_capabilities),
    ('files', close_files),
    ('calls', _close_calls),
  ):
    try:
      if name != 'capabilities':
        _prctl(_NO_NEW_PRIVS, 1)
      close()
    except (OSError, ValueError, AttributeError):
      continue  # a kernel without it, or one that forbids it
    done.append(name)
  if 'files' in done and 'calls' not in done and version < _TRUNCATION_KNOWN:
    done.remove('files')  # what others wrote could still be cut off
  return done


def _run(program: str) -> str | None:
  """Runs a program as `__main__`; returns what it raised."""
  try:
    exec(compile(program, '<answer>', 'exec'), {'__name__': '__main__'})
  except BaseException as error:  # noqa: BLE001 - whatever it may be
    try:
      text = f'{type(error).__name__}: {error}'
    except BaseException:  # noqa: BLE001 - its words may raise, too
      text = type(error).__name__
    text = _ADDRESS.sub('0x...', text)  # another one every time
    return ' '.join(text.split())[:_MAX_TOLD].rstrip(': ')
  return None


def main() -> None:
  told = int(sys.argv[1])
  job = json.load(sys.stdin)
  nothing = os.open(os.devnull, os.O_RDWR)
  for descriptor in (0, 1, 2):
    os.dup2(nothing, descriptor)
  layers = _lock_up(job)
  # Names that a program may change.
  write, leave, dump = os.write, os._exit, json.dumps
  nonce = job.pop('nonce')
  write(told, f'{dump({"layers": layers})}\n'.encode())
  error = _run(job['program'])
  write(told, f'{dump({"nonce": nonce, "error": error})}\n'.encode())
  leave(0)


if __name__ == '__main__':
  main()
