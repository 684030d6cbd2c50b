"""wav2vec 2.0 in the forms of other libraries."""
