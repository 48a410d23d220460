from pathlib import Path

import pytest

from palladion.errors import InputError
from palladion.submissions import DEFAULT_FAMILY, FAMILIES, family

FIRST = ("model_filepath", "result_filepath", "scratch_dirpath")
PARAMETERS = ("metaparameters_filepath", "schema_filepath", "learned_parameters_dirpath")


def test_our_own_rounds_are_the_default() -> None:
    assert family("image-classification") is DEFAULT_FAMILY
    assert DEFAULT_FAMILY.model == "directory"
    assert DEFAULT_FAMILY.extras == ("round_training_dataset_dirpath", "source_dataset_dirpath")


def test_an_unknown_family_is_told_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"named 'round-99'; known: image-classification, .*cyber-pdf"):
        family("round-99")


@pytest.mark.parametrize("row", FAMILIES.values(), ids=FAMILIES)
def test_every_row_holds_together(row: object) -> None:
    found = family(row.name)  # type: ignore[attr-defined]
    assert found.infer[:3] == FIRST
    assert len(set(found.infer)) == len(found.infer)
    assert set(found.files) <= set(found.infer)
    assert bool(found.configure) == (found.configure_by is not None)
    assert found.examples
    assert not set(found.extras) & {*FIRST, *PARAMETERS, "examples_dirpath"}


@pytest.mark.parametrize("month", ["jun2020", "aug2020", "dec2020", "feb2021"])
def test_rounds_0_to_4_know_four_arguments(month: str) -> None:
    row = family(f"image-classification-{month}")
    assert row.infer == (*FIRST, "examples_dirpath")
    assert (row.model, row.configure) == ("file", ())


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("nlp-mar2021", ("cls_token_is_first", "tokenizer_filepath", "embedding_filepath")),
        ("nlp-sep2021", ("tokenizer_filepath",)),
        ("nlp-summary-jan2022", ("tokenizer_filepath", "features_filepath", "round_training_dataset_dirpath")),
        (
            "object-detection-jul2022",
            ("features_filepath", "round_training_dataset_dirpath", "source_dataset_dirpath"),
        ),
        (
            "cyber-pdf",
            ("round_training_dataset_dirpath", "source_dataset_dirpath", "scale_parameters_filepath"),
        ),
        ("nlp-qa-aug2023", ("round_training_dataset_dirpath", "source_dataset_dirpath", "tokenizer_filepath")),
    ],
)
def test_what_a_family_adds(name: str, extras: tuple[str, ...]) -> None:
    assert family(name).extras == extras


@pytest.mark.parametrize(
    ("name", "model"), [("cyber", "file"), ("llm-pretrain", "directory"), ("llm-instruct", "directory")]
)
def test_what_the_model_is(name: str, model: str) -> None:
    assert family(name).model == model


@pytest.mark.parametrize("name", ["rl-colorful", "rl-gym", "llm-instruct"])
def test_some_have_no_examples(name: str) -> None:
    assert "examples_dirpath" not in family(name).infer


def test_the_tokenizer_goes_by_the_architecture_of_the_data_point() -> None:
    located = family("nlp-qa-aug2023").locate(Path("/data"), {"model_architecture": "google/electra-small"})
    assert located == {"tokenizer_filepath": Path("/data/tokenizers/google-electra-small.pt")}
    assert family("cyber-pdf").locate(Path("/data"), {}) == {
        "scale_parameters_filepath": Path("/data/scale_params.npy")
    }
    assert family("cyber").locate(Path("/data"), {}) == {}


@pytest.mark.parametrize("value", [None, 3, "", "  ", "..", ".hidden", "a\\b", "a\0b", "x" * 300])
def test_an_architecture_that_is_no_name_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="model_architecture"):
        family("nlp").locate(Path("/data"), {"model_architecture": value})


def test_an_architecture_never_leads_out_of_the_folder() -> None:
    with pytest.raises(InputError):
        family("nlp").locate(Path("/data"), {"model_architecture": "../../etc/passwd"})
    located = family("nlp").locate(Path("/data"), {"model_architecture": "a/../../b"})
    assert located["tokenizer_filepath"] == Path("/data/tokenizers/a-..-..-b.pt")
