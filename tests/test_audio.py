"""From a folder, a table or a saved set of recordings to batches: columns, bad files, the cache, windows, normalisation."""

import io
import pickle
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile
import torch
from transformers import Wav2Vec2FeatureExtractor

from hfssl.data.audio.cache import CachedAudio, DecodedAudio, recordings_of
from hfssl.data.audio.config import AudioDataConfig
from hfssl.data.audio.files import decode
from hfssl.data.audio.pipeline import AudioPipeline, Utterances, cropped
from hfssl.data.audio.source import open_recordings
from hfssl.data.file_names import file_names
from hfssl.data.loader import BatchLayout, KeyedDataset, micro_batches
from hfssl.errors import ConfigError
from hfssl.objective import Batch
from hfssl.randomness import epoch_keys, random_bits, sample_keys
from hfssl.runs.init_from import processor_of
from hfssl.runs.validation import open_monitor
from tests.support.recordings import RATE, config_for, noise, write_recordings

LENGTHS = [0.3, 0.5, 0.9, 0.95, 1.0, 2.7, 3.3, 0.6, 0.61, 0.62]


def rows_for(data: AudioDataConfig, *, crops: bool = False) -> KeyedDataset:
    pipeline = AudioPipeline(data, crops=crops)
    return KeyedDataset(pipeline.prepare(open_recordings(data)), pipeline, seed=0)


def batch_of(rows: KeyedDataset, ids: list[int], epoch: int = 0) -> Batch:
    return rows.__getitems__((torch.full((len(ids),), epoch), torch.tensor(ids)))


def same(one: Batch, other: Batch) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def encoded(audio: Any, rate: int = RATE) -> dict[str, Any]:
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, rate, format="WAV")
    return {"bytes": buffer.getvalue(), "path": None}


# Sources


def test_a_folder_a_table_a_list_of_paths_and_a_saved_set_give_the_same_recordings(tmp_path: Path) -> None:
    write_recordings(tmp_path / "folder", LENGTHS)
    files = sorted((tmp_path / "folder").rglob("*.wav"))
    labels = [file.parent.name for file in files]
    for kind, line in {"csv": "{},{}", "jsonl": '{{"path": "{}", "label": "{}"}}'}.items():
        lines = [line.format(file.relative_to(tmp_path), label) for file, label in zip(files, labels, strict=True)]
        (tmp_path / f"list.{kind}").write_text("\n".join((["path,label"] if kind == "csv" else []) + lines) + "\n")
    struct = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = datasets.Features({"audio": struct, "label": datasets.ClassLabel(names=["a", "b"])})
    columns = {"audio": [{"bytes": file.read_bytes(), "path": None} for file in files], "label": labels}
    bare = datasets.Dataset.from_dict(columns, features=features)
    bare.to_parquet(str(tmp_path / "bare.parquet"))
    typed = bare.cast_column("audio", datasets.Audio())
    typed.to_parquet(str(tmp_path / "typed.parquet"))
    typed.save_to_disk(str(tmp_path / "saved"))
    names = ["folder", "list.csv", "list.jsonl", "bare.parquet", "typed.parquet", "saved"]
    sources = [open_recordings(config_for(tmp_path / name, label_column="label")) for name in names]
    expected = [decode({"bytes": file.read_bytes(), "path": None}, RATE) for file in files]
    for source in sources:
        assert [source.label_name(label) for label in source.labels()] == labels
        recordings = recordings_of(source, sampling_rate=RATE, cache="never")
        assert recordings.bad_rows == {}
        for row, audio in enumerate(expected):
            assert torch.equal(recordings[row].samples, audio)
    assert file_names(sources[0]) == [str(file.relative_to(tmp_path / "folder")) for file in files]


def test_folders_of_splits_and_every_kind_of_file_are_opened(tmp_path: Path) -> None:
    for split, kind in {"train": "flac", "test": "ogg"}.items():
        write_recordings(tmp_path / split, [1.0] * 4, kind)
    soundfile.write(tmp_path / "train" / "a" / "last.mp3", noise(1.0, 0), RATE)
    source = open_recordings(config_for(tmp_path))
    assert len(source) == 5
    assert source.test is not None
    assert len(source.test) == 4
    assert source.labels().tolist() == [0, 0, 0, 1, 1]


