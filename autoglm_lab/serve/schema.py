"""Schema of requests and answers: OpenAI's chat completions, and the flat form of the articles on this subject.

Fields that are not named here are ignored, as other servers do, so that clients written for a larger model work unchanged.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class TextPart(BaseModel):
    """Words."""

    type: Literal["text"]
    text: str


class ImageUrl(BaseModel):
    """Address of a picture: a data URL."""

    url: str


class ImagePart(BaseModel):
    """A screenshot."""

    type: Literal["image_url"]
    image_url: ImageUrl


class Sound(BaseModel):
    """A WAV file in base64."""

    data: str
    format: str = "wav"


class AudioPart(BaseModel):
    """A spoken command."""

    type: Literal["input_audio"]
    input_audio: Sound


Part = Annotated[TextPart | ImagePart | AudioPart, Field(discriminator="type")]


class Message(BaseModel):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[Part], Field(max_length=64)] | None = None


class StreamOptions(BaseModel):
    """Options of a stream: parts that it holds besides the answer."""

    include_usage: bool = False


class Thinking(BaseModel):
    """The switch as GLM's own service spells it."""

    type: Literal["enabled", "disabled"]


class TemplateOptions(BaseModel):
    """The switch as vLLM and SGLang spell it."""

    model_config = ConfigDict(extra="ignore")
    enable_thinking: bool | None = None


class ChatRequest(BaseModel):
    """A request for an answer. `temperature` 0 is the default: an action is not drawn by lot unless that is asked for."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"anyOf": [{"required": ["messages"]}, {"required": ["query"]}]})

    messages: list[Message] = Field(default_factory=list, min_length=1, max_length=2_000)
    model: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    n: int | None = Field(None, ge=1)
    enable_thinking: bool | None = None
    thinking: Thinking | None = None
    chat_template_kwargs: TemplateOptions | None = None
    return_reasoning: bool = False
    image: str | None = Field(None, description="flat form: a picture in base64, or as a data URL")
    query: str | None = Field(None, description="flat form: what is asked about it")

    @property
    def thinks(self) -> bool:
        """True if a thought is written before the action, by whichever switch was used."""
        if self.enable_thinking is not None:
            return self.enable_thinking
        if self.thinking is not None:
            return self.thinking.type == "enabled"
        return bool(self.chat_template_kwargs and self.chat_template_kwargs.enable_thinking)

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts at which the answer is cut off."""
        texts = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in texts if text)


class Usage(BaseModel):
    """Tokens that were read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    completion_tokens_details: dict[str, int]


class Choice(BaseModel):
    """One answer."""

    index: int
    message: dict[str, Any]
    logprobs: None = None
    finish_reason: Literal["stop", "length"]


class Completion(BaseModel):
    """The answer to a request that does not stream."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class Problem(BaseModel):
    """Description of an error."""

    message: str
    type: str
    param: str | None
    code: str | None


class Refusal(BaseModel):
    """The answer to a request that was wrong."""

    error: Problem
