"""wav2vec 2.0: masked prediction of learnt codes of speech (Baevski et al. 2020)."""
