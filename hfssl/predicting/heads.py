"""The stock heads that can be asked: what each reads, its classes in transformers, and the kind of its answers."""

from collections.abc import Callable
from typing import Any, NamedTuple

from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModelForAudioClassification,
    AutoModelForCTC,
    AutoModelForImageClassification,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)
from transformers.models.auto.auto_factory import _BaseAutoModelClass
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_CTC_MAPPING_NAMES,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
)

from hfssl.predicting import classes, spans, tags, transcripts
from hfssl.predicting.answers import Answers, Opening
from hfssl.predicting.inputs import Kind
from hfssl.predicting.preprocessors import Preprocessor
from hfssl.run_dir import JsonView


class Head(NamedTuple):
    """names: the classes that have it, by their model type; processors: what the folder of such a model holds; open: how rows are
    prepared and answers are put into columns."""

    reads: Kind
    names: JsonView
    auto_class: type[_BaseAutoModelClass]
    processors: tuple[Any, ...]
    answers: type[Answers]
    open: Callable[[Opening], tuple[Preprocessor, Answers]]

    def has(self, model_type: str, architecture: str) -> bool:
        """Whether this class has this head."""
        found = self.names.get(model_type, ())
        return architecture in ((found,) if isinstance(found, str) else found)


HEADS = (
    Head(
        "images",
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        AutoModelForImageClassification,
        (AutoImageProcessor,),
        classes.Classes,
        classes.of_images,
    ),
    Head(
        "texts",
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        AutoModelForSequenceClassification,
        (AutoTokenizer,),
        classes.Classes,
        classes.of_texts,
    ),
    Head(
        "recordings",
        MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES,
        AutoModelForAudioClassification,
        (AutoFeatureExtractor,),
        classes.Classes,
        classes.of_recordings,
    ),
    Head(
        "sentences",
        MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
        AutoModelForTokenClassification,
        (AutoTokenizer,),
        tags.Tags,
        tags.opened,
    ),
    Head(
        "questions",
        MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
        AutoModelForQuestionAnswering,
        (AutoTokenizer,),
        spans.Spans,
        spans.opened,
    ),
    Head(
        "recordings",
        MODEL_FOR_CTC_MAPPING_NAMES,
        AutoModelForCTC,
        (AutoFeatureExtractor, AutoTokenizer),
        transcripts.Transcripts,
        transcripts.opened,
    ),
)
