"""What is done to texts is done to what tool calls say, too, and nothing else of them changes."""

import json
from collections import Counter

import pytest

from driftwheel.errors import DataError
from driftwheel.settings.settings import Settings
from driftwheel.text.conversations import Message, said
from train.data.sources.formats import Row
from train.data.splitting.clean_rows import clean, stop_at_too_few
from train.data.splitting.tally import Tally

GIVEN = '{"to":  ["ann@example.org"], "card": 4111111111111111, "fee": 1.50, "is_paid": true, "who": {"x": null}}'


@pytest.mark.parametrize("is_redacted", [False, True])
def test_personal_data_in_the_arguments_of_a_call_is_counted_and_redacted(
    settings: Settings, is_redacted: bool
) -> None:
    call: Message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "pay", "arguments": GIVEN}}],
    }
    asked: list[Message] = [said("user", "pay it"), call, {"role": "tool", "content": "paid", "tool_call_id": "c"}]
    tally = Tally()
    chosen = settings.dataset.model_copy(update={"redact": is_redacted})
    (row,) = clean(chosen, [Row("a:1", [*asked, said("user", "again")], [call])], tally)
    assert tally.personal_data == {"EMAIL": 2, "CARD": 2}
    for message in (row.prompt[1], row.completion[0]):
        arguments = message["tool_calls"][0]["function"]["arguments"]
        assert (arguments == GIVEN) is not is_redacted
        if is_redacted:
            wanted = {**json.loads(GIVEN), "to": ["<EMAIL>"], "card": "<CARD>"}
            assert json.loads(arguments) == wanted
    assert call["tool_calls"][0]["function"]["arguments"] == GIVEN, "what was read stays as it is"


@pytest.mark.parametrize("reason", ["duplicate", "unverified, and trusted rows do not say the same"])
def test_where_nobody_trusted_vouched_for_rows_more_rows_are_not_all_that_is_asked_for(
    settings: Settings, reason: str
) -> None:
    tally = Tally(rows_in=300, dropped=Counter({reason: 300}))
    with pytest.raises(DataError, match="give more rows") as caught:
        stop_at_too_few(settings.dataset, [], tally)
    told = ["label:trusted" in str(caught.value), "driftwheel feedback confirm" in str(caught.value)]
    assert told == [reason.startswith("unverified")] * 2
