"""One object for every library's tokenizer: ids, words, places in the text, special tokens, files."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from mmask.api import DataError, RecipeError
from mmask_text.decode import TextDecoder
from mmask_text.engines import ByteEngine
from mmask_text.vocabulary import Vocabulary, open_vocabulary, shipped

TEXT = "Paris is the capital of na\u00efve France, said Mr. Smith."
CORPUS = [TEXT, "The whale, the whale! He swims in the sea.", "[MASK] and <mask> are words too."] * 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE with names of its own, a SentencePiece model, and a bare WordPiece list."""
    import sentencepiece
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    root = tmp_path_factory.mktemp("vocabularies")
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator(CORPUS, trainer)
    made.enable_padding(length=64)
    made.enable_truncation(4)
    made.save(str(root / "bpe.json"))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=model, vocab_size=50, minloglevel=2, hard_vocab_limit=False
    )
    (root / "s.model").write_bytes(model.getvalue())
    words = "paris is the capital of na ##ive france , said mr . smith [ ]"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words.split()]
    (root / "bert").mkdir()
    (root / "bert" / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return root


@pytest.fixture(params=["bytes", "open_clip", "english-8k", "bpe.json", "s.model", "bert"])
def vocabulary(request: pytest.FixtureRequest, folder: Path) -> Vocabulary:
    here = folder / request.param
    return open_vocabulary(here if here.exists() else request.param)


def test_words_are_numbered_in_order_and_pieces_lie_where_their_letters_are(vocabulary: Vocabulary) -> None:
    ids, words, offsets = vocabulary.pieces(TEXT)
    assert ids.dtype == words.dtype == offsets.dtype == np.int64
    assert words[0] == 0 and set(np.diff(words)) <= {0, 1}
    for word in range(words[-1] + 1):
        places = offsets[words == word]
        inside = TEXT[places[:, 0].min() : places[:, 1].max()]
        assert " " not in inside.strip() and inside.strip()
    covered = "".join(TEXT[a:b] for a, b in dict.fromkeys(map(tuple, offsets.tolist())))
    assert covered.replace(" ", "") == TEXT.replace(" ", "")


def test_ids_come_back_as_the_text(vocabulary: Vocabulary) -> None:
    ids, _ = vocabulary.encode(TEXT)
    plain = "".join(letter for letter in vocabulary.decode(ids).lower() if letter.isalnum())
    want = "".join(letter for letter in TEXT.lower() if letter.isalnum())
    if vocabulary.unk_id is not None and vocabulary.unk_id in ids:
        assert len(plain) < len(want)
    else:
        assert plain in (want, want.replace("\u00ef", "i"))


def test_no_document_smuggles_special_tokens_in_and_a_question_may_ask_with_them(vocabulary: Vocabulary) -> None:
    text = f"Paris is the [MASK] of France. {vocabulary.token(vocabulary.mask_id)}"
    plain = vocabulary.encode(text)[0]
    assert set(plain.tolist()) & set(vocabulary.special_ids) <= {vocabulary.unk_id}
    asked = vocabulary.pieces(text, special=True)
    (at, last) = np.flatnonzero(asked.ids == vocabulary.mask_id)
    assert asked.words[at] == -1 and text[slice(*asked.offsets[at])] == "[MASK]" and last == len(asked.ids) - 1
    before, after = vocabulary.encode("Paris is the")[0], vocabulary.encode(" of France.")[0]
    assert asked.ids[:last].tolist() == [*before, vocabulary.mask_id, *after]


def test_special_ids_are_known_and_the_mask_is_inside(vocabulary: Vocabulary) -> None:
    assert 0 <= vocabulary.mask_id < vocabulary.size == len(vocabulary)
    for id in (vocabulary.pad_id, vocabulary.cls_id, vocabulary.sep_id, vocabulary.unk_id, vocabulary.mask_id):
        assert id is None or id in vocabulary.special_ids
    assert list(vocabulary.special_ids) == sorted(set(vocabulary.special_ids))
    assert vocabulary.find(vocabulary.token(vocabulary.mask_id)) == vocabulary.mask_id
    with pytest.raises(DataError, match="is not in a vocabulary of"):
        vocabulary.token(vocabulary.size)


def test_a_vocabulary_without_a_mask_gets_it_at_its_end(folder: Path) -> None:
    for spec in ("open_clip", folder / "s.model"):
        made = open_vocabulary(spec)
        assert made.mask_id == made.size - 1 and made.token(made.mask_id) == "[MASK]"
    assert open_vocabulary(folder / "bpe.json").mask_id == 4
    assert open_vocabulary("english-8k").special_ids == (0, 1, 2, 3, 4)


def test_saved_and_pickled_it_is_the_same(vocabulary: Vocabulary, tmp_path: Path) -> None:
    path = vocabulary.save(tmp_path / "kept")
    for other in (open_vocabulary(path), open_vocabulary(tmp_path / "kept"), pickle.loads(pickle.dumps(vocabulary))):
        assert other.special_ids == vocabulary.special_ids and other.size == vocabulary.size
        assert other.encode(TEXT)[0].tolist() == vocabulary.encode(TEXT)[0].tolist()
        assert other.file() == vocabulary.file()


def test_frames(vocabulary: Vocabulary) -> None:
    first, second = vocabulary.encode("the whale"), vocabulary.encode("the sea")
    ids, words, types = vocabulary.frame(first)
    assert len(ids) == len(first[0]) + vocabulary.framing and not types.any()
    if vocabulary.cls_id is not None:
        assert ids[0] == vocabulary.cls_id and ids[-1] == vocabulary.sep_id and words[0] == words[-1] == -1
    ids, words, types = vocabulary.frame(first, second)
    assert words.max() == first[1].max() + second[1].max() + 1
    assert types.sum() == len(second[0]) + (vocabulary.sep_id is not None)
    assert vocabulary.decode(ids[types == 1]).strip() == vocabulary.decode(second[0]).strip()


def test_padding_truncation_and_templates_of_a_file_are_left_out(folder: Path) -> None:
    made = open_vocabulary(folder / "bpe.json")
    assert len(made.encode(TEXT * 6)[0]) > 64


def test_a_bert_list_folds_case_unless_its_config_says_otherwise(folder: Path, tmp_path: Path) -> None:
    assert open_vocabulary(folder / "bert").unk_id not in open_vocabulary(folder / "bert").encode("PARIS")[0]
    (tmp_path / "vocab.txt").write_text((folder / "bert" / "vocab.txt").read_text())
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    cased = open_vocabulary(tmp_path)
    assert cased.encode("PARIS")[0].tolist() == [cased.unk_id]


def test_what_is_no_vocabulary_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"did you mean 'english-8k'"):
        open_vocabulary("english-8")
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.model").write_text("nothing")
    (tmp_path / "c.zip").write_text("nothing")
    for name, what in (("a.json", "no tokenizer.json"), ("b.model", "no SentencePiece"), ("c.zip", "known by its")):
        with pytest.raises(DataError, match=what):
            open_vocabulary(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no vocabulary"):
        open_vocabulary(tmp_path / "empty")
    (tmp_path / "empty" / "sentencepiece.bpe.model").write_text("")
    with pytest.raises(DataError, match="shifts"):
        open_vocabulary(tmp_path / "empty")


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    path.write_bytes(shipped()["english-8k"].read_bytes())
    assert open_vocabulary(path) is open_vocabulary(path)
    path.write_bytes(ByteEngine().file()[1])
    assert open_vocabulary(path).size == 261


def test_bytes_are_their_numbers_and_blanks_begin_words() -> None:
    made = open_vocabulary("bytes")
    ids, words = made.encode("a \u00e9\u4e2d")
    assert (ids - 5).tolist() == list("a \u00e9\u4e2d".encode()) and words.tolist() == [0, 1, 1, 1, 1, 1, 1]
    assert made.token(5 + 0x41) == "<0x41>" and made.decode([5 + 0xC3]) == "\ufffd"


def test_a_run_keeps_the_file_behind_the_option_and_nothing_for_a_rule(tmp_path: Path) -> None:
    ((name, data),) = TextDecoder.assets().values()
    (tmp_path / name).write_bytes(data)
    kept = TextDecoder(vocabulary=str(tmp_path / name)).vocabulary
    assert kept.encode(TEXT)[0].tolist() == TextDecoder().vocabulary.encode(TEXT)[0].tolist()
    assert TextDecoder.assets(vocabulary="bytes", field="body") == {}
