"""Every error a client of the adapter can cause or meet.

ServiceError
├── InvalidRequest        400  the request contradicts itself or the image
│   └── InvalidPrompt     400  points, labels, box or mask make no prompt
├── Unauthorized          401  an API key is required and missing or wrong
├── ImageNotFound         404  unknown, expired or deleted image
├── ImageTooLarge         413  more bytes or pixels than the limits
├── UnsupportedImage      415  bytes that are no readable image
├── InvalidField          422  a field is missing or of the wrong type
├── Unavailable           503  cannot be served now; carries ``retry_after``
│   ├── Saturated         503  more work than fits
│   ├── TritonUnavailable 503  Triton does not answer
│   │   ├── NoTriton      503  what answers in Triton's place is none
│   │   ├── RegionUnknown 503  Triton has restarted and lost the memory it shared
│   │   └── VersionGone   503  Triton no longer serves the version asked for
│   ├── InvalidAnswer     503  the model answers with values that are no numbers
│   ├── NoModelInService  503  no encoder and decoder of one checkpoint are ready
│   ├── StoreUnavailable  503  uploads cannot be read or written
│   └── NoRoom            503  a request's body cannot be put down while it arrives
├── ClickTimeout          504  a click outlasted its time-out
└── InferenceTimeout      504  one inference outlasted its time-out

The message is one sentence for the client: what was wrong and what would be right. It never holds a
path, an internal address or a traceback.
"""

from http import HTTPStatus


class ServiceError(Exception):
    """Base of all errors that have an HTTP status of their own."""


class InvalidRequest(ServiceError):
    """The request contradicts itself or the image it names."""


class InvalidPrompt(InvalidRequest):
    """Points, labels, box or mask make no prompt for the image."""


class Unauthorized(ServiceError):
    """An API key is required, and missing or wrong."""


class ImageNotFound(ServiceError):
    """The image is unknown, expired or deleted."""


class ImageTooLarge(ServiceError):
    """More bytes or pixels than the limits allow."""


class UnsupportedImage(ServiceError):
    """Bytes that are no readable image."""


class InvalidField(ServiceError):
    """A field is missing or of the wrong type."""


class Unavailable(ServiceError):
    """The service cannot answer now, but may soon."""

    retry_after = 2  # seconds


class Saturated(Unavailable):
    """More work is waiting than the service admits."""


class TritonUnavailable(Unavailable):
    """Triton does not answer, or not sensibly."""


class NoTriton(TritonUnavailable):
    """What answers in Triton's place does not speak as Triton does."""


class RegionUnknown(TritonUnavailable):
    """Triton does not know the shared memory that a request refers to: it has restarted."""


class VersionGone(TritonUnavailable):
    """Triton no longer serves the model version that was asked for."""


class InvalidAnswer(Unavailable):
    """The model's answer holds values that are no numbers."""

    def __init__(self, model: str, version: int) -> None:
        super().__init__(
            f"version {version} of {model} answered with values that are no finite numbers; try again, "
            "and if that does not help have a sound export published"
        )


class NoModelInService(Unavailable):
    """No encoder and decoder of one checkpoint are ready together."""


class StoreUnavailable(Unavailable):
    """The object store can't be read or written."""


class NoRoom(Unavailable):
    """A request's body can't be put into the temporary folder while it arrives."""

    def __init__(self) -> None:
        super().__init__("there is no room for the request now; try again shortly")


class ClickTimeout(ServiceError):
    """A click outlasted its time-out."""


class InferenceTimeout(ServiceError):
    """One inference outlasted its time-out."""


STATUS: dict[type[ServiceError], HTTPStatus] = {
    InvalidRequest: HTTPStatus.BAD_REQUEST,
    Unauthorized: HTTPStatus.UNAUTHORIZED,
    ImageNotFound: HTTPStatus.NOT_FOUND,
    ImageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedImage: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    InvalidField: HTTPStatus.UNPROCESSABLE_ENTITY,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    ClickTimeout: HTTPStatus.GATEWAY_TIMEOUT,
    InferenceTimeout: HTTPStatus.GATEWAY_TIMEOUT,
}


def status_of(error: ServiceError) -> HTTPStatus:
    """Return the HTTP status of `error`: that of the nearest class in `STATUS`."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)
