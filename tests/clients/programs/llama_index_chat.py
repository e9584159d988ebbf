"""What users of LlamaIndex do; prints what came of it as JSON."""

import json
import os
from typing import Any

import openai
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike


def find_card(holder: str) -> str:
    """Find a card."""
    return holder


model = OpenAILike(
    model="support",
    api_base=os.environ["BASE_URL"],
    api_key=os.environ["API_KEY"],
    is_chat_model=True,
    is_function_calling_model=True,
)
asked, found = [ChatMessage(role="user", content="where is my card")], dict[str, Any]()
found["chat"] = model.chat(asked).message.content
found["stream"] = "".join(part.delta or "" for part in model.stream_chat(asked))
reply = model.chat_with_tools([FunctionTool.from_defaults(find_card)], user_msg="where is my card")
call = model.get_tool_calls_from_response(reply)[0]
found["tool"] = [call.tool_name, call.tool_kwargs]
try:
    model.chat([ChatMessage(role="user", content="refuse me")])
except openai.BadRequestError as error:
    found["errors"] = [error.status_code]
print(json.dumps(found))
