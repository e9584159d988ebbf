"""What users of LangChain do; prints what came of it as JSON."""

import json
import os
import time
from typing import Any

import openai
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class Ticket(BaseModel):
    """A ticket."""

    intent: str
    sure: bool


def find_card(holder: str) -> str:
    """Find a card."""
    return holder


def chat(**more: Any) -> Any:
    """Return a model behind the gateway."""
    return ChatOpenAI(model="support", base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"], **more)


model, found = chat(), dict[str, Any]()
found["chat"] = model.invoke("where is my card").content
found["stream"] = "".join(part.content for part in model.stream("where is my card"))
call = model.bind_tools([tool(find_card)]).invoke("where is my card").tool_calls[0]
found["tool"] = [call["name"], call["args"]]
found["structured"] = model.with_structured_output(Ticket).invoke("where is my card").model_dump()
try:
    model.invoke("refuse me")
except openai.BadRequestError as error:
    found["errors"] = [error.status_code]
began_at = time.monotonic()
found["after_429"] = [model.invoke("later 429 langchain").content, time.monotonic() - began_at >= 1]
print(json.dumps(found))
