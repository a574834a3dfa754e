from typing import Literal

import instructor
from openai import OpenAI
from pydantic import BaseModel
from report import ALIAS, BACKBONE, EDGE, KEY, SEA, feature

client = OpenAI(base_url=f"{EDGE}/v1", api_key=KEY, max_retries=0)


class Mood(BaseModel):
    """The mood of the sea."""

    mood: Literal["calm", "wild"]
    is_deep: bool


# The other modes demand no schema of the node: whether an answer fits is the model's affair.
for mode in ("TOOLS", "TOOLS_STRICT", "JSON_SCHEMA", "RESPONSES_TOOLS"):
    @feature(mode)
    def _():
        model = BACKBONE if "TOOLS" in mode else ALIAS
        own = instructor.from_openai(client, mode=getattr(instructor.Mode, mode))
        limits = {} if mode.startswith("RESPONSES") else {"max_tokens": 80, "temperature": 0}
        answer = own.chat.completions.create(
            model=model, response_model=Mood, max_retries=0, messages=[{"role": "user", "content": SEA}], **limits
        )
        assert isinstance(answer, Mood)


@feature("TOOLS, streamed")
def _():
    own = instructor.from_openai(client, mode=instructor.Mode.TOOLS)
    pieces = own.chat.completions.create_partial(
        model=BACKBONE, response_model=Mood, max_retries=0, messages=[{"role": "user", "content": SEA}], max_tokens=80
    )
    assert list(pieces)[-1].mood in ("calm", "wild")
