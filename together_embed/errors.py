"""What can go wrong: first by whose fault it is, then by what to do about it.

    EmbeddingsError
    ├── ConfigurationError (ValueError)       a setting is wrong; nothing was sent
    ├── InputError (ValueError)               a text cannot be sent; nothing was sent
    ├── DeadlineExceededError (TimeoutError)  the call's own time is over
    ├── ModelDriftError                       the model differs from the stored one
    ├── store.StoreError                      the file of a strict store cannot be used
    └── RequestError                          a request failed; see attempts
        ├── ConnectionFailedError (ConnectionError)  no connection, or it was lost
        │   └── CertificateError                     its certificate is not trusted
        ├── RequestTimeoutError (TimeoutError)       no complete response in time
        ├── InvalidResponseError                     a 200 with an invalid body
        └── StatusError                              any other status
            ├── RedirectError             3xx: none is followed
            ├── BadRequestError           400
            ├── AuthenticationError       401
            ├── PaymentRequiredError      402
            ├── ForbiddenError            403
            ├── NotFoundError             404
            ├── ModelNotAvailableError    400, 404 with code model_not_available
            ├── PayloadTooLargeError      413
            ├── UnprocessableError        422
            ├── RateLimitError            429
            └── ServerError               5xx
                ├── InternalServerError   500
                ├── OverloadedError       503
                │   └── NoReplicaError    503 routing_error: no replica is up
                └── GatewayTimeoutError   504, and 408

`transient` on a class says whether it is retried. All of these can be pickled, and none
contains a key or a whole text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from together_embed.partial import Partial

__all__ = [
    "Attempt",
    "AuthenticationError",
    "BadRequestError",
    "CertificateError",
    "ConfigurationError",
    "ConnectionFailedError",
    "DeadlineExceededError",
    "EmbeddingsError",
    "ForbiddenError",
    "GatewayTimeoutError",
    "InputError",
    "InternalServerError",
    "InvalidResponseError",
    "LongInputWarning",
    "ModelDriftError",
    "ModelDriftWarning",
    "ModelNotAvailableError",
    "NoReplicaError",
    "NotFoundError",
    "OverloadedError",
    "PayloadTooLargeError",
    "PaymentRequiredError",
    "RateLimitError",
    "RedirectError",
    "RequestError",
    "RequestTimeoutError",
    "RoleDriftWarning",
    "ServerError",
    "StatusError",
    "UnprocessableError",
]


@dataclass(frozen=True)
class Attempt:
    """One request that failed.

    Attributes:
        status: The HTTP status, None where there was no response.
        reason: What was wrong, in a few words.
        seconds: From sending the request until it failed.
    """

    status: int | None
    reason: str
    seconds: float


class EmbeddingsError(Exception):
    """Anything that this library raises on purpose.

    Attributes:
        message: What happened, without the advice that `str()` adds.
        indices: Which of the call's texts are concerned, counted from 0.
        attempts: Each failed request for them, the oldest first.
        length: The text's length in characters, where a single text was refused.
        partial: What the call did get; see also `results`, `failures`, `remaining` and
            `resume`.
    """

    advice: ClassVar[str] = ""
    transient: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        indices: tuple[int, ...] = (),
        attempts: tuple[Attempt, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.indices = indices
        self.attempts = attempts
        self.length: int | None = None
        self.partial: Partial | None = None

    @property
    def results(self) -> dict[int, Any]:
        """The vectors that the call did get, by the index of their text."""
        return {} if self.partial is None else self.partial.results

    @property
    def failures(self) -> dict[int, EmbeddingsError]:
        """The errors of the texts that failed, by the index of the text."""
        return {} if self.partial is None else self.partial.failures

    @property
    def remaining(self) -> tuple[int, ...]:
        """The indices of the texts that have neither a vector nor an error."""
        return () if self.partial is None else self.partial.remaining

    def resume(self) -> list[list[float]]:
        """Embed what failed or remained again, and return all vectors in order.

        Raises:
            EmbeddingsError: Some texts still failed, or the call cannot be resumed.
        """
        if self.partial is None:
            raise self
        return self.partial.resume()

    async def aresume(self) -> list[list[float]]:
        """Do what `resume` does, as a coroutine on the running loop."""
        if self.partial is None:
            raise self
        return await self.partial.aresume()

    def __str__(self) -> str:
        parts = [self._headline()]
        if self.indices:
            size = "" if self.length is None else f" of {self.length:,} characters"
            parts.append(f"{_spell(self.indices)}{size}")
        if len(self.attempts) > 1:
            spent = sum(attempt.seconds for attempt in self.attempts)
            parts.append(f"{len(self.attempts)} attempts, {spent:.1f} s in requests")
        text = parts[0] if len(parts) == 1 else f"{parts[0]} ({'; '.join(parts[1:])})"
        return f"{text}. {self.advice}" if self.advice else text

    def _headline(self) -> str:
        return self.message.rstrip(".")

    def __reduce__(self) -> tuple[Any, ...]:
        # The state goes by itself: an error may stand in its own `partial`.
        return _blank, (type(self), self.args), self.__dict__


def _blank(kind: type[EmbeddingsError], args: tuple[Any, ...]) -> EmbeddingsError:
    error = kind.__new__(kind, *args)
    error.args = args
    return error


def _spell(indices: tuple[int, ...]) -> str:
    """Name the inputs in a few characters, however many they are."""
    if len(indices) == 1:
        return f"input {indices[0]}"
    first, last = indices[0], indices[-1]
    if last - first + 1 == len(indices):
        return f"inputs {first} to {last}"
    shown = ", ".join(map(str, indices[:5]))
    more = f", … ({len(indices)} in all)" if len(indices) > 5 else ""
    return f"inputs {shown}{more}"


class ConfigurationError(EmbeddingsError, ValueError):
    """A setting is wrong or missing. Nothing was sent."""


class InputError(EmbeddingsError, ValueError):
    """A text cannot be sent as it is. Nothing was sent."""


class DeadlineExceededError(EmbeddingsError, TimeoutError):
    """The deadline of the whole call is over, retries and waits included."""

    advice = "Give the call a longer deadline, or fewer texts."


class ModelDriftError(EmbeddingsError):
    """The model's name, width or weights differ from those in the store."""

    advice = "Build a new index with a new cache, or ask for the old model."