def test_a_table_beside_the_recordings_brings_its_columns(tmp_path: Path) -> None:
    write_recordings(tmp_path, [0.5] * 4)
    lines = [f"{'ab'[index % 2]}/{index:02}.wav,said {index}" for index in range(4)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,text", *lines]) + "\n")
    source = open_recordings(config_for(tmp_path))
    assert source.column == "audio"
    assert sorted(source.column_values("text")) == [f"said {index}" for index in range(4)]
    assert len(rows_for(config_for(tmp_path)).examples.recordings.bad_rows) == 0
    (tmp_path / "metadata.csv").write_text("name,text\na/00.wav,x\n")
    with pytest.raises(
        ConfigError, match=r"metadata\.csv has no column file_name, which names the files; it has: name, text"
    ):
        open_recordings(config_for(tmp_path))


def test_columns_are_found_by_type_else_named(tmp_path: Path) -> None:
    struct = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    one = encoded(noise(0.5, 0))
    both = datasets.Dataset.from_dict(
        {"near": [one], "far": [one], "note": ["x"]},
        features=datasets.Features({"near": struct, "far": struct, "note": datasets.Value("string")}),
    )
    for name in ("near", "far"):
        both = both.cast_column(name, datasets.Audio(decode=False))
    both.save_to_disk(str(tmp_path))
    with pytest.raises(ConfigError, match=r"several columns fit \(near, far\).*--audio_column"):
        open_recordings(config_for(tmp_path))
    assert open_recordings(config_for(tmp_path, audio_column="far")).column == "far"


def test_a_column_of_numbers_is_no_column_of_recordings(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"audio": [1, 2]}).save_to_disk(str(tmp_path))
    with pytest.raises(ConfigError, match="--audio_column audio holds no recordings but Value"):
        open_recordings(config_for(tmp_path, audio_column="audio"))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"sampling_rate": 0}, "sampling_rate must be above 0"),
    ({"min_duration_seconds": 0.0}, "min_duration_seconds must be at least 0.1"),
    ({"min_duration_seconds": 20.0}, "must not be above max_duration_seconds 15.6"),
    ({"batch_seconds": 10.0}, "batch_seconds must hold a window of max_duration_seconds 15.6, got 10.0"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_settings_that_can_not_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AudioDataConfig(**settings)


def test_a_folder_without_recordings_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(
        ConfigError, match=r"neither recordings \(\.aif .*\.wav .*\) nor tables .* but 1 \.png not read"
    ):
        config_for(tmp_path).check()
    with pytest.raises(ConfigError, match="there are: demo:vowels"):
        config_for("demo:digits").check()


def test_a_checkpoint_dictates_rate_and_normalisation_unless_they_are_given(tmp_path: Path) -> None:
    Wav2Vec2FeatureExtractor(sampling_rate=8_000, do_normalize=False).save_pretrained(tmp_path)
    data = AudioDataConfig.tiny()
    processor = processor_of(str(tmp_path), data)
    adopted = data.adopt_processor(processor, frozenset())
    assert (adopted.sampling_rate, adopted.normalise) == (8_000, False)
    kept = data.adopt_processor(processor, frozenset({"sampling_rate", "normalise"}))
    assert kept == data == data.adopt_processor(None, frozenset())


# Cache


def test_the_cache_is_what_decoding_gives(tmp_path: Path) -> None:
    write_recordings(tmp_path, LENGTHS, rate=22_050)
    source = open_recordings(config_for(tmp_path))
    cached = recordings_of(source, sampling_rate=RATE, cache="auto")
    decoded = recordings_of(source, sampling_rate=RATE, cache="never")
    assert isinstance(cached, CachedAudio)
    assert isinstance(decoded, DecodedAudio)
    assert np.abs(cached.lengths - decoded.lengths).max() <= 1
    for row in range(len(source)):
        audio = decoded[row].samples
        assert float((cached[row].piece(0, len(audio)) - audio).abs().max()) <= 1 / 32768
        assert torch.equal(cached[row].piece(100, 50), cached[row].piece(0, 150)[100:])


def test_where_the_disk_is_too_small_recordings_are_decoded_at_access(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recordings(tmp_path, [1.0] * 4)
    rows = rows_for(config_for(tmp_path, cache="never"))
    assert rows.pipeline.wants_workers
    assert rows.pipeline.data_path.startswith("decoded at each access")
    monkeypatch.setattr("hfssl.data.audio.cache.shutil.disk_usage", lambda path: type("Usage", (), {"free": 250_000}))
    assert not rows_for(config_for(tmp_path)).pipeline.data_path.startswith("cached")
    monkeypatch.undo()
    rows = rows_for(config_for(tmp_path))
    assert not rows.pipeline.wants_workers
    assert rows.pipeline.data_path.startswith("cached")


def test_a_damaged_cache_is_made_anew_and_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    write_recordings(tmp_path, [0.5] * 4)
    source = open_recordings(config_for(tmp_path))
    first = recordings_of(source, sampling_rate=RATE, cache="auto")
    assert isinstance(first, CachedAudio)
    before = [first[row].samples.clone() for row in range(4)]
    file = first.folder / "samples.i16"
    file.write_bytes(file.read_bytes()[:100])
    again = pickle.loads(pickle.dumps(recordings_of(source, sampling_rate=RATE, cache="auto")))
    assert all(torch.equal(again[row].samples, before[row]) for row in range(4))


# Files that cannot be used


def test_short_and_bad_files_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recordings(tmp_path, [*LENGTHS, 0.1, 0.05])
    (tmp_path / "a" / "00.wav").write_text("no recording")
    soundfile.write(tmp_path / "a" / "02.wav", np.zeros(RATE), RATE)
    rows = rows_for(config_for(tmp_path))
    printed = capsys.readouterr().out
    assert "4 of the 12 recordings of train" in printed
    assert "2 are shorter than 0.2 s" in printed
    assert "2 cannot be used: row 0 cannot be read" in printed
    assert "row 1 is silent" in printed
    used = {number for row in range(len(rows.examples)) for number, _, _ in rows.examples.plan.row(row)}
    assert used == {2, 3, 4, 6, 7, 8, 9, 10} - {
        row for row in range(12) if rows.examples.recordings.lengths[row] < 3_200
    }


def test_without_the_cache_a_file_that_turns_out_bad_is_replaced_with_its_row(tmp_path: Path) -> None:
    write_recordings(tmp_path, [1.0 - 0.01 * index for index in range(24)])
    soundfile.write(tmp_path / "a" / "00.wav", np.zeros(RATE), RATE)
    rows = rows_for(config_for(tmp_path, cache="never"))
    bad = next(
        row for row in range(len(rows.examples)) if 0 in [number for number, _, _ in rows.examples.plan.row(row)]
    )
    batch = batch_of(rows, [bad])
    assert batch["bad_ids"].tolist() == [bad]
    assert batch["sample_ids"].tolist() != [bad]
    assert same(batch, batch_of(rows, [bad]))


@pytest.mark.parametrize(
    ("seconds", "broken", "message"),
    [
        ([0.1] * 4, 0, "all of the 4 recordings of train .* are shorter than 0.2 s: lower --min_duration_seconds"),
        ([1.0] * 4, 4, "none of the 4 recordings of train .* can be used: row 0 cannot be read"),
        ([1.0] * 30, 11, "11 of the 30 recordings of train .* cannot be used, more than 10: mend or remove them"),
    ],
)
def test_a_set_of_which_hardly_anything_can_be_used_is_refused(
    seconds: list[float], broken: int, message: str, tmp_path: Path
) -> None:
    write_recordings(tmp_path, seconds)
    for file in sorted(tmp_path.rglob("*.wav"))[:broken]:
        file.write_text("no recording")
    with pytest.raises(ConfigError, match=message):
        rows_for(config_for(tmp_path))


# Windows and batches


def test_normalised_windows_are_what_the_feature_extractor_gives(tmp_path: Path) -> None:
    write_recordings(tmp_path, LENGTHS)
    for normalise in (True, False):
        rows = rows_for(config_for(tmp_path, normalise=normalise))
        processor = Wav2Vec2FeatureExtractor(do_normalize=normalise)
        row = rows.examples[0]
        raw = [window.recording.piece(0, RATE) + 0.3 for window in row.windows]
        for audio in raw:
            ours = rows.pipeline.normalised(audio)
            expected = processor(audio.numpy(), sampling_rate=RATE)["input_values"][0]
            assert float((ours - torch.from_numpy(expected)).abs().max()) < 1e-5


def test_padded_batches_say_where_they_end(tmp_path: Path) -> None:
    write_recordings(tmp_path, [0.95 + 0.01 * index for index in range(8)])
    batch = batch_of(rows_for(config_for(tmp_path)), [0, 1])
    values_NT, mask_NT, lengths_N = batch["input_values"], batch["attention_mask"], batch["lengths"]
    assert values_NT.shape == mask_NT.shape == (8, RATE)
    assert torch.equal(mask_NT.sum(dim=1), lengths_N)
    assert lengths_N.unique().numel() > 1
    assert bool((values_NT[mask_NT == 0] == 0).all())
    for values_T, length in zip(values_NT, lengths_N, strict=True):
        assert abs(float(values_T[:length].mean())) < 1e-5
        assert float(values_T[:length].std()) == pytest.approx(1, abs=1e-3)


def test_cropped_batches_have_no_padding_and_crops_move(tmp_path: Path) -> None:
    write_recordings(tmp_path, [0.96 + 0.01 * index for index in range(4)])
    rows = rows_for(config_for(tmp_path), crops=True)
    assert len(rows.examples) == 1
    batches = [batch_of(rows, [0], epoch) for epoch in range(8)]
    for batch in batches:
        assert "attention_mask" not in batch
        assert batch["input_values"].shape == (4, int(0.96 * RATE))
        assert batch["lengths"].tolist() == [int(0.96 * RATE)] * 4
        assert bool((batch["input_values"] != 0).all())
    assert len({float(batch["input_values"][0, 0]) for batch in batches}) > 4
    assert not rows.pipeline.processor.return_attention_mask


def test_crops_lie_anywhere_inside() -> None:
    windows = [torch.arange(100), torch.arange(90)]
    starts = []
    for epoch in range(500):
        keys_N = random_bits(torch.tensor([epoch]), "window", 2)[0]
        longer, shorter = cropped(windows, keys_N)
        assert torch.equal(shorter, windows[1])
        assert torch.equal(longer, torch.arange(90) + longer[0])
        starts.append(int(longer[0]))
    assert set(starts) == set(range(11))


def test_windows_of_a_long_file_follow_each_other_in_an_epoch_and_move_between_epochs(tmp_path: Path) -> None:
    """Every sample tells its place, and the windows stand in several rows."""
    (tmp_path / "a").mkdir()
    place = np.linspace(-0.9, 0.9, round(9.7 * RATE), dtype=np.float32)
    soundfile.write(tmp_path / "a" / "0.wav", place, RATE, subtype="FLOAT")
    for cache in ("auto", "never"):
        rows = rows_for(config_for(tmp_path, cache=cache, normalise=False))
        assert len(rows.examples) == 3
        firsts = []
        for epoch in range(6):
            values_NT = batch_of(rows, [0, 1, 2], epoch)["input_values"]
            starts = ((values_NT[:, 0] + 0.9) / 1.8 * (len(place) - 1)).round().sort().values
            assert len(starts) == 9
            assert float((starts.diff() - RATE).abs().max()) < 5
            firsts.append(float(starts[0]))
        assert len(set(firsts)) == 6
        assert max(firsts) - min(firsts) > 0.2 * RATE


def test_keys_of_an_epoch_have_one_thing_in_common() -> None:
    ids = torch.arange(1_000)
    found = [
        epoch_keys(sample_keys(seed, torch.full_like(ids, epoch), ids), ids)
        for seed, epoch in ((0, 0), (0, -1), (5, 0))
    ]
    assert all(len(keys.unique()) == 1 for keys in found)
    assert len({int(keys[0]) for keys in found}) == 3


def test_each_window_has_a_key_of_its_own_that_the_batch_does_not_change(tmp_path: Path) -> None:
    write_recordings(tmp_path, [1.0 - 0.001 * index for index in range(16)])
    rows = rows_for(config_for(tmp_path))
    whole = batch_of(rows, [0, 1, 2, 3])
    alone = [batch_of(rows, [row])["window_keys"] for row in range(4)]
    assert torch.equal(whole["window_keys"], torch.cat(alone))
    assert len(whole["window_keys"].unique()) == 16
    assert whole["keys"].shape == whole["sample_ids"].shape == (4,)
    assert not set(whole["window_keys"].tolist()) & set(batch_of(rows, [0, 1, 2, 3], 1)["window_keys"].tolist())


def test_what_a_method_draws_comes_from_keys_and_lengths_of_windows(tmp_path: Path) -> None:
    write_recordings(tmp_path, [1.0, 0.99, 0.5])
    data = config_for(tmp_path)
    pipeline = AudioPipeline(data, crops=False, draw=lambda keys_N, lengths_N: {"drawn": keys_N + lengths_N})
    rows = KeyedDataset(pipeline.prepare(open_recordings(data)), pipeline, seed=0)
    batch = batch_of(rows, [0, 1])
    assert torch.equal(batch["drawn"], batch["window_keys"] + batch["lengths"])
    seen = pipeline.eval_transform([torch.randn(20_000)])
    assert torch.equal(seen["drawn"], seen["window_keys"] + seen["lengths"])


@pytest.mark.parametrize("cache", ["auto", "never"])
def test_batches_are_the_same_for_any_number_of_workers_and_ranks(cache: str, tmp_path: Path) -> None:
    write_recordings(tmp_path, [0.5 + 0.02 * index for index in range(40)])
    rows = rows_for(config_for(tmp_path, cache=cache), crops=True)

    def run(world_size: int, workers: int) -> list[Batch]:
        ranks = [
            micro_batches(
                rows,
                BatchLayout(2, 1, rank, world_size),
                start_step=3,
                max_steps=9,
                num_workers=workers,
                pin_memory=False,
            )
            for rank in range(world_size)
        ]
        return [batch for together in zip(*ranks, strict=True) for batch in together]

    expected = run(1, 0)
    assert len(expected) == 12
    for world_size, workers in ((1, 2), (2, 0)):
        assert all(same(one, other) for one, other in zip(expected, run(world_size, workers), strict=True))


def test_rows_of_the_demo_are_full_and_hardly_padded() -> None:
    rows = rows_for(AudioDataConfig(dataset="demo:vowels", max_duration_seconds=2.0, batch_seconds=30.0))
    assert rows.examples.plan.padding_share < 0.03
    seconds = [float(batch_of(rows, [row])["lengths"].sum()) / RATE for row in range(len(rows.examples))]
    assert max(seconds) <= 30
    assert np.mean(seconds) > 25


# Evaluation


def test_samples_are_whole_recordings_as_the_processor_gives_them_alone(tmp_path: Path) -> None:
    write_recordings(tmp_path, [0.3, 0.8, 2.7, 0.05])
    data = config_for(tmp_path)
    for crops in (True, False):
        pipeline = AudioPipeline(data, crops=crops)
        source = open_recordings(data)
        samples = pipeline.whole_examples(source)
        assert isinstance(samples, Utterances)
        assert len(samples) == 4
        good = [row for row in range(4) if samples._recordings.lengths[row] > 0.1 * RATE]
        batch = pipeline.eval_transform([samples[row] for row in good], first=7)
        assert batch["sample_ids"].tolist() == [7, 8, 9]
        assert ("attention_mask" in batch) == (not crops)
        for row, (values_T, length) in enumerate(zip(batch["input_values"], batch["lengths"].tolist(), strict=True)):
            alone = pipeline.processor(samples[good[row]].numpy(), sampling_rate=RATE, return_tensors="pt")
            assert torch.equal(values_T[:length], alone["input_values"][0])
            assert length == min(RATE, int(samples._recordings.lengths[good[row]]))
            assert not bool(values_T[length:].any())


def test_a_run_is_watched_on_windows_of_other_recordings_and_on_whole_ones(tmp_path: Path) -> None:
    write_recordings(tmp_path, [0.5 + 0.005 * index for index in range(80)])
    data = config_for(tmp_path)
    source = open_recordings(data)
    pipeline = AudioPipeline(data, crops=True)
    rows = KeyedDataset(pipeline.prepare(source), pipeline, seed=0)
    monitor = open_monitor(source, rows)
    assert monitor is not None
    assert len(monitor.samples.good) == 8
    assert len(monitor.rows.examples.recordings) == 8
    assert monitor.voters is not None
    assert len(monitor.voters.good) == 72
    lengths_N = [batch_of(monitor.rows, [row], epoch=-1)["lengths"] for row in monitor.good.tolist()]
    assert len(torch.cat(lengths_N)) == 8
