"""Audio and text as Hugging Face's tools hand them to a model."""

from __future__ import annotations

from echo_reference.processing.feature_extractor import EchoFeatureExtractor
from echo_reference.processing.hub_tokenizer import hub_tokenizer
from echo_reference.processing.processor import EchoProcessor

__all__ = ["EchoFeatureExtractor", "EchoProcessor", "hub_tokenizer"]