class ModelDriftWarning(UserWarning):
    """The same, where the client was told to go on (`on_drift="warn"`)."""


class RoleDriftWarning(UserWarning):
    """The store's vectors of a model were made with another prefix for a role."""


class LongInputWarning(UserWarning):
    """Texts exceed the model's context, and were truncated or split as configured."""


class RequestError(EmbeddingsError):
    """A request failed for good; `attempts` tells how often it was tried."""


class ConnectionFailedError(RequestError, ConnectionError):
    """No connection could be made, or it was lost before the response was complete."""

    transient = True
    advice = "Check base_url, the network and the proxy settings."


class CertificateError(ConnectionFailedError):
    """The server's certificate is not trusted; it got neither the key nor a text."""

    transient = False
    advice = (
        "Check base_url's host and this machine's clock; name a private authority by "
        "REQUESTS_CA_BUNDLE or SSL_CERT_FILE."
    )


class RequestTimeoutError(RequestError, TimeoutError):
    """The response was not complete within the `timeout` of the request."""

    transient = True
    advice = "Raise timeout, or send fewer texts a request (batch_size)."


class InvalidResponseError(RequestError):
    """The server answered 200 with a body that is not a valid response."""

    transient = True
    advice = "None of its vectors was used. Check that base_url is an embeddings API."


