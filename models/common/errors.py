"""What can go wrong with weights; each error is one sentence that says what to do."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A checkpoint that is damaged, unsafe, or not of the model that it is loaded into; the message names the file."""


class MissingWeights(FileNotFoundError):  # noqa: N818 - named for what it is, like FileNotFoundError
    """Published weights that are not on this machine; the message says what to put where."""


class BackendError(ValueError):
    """An operator was asked of a backend that cannot run it here; the message says why and which ones can."""
