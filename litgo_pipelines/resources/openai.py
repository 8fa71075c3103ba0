"""OpenAI's chat completions as a Dagster resource: one question, one structured answer, within one deadline.

Optional: without OPENAI_API_KEY nothing here is called. What is asked, and what an answer means, is the caller's.
"""

import asyncio
import os
from typing import Any, Literal

import dagster as dg

Reason = Literal["timeout", "unavailable", "rejected", "refused", "invalid"]
MAX_TOKENS = 1_000


class OpenAIFailed(RuntimeError):
    """No answer that can be used. `reason`: timeout and unavailable (connection, 429, 5xx) are transient; rejected
    (other 4xx: key, model, request) stays until somebody acts; refused and invalid are about this one text."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class OpenAI(dg.ConfigurableResource):
    """The key is not a field, for Dagster shows a resource's fields: it is read from OPENAI_API_KEY at the call."""

    model: str = "gpt-4.1-mini"
    base_url: str | None = None
    timeout_seconds: float = 30.0

    @property
    def configured(self) -> bool:
        return bool(os.environ.get("OPENAI_API_KEY"))

    def structured(self, *, instructions: str, text: str, name: str, schema: dict[str, Any]) -> str:
        """The answer as JSON text, as the model wrote it: the caller validates. `text` must hold no personal data.

        Raises OpenAIFailed, at the latest after timeout_seconds in all; no message of it holds the text or the answer.
        """
        try:
            return asyncio.run(self._ask(instructions, text, name, schema))
        except TimeoutError as error:
            raise OpenAIFailed("timeout", f"no answer within {self.timeout_seconds:g} s") from error

    async def _ask(self, instructions: str, text: str, name: str, schema: dict[str, Any]) -> str:
        # A client's timeout starts again with every byte; this one is for the whole of it, retries are the caller's.
        async with asyncio.timeout(self.timeout_seconds):
            try:
                import openai
            except ImportError as error:
                raise OpenAIFailed("rejected", "OPENAI_API_KEY is set, but `pip install openai` is missing") from error
            try:
                async with openai.AsyncOpenAI(
                    base_url=self.base_url, timeout=self.timeout_seconds, max_retries=0
                ) as client:
                    answer = await client.chat.completions.create(
                        model=self.model,
                        messages=[{"role": "system", "content": instructions}, {"role": "user", "content": text}],
                        response_format={
                            "type": "json_schema",
                            "json_schema": {"name": name, "schema": schema, "strict": True},
                        },
                        max_completion_tokens=MAX_TOKENS,
                        store=False,
                    )
                choice = answer.choices[0]
                if choice.message.refusal or choice.finish_reason == "content_filter":
                    raise OpenAIFailed("refused", "the model refused to answer")
                if choice.finish_reason != "stop" or not isinstance(choice.message.content, str):
                    raise OpenAIFailed("invalid", f"the answer ended with {choice.finish_reason!r}")
                return choice.message.content
            except openai.APITimeoutError as error:
                raise TimeoutError from error
            except openai.APIStatusError as error:
                transient = error.status_code in (408, 409, 429) or error.status_code >= 500
                reason: Reason = "unavailable" if transient else "rejected"
                raise OpenAIFailed(reason, f"HTTP {error.status_code}") from error
            except openai.APIConnectionError as error:
                raise OpenAIFailed("unavailable", "no connection") from error
            except (openai.OpenAIError, ValueError, TypeError, LookupError, AttributeError) as error:
                raise OpenAIFailed("invalid", f"an answer that is none ({type(error).__name__})") from error
