"""SparK: masked pretraining of convolutional networks, which never see a hole (Tian et al. 2023)."""
