"""Progress as lines: side by side, the jobs of a run stay readable. Imports no torch."""

import sys

from tqdm import tqdm


class Lines:
    """A stream on which tqdm prints one line per update instead of rewriting one."""

    def write(self, text: str) -> None:
        text = text.strip("\r\n ")
        if text:
            sys.stderr.write(text + "\n")

    def flush(self) -> None:
        sys.stderr.flush()


def progress(total: int, description: str, unit: str, initial: int = 0) -> tqdm:
    """A progress bar that speaks every ten seconds, in lines."""
    return tqdm(total=total, desc=description, unit=unit, initial=initial, file=Lines(), mininterval=10, maxinterval=10,
                delay=3, ascii=True, ncols=110)
