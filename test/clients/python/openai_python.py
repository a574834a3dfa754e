from typing import Literal

import openai
from openai import OpenAI
from pydantic import BaseModel
from report import ALIAS, BACKBONE, EDGE, KEY, SEA, WEATHER, feature

client = OpenAI(base_url=f"{EDGE}/v1", api_key=KEY, max_retries=0)
ask = dict(model=ALIAS, messages=[{"role": "user", "content": SEA}], max_tokens=16, temperature=0)


class Mood(BaseModel):
    mood: Literal["calm", "wild"]
    is_deep: bool


class GetWeather(BaseModel):
    city: Literal["Paris", "Ulm"]


tools = [openai.pydantic_function_tool(GetWeather)]
responses_tools = [{"type": "function", **tool["function"]} for tool in tools]
tool_ask = dict(
    model=BACKBONE,
    messages=[{"role": "user", "content": WEATHER}],
    tools=tools,
    tool_choice="required",
    parallel_tool_calls=False,
    max_tokens=60,
)


@feature("models")
def _():
    assert {ALIAS, BACKBONE} <= {model.id for model in client.models.list()}


@feature("chat")
def _():
    answer = client.chat.completions.create(**ask, n=2)
    assert len(answer.choices) == 2 and answer.choices[0].message.content and answer.usage.total_tokens


@feature("chat, streamed")
def _():
    chunks = client.chat.completions.create(**ask, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@feature("structured output")
def _():
    answer = client.chat.completions.parse(**{**ask, "max_tokens": 60}, response_format=Mood)
    assert isinstance(answer.choices[0].message.parsed, Mood)


@feature("functions")
def _():
    answer = client.chat.completions.parse(**tool_ask)
    call = answer.choices[0].message.tool_calls[0]
    assert isinstance(call.function.parsed_arguments, GetWeather)
    then = client.chat.completions.create(
        **{
            **tool_ask,
            "tool_choice": "none",
            "messages": [
                *tool_ask["messages"],
                answer.choices[0].message.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"},
            ],
        }
    )
    assert then.choices[0].message.content


@feature("functions, streamed")
def _():
    with client.chat.completions.stream(**tool_ask) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls[0].function.name == "GetWeather"


@feature("responses")
def _():
    first = client.responses.create(model=ALIAS, input=SEA, max_output_tokens=16)
    assert first.output_text
    after = client.responses.create(
        model=ALIAS, input="And then?", previous_response_id=first.id, max_output_tokens=16
    )
    assert after.previous_response_id == first.id
    client.responses.delete(first.id)


@feature("responses, streamed")
def _():
    # The helper waits for `response.completed`, which a response that is cut off does not have.
    with client.responses.stream(model=ALIAS, input=SEA, text_format=Mood) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert text == stream.get_final_response().output_text


@feature("responses, structured output")
def _():
    assert isinstance(client.responses.parse(model=ALIAS, input=SEA, text_format=Mood).output_parsed, Mood)


@feature("responses, functions")
def _():
    answer = client.responses.parse(model=BACKBONE, input=WEATHER, tools=responses_tools, tool_choice="required")
    assert any(item.type == "function_call" for item in answer.output)


@feature("completions")
def _():
    answer = client.completions.create(model=BACKBONE, prompt="The sea", max_tokens=4, logprobs=2, echo=True)
    assert answer.choices[0].text.startswith("The sea") and len(answer.choices[0].logprobs.tokens) >= 5


@feature("embeddings")
def _():
    data = client.embeddings.create(model=ALIAS, input=["a", "b"]).data
    assert len(data) == 2 and len(data[0].embedding) > 100


@feature("errors")
def _():
    try:
        client.chat.completions.create(**{**ask, "model": "nobody"})
    except openai.NotFoundError:
        return
    raise AssertionError("no NotFoundError")
