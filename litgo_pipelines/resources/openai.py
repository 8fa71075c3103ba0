"""OpenAI resource: structured answers and embeddings, by OpenAI's own client under the policy for external services.

Its client makes the request and ours sends it, so that deadline, size, trust and open connections are as everywhere;
its retries are off, the policy's are on. Optional: without OPENAI_API_KEY nothing here is called. What is asked, and
what an answer means, is the caller's.
"""

import base64
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from litgo_pipelines.resources.bounded import Answer, send
from litgo_pipelines.resources.external_service import MOST_BYTES, ExternalService, Refusal, ServiceFailure, json_of
from litgo_pipelines.resources.vendor import VendorResource
from litgo_pipelines.settings import secret

if TYPE_CHECKING:
    import httpx2
    import numpy as np
    import openai
    from numpy.typing import NDArray
    from openai.types.chat.chat_completion import Choice

T = TypeVar("T")
Reason = Literal["timeout", "unavailable", "rejected", "refused", "invalid", "skipped"]
REASONS: dict[str, Reason] = {
    "timeout": "timeout",
    "unavailable": "unavailable",
    "rate_limited": "unavailable",
    "rejected": "rejected",
    "certificate": "rejected",
    "invalid": "invalid",
    "circuit_open": "skipped",
}
MAX_TOKENS = 1_000
ENDS = "certificate_ends"  # of the server, beside a response
OF_THE_CONNECTION = ("host", "connection", "content-length", "accept-encoding")  # headers that are `send`'s to say

# model → dimension of its vectors
DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
# Limits of POST /embeddings: inputs per request, tokens an input and a request. A token of its byte-level BPE is at
# least one byte of UTF-8, so that bytes bound tokens for certain, without the vocabulary.
INPUTS, INPUT_TOKENS, REQUEST_TOKENS = 2_048, 8_192, 300_000
CODE = re.compile("[a-z][a-z0-9_]{1,59}")
_PAID = "the account's money or its monthly limit is used up: see to billing at OpenAI"
TO_DO = {
    **dict.fromkeys(("insufficient_quota", "billing_hard_limit_reached", "billing_not_active"), _PAID),
    **dict.fromkeys(("account_deactivated", "access_terminated"), "the account is closed: ask OpenAI"),
    "model_not_found": "the model is retired or not for this key: check OPENAI_TRIAGE_MODEL and OPENAI_EMBEDDING_MODEL",
}
NUMBER_BYTES = 40  # of a number in an answer, at most


class OpenAIFailed(RuntimeError):
    """No answer that can be used. `reason`: timeout and unavailable (connection, 429, 5xx) are transient; rejected
    (other 4xx: key, model, request) stays until somebody acts; refused and invalid are about this one text; skipped:
    not asked, the circuit breaker is open."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class OpenAI(VendorResource):
    """The key is not a field, for Dagster shows a resource's fields: it is read from OPENAI_API_KEY at the call."""

    SERVICE = "openai"

    model: str = "gpt-4.1-mini"
    embedding_model: str = "text-embedding-3-small"
    base_url: str | None = None
    timeout_seconds: float = 30.0
    deadline_seconds: float = 60.0

    @property
    def configured(self) -> bool:
        return bool(secret("OPENAI_API_KEY"))

    def _refusal(self, answer: Answer) -> Refusal:
        return refusal(answer)

    @property
    def dimension(self) -> int:
        """Of the embedding model's vectors. Raises ValueError for a model we know nothing of."""
        if self.embedding_model not in DIMENSIONS:
            raise ValueError(
                f"OPENAI_EMBEDDING_MODEL={self.embedding_model!r}: expected one of {', '.join(DIMENSIONS)}"
            )
        return DIMENSIONS[self.embedding_model]

    def structured(self, *, instructions: str, text: str, name: str, schema: dict[str, object]) -> str:
        """The answer as JSON text, as the model wrote it: the caller validates. `text` must hold no personal data.

        Raises OpenAIFailed, at the latest after timeout_seconds in all, retries included, for somebody waits for it; no
        message of it holds the text or the answer.
        """
        service = replace(self.service, deadline_seconds=min(self.timeout_seconds, self.deadline_seconds))
        try:
            choice = self._call(
                service,
                "chat_completion",
                lambda client: (
                    client.chat.completions.with_raw_response.create(
                        model=self.model,
                        messages=[{"role": "system", "content": instructions}, {"role": "user", "content": text}],
                        response_format={
                            "type": "json_schema",
                            "json_schema": {"name": name, "schema": schema, "strict": True},
                        },
                        max_completion_tokens=MAX_TOKENS,
                        store=False,
                    ).http_response
                ),
                _choice,
            )
        except ServiceFailure as failure:
            raise OpenAIFailed(REASONS[failure.reason], str(failure)) from failure
        if choice.message.refusal or choice.finish_reason == "content_filter":
            raise OpenAIFailed("refused", "the model refused to answer")
        if choice.finish_reason != "stop" or not isinstance(choice.message.content, str):
            raise OpenAIFailed("invalid", "the answer did not end by itself")
        return choice.message.content

    def embed(self, texts: Sequence[str], *, deadline_seconds: float | None = None) -> "NDArray[np.float32]":
        """(texts, dimension) float32 of length 1, in as few requests as the API's limits allow; of a text its first
        INPUT_TOKENS bytes are read. No text may be empty or hold personal data.

        `deadline_seconds`: of each request with its retries, where it is less than the resource's. Raises
        ServiceFailure (`invalid`: another count, order, dimension or model than asked for, NaN, a zero vector).
        """
        import numpy as np

        dimension, service = self.dimension, self.service
        if deadline_seconds is not None:
            service = replace(service, deadline_seconds=min(deadline_seconds, service.deadline_seconds))
        cut = [shortened(text) for text in texts]
        found = np.empty((len(texts), dimension), dtype=np.float32)
        for part in requests(cut):
            asked = cut[part]

            def read(answer: Answer, number: int = len(asked)) -> "NDArray[np.float32]":
                return vectors_of(json_of(answer), self.embedding_model, number, dimension)

            def ask(client: "openai.OpenAI", asked: list[str] = asked) -> "httpx2.Response":
                return client.embeddings.with_raw_response.create(
                    model=self.embedding_model, input=asked, encoding_format="float"
                ).http_response

            most_bytes = 2**16 + len(asked) * dimension * NUMBER_BYTES
            found[part] = self._call(service, "embeddings", ask, read, most_bytes)
        return found

    def _call(
        self,
        service: ExternalService,
        operation: str,
        ask: Callable[["openai.OpenAI"], "httpx2.Response"],
        read: Callable[[Answer], T],
        most_bytes: int = MOST_BYTES,
    ) -> T:
        """`ask`: one request of OpenAI's client."""
        import openai

        # Whatever OPENAI_LOG says: what it would write holds what was asked.
        logging.getLogger("openai").setLevel(logging.WARNING)

        url = self.base_url or "https://api.openai.com/v1"

        def attempt(seconds: float) -> Answer:
            with openai.DefaultHttpxClient(transport=_transport(seconds, most_bytes), follow_redirects=False) as sender:
                try:
                    client = openai.OpenAI(
                        api_key=secret("OPENAI_API_KEY"),
                        base_url=url,
                        max_retries=0,
                        timeout=seconds,
                        http_client=sender,
                    )
                    response = ask(client)
                except openai.APIStatusError as error:
                    response = error.response  # what it means, the policy says
                except UnicodeError as error:
                    raise ValueError(f"a request that cannot be sent ({type(error).__name__})") from None
            return Answer(response.status_code, dict(response.headers), response.content, response.extensions[ENDS])

        return service.call_by(operation, url, attempt, read)


