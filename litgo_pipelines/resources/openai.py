"""OpenAI as a Dagster resource: one question, one structured answer, under the policy for external services.

Optional: without OPENAI_API_KEY nothing here is called. What is asked, and what an answer means, is the caller's.
"""

import os
from typing import Any, Literal

import dagster as dg
from pydantic import PrivateAttr

from litgo_pipelines.resources.bounded import Answer
from litgo_pipelines.resources.external_service import ExternalService, ServiceFailure, json_of

Reason = Literal["timeout", "unavailable", "rejected", "refused", "invalid", "skipped"]
REASONS: dict[str, Reason] = {
    "timeout": "timeout", "unavailable": "unavailable", "rate_limited": "unavailable", "rejected": "rejected",
    "certificate": "rejected", "invalid": "invalid", "circuit_open": "skipped",
}  # fmt: skip
MAX_TOKENS = 1_000


class OpenAIFailed(RuntimeError):
    """No answer that can be used. `reason`: timeout and unavailable (connection, 429, 5xx) are transient; rejected
    (other 4xx: key, model, request) stays until somebody acts; refused and invalid are about this one text; skipped:
    not asked, the circuit breaker is open."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class OpenAI(dg.ConfigurableResource):
    """The key is not a field, for Dagster shows a resource's fields: it is read from OPENAI_API_KEY at the call.

    `timeout_seconds` is for one attempt, `deadline_seconds` for all; `database_url`: where breaker and metrics are.
    """

    model: str = "gpt-4.1-mini"
    base_url: str | None = None
    timeout_seconds: float = 30.0
    deadline_seconds: float = 60.0
    fallback_enabled: bool = True
    database_url: str | None = None

    _service: ExternalService | None = PrivateAttr(default=None)

    @property
    def configured(self) -> bool:
        return bool(os.environ.get("OPENAI_API_KEY"))

    @property
    def service(self) -> ExternalService:
        if self._service is None:
            self._service = ExternalService("openai", self.timeout_seconds, self.deadline_seconds, self.database_url)
        return self._service

    def structured(self, *, instructions: str, text: str, name: str, schema: dict[str, Any]) -> str:
        """The answer as JSON text, as the model wrote it: the caller validates. `text` must hold no personal data.

        Raises OpenAIFailed, at the latest after deadline_seconds in all; no message of it holds the text or the answer.
        """
        try:
            choice = self.service.call(
                "chat_completion",
                "POST",
                f"{(self.base_url or 'https://api.openai.com/v1').rstrip('/')}/chat/completions",
                headers={"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"},
                json_body={
                    "model": self.model,
                    "messages": [{"role": "system", "content": instructions}, {"role": "user", "content": text}],
                    "response_format": {
                        "type": "json_schema",
                        "json_schema": {"name": name, "schema": schema, "strict": True},
                    },
                    "max_completion_tokens": MAX_TOKENS,
                    "store": False,
                },
                read=_choice,
            )
        except ServiceFailure as failure:
            raise OpenAIFailed(REASONS[failure.reason], str(failure)) from failure
        if choice["message"].get("refusal") or choice["finish_reason"] == "content_filter":
            raise OpenAIFailed("refused", "the model refused to answer")
        if choice["finish_reason"] != "stop" or not isinstance(choice["message"]["content"], str):
            raise OpenAIFailed("invalid", "the answer did not end by itself")
        return choice["message"]["content"]


def _choice(answer: Answer) -> dict[str, Any]:
    choice = json_of(answer)["choices"][0]
    return {"message": {**choice["message"]}, "finish_reason": choice["finish_reason"]}
