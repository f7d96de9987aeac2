"""wav2vec 2.0 pretraining.  accelerate launch recipes/wav2vec2.py --dataset path/to/recordings"""

from hfssl.config.parse import parse
from hfssl.data.audio.config import AudioDataConfig
from hfssl.methods.wav2vec2.config import Wav2Vec2PretrainingConfig


def main() -> None:
    run = parse(Wav2Vec2PretrainingConfig, AudioDataConfig)
    from hfssl.commands.pretrain import pretrain
    from hfssl.methods.wav2vec2.objective import Wav2Vec2  # heavy imports after the flags are known to be good

    pretrain(Wav2Vec2, run)


if __name__ == "__main__":
    main()
