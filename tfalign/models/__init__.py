"""Models: backbones (GPT, BERT, recurrent, feed-forward), the encoder-decoder Transformer, models with heads."""

from tfalign.models import huggingface
from tfalign.models.actor_critic import (
    Actor,
    SeparateActorCritic,
    SharedActorCritic,
    separate_critic,
)
from tfalign.models.bert import BERT, BERTConfig
from tfalign.models.conditioned import Conditioned
from tfalign.models.gpt import GPT
from tfalign.models.gpt_config import GPTConfig
from tfalign.models.heads import (
    CausalLMHead,
    MaskedLMHead,
    NextSentenceHead,
    PooledClassifierHead,
    ScalarRewardHead,
    TokenClassifierHead,
    ValueHead,
)
from tfalign.models.huggingface import from_pretrained, read_config, save_pretrained
from tfalign.models.neural_ngram import NeuralNGram, NeuralNGramConfig
from tfalign.models.recurrent import Recurrent, RecurrentConfig
from tfalign.models.tasks import (
    BERTPretrainer,
    CausalLM,
    Critic,
    MaskedLM,
    MeanPooledClassifier,
    NextSentenceClassifier,
    SentenceEncoder,
    SequenceClassifier,
    TokenClassifier,
)
from tfalign.models.trace import Trace
from tfalign.models.transformer import Transformer, TransformerConfig

__all__ = [
    "Actor",
    "BERT",
    "BERTConfig",
    "BERTPretrainer",
    "CausalLM",
    "CausalLMHead",
    "Conditioned",
    "Critic",
    "GPT",
    "GPTConfig",
    "MaskedLM",
    "MaskedLMHead",
    "MeanPooledClassifier",
    "NeuralNGram",
    "NeuralNGramConfig",
    "NextSentenceClassifier",
    "NextSentenceHead",
    "PooledClassifierHead",
    "Recurrent",
    "RecurrentConfig",
    "ScalarRewardHead",
    "SentenceEncoder",
    "SeparateActorCritic",
    "SequenceClassifier",
    "SharedActorCritic",
    "TokenClassifier",
    "TokenClassifierHead",
    "Trace",
    "Transformer",
    "TransformerConfig",
    "ValueHead",
    "from_pretrained",
    "huggingface",
    "read_config",
    "save_pretrained",
    "separate_critic",
]
