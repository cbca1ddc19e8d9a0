"""Servers that speak OpenAI's chat completions, asked without litellm."""

from mtiprompt.models.direct.model import DirectModel as DirectModel