class StatusError(RequestError):
    """The server answered with a status other than 200.

    Attributes:
        status: The HTTP status.
        type: The error's `type` as the server gave it, or None.
        param: The request field that the server names, or None.
        code: The error's `code` as text, or None.
        request_id: The server's name for this request, for its support, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        type: str | None = None,
        param: str | None = None,
        code: str | None = None,
        request_id: str | None = None,
        indices: tuple[int, ...] = (),
        attempts: tuple[Attempt, ...] = (),
    ) -> None:
        super().__init__(message, indices=indices, attempts=attempts)
        self.status = status
        self.type = type
        self.param = param
        self.code = code
        self.request_id = request_id

    def _headline(self) -> str:
        label = self.code or self.type
        tag = f"{self.status} {label}" if label else f"{self.status}"
        where = f" [request {self.request_id}]" if self.request_id else ""
        return f"{tag}: {self.message.rstrip('.')}{where}"


class RedirectError(StatusError):
    """3xx: the server redirects. Texts and key go to the configured URL only."""

    advice = "Set base_url to the final address."


class BadRequestError(StatusError):
    """400: the server does not accept the request as it is."""

    advice = "Check extra_body, dimensions and the texts named here."


class AuthenticationError(StatusError):
    """401: the server does not accept the key."""

    advice = "Check TOGETHER_API_KEY or api_key; the key is not shown here."


class PaymentRequiredError(StatusError):
    """402: the account cannot pay for the request."""

    advice = "Check the account's credit and billing."


class ForbiddenError(StatusError):
    """403: refused; Together documents it for texts over the model's context."""

    advice = "Shorten the texts named here, or check what the key may do."


class NotFoundError(StatusError):
    """404: there is no such route or model at this address."""

    advice = "Check base_url and the model's name."


class ModelNotAvailableError(StatusError):
    """400 or 404: the model exists, but is not available to this account here."""

    advice = (
        "Choose a model that your account lists, or start a dedicated deployment and "
        "use its endpoint name as model with base_url "
        "https://api-inference.together.ai/v1"
    )


class PayloadTooLargeError(StatusError):
    """413: the request's body is too large for the server."""

    advice = "Lower batch_size or max_batch_bytes, or shorten the texts."


class UnprocessableError(StatusError):
    """422: the server understood the request and cannot process it."""

    advice = (
        "Check the texts named here against the server's limits, or lower batch_size."
    )


class RateLimitError(StatusError):
    """429: more requests or tokens than the server grants, after all retries."""

    transient = True
    advice = "Set max_concurrency lower, allow more retries, or ask for a higher limit."


class ServerError(StatusError):
    """5xx, or a failure of the gateway in front with another status."""

    transient = True
    advice = "The server failed: try again later; quote the request id if there is one."


class InternalServerError(ServerError):
    """500: the server failed on the request."""


class OverloadedError(ServerError):
    """503: the server is overloaded."""


class NoReplicaError(OverloadedError):
    """503 `routing_error`: the dedicated deployment has no replica that is ready."""

    advice = (
        "A replica can take 20 minutes to start: check that the deployment is running, "
        "allow retries (max_retries), and give the call a longer deadline."
    )


class GatewayTimeoutError(ServerError):
    """504 or 408: the server behind the gateway did not answer in time."""


STATUSES: dict[int, type[StatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: ForbiddenError,
    404: NotFoundError,
    408: GatewayTimeoutError,
    413: PayloadTooLargeError,
    422: UnprocessableError,
    429: RateLimitError,
    500: InternalServerError,
    503: OverloadedError,
    504: GatewayTimeoutError,
}
"""The one table from status to error; `class_of` adds the ranges and the disguises."""


def class_of(
    status: int,
    *,
    type: str | None,
    code: str | None,
    message: str,
) -> type[StatusError]:
    """Choose the error class for an answer that is not a 200.

    Args:
        status: The HTTP status.
        type: The error's `type`, if it has one.
        code: The error's `code`, if it has one.
        message: The error's message; one passing fault shows only there.
    """
    if status in (400, 404) and code == "model_not_available":
        return ModelNotAvailableError
    if status == 503 and "routing_error" in (type, code):
        return NoReplicaError
    if status == 400 and "connection attempts failed" in message.lower():
        return ServerError
    if status in STATUSES:
        return STATUSES[status]
    if 300 <= status < 400:
        return RedirectError
    return ServerError if status >= 500 else StatusError
