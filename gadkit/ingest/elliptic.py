"""What each file of Elliptic and Elliptic++ is, and how it is ingested.

Source: https://github.com/git-disl/EllipticPlusPlus, and the columns of its files.
"""

from collections.abc import Sequence

_WITH_LABELS = "events are AddrAddr_edgelist.csv with --labels wallets_classes.csv, or "
_WITH_LABELS += "txs_edgelist.csv with --labels txs_classes.csv"
_FILES = (  # columns that a file has, and what to do with it
    (("address", "class"), f"holds wallets with their classes, and no events; {_WITH_LABELS}"),
    (("txId", "class"), f"holds transactions with their classes, and no events; {_WITH_LABELS}"),
    (("address", "Time step"), f"holds features of wallets, and no events; {_WITH_LABELS}"),
    (("txId", "Time step"), f"holds features of transactions, and no events; {_WITH_LABELS}"),
)  # fmt: skip


def hint(present: Sequence[str]) -> str:
    """Say what a table of Elliptic++ is for, by its columns; "" where it is none.

    The columns of two that are looked for are the only ones of a list of edges or classes; those of
    features come with more.
    """
    for columns, what in _FILES:
        if set(columns) <= set(present):
            return f"; if this is of Elliptic++: it {what}"
    return ""