def _transport(seconds: float, most_bytes: int) -> "httpx2.BaseTransport":
    """How a request of OpenAI's client goes out: once, within `seconds` in all, by this process's open connections."""
    import httpx2

    class Transport(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            headers = {name: value for name, value in request.headers.items() if name not in OF_THE_CONNECTION}
            answer = send(
                request.method,
                str(request.url),
                seconds=seconds,
                most_bytes=most_bytes,
                headers=headers,
                content=request.read(),
            )
            return httpx2.Response(
                answer.status,
                headers=dict(answer.headers),
                content=answer.body,
                extensions={ENDS: answer.certificate_ends},
            )

    return Transport()


def refusal(answer: Answer) -> Refusal:
    """OpenAI's `error.code`, or its `error.type` where that is null. A quota that is used up has the status of a limit,
    and does not pass by itself."""
    try:
        error = json_of(answer)["error"]
        said = [word for word in (error.get("code"), error.get("type")) if isinstance(word, str)]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return Refusal()
    words = [word for word in said if CODE.fullmatch(word)]
    known = next((word for word in words if word in TO_DO), None)
    return Refusal(known or next(iter(words), None), to_do=TO_DO[known] if known else None)


def shortened(text: str) -> str:
    """The beginning of a text that is certainly within the tokens of one input."""
    return text.encode()[:INPUT_TOKENS].decode(errors="ignore")


def requests(texts: Sequence[str]) -> Iterator[slice]:
    """Consecutive texts, each of at most INPUT_TOKENS bytes, cut into requests within the API's limits."""
    first = size = 0
    for row, text in enumerate(texts):
        more = len(text.encode())
        if row - first == INPUTS or size + more > REQUEST_TOKENS:
            yield slice(first, row)
            first, size = row, 0
        size += more
    if first < len(texts):
        yield slice(first, len(texts))


def vectors_of(answer: Any, model: str, number: int, dimension: int) -> "NDArray[np.float32]":
    """Vectors of an answer's JSON in the order of the texts, of length 1. Raises ValueError, LookupError, TypeError."""
    import numpy as np

    if not str(answer["model"]).startswith(model):
        raise ValueError("vectors of another model")
    rows = {row["index"]: _numbers(row["embedding"]) for row in answer["data"]}
    if len(answer["data"]) != number or set(rows) != set(range(number)):
        raise ValueError("another number or order of vectors")
    found = np.array([rows[row] for row in range(number)])
    if found.dtype.kind not in "if" or found.shape != (number, dimension):
        raise ValueError("vectors of another shape, or not of numbers")
    with np.errstate(over="ignore"):
        length = np.linalg.norm(found, axis=1, keepdims=True)
    if not (np.isfinite(length) & (length > 1e-6)).all():
        raise ValueError("a vector is zero or not finite")
    return np.asarray(found / length, dtype=np.float32)


def _numbers(vector: object) -> object:
    """A vector as it is asked for; as base64 of float32 where a gateway sends its own preference."""
    import numpy as np

    return np.frombuffer(base64.b64decode(vector, validate=True), "<f4") if isinstance(vector, str) else vector


def _choice(answer: Answer) -> "Choice":
    """The one choice of an answer, in OpenAI's own terms."""
    from openai.types.chat import ChatCompletion, ChatCompletionMessage

    choice = ChatCompletion.construct(**json_of(answer)).choices[0]
    if not isinstance(choice.message, ChatCompletionMessage):
        raise ValueError("a choice without a message")
    return choice
