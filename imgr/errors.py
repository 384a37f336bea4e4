"""What the command line tells a person instead of a traceback.

ImgrError
├── CannotServe       something this machine lacks, or a port in use
├── DownloadFailed    a checkpoint could not be fetched whole
├── ExportFailed      a checkpoint could not be exported
└── RepositoryError   the model repository is not as it must be
"""


class ImgrError(Exception):
    """Base of the errors that end a command; the message is one sentence a newcomer can act on."""


class CannotServe(ImgrError):
    """Something this machine lacks, or a port in use."""


class DownloadFailed(ImgrError):
    """A checkpoint could not be fetched whole."""


class ExportFailed(ImgrError):
    """A checkpoint could not be exported."""


class RepositoryError(ImgrError):
    """The model repository is not as it must be."""
