"""What users of the official Python client do; prints what came of it as JSON."""

import json
import os
import time
from typing import Any

import openai

client = openai.OpenAI(base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"], max_retries=2)
MESSAGES: Any = [{"role": "user", "content": "where is my card"}]
TOOLS: Any = [{"type": "function", "function": {"name": "find_card", "parameters": {"type": "object"}}}]
SCHEMA: Any = {"type": "json_schema", "json_schema": {"name": "ticket", "schema": {"type": "object"}}}
found: dict[str, Any] = {}

answer = client.chat.completions.with_raw_response.create(model="support", messages=MESSAGES)
found["chat"] = answer.parse().choices[0].message.content
found["same_id"] = answer.parse().id.endswith(answer.headers["x-request-id"])
with client.chat.completions.create(model="support", messages=MESSAGES, stream=True) as stream:
    found["stream"] = "".join(part.choices[0].delta.content or "" for part in stream if part.choices)

asked = client.chat.completions.create(model="support", messages=MESSAGES, tools=TOOLS).choices[0]
call: Any = (asked.message.tool_calls or [])[0]
found["tool"] = [call.function.name, json.loads(call.function.arguments), asked.finish_reason]
result: Any = [*MESSAGES, asked.message, {"role": "tool", "tool_call_id": call.id, "content": "lost"}]
found["after_tool"] = (
    client.chat.completions.create(model="support", messages=result, tools=TOOLS).choices[0].message.content
)

told = client.chat.completions.create(model="support", messages=MESSAGES, response_format=SCHEMA)
found["structured"] = json.loads(told.choices[0].message.content or "")
found["response"] = client.responses.create(model="support", input="where is my card").output_text
found["embedding"] = client.embeddings.create(model="support", input="a", encoding_format="float").data[0].embedding
found["models"] = [model.id for model in client.models.list()]
found["model"] = client.models.retrieve("support").id
errors: list[list[Any]] = []
for change in ({"model": "gpt-4o"}, {"messages": [{"role": "user", "content": "refuse me"}]}):
    try:
        client.chat.completions.create(**{"model": "support", "messages": MESSAGES, **change})
    except openai.APIStatusError as error:
        errors.append([type(error).__name__, error.status_code])
try:
    client.with_options(api_key="wrong").models.list()
except openai.APIStatusError as error:
    errors.append([type(error).__name__, error.status_code])
found["errors"] = errors

for status in (429, 503):
    began_at = time.monotonic()
    later: Any = [{"role": "user", "content": f"later {status} openai-python"}]
    again = client.chat.completions.create(model="support", messages=later)
    found[f"after_{status}"] = [again.choices[0].message.content, time.monotonic() - began_at >= 1]
print(json.dumps(found))
