"""Makes Echo known to transformers' Auto classes and pipelines."""

from __future__ import annotations

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForSpeechSeq2Seq,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES

from echo_reference.config import EchoConfig
from echo_reference.model import Echo
from echo_reference.processing import EchoFeatureExtractor, EchoProcessor

__all__ = ["Echo", "EchoConfig", "EchoFeatureExtractor", "EchoProcessor"]

AutoConfig.register(EchoConfig.model_type, EchoConfig)
AutoModelForSpeechSeq2Seq.register(EchoConfig, Echo)
AutoFeatureExtractor.register(EchoConfig, EchoFeatureExtractor)
AutoProcessor.register(EchoConfig, EchoProcessor)
AutoTokenizer.register(EchoConfig, fast_tokenizer_class=PreTrainedTokenizerFast)
# By this table, and not by the Auto class, the pipeline tells models that generate from those that have CTC alone.
MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES[EchoConfig.model_type] = Echo.__name__
