"""Run first by every kernel whose outputs are committed or compared: no bar of any kind is shown.

``TQDM_DISABLE`` does not do: a caller's ``disable=False`` outweighs it, and so does each bar that
tqdm draws as a widget. Every kind of bar passes through the one that is changed here.
"""

import tqdm


def _silence(make):
    def __init__(self, *arguments, **options):
        make(self, *arguments, **options | {"disable": True})

    return __init__


tqdm.tqdm.__init__ = _silence(tqdm.tqdm.__init__)
tqdm.tqdm.monitor_interval = 0  # no thread that watches them either
del tqdm, _silence  # a chapter begins with nothing defined
