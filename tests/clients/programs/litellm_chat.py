"""What users of LiteLLM's SDK do; prints what came of it as JSON."""

import json
import os
from typing import Any

import litellm

TOOLS = [{"type": "function", "function": {"name": "find_card", "parameters": {"type": "object"}}}]


def ask(text: str, **more: Any) -> Any:
    """Ask the gateway as an OpenAI-compatible provider."""
    return litellm.completion(
        model="openai/support",
        messages=[{"role": "user", "content": text}],
        api_base=os.environ["BASE_URL"],
        api_key=os.environ["API_KEY"],
        **more,
    )


found: dict[str, Any] = {"chat": ask("where is my card").choices[0].message.content}
found["stream"] = "".join(part.choices[0].delta.content or "" for part in ask("where is my card", stream=True))
call = ask("where is my card", tools=TOOLS).choices[0].message.tool_calls[0].function
found["tool"] = [call.name, json.loads(call.arguments)]
told = ask("where is my card", response_format={"type": "json_object"})
found["structured"] = json.loads(told.choices[0].message.content)
try:
    ask("refuse me")
except litellm.BadRequestError as error:
    found["errors"] = [error.status_code]
found["after_503"] = ask("later 503 litellm", num_retries=2).choices[0].message.content
print(json.dumps(found))
