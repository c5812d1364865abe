"""PhoneGLM, a Hugging Face model in full."""

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from autoglm_lab.model.configuration import PhoneGLMConfig
from autoglm_lab.model.engine import TorchEngine
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration, PhoneGLMOutput
from autoglm_lab.model.processing import PhoneGLMProcessor

AutoConfig.register("phone_glm", PhoneGLMConfig)
AutoModelForImageTextToText.register(PhoneGLMConfig, PhoneGLMForConditionalGeneration)
AutoProcessor.register(PhoneGLMConfig, PhoneGLMProcessor)

__all__ = ["PhoneGLMConfig", "PhoneGLMForConditionalGeneration", "PhoneGLMOutput", "PhoneGLMProcessor", "TorchEngine"]
