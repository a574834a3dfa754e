from typing import Literal

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field
from report import ALIAS, BACKBONE, EDGE, KEY, SEA, WEATHER, feature


class Mood(BaseModel):
    """The mood of the sea."""

    mood: Literal["calm", "wild"]
    is_deep: bool


class GetWeather(BaseModel):
    """The weather of a city."""

    city: Literal["Paris", "Ulm"] = Field(description="the city")


def chat(model=ALIAS, **more):
    return ChatOpenAI(
        **{"base_url": f"{EDGE}/v1", "api_key": KEY, "model": model, "max_retries": 0, "temperature": 0, "max_tokens": 60, **more}
    )


for way, more in (("chat", {}), ("responses", {"use_responses_api": True})):

    @feature(way)
    def _():
        assert chat(**more).invoke(SEA).text

    @feature(f"{way}, streamed")
    def _():
        assert "".join(chunk.text for chunk in chat(**more).stream(SEA))

    for method in ("json_schema", "function_calling"):

        @feature(f"{way}, structured output ({method})")
        def _():
            assert isinstance(chat(**more).with_structured_output(Mood, method=method).invoke(SEA), Mood)

    @feature(f"{way}, functions")
    def _():
        bound = chat(BACKBONE, **more).bind_tools([GetWeather], tool_choice="any")
        message = bound.invoke(WEATHER)
        assert message.tool_calls[0]["args"]["city"] in ("Paris", "Ulm")
        pieces = None
        for chunk in bound.stream(WEATHER):
            pieces = chunk if pieces is None else pieces + chunk
        assert pieces.tool_calls[0]["name"] == "GetWeather"
        result = ToolMessage("21 degrees", tool_call_id=message.tool_calls[0]["id"])
        then = chat(BACKBONE, **more).invoke([HumanMessage(WEATHER), message, result])
        assert then.text


@feature("embeddings")
def _():
    model = OpenAIEmbeddings(base_url=f"{EDGE}/v1", api_key=KEY, model=ALIAS, check_embedding_ctx_length=False)
    assert len(model.embed_documents(["a"] * 40)) == 40
