"""LangChain's chat model for OpenAI's interface, which keeps what the agent thought."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI

THOUGHT = "reasoning_content"


class ChatAutoGLM(ChatOpenAI):
    """`ChatOpenAI` for a server of this package: with `think=True`, thoughts come in `additional_kwargs["reasoning_content"]`.

    ChatOpenAI reads only fields that OpenAI defines, and drops the thoughts that other servers send beside the answer. Every other
    option is ChatOpenAI's.
    """

    think: bool = False

    @property
    def _default_params(self) -> dict[str, Any]:
        params = dict(super()._default_params)
        if self.think:
            params["extra_body"] = {**(params.get("extra_body") or {}), "enable_thinking": True, "return_reasoning": True}
        return params

    def _create_chat_result(self, response: Any, generation_info: dict[str, Any] | None = None) -> ChatResult:
        result = super()._create_chat_result(response, generation_info)
        body = response if isinstance(response, dict) else response.model_dump()
        for generation, choice in zip(result.generations, body.get("choices") or [], strict=False):
            thought = choice["message"].get(THOUGHT)
            if thought and isinstance(generation.message, AIMessage):
                generation.message.additional_kwargs[THOUGHT] = thought
        return result

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: dict[str, Any] | None
    ) -> ChatGenerationChunk | None:
        generation = super()._convert_chunk_to_generation_chunk(chunk, default_chunk_class, base_generation_info)
        choices = chunk.get("choices") or []
        thought = (choices[0].get("delta") or {}).get(THOUGHT) if choices else None
        if generation is not None and thought and isinstance(generation.message, AIMessageChunk):
            generation.message.additional_kwargs[THOUGHT] = thought
        return generation
