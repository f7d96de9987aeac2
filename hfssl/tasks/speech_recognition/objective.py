"""Speech recognition by CTC: a stock head of transformers that says a character, or nothing, in each frame.

B recordings, T samples, F frames, U characters of a transcript, V characters of the vocabulary with the blank.

The loss is -ln of the probability of all paths through the frames that spell the transcript once repeats and then blanks are
dropped (Graves et al. 2006, "Connectionist temporal classification", ICML, equations 3 and 8), in float32, summed over
recordings, over the number of their characters. Answers are the likeliest path. The vocabulary is that of the training rows; a
head that the checkpoint brings is left behind. Frames of padding count in no loss, whether or not the model is told of them.
"""

from dataclasses import replace
from typing import ClassVar, Self

import torch
from torch import Tensor
from transformers import MODEL_FOR_CTC_MAPPING, AutoModelForCTC, PretrainedConfig, Wav2Vec2Processor
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from hfssl.data.audio.config import AudioDataConfig
from hfssl.data.audio.transcripts import (
    IGNORED,
    TranscribedRecordings,
    characters_of,
    transcripts_of,
    unknown_characters,
)
from hfssl.data.source import Source
from hfssl.errors import require
from hfssl.models.speech_model import body_of, frame_counts, in_groups, model_inputs, speech_config
from hfssl.nn.ctc import summed_ctc_loss
from hfssl.objective import Array, Batch, StepOutput
from hfssl.tasks.speech_recognition.config import SpeechRecognitionConfig
from hfssl.tasks.speech_task import SpecAugmentDraw, SpeechTask, fresh_task_model

_HEAD = ["lm_head"]


class SpeechRecognition(SpeechTask[SpeechRecognitionConfig, TranscribedRecordings]):
    _processor: Wav2Vec2Processor
    auto_class: ClassVar[type[_BaseAutoModelClass]] = AutoModelForCTC

    @classmethod
    def with_rows(cls, config: SpeechRecognitionConfig, source: Source) -> SpeechRecognitionConfig:
        """The characters of the training rows, unless given."""
        found = characters_of(transcripts_of(source, keeps_case=config.keep_case))
        if config.characters is None:
            return replace(config, characters=found)
        others = sorted(set(found) - set(config.characters))
        named = ", ".join(repr(one) for one in others[:10])
        require(not others, f"characters lacks some of the transcripts of {source.split}: add {named}")
        return config

    @classmethod
    def check_rows(cls, config: SpeechRecognitionConfig, source: Source) -> list[str]:
        """Empty transcripts, in which nothing is said, and characters that cannot be."""
        texts = transcripts_of(source, keeps_case=config.keep_case)
        num_empty = sum(not text for text in texts)
        empty = [f"{num_empty} of {len(texts)} transcripts of {source.split} are empty"] if num_empty else []
        return empty + unknown_characters(texts, config.characters or "", source.split)

    @classmethod
    def data_pipeline(
        cls, config: SpeechRecognitionConfig, data: AudioDataConfig, source: Source | None
    ) -> TranscribedRecordings:
        assert config.attention_mask is not None, "settled before a run is opened"
        assert config.characters is not None, "found in the data before a run is opened"

        def num_frames(samples_N: Array) -> Array:
            found: Array = frame_counts(config, torch.from_numpy(samples_N)).numpy()
            return found

        return TranscribedRecordings(
            data,
            config.characters,
            keeps_case=config.keep_case,
            attention_mask=config.attention_mask,
            num_frames=num_frames,
            draw=SpecAugmentDraw(config),
        )

    @classmethod
    def build(
        cls, config: SpeechRecognitionConfig, pipeline: TranscribedRecordings, model_config: PretrainedConfig | None
    ) -> Self:
        assert model_config is not None, "of --model or --model_config"
        own = speech_config(model_config, MODEL_FOR_CTC_MAPPING, config.spans, "recognises speech by CTC")
        tokenizer = pipeline.processor.tokenizer
        own.vocab_size, own.pad_token_id = len(tokenizer), tokenizer.pad_token_id
        own.bos_token_id = own.eos_token_id = None
        own.ctc_loss_reduction, own.ctc_zero_infinity = "sum", True
        return cls(config, fresh_task_model(config, AutoModelForCTC, own, _HEAD), pipeline.processor)

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        """Minus log-likelihood of the transcripts, over their characters; 0 for one that has not enough frames."""
        logits_BFV, labels_BU = self.logits(batch), batch["labels"]
        own_BU = labels_BU != IGNORED
        loss_sum = summed_ctc_loss(
            logits_BFV,
            labels_BU.masked_fill(~own_BU, 0),
            frames_B=frame_counts(self.config, batch["lengths"]),
            characters_B=own_BU.sum(dim=1),
            blank=self._processor.tokenizer.pad_token_id,
        )
        return StepOutput(loss_sum, own_BU.sum().to(loss_sum.dtype), {})

    def raw_logits(self, batch: Batch) -> Tensor:
        """(B, F, V); zeros in frames of padding that the model has not seen."""
        if body_of(self.model).training:
            whole: Tensor = self.model(**model_inputs(batch)).logits
            return whole
        groups = [(rows, self.model(**inputs).logits) for rows, inputs in in_groups(batch, equal=self.hears_padding)]
        most = frame_counts(self.config, batch["input_values"].shape[1])
        padded = [(rows, torch.nn.functional.pad(found, (0, 0, 0, most - found.shape[1]))) for rows, found in groups]
        order = torch.cat([rows for rows, _ in padded])
        return torch.cat([found for _, found in padded])[order.argsort()]

    def predictions(self, batch: Batch) -> list[tuple[str, str]]:
        """(what was heard, what was said) of each recording."""
        best_BF = self.logits(batch).argmax(dim=2).tolist()
        frames = frame_counts(self.config, batch["lengths"]).tolist()
        said = [self._processor.tokenizer.decode(row[:count]) for row, count in zip(best_BF, frames, strict=True)]
        points = batch["characters"].tolist()
        true = ["".join(chr(point) for point in row if point) for row in points]
        return list(zip(said, true, strict=True))
